# SPDX-License-Identifier: Apache-2.0
"""Sections of raw reports under many headings, what is cleaned away, and the choice of the text."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from monai_unimedi.data.report_text import (
    choose_text,
    clean_text,
    line_sections,
    open_i_sections,
    read_report,
)

LUNGS, HEART = "The lungs are clear. No acute findings.", "Normal heart; no effusion."
BOTH = {"findings": LUNGS, "impression": HEART}

STYLES = [
    "FINDINGS: {0}\nIMPRESSION: {1}",
    "Findings:\n{0}\n\nImpression:\n{1}",
    "findings: {0}\nimpression: {1}",
    "findings: {0} impression: {1}",
    "FINDINGS {0}\nIMPRESSION {1}",
    "Findings {0}\nImpression {1}",
    "findings {0}\nimpression {1}",
    "FINDINGS {0} IMPRESSION {1}",
    "FINDINGS\n{0}\nIMPRESSION\n{1}",
    "findings\n\n{0}\n\nimpression\n\n{1}",
    "Findings - {0}\nImpression - {1}",
    "FINDINGS – {0}\nIMPRESSION — {1}",
    "FINDINGS-{0}\nIMPRESSION-{1}",
    "FINDINGS: {0} -- IMPRESSION: {1}",
    "FINDINGS. {0}\nIMPRESSION. {1}",
    "FINDINGS\t{0}\nIMPRESSION\t{1}",
    "Findings     {0}\nImpression   {1}",
    "FINDINGS = {0}\nIMPRESSION = {1}",
    "FINDINGS => {0}\nIMPRESSION => {1}",
    "Findings | {0}\nImpression | {1}",
    "| Findings | {0} |\n|---|---|\n| Impression | {1} |",
    "**Findings**\n{0}\n\n**Impression**\n{1}",
    "**FINDINGS:** {0} **IMPRESSION:** {1}",
    "*Findings:* {0}\n*Impression:* {1}",
    "__Findings__: {0}\n__Impression__: {1}",
    "## Findings\n\n{0}\n\n## Impression\n\n{1}",
    "=== FINDINGS ===\n{0}\n=== IMPRESSION ===\n{1}",
    "--- Findings ---\n{0}\n--- Impression ---\n{1}",
    "Findings\n--------\n{0}\n\nImpression\n==========\n{1}",
    "[FINDINGS] {0} [IMPRESSION] {1}",
    "[Findings]\n{0}\n[Impression]\n{1}",
    "<FINDINGS>{0}</FINDINGS>\n<IMPRESSION>{1}</IMPRESSION>",
    "<findings>{0}</findings><impression>{1}</impression>",
    "(FINDINGS) {0}\n(IMPRESSION) {1}",
    "1. FINDINGS: {0}\n2. IMPRESSION: {1}",
    "1) Findings\n{0}\n2) Impression\n{1}",
    "II. FINDINGS\n{0}\nIII. IMPRESSION\n{1}",
    "a) Findings: {0}\nb) Impression: {1}",
    "- Findings: {0}\n- Impression: {1}",
    "• FINDINGS: {0}\n• IMPRESSION: {1}",
    "Section 1: Findings\n{0}\nSection 2: Impression\n{1}",
    "<b>FINDINGS:</b> {0}<br><b>IMPRESSION:</b> {1}",
    "<h2>Findings</h2><p>{0}</p><h2>Impression</h2><p>{1}</p>",
    "FINDINGS:\\n{0}\\nIMPRESSION:\\n{1}",
    "FINDINGS: {0}\\.br\\IMPRESSION: {1}",
    "FINDINGS&nbsp;: {0}\r\nIMPRESSION&nbsp;: {1}\r\n",
    "F I N D I N G S\n{0}\nI M P R E S S I O N\n{1}",
    "FINDINGS (PA and lateral): {0}\nIMPRESSION (final): {1}",
    "CHEST FINDINGS: {0}\nRADIOLOGICAL IMPRESSION: {1}",
    "FINDINGS OF THE CHEST X-RAY: {0}\nIMPRESSION FOR THIS EXAM: {1}",
    "The findings are as follows: {0}\nImpression is as follows: {1}",
    "FINDINGS: {0}\nCONCLUSION: {1}",
    "Report: {0}\nOpinion: {1}",
    "RESULT: {0}\nINTERPRETATION: {1}",
    "{0}\n\nIMPRESSION: {1}",
    "{0} IMPRESSION: {1}",
    "FINDING(S): {0}\nIMP: {1}",
    "HALLAZGOS: {0}\nIMPRESIÓN: {1}",
    "Hallazgos:\n{0}\nConclusión:\n{1}",
    "hallazgos : {0} conclusion : {1}",
    "HALLAZGOS.- {0}\nIMPRESIÓN DIAGNÓSTICA.- {1}",
    "Descripción: {0}\nJuicio diagnóstico: {1}",
    "Befund: {0}\nBeurteilung: {1}",
    "Résultats : {0}\nConclusion : {1}",
    "Achados: {0}\nImpressão: {1}",
    "Reperti: {0}\nConclusioni: {1}",
    "Reperto: {0}\nConclusioni: {1}",
    "REPERTO\n{0}\nCONCLUSIONI\n{1}",
    "Achado: {0}\nConclusão: {1}",
]


@pytest.mark.parametrize("style", STYLES)
def test_findings_and_impression_come_out_under_every_style(style: str) -> None:
    assert read_report(style.format(LUNGS, HEART)) == BOTH


@pytest.mark.parametrize("style", STYLES)
def test_other_sections_are_told_apart(style: str) -> None:
    """The same two headings after an indication and a comparison in capitals with colons."""
    raw = f"INDICATION: Cough\nCOMPARISON: None.\n\n{style.format(LUNGS, HEART)}"
    sections = read_report(raw)
    if not style.startswith("{0}") and "\\n" not in style:  # or the comparison goes on
        assert sections["impression"] == HEART
        assert sections["findings"] == LUNGS
        assert (sections["indication"], sections["comparison"]) == ("Cough", "None.")


IN_SENTENCES = [
    "The findings are unchanged. No significant findings.",
    "These findings suggest edema. Findings are consistent with pneumonia.",
    "No acute\nfindings.\nThe heart is normal.",
    "No significant\nfindings: lungs clear.",
    "Comparison is made to the prior study. Impression of a nodule.",
    "Findings discussed with the team by phone.",
    "There is an impression on the esophagus.",
    "Smoking history: none known. Clinical correlation of the history is advised.",
    "Compared to the prior exam, the technique differs.",
    "Lungs: clear. Heart: normal. Bones: intact.",
    "Nodule < 5 mm and > 3 mm. [Image 4] shows it (series 3).",
]


@pytest.mark.parametrize("text", IN_SENTENCES)
def test_words_in_sentences_are_no_headings(text: str) -> None:
    assert read_report(text) == {"findings": " ".join(text.split())}


MIMIC = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___F with cough and
 fever

 COMPARISON:  Chest radiograph ___

 FINDINGS:

 There is no focal
 consolidation, effusion or pneumo-thorax.  X-
 rays of ___ were seen.

 IMPRESSION:

 1. No acute process.
 2. Stable heart.

 NOTIFICATION:  Discussed with Dr. ___ at 5 pm.
"""


