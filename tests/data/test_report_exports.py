# SPDX-License-Identifier: Apache-2.0
"""Reports as systems export them: JSON, tables, HL7, RTF, XML; marks, labels and trailers that are no text."""

from __future__ import annotations

import html
import json

import pytest

from monai_unimedi.data.report_affixes import without_common_affixes
from monai_unimedi.data.report_cleaning import plain_lines
from monai_unimedi.data.report_dictation import without_dictation
from monai_unimedi.data.report_exports import HEADED, from_export
from monai_unimedi.data.report_headings import heading_section, titled_section
from monai_unimedi.data.report_labels import find_labels
from monai_unimedi.data.report_text import read_report

LUNGS, HEART = 'The lungs are "clear", < 5 mm. No findings.', "Normal heart; no effusion."
BOTH = {"findings": LUNGS, "impression": HEART}
ESCAPED = html.escape(LUNGS)
QUOTED = LUNGS.replace('"', '""')
OBX = "OBX|{}|TX|{}||{}||||||F"

EXPORTS = {
    "object": json.dumps({"findingsText": LUNGS, "impression": HEART}),
    "nested": json.dumps({"id": "1", "report": {"FINDINGS": [LUNGS], "IMPRESSION": HEART}}),
    "titles": json.dumps([{"title": "Findings", "text": LUNGS}, {"title": "Impression", "text": HEART}]),
    "lines of JSON": "\n".join(json.dumps({"name": name, "value": text}) for name, text in BOTH.items()),
    "Python": str({"Findings": LUNGS, "Impression": HEART}),
    "columns": f'findings,impression\n"{QUOTED}","{HEART}"\n',
    "other columns": f'study,modality,findings,impression\n7,CR,"{QUOTED}","{HEART}"\n',
    "rows": f'"FINDINGS","{QUOTED}"\n"IMPRESSION","{HEART}"',
    "segments": OBX.format(1, "FINDINGS^Findings", LUNGS) + "\r" + OBX.format(2, "1&IMP^XR", HEART),
    "segments by line": "\r".join(
        OBX.format(i, "71020^CHEST", line) for i, line in enumerate(("FINDINGS:", LUNGS, "", "IMPRESSION:", HEART), 1)
    ),
    "RTF": rf"{{\rtf1\ansi{{\fonttbl{{\f0 Arial;}}}}{{\b Findings}}\par {LUNGS}\par \b Impression:\b0  {HEART}\par}}",
    "XML": f"<r><FindingsText><![CDATA[{LUNGS}]]></FindingsText><impression>{HEART}</impression></r>",
    "XML attributes": f"<r><s name='Findings'><t>{ESCAPED}</t></s><s name='Impression'>{HEART}</s></r>",
    "HTML": f"<style>p {{}}</style><dl><dt>Findings</dt><dd>{ESCAPED}</dd><dt>Impression</dt><dd>{HEART}</dd></dl>",
    "HTML table": "<table><tr><th>Findings</th><th>Impression</th></tr>"
    f"<tr><td>{ESCAPED}</td><td>{HEART}</td></tr></table>",
    "LaTeX": rf"\textbf{{Findings:}} {LUNGS}" + "\n" + rf"\section*{{Impression}} {HEART}",
    "printed SR": f'<CONTAINER:(,,"Report")=SEPARATE>\n  <contains TEXT:(121071,DCM,"Findings")="{LUNGS}">\n'
    f'  <contains TEXT:(121073,DCM,"Impression")="{HEART}">',
}


@pytest.mark.parametrize("export", EXPORTS)
def test_sections_come_out_of_every_export(export: str) -> None:
    found = read_report(EXPORTS[export])
    assert {name: found.get(name) for name in BOTH} == BOTH


FORMS = [
    "FINDINGS\n‾‾‾‾‾‾‾‾\n{0}\nIMPRESSION\n‾‾‾‾‾‾‾‾‾‾\n{1}",
    "Findings colon {0}\nImpression colon {1}",
    "Findings colon new line {0}\nImpression colon new line {1}",
    "findings = '{0}'\nimpression = '{1}'",
    "[Findings]\ntext = {0}\n\n[Impression]\ntext = {1}",
    "Findings - chest: {0}\nImpression - chest: {1}",
    "FINDINGS XR CHEST 01/02/2012 10:22: {0}\nIMPRESSION XR CHEST 01/02/2012 10:22: {1}",
    "[10:22] FINDINGS: {0}\n[10:23] IMPRESSION: {1}",
    "RPT_FINDINGS={0}\nRPT_IMPRESSION={1}",
    "001| FINDINGS:\n002| {0}\n003| IMPRESSION:\n004| {1}",
    "FINDINGS:~{0}~IMPRESSION:~{1}~",
    "+-----+\n| FINDINGS |\n+-----+\n| {0} |\n+-----+\n| IMPRESSION |\n| {1} |",
    "FINDINGS: {0}\n.\n\nIMPRESSION: {1}\n.\n",
    "Sonographic findings: {0}\nOverall impression: {1}",
    "HALLAZGOS RELEVANTES: {0}\nCONCLUSIÓN: {1}",
    "INTERPRETATION: {0}\nASSESSMENT: {1}",
    "Findings: {0}\nComment: {1}",
    "Fynd: {0}\nBedömning: {1}",
    "Описание: {0}\nЗаключение: {1}",
    "影像所见：{0}\n影像诊断：{1}",
]


