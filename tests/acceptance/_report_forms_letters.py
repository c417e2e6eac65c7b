# SPDX-License-Identifier: Apache-2.0
"""Forms of reports with what hospitals write above and below, see ``_report_forms.py``."""

from __future__ import annotations

from _report_form_patterns import Form, Sections, fill, lines, names

__all__ = ["FORMS"]

EN = names("Findings", "Conclusion", "Clinical indication", "Comparison")
ES = names("Hallazgos", "Impresión diagnóstica", "Antecedentes clínicos", "Estudios previos")


def addenda_two(s: Sections) -> str:
    return "ADDENDUM #2: Typing error corrected.\n\nADDENDUM #1: Discussed.\n\nORIGINAL REPORT:\n\n" + "\n\n".join(
        f"{n.title()}: {t}" for n, t in s
    )


def cover(head: str, foot: str, form: Form) -> Form:
    return lambda s: head + form(s) + foot


def dutch(s: Sections) -> str:
    return (
        "X-thorax 02-01-2012\n\n"
        + "\n\n".join(f"{names('Verslag', 'Conclusie', 'Klinische gegevens', 'Vergelijking')[n]}:\n{t}" for n, t in s)
        + "\n\nA. Roe, radioloog\n"
    )


def fax(s: Sections) -> str:
    return (
        "TO: DR SMITH        FAX: 555-0100\nFROM: RADIOLOGY      PAGES: 1\nRE: CHEST XRAY\n"
        + "-" * 60
        + "\n"
        + "\n\n".join(fill(f"{n.upper()}: {t}", 60) for n, t in s)
        + "\n"
        + "-" * 60
        + "\n*** END OF FAX ***\n"
    )


def german(s: Sections) -> str:
    return (
        "Röntgen Thorax in 2 Ebenen vom 02.01.2012\n\n"
        + "\n\n".join(
            f"{names('Befund', 'Beurteilung', 'Klinische Angaben / Fragestellung', 'Vergleich')[n]}:\n{t}" for n, t in s
        )
        + "\n\nMit freundlichen Grüßen\n\nDr. med. A. Roe\nOberarzt\n"
    )


def header_block(s: Sections) -> str:
    return (
        "XR CHEST 2 VIEWS\n\nDATE: 01/02/2012 10:15\n\nORDERING PHYSICIAN: SMITH, JOHN\n\n"
        + "\n\n".join(f"{n.upper()}: {t}" for n, t in s)
        + "\n\nElectronically Signed By: Roe, John on 01/02/2012 11:00 AM\nTranscriptionist: JD\nDate Transcribed: 01/02/2012\n"
    )


def india(s: Sections) -> str:
    return "\n\n".join(
        f"{names('OBSERVATIONS', 'IMPRESSION', 'CLINICAL HISTORY', 'COMPARISON')[n]} :-\n\n{t}" for n, t in s
    )


def italian(s: Sections) -> str:
    return (
        "\n\n".join(f"{names('REFERTO', 'CONCLUSIONI', 'QUESITO CLINICO', 'PRECEDENTI')[n]}\n{t}" for n, t in s)
        + "\n\nIl Medico Radiologo\nDott. A. Roe\n"
    )


def letter_uk(s: Sections) -> str:
    return (
        "Dear Dr Smith,\n\nRe: XR Chest\n\n"
        + "\n\n".join(f"{n.title()}\n\n{t}" for n, t in s)
        + "\n\nYours sincerely,\n\nDr J. Roe\nConsultant Radiologist\nGMC 0000000\n"
    )


def mainframe(s: Sections) -> str:
    return (
        "RAD0012  RADIOLOGY RESULTS INQUIRY            01/02/12 10:22\nPAT: DOE JANE         NBR: 0001234   LOC: 3W-12\nEXAM: 71020 CHEST 2V\n"
        + "=" * 60
        + "\n"
        + "\n\n".join(fill(f"{n.upper()}: {t}", 60) for n, t in s)
        + "\n"
        + "=" * 60
        + "\nDICTATED BY: ROE J   TRANSCRIBED: 01/02/12  /KLM\nEND OF DISPLAY\n"
    )


def md_chart(s: Sections) -> str:
    body = "\n\n".join(f"**{n.upper()}:**\n{t}" for n, t in s)
    return (
        "# Radiology Report\n\n**Document ID:** 0001\n**Date Created:** July 20, 2024, 10:30 AM UTC\n\n---\n\n## Patient Information\n\n*   **Patient ID:** pat-1\n"
        "*   **Name:** Jane Doe\n*   **Gender:** Female\n\n---\n\n## Imaging Results\n\n**CHEST X-RAY (PA and Lateral)**\n\n"
        + body
        + "\n\n---\n\n**Reporting Radiologist:** Dr. A. Roe\n**Date Signed:** 2024-07-20\n"
    )


def nhs(s: Sections) -> str:
    return (
        "X-ray Chest (02/01/2012)\n\n"
        + "\n\n".join(
            f"{names('Findings', 'Conclusion', 'Clinical Details', 'Comparison')[n]}:\n{fill(t)}" for n, t in s
        )
        + "\n\nReported by Dr A Roe (GMC 1234567), Consultant Radiologist, on 02/01/2012 at 14:03\n"
    )


def nhs_plain(s: Sections) -> str:
    return (
        "\n".join(f"{names('Report', 'Conclusion', 'Clinical History', 'Comparison')[n]} :  {t}" for n, t in s)
        + "\n\nDr J Roe\nConsultant Radiologist\nVerified 02-Jan-2012 14:03\n"
    )


def patient_letter(s: Sections) -> str:
    return (
        "Jane Doe\n12 Main Street\n\nJanuary 2, 2012\n\nTo whom it may concern:\n\nBelow is the report of the chest x-ray.\n\n"
        + "\n\n".join(f"{n.title()}: {t}" for n, t in s)
        + "\n\nBest regards,\nGeneral Hospital\n"
    )


