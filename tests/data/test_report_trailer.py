# SPDX-License-Identifier: Apache-2.0
"""Lines below a report that go, lines of the report that sound like them and stay, and signatures in a line."""

from __future__ import annotations

import pytest

from monai_unimedi.data.report_text import read_report

STAYS = [
    "Radiographic features of COPD.",
    "Repeat radiograph in 6 weeks.",
    "Status post CABG.",
    "Radiographically unremarkable.",
    "Clinical and radiographic features of sarcoidosis.",
    "Urgent transfer to hospital.",
    "Electronic pacemaker in situ.",
    "Time since onset: 3 weeks.",
    "Radiologisch unauffälliger Befund.",
    "Radiologic signs of sarcoidosis",
    "Status post sternotomy",
    "Significant scoliosis.",
    "Signs of hyperinflation",
    "Hospital acquired infection suspected.",
    "STATUS POST CABG",
    "STATUS POST CABG.",
    "RADIOGRAPHIC FEATURES OF COPD.",
    "URGENT TRANSFER TO HOSPITAL.",
    "ELECTRONIC PACEMAKER IN SITU",
    "Referral to sarcoidosis clinic.",
    "Refer to pulmonology clinic",
    "Approximately 250 cc",
    "Radiológicamente sin cambios.",
    "Estado tras CABG.",
    "Hallazgos radiológicos de EPOC.",
    "Aspect radiologique de BPCO.",
    "Quadro radiologico di BPCO.",
    "Status nach Bypass.",
    "Status post: CABG",
    "Status: post CABG.",
    "Radiographs in six weeks",
    "Time to peak: 3 s",
    "Date of fall: unknown",
    "Signal: high on T2",
    "Hospital course: uneventful.",
    "Doctor notified: yes",
    "Report called to ward.",
    "Radiological diagnosis: sarcoidosis",
    "Version of the uterus.",
    "Code stroke called.",
    "Discussed in clinic.",
    "Electronic Pacemaker In Situ",
    "Hyperinflation, radiographically.",
    "Technically adequate radiograph.",
    "Resident aspergilloma.",
    "Time: three weeks",
    "Sarcoidosis",
    "Scoliosis.",
    "Dictated: pneumonia",
    "Reviewed: sarcoidosis",
    "Reported sarcoidosis.",
    "Previously reported granuloma",
    "Authorised drainage today.",
    "3. Hospital admission advised",
    "Radiologist aware.",
    "Page 2 of prior shows emphysema.",
    "Typical radiographic appearance of sarcoid",
    "Follow up in chest clinic.",
    "Released adhesions.",
    "Physician informed.",
    "Printed stent.",
]
GOES = [
    "Dr. A. Roe",
    "John Roe, M.D.",
    "Consultant Radiologist",
    "Board Certified Radiologist",
    "General Hospital",
    "Verified 02-Jan-2012 14:03",
    "A. Roe, radioloog",
    "Oberarzt",
    "Dr. med. A. Roe",
    "Il Medico Radiologo",
    "Dott. A. Roe",
    "Tel: 555-0100",
    "Phone 555-0100",
    "Report status: Final",
    "Status: Final",
    "Electronically signed by: A. Roe, M.D.",
    "Dictated by A. Roe",
    "Transcribed: 01/02/2012",
    "01/02/2012 10:22",
    "Reported by Dr A Roe (GMC 1234567), Consultant Radiologist, on 02/01/2012 at 14:03",
    "Department of Radiology",
    "St. Mary Hospital",
    "ST MARY HOSPITAL",
    "CONSULTANT RADIOLOGIST",
    "Copyright 2012 General Hospital",
    "Job #: 123456",
    "MRN: 000123",
    "Date: January 2, 2012",
    "Date signed: 2024-07-20",
    "Attending Radiologist: A. Roe",
    "Fdo.: Dra. A. Roe",
    "Fecha de validación: 02/01/2012",
    "Colegiado nº 12345",
    "Radiologist",
    "Pager 1234",
    "Fax: 555-0101",
    "https://www.hospital.example",
    "Authorizing provider: J. Smith, MD",
    "Result status: Final",
    "Diktiert von Dr. Meier",
    "Facharzt für Radiologie",
    "Validado por Dra. Roe",
    "Signé par Dr Roe",
    "Firmato da Dott. Rossi",
    "END OF DISPLAY",
    "Back to top",
    "Electronically Signed By: Roe, John on 01/02/2012 11:00 AM",
    "Dr. Roe, Consultant Radiologist.",
    "Professor A. Roe, Department of Radiology, University Hospital",
    "Interpreted by A. Roe, MD",
    "Department: Chest Medicine",
    "Hospital: St. Mary",
]


@pytest.mark.parametrize("line", STAYS)
def test_last_line_of_a_report_stays(line: str) -> None:
    for between in ("\n", "\n\n"):
        raw = f"FINDINGS: Large effusion.\nIMPRESSION:\nHyperinflated lungs.{between}{line}"
        assert read_report(raw)["impression"] == f"Hyperinflated lungs. {line}"


@pytest.mark.parametrize("line", GOES)
def test_line_below_a_report_goes(line: str) -> None:
    for between in ("\n", "\n\n"):
        raw = f"FINDINGS: Large effusion.\nIMPRESSION:\nHyperinflated lungs.{between}{line}"
        assert read_report(raw)["impression"] == "Hyperinflated lungs."


def test_items_of_a_list_stay() -> None:
    items = "1. Radiographic features of COPD.\n2. Repeat radiograph in 6 weeks.\n3. Status post CABG."
    sections = read_report(f"FINDINGS:\nHyperinflated lungs.\n\nIMPRESSION:\n{items}")
    assert sections["impression"] == items.replace("\n", " ")


def test_report_goes_on_below_a_signature() -> None:
    raw = "FINDINGS:\nReported by: Dr Roe\nLungs: Clear.\nHeart: Normal."
    assert read_report(raw) == {"findings": "Lungs: Clear. Heart: Normal."}
    raw = "This report answers the clinical questions.\nLarge pneumothorax."
    assert read_report(raw) == {"findings": " ".join(raw.split())}


SIGNED = [
    "The study was read by the resident overnight as normal.",
    "Preliminary report was reviewed by Dr. Lee, who agrees.",
    "Electronically signed by Dr. A. Lee, M.D.",
    "Electronically signed by: John A. Roe, M.D. 01/02/2012 10:22. Phone 555-0100.",
    "Read by Prof. Smith on 1/2/2003 at 10:22 a.m.",
    "Dictated by JOHN ROE MD.",
    "Transcribed by: AB. Approved by: CD.",
    "Informe firmado por la Dra. Roe.",
    "Diktiert von Dr. Meier.",
    "Validé par le Dr. Roe le 3 mars.",
]


@pytest.mark.parametrize("signature", SIGNED)
def test_text_after_a_signature_in_its_line_stays(signature: str) -> None:
    following = "A chest tube is now in place and the large left pneumothorax has resolved."
    assert read_report(f"{signature} {following}") == {"findings": following}
    assert read_report(f"FINDINGS: Clear. {signature} {following} IMPRESSION: Better.") == {
        "findings": f"Clear. {following}",
        "impression": "Better.",
    }
    assert read_report(f"Clear lungs. {signature}") == {"findings": "Clear lungs."}


def test_lungs_that_were_reviewed_stay() -> None:
    text = "Reviewed: lungs, heart and bones. All clear."
    assert read_report(text) == {"findings": text}