def test_report_in_the_layout_of_mimic() -> None:
    assert read_report(MIMIC) == {
        "examination": "CHEST (PA AND LAT)",
        "indication": "F with cough and fever",
        "comparison": "Chest radiograph",
        "findings": "There is no focal consolidation, effusion or pneumo-thorax. X-rays of were seen.",
        "impression": "1. No acute process. 2. Stable heart.",
        "notification": "Discussed with Dr. at 5 pm.",
    }


def test_paragraph_after_the_comparison_is_findings_where_there_are_none() -> None:
    raw = "HISTORY: Cough.\n\nCOMPARISON: ___.\n\nThe lungs are well inflated and clear.\n\nIMPRESSION: Normal."
    assert read_report(raw)["findings"] == "The lungs are well inflated and clear."
    raw = "HISTORY: Cough.\n\nPORTABLE AP CHEST RADIOGRAPH:  Lungs are clear.\n\nIMPRESSION: Normal."
    assert read_report(raw)["findings"] == "PORTABLE AP CHEST RADIOGRAPH: Lungs are clear."


def test_text_before_the_first_heading() -> None:
    assert read_report("Lungs clear.\nIMPRESSION: Normal.") == {
        "findings": "Lungs clear.",
        "impression": "Normal.",
    }
    assert read_report("Seen at night.\nFINDINGS: Clear.") == {"": "Seen at night.", "findings": "Clear."}
    assert "findings" not in read_report("CHEST, PA AND LATERAL\nIMPRESSION: Normal.")


def test_addenda_are_kept_in_order() -> None:
    raw = "ADDENDUM: Second.\n\nFINDINGS: Clear.\n\n*** ADDENDUM ***\nThird line\nbroken."
    assert read_report(raw) == {"addendum": "Second. Third line broken.", "findings": "Clear."}


def test_one_heading_for_both_gives_both() -> None:
    for heading in ("FINDINGS/IMPRESSION:", "Findings and Impression\n", "IMPRESSION & FINDINGS -"):
        assert read_report(f"{heading} {LUNGS}") == {"findings": LUNGS, "impression": LUNGS}


def test_names_and_numbers_before_the_report_are_set_apart() -> None:
    raw = "Patient: Doe, Jane\nMRN: 7\nThe lungs are clear.\nLocation: right lobe."
    sections = read_report(raw)
    assert sections["record"] == "Doe, Jane 7"
    assert "Doe" not in choose_text(sections, "longer")


