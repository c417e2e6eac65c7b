# SPDX-License-Identifier: Apache-2.0
"""The words that head a section of a radiology report, and the section each of them opens.

English, Spanish, German, French, Italian, Portuguese, Dutch and Turkish. Words are compared without case and
accents, see :func:`fold`. A *plain* word ("impression", "hallazgos") can be known as a heading by its letters
or its place alone; a *shy* one ("history", "report", "patient") also stands in sentences, so that it needs a
separator after it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

__all__ = [
    "ASIDE_SUFFIX",
    "BLOCKING",
    "CONTINUING",
    "LEADING",
    "LEFT",
    "LEFT_INSIDE",
    "SUFFIX",
    "find_words",
    "first_phrase",
    "fold",
    "is_title",
    "section_of",
]

_PLAIN = {
    "findings": """findings, finding, finding(s), hallazgos, hallazgo, befunde, befund, constatations,
        achados,
        reperti, bevindingen, bulgular, description of findings,
        description of the findings""",
    "impression": """impressions, impression, impression(s), impresiones, impresion, impressao, conclusions,
        conclusion, conclusion(s), conclusiones, conclusao, conclusoes, conclusioni, conclusione, conclusies,
        conclusie, beurteilung, zusammenfassung""",
    "indication": """indications, indication, indication(s), indicaciones, indicacion, indikation,
        indicazione,
        indicacao, indicatie, reason for exam, reason for examination, reason for the exam,
        reason for the examination, reason for study, reason for the study, reason for this exam,
        reason for this study, reason for visit, reason for test, reason for referral, reason for
        consultation,
        reason for order, reason for request, reason for imaging, reason for scan, clinical history,
        clinical information, clinical indication, clinical indications, clinical data, clinical details,
        clinical question, clinical statement, clinical context, clinical background, clinical presentation,
        clinical diagnosis, clinical notes, clinical info, clinical hx, history of present illness,
        patient history, medical history, brief history, relevant history, presenting complaint,
        chief complaint, admitting diagnosis, motivo de consulta, motivo de la consulta,
        motivo de la exploracion, motivo de exploracion, motivo del estudio, motivo de estudio,
        motivo de peticion, motivo de la peticion, motivo de solicitud, motivo de la solicitud,
        motivo de ingreso, datos clinicos, informacion clinica, historia clinica, historia actual,
        antecedentes personales, antecedentes, sospecha clinica, sospecha diagnostica,
        orientacion diagnostica, diagnostico clinico, diagnostico de sospecha, juicio clinico,
        klinische angaben, klinische information, klinische fragestellung, klinische informationen,
        fragestellung, anamnese, rechtfertigende indikation, renseignements cliniques, contexte clinique,
        histoire clinique, motif de l'examen, quesito clinico, quesito diagnostico, notizie cliniche,
        informacao clinica, informacoes clinicas, dados clinicos, hipotese diagnostica, klinische gegevens,
        klinische vraagstelling, endikasyon, klinik bilgi""",
    "comparison": """comparisons, comparison, comparison(s), comparision, comparaciones, comparacion,
        comparaison, comparacao, vergleich, vergelijking, prior studies, prior study, prior exams, prior exam,
        prior examinations, prior examination, prior imaging, prior films, previous studies, previous study,
        previous exams, previous exam, previous examinations, previous examination, previous imaging,
        comparison studies, comparison study, comparison exams, comparison exam, comparison examinations,
        comparison examination, comparison films, comparison film, comparison imaging, comparison radiographs,
        comparison radiograph, estudios previos, estudio previo, estudios anteriores, estudio anterior,
        estudio comparativo, estudios comparativos,
        exploraciones previas, exploracion previa, pruebas previas, voruntersuchungen, voruntersuchung,
        voraufnahmen,
        examens anterieurs, examen anterieur, anteriorites, confronto, exames anteriores, eerder onderzoek""",
    "technique": """techniques, technique, technique(s), tecnicas, tecnica, technik, techniek,
        tecnica de exploracion, tecnica de la exploracion, tecnica de estudio, tecnica del estudio,
        technical parameters, technical details, technical factors, technical comments, technical information,
        technical quality, scan technique, scan protocol, imaging protocol, exam technique,
        examination technique, untersuchungstechnik, untersuchungsmethode, methodik, protocolo, teknik""",
    "recommendation": """recommendations, recommendation, recommendation(s), recomendaciones, recomendacion,
        empfehlungen, empfehlung, recommandations, recommandation, raccomandazioni, recomendacoes""",
    "addendum": "addendum, addenda, adendum, adenda, nachtrag, addendums",
    "notification": """notifications, notification, communication of critical results,
        critical results communication, critical result communication, communication of results,
        critical findings, critical results, critical result""",
    "preliminary": "wet read, wet reading, preliminary read, preliminary reading, prelim read",
}
_SHY = {
    "findings": "fndgs, fdgs, findgs",
    "report": """radiology report, report text, report body, body of report, report, reports, results, result,
        observations, observation, imaging notes, imaging note, narrative, description, descripcion, body,
        discussion, details, informe,
        informe radiologico, cuerpo del informe, resultados, resultado, observaciones, resultats, resultat,
        compte rendu, description des images, rapport, relatorio, referto, descrizione, descricao, analise,
        verslag, analyse, interpretation des images, bericht, rapor""",
    "impression": """imp, impr, impress, concl, dx, summary, summary of findings, opinion, opinions,
        assessment,
        interpretation, interpretations, diagnosis, diagnoses, diagnostico, diagnosticos, juicio diagnostico,
        diagnostico radiologico, synthese, resume, resumen, sonuc, bottom line, au total, in summary,
        in conclusion, en resumen, en conclusion, en resume, final diagnosis""",
    "indication": """history, hx, ind, reason, symptoms, symptom, complaint, complaints, clinical, clinic,
        motivo, motif, clinica, klinik, indic, signs and symptoms, history and indication, question, problem,
        presentation""",
    "comparison": "comp, compared to, compared with, comparado con, priors, prior, previous, anteriorite",
    "technique": """tech, protocol, protocole, method, methods, methode, metodo, metodologia, procedimiento,
        contrast, contraste, contrast medium, contrast agent, procedure, procedures, dose, radiation dose,
        image quality, acquisition, quality, kontrastmittel""",
    "examination": """examinations, examination, examination(s), exams, exam, exam(s), study, studies,
        study type,
        exam type, examination type, type of exam, type of examination, type of study, procedure performed,
        exam performed, study performed, examination performed, exam name, exam description,
        study description, exploracion, estudio, estudio realizado, prueba, prueba realizada, untersuchung,
        untersuchungen, examen, examens, examen realise, esame, exame, onderzoek, title, tetkik""",
    "recommendation": "recs, rec, recommend, plan, follow up, follow-up, followup, advice, advies",
    "notification": "communication, communications, results communicated",
    "record": """patient, patient name, name, patient id, patient identifier, patient number, mrn, medical
        record,
        medical record number, mr number, dob, date of birth, birth date, age, patient age, sex, gender,
        accession, accession number, accession no, accession id, exam date, examination date, study date,
        date of exam, date of examination, date of study, date of service, service date, report date,
        date of report, date, time, exam time, study time, date and time, ordering physician,
        ordering provider, ordering doctor, referring physician, referring provider, referring doctor,
        requesting physician, requesting provider, attending physician, attending, attending radiologist,
        radiologist, physician, provider, reading physician, location, patient location, department,
        hospital, facility, institution, modality, study id, study uid, order number, order id, visit number,
        exam code, exam id, report id, report status, status, report number, case id, case number, paciente,
        nombre, fecha, edad, sexo, numero de historia, nhc, medico, medico solicitante, servicio, name des
        patienten, geburtsdatum, datum, nom, prenom, date de naissance, medecin""",
}
_MODIFIERS = """clinical radiological radiographic radiologic radiology roentgen imaging image images ct
    cect hrct
    mri mr us pet xray x-ray cxr chest thorax thoracic thoracal abdomen abdominal lung lungs pulmonary final
    preliminary overall main key principal pertinent relevant significant important diagnostic diagnostics
    general other additional incidental ancillary detailed brief short current provided patient primary
    secondary report section radiologist's radiologists physician's doctor's exam examination study scan
    updated revised amended initial overall the my our los las el la les der die das de descripcion
    radiologischer radiologische klinische klinischer medical dictated original and bone bones cardiac
    mediastinal vascular musculoskeletal skeletal full formatted structured procedure technical"""
_SUFFIXES = """of for the a this these chest x-ray xray x-rays ct cta mri cxr radiograph radiographs
    radiography
    thorax thoracic lungs lung abdomen pelvis exam examination exams examinations study studies scan section
    sections text continued cont cont'd contd details detail information info data is are was were as follows
    follow following below listed today and with without contrast views view pa ap lateral frontal portable
    images image imaging performed report series plan recommendation recommendations comment comments
    discussion summary only statement field film films
    radiologica radiologico radiologicos radiologicas radiologiques radiologique diagnostica diagnostico
    diagnosticas diagnosticos clinica clinico clinicas clinicos principales del de la el los las estudio
    exploracion torax tac tc rx des der radiologisch utilizada empleada realizada scanner thoracique"""
_CONNECTOR = r"(?:[ \t]*(?:[/&+\\]|,|\band\b|\by\b|\be\b|\bet\b|\bund\b|\ben\b|\bve\b)[ \t]*|-)"

# A heading is not one after these words ("no acute | findings"), nor before those ("Findings | suggest").
LEADING = frozenset(
    """a an the no not any all some other others following additional significant important pertinent relevant
    these those this that such as with without and or of in on by for from to my our his her their its
    suspicious equivocal subtle specific nonspecific acute chronic critical key main major minor incidental
    unexpected abnormal clinical imaging radiographic radiological related associated further remaining two
    three several multiple many few which is are was were be have had has
    los las estos estas otros otras siguientes sin con de del la el un una keine der die das ein eine des les
    sans avec""".split()
)
"""Words that no sentence ends with."""
BLOCKING = LEADING | frozenset(
    "new old same similar above below prior previous ct chest normal positive negative stable".split()
)
CONTINUING = frozenset(
    """are is was were be been being has have had may might could can should would will do does did suggest
    suggests suggesting suggestive consistent compatible represent represents representing likely probably
    possibly most more of in on at by to with within without from for as and or that which who concerning
    discussed communicated reported described noted above below remain remains appear appears seen include
    includes including indicate indicates indicating favor favors raise raises reflect reflects correlate
    correlates unchanged made not worrisome typical characteristic highly strongly also again between than
    section only
    sugestivos compatibles de del en con que son es sobre entre sind ist mit von im""".split()
)
_TITLE_NAMES = frozenset(
    "chest thorax radiograph radiographs radiography x-ray xray x-rays cxr ct torax tc tac".split()
)
_TITLE_WORDS = frozenset(
    """ap pa lateral lat portable upright supine semi-upright semiupright semi erect frontal single two
    one three 1 2 3 view views of the and chest thorax radiograph radiographs radiography x-ray xray x-rays
    cxr ct hrct cta scan film study examination exam with without contrast iv intravenous only bedside
    pulmonary angiogram angiography high resolution low dose at on in dated performed abdomen pelvis
    tc tac de torax rx simple posteroanterior anteroposterior y am pm a p m hrs hours""".split()
)


def fold(text: str) -> str:
    """Lower case without accents and underscores, of the same length: places agree with those of ``text``."""
    return text.translate(_FOLDED)


def find_words(folded: str) -> Iterator[tuple[int, int]]:
    """Start and end of each run of heading words in a folded text ("findings and impression" is one)."""
    end = 0
    for word in _FIRST_WORD.finditer(folded):
        if word.start() >= end:
            found = _CORE.match(folded, word.start())
            if found:
                end = found.end()
                yield found.span()


def first_phrase(folded: str, start: int) -> int:
    """End of the first of the words that :func:`find_words` found ("findings" of "findings-comparison")."""
    found = _PHRASE.match(folded, start)
    assert found is not None
    return found.end()


def section_of(heading: str) -> tuple[str, bool]:
    """The section that a folded heading opens, and whether its words are shy.

    Of several ("findings and impression") findings and impression come first; both together are ``joined``.
    """
    phrases = [" ".join(found.group().split()) for found in _PHRASE.finditer(heading)]
    names = [_SECTION[phrase] for phrase in phrases]
    is_shy = all(phrase in _SHY_PHRASES for phrase in phrases)
    if "findings" in names and "impression" in names:
        return "joined", is_shy
    for name in ("findings", "impression"):
        if name in names:
            return name, is_shy
    return names[0], is_shy


def _phrases(table: dict[str, str]) -> dict[str, str]:
    return {" ".join(phrase.split()): name for name, text in table.items() for phrase in text.split(",")}


def _alternatives(phrases: Iterable[str]) -> str:
    """One pattern for all phrases as a tree of letters, longest first: each place is compared with few."""
    branches: dict[str, list[str]] = {}
    for phrase in set(phrases):
        branches.setdefault(phrase[:1], []).append(phrase[1:])
    if list(branches) == [""]:
        return ""
    letters = (
        (r"[ \t]+" if letter == " " else re.escape(letter)) + _alternatives(tails)
        for letter, tails in sorted(branches.items())
        if letter
    )
    return f"(?:{'|'.join([*letters, *([''] if '' in branches else [])])})"


_FOLDED = {
    code: fold_to
    for code in [*range(0x41, 0x5B), *range(0xC0, 0x180)]
    if len(fold_to := unicodedata.normalize("NFD", chr(code))[0].lower()) == 1
}
_FOLDED[ord("_")] = " "
_SHY_PHRASES = _phrases(_SHY)
_SECTION = {**_SHY_PHRASES, **_phrases(_PLAIN)}
_ANY = rf"\b{_alternatives(_SECTION)}(?!\w)"
_PHRASE = re.compile(_ANY)
_WORDS = "|".join(sorted({re.escape(word) for word in _MODIFIERS.split()}, key=len, reverse=True))
_ENUMERATION = r"(?:\d{1,2}(?:\.\d{1,2})*[.):\]\-]*|(?:i{1,3}|iv|vi{0,3}|[a-h])[.):\]\-]+)"

_CORE = re.compile(rf"{_ANY}(?:{_CONNECTOR}{_ANY})*")
_FIRST_WORD = re.compile(r"\b" + _alternatives(re.split(r"\W", phrase)[0] for phrase in _SECTION) + r"\b")
LEFT = re.compile(
    rf"[\W_]*(?:{_ENUMERATION}[\W_]*)?(?:(?:section|part|seccion|abschnitt)\s*\d{{0,2}}[\W_]*)?"
    rf"(?P<words>(?:(?:{_WORDS})[\s/-]+)*)[\W_]*"
)
"""What may stand between the start of a line and the heading: decoration, number, qualifying words."""
LEFT_INSIDE = re.compile(rf"(?:\b(?:{_WORDS})\s+)+$")
"""Qualifying words right before a heading inside a line."""
SUFFIX = re.compile(
    rf"(?P<words>(?:[ \t/,]+(?:{'|'.join(re.escape(w) for w in _SUFFIXES.split())})\b)*)"
    r"(?:[ \t]*#?\d{1,2}(?=[ \t]*:))?(?:[ \t]*[(\[][^()\[\]\n]{0,60}[)\]])?"
)
"""What may stand between a heading and its separator."""
ASIDE_SUFFIX = re.compile(r"(?:[ \t]+[^\W\d_]+){1,3}(?=[ \t]*:)")
"""Any words that may, before a colon, after the heading of a section that no model is trained on."""
_TITLE_WORD = re.compile(r"[^\W\d]+(?:-[^\W\d]+)*")


def is_title(folded: str) -> bool:
    """Whether a folded line names an examination and says nothing else: ``portable ap chest radiograph``."""
    words = _TITLE_WORD.findall(folded)
    return all(word in _TITLE_WORDS for word in words) and any(word in _TITLE_NAMES for word in words)