def powerscribe(s: Sections) -> str:
    return (
        "EXAM: XR CHEST 2 VW\n\n"
        + "\n\n".join(f"{n.upper()}:\n{t}" for n, t in s)
        + "\n\nSigned by: Roe, John MD\nSigned on: 01/02/2012 2:33 PM\nWorkstation: RADWS01\n"
    )


def preliminary(s: Sections) -> str:
    return (
        "*** PRELIMINARY REPORT ***\n\n" + lines("{NAME}: {text}", separator="\n\n")(s) + "\n\n*** END OF REPORT ***\n"
    )


def procedure_between(s: Sections) -> str:
    out = []
    for n, t in s:
        out.append(f"{n.upper()}: {t}")
        if n == "indication":
            out.append("PROCEDURE: Two views of the chest were obtained.")
    return "\n".join(["EXAMINATION: Chest radiograph", *out, "RECOMMENDATION: None."])


def signed_initials(s: Sections) -> str:
    return (
        "\n\n".join(f"{n.title()}:  {fill(t, 72)}" for n, t in s)
        + "\n\n\nJR/ab\nD: 01/02/2012 10:00\nT: 01/02/2012 10:05\nJob #: 123456\n\nJohn Roe, M.D.\n"
    )


def spanish_lines(s: Sections) -> str:
    return "\n".join(f"- {ES[n]}: {t}" for n, t in s) + "\n\nUn saludo,\nDra. Roe\n"


def spanish_ris(s: Sections) -> str:
    return (
        "SERVICIO DE RADIODIAGNÓSTICO\n\nPaciente: XXXX\nFecha: 02/01/2012\nExploración: RX TORAX PA Y LATERAL\n\n"
        + "\n\n".join(
            f"{names('HALLAZGOS', 'CONCLUSIÓN', 'MOTIVO DE CONSULTA', 'ESTUDIOS PREVIOS')[n]}:\n{t}" for n, t in s
        )
        + "\n\nFdo.: Dra. A. Roe\nFecha de validación: 02/01/2012\n"
    )


def teleradiology(s: Sections) -> str:
    return (
        "TELERADIOLOGY FINAL REPORT\nStudy received: 10:02 EST\nReport sent: 10:31 EST\n\n"
        + "\n\n".join(f"{n.upper()}\n{fill(t, 80)}" for n, t in s)
        + "\n\nThank you for the referral.\n\nA. Roe, MD\nBoard Certified Radiologist\n555-0100\n"
    )


def transcription(s: Sections) -> str:
    return (
        "\n\n".join(f"{n.upper()}  {t}" for n, t in s)
        + "\n\n______________________________\nJOHN ROE, M.D.\n\nJR:klm\nd: 01/02/2012 10:22:33\nt: 01/02/2012 11:00:00\n"
    )


def va(s: Sections) -> str:
    rows = []
    for n, t in s:
        rows.append(f"    {n.title()}:\n" + fill(t, 74, initial_indent="      ", subsequent_indent="      ") + "\n")
    return (
        "CHEST 2 VIEWS PA&LAT\n\nExm Date: JAN 02, 2012@14:33\nReq Phys: SMITH,JOHN\n\n(Case 1234 COMPLETE) CHEST 2 VIEWS PA&LAT (RAD Detailed) CPT:71020\n\n"
        + "\n".join(rows)
        + "\nVERIFIED BY:\n  ROE,JOHN, MD\n\n/JR\n"
    )


def web_text(s: Sections) -> str:
    return (
        "Skip to main content\nRadiology report\nPrint\n\n"
        + "\n\n".join(f"{n.title()}\n\n    {t}" for n, t in s)
        + "\n\nBack to top\nCopyright 2012 General Hospital\n"
    )


def with_technique_addendum(s: Sections) -> str:
    return (
        "EXAM: XR CHEST 2 VIEWS\n\nTECHNIQUE: PA and lateral views of the chest.\n\n"
        + lines("{NAME}: {text}", separator="\n\n")(s)
        + "\n\nADDENDUM: The above was discussed with the referring physician by telephone.\n"
    )


FORMS: dict[str, Form] = {
    "technique and addendum": with_technique_addendum,
    "PowerScribe": powerscribe,
    "VistA": va,
    "letter": letter_uk,
    "preliminary, end of report": preliminary,
    "header block and signature": header_block,
    "procedure and recommendation": procedure_between,
    "Markdown chart": md_chart,
    "initials and job number": signed_initials,
    "NHS letter": nhs,
    "NHS, one line each": nhs_plain,
    "OBSERVATIONS :-": india,
    "Spanish RIS": spanish_ris,
    "German letter": german,
    "Italian report": italian,
    "author in the heading": lines("{Name} (Dr. Roe, 01/02/2012): {text}"),
    "fax": fax,
    "teleradiology": teleradiology,
    "technique below, Dictated": cover(
        "",
        "\n\nTECHNIQUE: Two views.\n\nDictated By: ROE, JOHN\nDictated Date/Time: 01/02/2012 10:00\n",
        lines("{NAME}:\n{text}", EN, "\n\n"),
    ),
    "addendum with rule": cover(
        "FINAL REPORT\n\n",
        "\n\n==========\nADDENDUM #1 by J. Roe on 01/03/2012:\nNo change in the above.\n",
        lines("{NAME}: {text}", None, "\n\n"),
    ),
    "mainframe": mainframe,
    "transcription": transcription,
    "Spanish dashes, farewell": spanish_lines,
    "text of a web page": web_text,
    "letter to a patient": patient_letter,
    "Dutch Verslag": dutch,
    "two addenda before": addenda_two,
}
