# SPDX-License-Identifier: Apache-2.0
"""Forms of reports by the words and the languages of their headings, see ``_report_forms.py``."""

from __future__ import annotations

from _report_form_patterns import Form, Sections, lines, names

__all__ = ["FORMS"]


def abbreviations(s: Sections) -> str:
    return "\n".join(f"{names('FNDGS', 'CONC', 'HIST', 'PRIOR')[n]}: {t}" for n, t in s)


def bilingual(s: Sections) -> str:
    n = names("FINDINGS / HALLAZGOS", "IMPRESSION / IMPRESIÓN", "INDICATION / INDICACIÓN", "COMPARISON / COMPARACIÓN")
    return "\n".join(f"{n[k]}: {t}" for k, t in s)


def brazil(s: Sections) -> str:
    return "RADIOGRAFIA DE TÓRAX\n\n" + "\n\n".join(
        f"{names('Análise', 'Conclusão', 'Indicação', 'Exames anteriores')[n]}:\n{t}" for n, t in s
    )


def exam_in_heading(s: Sections) -> str:
    head = names(
        "FINDINGS XR CHEST PA/LAT 01/02/2012", "IMPRESSION XR CHEST PA/LAT 01/02/2012", "INDICATION", "COMPARISON"
    )
    return "\n".join(f"{head[n]}:\n{t}\n" for n, t in s)


def polish(s: Sections) -> str:
    return "\n\n".join(f"{names('Opis', 'Wnioski', 'Skierowanie', 'Porównanie')[n]}:\n{t}" for n, t in s)


def radiograph_names(s: Sections) -> str:
    return "\n".join(
        f"{names('Radiograph findings', 'Radiograph impression', 'Clinical history', 'Comparison radiograph')[n]}: {t}"
        for n, t in s
    )


def sectra(s: Sections) -> str:
    return "\n\n".join(
        f"{names('Utlåtande', 'Sammanfattande bedömning', 'Frågeställning', 'Jämförelse')[n]}:\n{t}" for n, t in s
    )


def sms(s: Sections) -> str:
    return "; ".join(f"{a}- {t}" for a, t in ((names("Findings", "Impr", "Ind", "Comp")[n], t) for n, t in s))