DICTATION = [
    "Dictated by: A. Roe, M.D.",
    "Electronically signed by: A. Roe, M.D. on 1/2/2003 at 4:05 PM",
    "Dictated and electronically signed by:\nA. Roe",
    "I have personally reviewed the images and agree with the resident's interpretation.",
    "I, the attending physician, have reviewed the images and agree with the above.",
    "This report was generated using voice recognition software and may contain errors.",
    "END OF IMPRESSION",
    "*** END OF REPORT ***",
    "Report status: final",
    "Attending radiologist: A. Roe",
    "D: 1/2/2003 T: 1/3/2003",
    "Informe firmado electrónicamente por: Dra. Roe",
]


@pytest.mark.parametrize("dictation", DICTATION)
def test_dictation_goes_and_the_text_stays(dictation: str) -> None:
    assert read_report(f"FINDINGS: {LUNGS}\nIMPRESSION: {HEART}\n\n{dictation}\n") == BOTH
    assert read_report(f"{LUNGS}\n{dictation}")["findings"] == LUNGS


def test_sentences_that_sound_like_dictation_stay() -> None:
    text = "Reviewed in lung windows, all is clear. Signed out to the team. I agree that this is edema."
    assert read_report(text)["findings"] == text


def test_marks_of_deidentification_go() -> None:
    assert clean_text("On ___, Dr. [**Last Name**] saw XXXX at <DATE> in [HOSPITAL].") == "On, Dr. saw at in."
    assert clean_text("5 < 6 [series 3] <5 mm, max") == "5 < 6 [series 3] <5 mm, max"


def test_bullets_and_rulers_go_and_numbers_stay() -> None:
    raw = "FINDINGS:\n- Lungs clear.\n* Heart normal.\n-------\nIMPRESSION:\n1. None.\n2. New."
    assert read_report(raw) == {"findings": "Lungs clear. Heart normal.", "impression": "1. None. 2. New."}


def test_json_object_gives_its_sections() -> None:
    assert read_report('{"findings": "Clear \\n lungs.", "impression": "Normal.", "pages": 2}') == {
        "findings": "Clear lungs.",
        "impression": "Normal.",
    }


def test_small_headings_with_a_word_behind_them_are_found_deep_in_a_line() -> None:
    aside = "indicacion: disnea de tres semanas de evolucion en paciente fumador con tos y fiebre"
    raw = f"{aside} hallazgos radiológicos: Lungs clear. impresion diagnostica: Normal."
    assert choose_text(read_report(raw)) == "Findings: Lungs clear. Impression: Normal."


def test_empty_or_marks_only_gives_no_section() -> None:
    for raw in ("", "  \n", "___", "FINDINGS:\nIMPRESSION: ___", "XXXX"):
        assert read_report(raw) == {}


def test_report_that_is_no_text_raises() -> None:
    with pytest.raises(TypeError, match="must be a string, got NoneType"):
        read_report(None)


def test_choice_of_the_text() -> None:
    sections = {"findings": "Long text here.", "impression": "Short."}
    assert choose_text(sections, "findings") == "Long text here."
    assert choose_text(sections, "impression") == "Short."
    assert choose_text(sections) == "Findings: Long text here. Impression: Short."
    assert choose_text(sections, "longer") == "Long text here."
    assert choose_text({"impression": "Short."}, "both") == "Short."
    assert choose_text({"impression": "Short."}, "findings") == ""
    assert choose_text({"findings": "One.", "impression": "One."}) == "One."
    with pytest.raises(ValueError, match="use must be one of findings, impression, both, longer, got 'all'"):
        choose_text(sections, "all")


def test_chosen_text_keeps_its_sections_in_training() -> None:
    sections = {"findings": "Clear. Comparison: none.", "impression": "Normal: yes."}
    assert line_sections(choose_text(sections)) == sections
    assert line_sections("FINDINGS/IMPRESSION: Clear.") == {"findings": "Clear."}
    assert line_sections("No significant findings: none.") == {"": "No significant findings: none."}


def test_open_i_sections_come_from_its_labels() -> None:
    part = "<AbstractText Label='{}'>{}</AbstractText>"
    xml = f"<a>{part.format('FINDINGS', 'No XXXX.<BR/>Clear.')}{part.format('COMPARISON', '')}</a>".encode()
    assert open_i_sections(xml) == {"findings": "No.Clear."}
    with pytest.raises(ValueError, match="must hold its sections as AbstractText"):
        open_i_sections(b"<a/>")
    with pytest.raises(ValueError, match="must be XML"):
        open_i_sections(b"no xml")


def test_real_ct_reports_lose_nothing(real_data: Path) -> None:
    path = real_data / "ct_reports" / "manifest.csv"
    if not path.is_file():
        pytest.skip(f"no CT reports at {path}")
    with path.open(newline="", encoding="utf-8") as file:
        texts = [row["report_text"] for row in csv.DictReader(file)]
    headed = 0
    for text in texts:
        sections = read_report(text)
        headed += list(sections) != ["findings"]
        lost = Counter(re.findall(r"\w+", text)) - Counter(re.findall(r"\w+", " ".join(sections.values())))
        assert set(lost) <= {"CONCLUSION"}
    assert headed == 1  # one of them has a heading