@pytest.mark.parametrize("form", FORMS)
def test_sections_come_out_of_more_forms(form: str) -> None:
    text = LUNGS.replace('"', "")
    assert read_report(form.format(text, HEART)) == {"findings": text, "impression": HEART}


@pytest.mark.parametrize("label", ["Presenting symptoms", "Old studies", "Motiu", "Previous imaging available"])
def test_labels_of_other_sections_end_a_section(label: str) -> None:
    found = read_report(f"Findings: {LUNGS}\n{label}: Cough.\nImpression: {HEART}")
    assert (found["findings"], found["impression"]) == (LUNGS, HEART)
    assert "Cough." in found.values()


def test_parts_of_the_body_stay_in_the_findings() -> None:
    raw = "FINDINGS:\nLUNGS: Clear.\nHEART AND MEDIASTINUM: Normal.\nOther: None.\n\nIMPRESSION:\nNormal."
    assert read_report(raw)["findings"] == "LUNGS: Clear. HEART AND MEDIASTINUM: Normal. Other: None."


def test_labels_need_a_colon_or_capitals() -> None:
    text = "Symptoms are mild.\nOLD STUDIES\nPresenting history: x\nClinical correlation recommended: yes"
    assert [text[label.start : label.end].strip() for label in find_labels(text, text.lower())] == [
        "OLD STUDIES",
        "Presenting history:",
    ]


TRAILERS = [
    "Signed by: Roe, John MD\nSigned on: 1/2/2012 2:33 PM\nWorkstation: R1",
    "Dr J Roe\nConsultant Radiologist\nVerified 02-Jan-2012 14:03",
    "Fdo.: Dra. A. Roe\nFecha de validación: 02/01/2012",
    "JR/ab\nD: 1/2/2012 10:00\nJob #: 1\n\nJohn Roe, M.D.",
    "Yours sincerely,\n\nDr J. Roe\nGMC 0000000",
    "Mit freundlichen Grüßen\nDr. med. A. Roe",
    "This document is confidential and intended solely for the addressee.\nIf you are not, tell us.",
    "Page 1 of 2",
]


@pytest.mark.parametrize("trailer", TRAILERS)
def test_trailers_go_and_the_text_stays(trailer: str) -> None:
    assert without_dictation(f"{HEART}\n\n{trailer}\n").strip() == HEART


LAST_LINES = [
    "Dr. Smith was notified at 5 pm.",
    "Lungs: clear.\nHeart: normal.",
    "Seen.\nTB",
    "Mass since the study\ndated 2011.",
]


@pytest.mark.parametrize("text", LAST_LINES)
def test_last_lines_of_a_text_stay(text: str) -> None:
    assert without_dictation(text) == text


def test_what_all_sections_share_goes() -> None:
    pieces = [("", "Top"), ("findings", '"Clear",'), ("impression", '"Normal"')]
    assert without_common_affixes(pieces) == [("", "Top"), ("findings", "Clear"), ("impression", "Normal")]
    for texts in (("(Clear) lungs.", "Normal."), ("Clear.", "Normal."), ("1. Clear", "1. Normal")):
        pieces = list(zip(("findings", "impression"), texts))
        assert without_common_affixes(pieces) == pieces


def test_text_that_is_no_export_stays_as_it_is() -> None:
    for raw in ("FINDINGS: a, b\nIMPRESSION: c", "[Image 4] shows it", '"Clear" lungs', "{not JSON", "a;b\nc;d"):
        assert from_export(raw) == raw
        assert HEADED not in plain_lines(raw)
    assert plain_lines("Nodule <5 mm and >3 mm, see <DATE>") == "Nodule <5 mm and >3 mm, see <DATE>"


def test_numbers_of_a_list_are_no_line_numbers() -> None:
    assert read_report("1. Clear lungs.\n2. Normal heart.\n3. No effusion.") == {
        "findings": "1. Clear lungs. 2. Normal heart. 3. No effusion."
    }


def test_names_of_sections() -> None:
    assert heading_section("chestFindings_text") == "findings"
    assert heading_section("Findings suggest edema") == heading_section("Chest") == ""
    assert (heading_section("Follow-up"), titled_section("Follow-up")) == ("recommendation", "")