FORMS: dict[str, Form] = {
    "CHEST FINDINGS: text": lines(
        "{NAME}: {text}", names("Chest findings", "Chest impression", "Clinical history", "Comparison")
    ),
    "FIND/CONCL/Hx/Cx": lines("{Name}: {text}", names("FIND", "CONCL", "Hx", "Cx")),
    "HALLAZGOS": lines(
        "{NAME}:\n{text}\n", names("Hallazgos", "Impresión diagnóstica", "Datos clínicos", "Comparación")
    ),
    "Body part after a dash": lines(
        "{Name}: {text}", names("Findings - chest", "Impression - chest", "Indication", "Comparison")
    ),
    "Result / Diagnosis": lines("{NAME}:\n{text}\n", names("Result", "Diagnosis", "Clinical data", "Prior study")),
    "Report / Conclusion": lines("{NAME}\n\n{text}\n", names("Report", "Conclusion", "History", "Comparisons")),
    "bilingual": bilingual,
    "Dutch": lines("{Name}: {text}", names("Bevindingen", "Conclusie", "Klinische gegevens", "Vergelijking")),
    "German Ergebnis": lines("{Name}: {text}", names("Befund", "Zusammenfassung", "Fragestellung", "Voraufnahmen")),
    "X-RAY CHEST FINDINGS": lines(
        "{NAME}: {text}", names("X-ray chest findings", "Overall impression", "Reason for exam", "Comparison studies")
    ),
    "The findings are as follows": lines(
        "{Name}: {text}", names("Findings are as follows", "Impression is as follows", "Indication", "Comparison")
    ),
    "exam and date in the heading": exam_in_heading,
    "Interpretation / Assessment": lines(
        "{NAME}: {text}", names("Interpretation", "Assessment", "Presenting complaint", "Previous")
    ),
    "Spanish Informe / Conclusión": lines(
        "{Name}:\n{text}\n", names("Informe", "Conclusión", "Antecedentes", "Estudio previo")
    ),
    "Spanish, capitals without accents": lines(
        "{NAME}: {text}", names("Hallazgos", "Impresion", "Indicacion", "Comparacion")
    ),
    "FINDINGS: (plural in brackets)": lines(
        "{NAME}: {text}", names("Finding(s)", "Impression(s)", "Indication(s)", "Comparison(s)")
    ),
    "Swedish": lines("{Name}: {text}", names("Fynd", "Bedömning", "Frågeställning", "Jämförelse")),
    "Turkish": lines("{Name}: {text}", names("Bulgular", "Sonuç", "Klinik bilgi", "Karşılaştırma")),
    "Chinese": lines("{Name}：{text}", names("影像所见", "影像诊断", "临床资料", "对比")),
    "text message": sms,
    "Discussion / Impression": lines(
        "{NAME}:\n{text}\n", names("Discussion", "Impression", "Clinical note", "Old studies")
    ),
    "FINDINGS AND OBSERVATIONS": lines(
        "{NAME}: {text}",
        names("Findings and observations", "Impression and plan", "Indication for exam", "Comparison to prior"),
    ),
    "Main findings / Conclusions": lines(
        "{Name}\n{text}\n",
        names("Main findings", "Final conclusions", "Clinical problem", "Comparison with previous exams"),
    ),
    "Catalan": lines("{Name}:\n{text}\n", names("Troballes", "Conclusió", "Motiu", "Comparació")),
    "Brazil": brazil,
    "Report findings / Overall assessment": lines(
        "{Name}: {text}",
        names("Report findings", "Overall assessment", "Clinical background", "Prior imaging for comparison"),
    ),
    "X-ray report / Summary": lines(
        "{NAME}:\n{text}", names("X-ray report", "Summary", "Indications for procedure", "Comparison is made to")
    ),
    "Imaging findings / Radiological diagnosis": lines(
        "{Name}: {text}", names("Imaging findings", "Radiological diagnosis", "Clinical suspicion", "Available priors")
    ),
    "Chest X-ray findings / Summary of impression": lines(
        "{NAME}\n{text}\n",
        names("Chest X-ray findings", "Final diagnosis", "Indication and history", "Comparison exam(s)"),
    ),
    "Russian": lines("{Name}: {text}", names("Описание", "Заключение", "Клинические данные", "Сравнение")),
    "Norwegian": lines("{Name}: {text}", names("Funn", "Vurdering", "Problemstilling", "Sammenligning")),
    "Find:, Imp:, Hx:, Cx:": lines("{Name}: {text}", names("Find", "Imp", "Hx", "Cx"), " "),
    "Spanish, no colon": lines(
        "{Name}\n{text}\n", names("Hallazgos", "Conclusiones", "Datos clínicos", "Estudio previo")
    ),
    "Spanish, dash in one line": lines(
        "{NAME} - {text}", names("Hallazgos", "Impresión diagnóstica", "Motivo del estudio", "Comparación"), " "
    ),
    "lung findings, final impression": lines(
        "{Name}: {text}", names("Lung findings", "Final impression", "Reason for visit", "Prior chest x-ray")
    ),
    "Portuguese, capitals": lines("{NAME}\n{text}\n", names("Achados", "Impressão", "Dados clínicos", "Comparação")),
    "Japanese": lines("【{Name}】\n{text}\n", names("所見", "診断", "臨床情報", "比較")),
    "Swedish Utlåtande": sectra,
    "Polish Opis": polish,
    "FNDGS, CONC, HIST, PRIOR": abbreviations,
    "Radiograph findings": radiograph_names,
    "Interpretation of findings": lines(
        "{Name}:\n{text}", names("Description", "Diagnostic conclusion", "Patient history", "Reference study")
    ),
    "Radiologic findings in capitals": lambda s: lines(
        "{NAME}\n{text}", names("Radiologic findings", "Diagnostic opinion", "Clinical data", "Prior exams"), "\n\n"
    )(s).upper(),
}
