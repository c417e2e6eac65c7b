# SPDX-License-Identifier: Apache-2.0
"""Labels inside findings and impressions send nothing that follows them to another section."""

from __future__ import annotations

import itertools

import pytest

from monai_unimedi.data.report_text import read_report

LABELS = [
    "Technical quality",
    "Image quality",
    "Study quality",
    "Quality",
    "Limitations",
    "Contrast",
    "Prior surgery",
    "Prior",
    "Previous size",
    "Old fractures",
    "History of emphysema",
    "Symptoms",
    "Clinical correlation",
    "Comparison",
    "Region",
    "Follow-up",
    "Details",
    "Calidad técnica",
    "Technische Qualität",
    "Klinische Korrelation",
    "Qualité technique",
    "Contraste",
]
MAIN = [
    ("FINDINGS:\n", "\nIMPRESSION:\n"),
    ("Findings:\n", "\n\nImpression:\n"),
    ("FINDINGS:\n\n", "\n\nIMPRESSION:\n\n"),
    ("FINDINGS: ", "\nIMPRESSION: "),
    ("Findings: ", "\nImpression: "),
]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("is_first", [True, False])
def test_label_in_the_findings_takes_its_own_line_at_most(label: str, is_first: bool) -> None:
    for (findings, impression), is_loud in itertools.product(MAIN, [True, False]):
        lines = [f"{label}: Adequate.", "Arteries: Filling defect."]
        text = "\n".join([*(lines if is_first else lines[::-1]), "Lungs: Clear."])
        sections = read_report(f"{findings}{text.upper() if is_loud else text}{impression}1. Embolism.")
        assert "arteries: filling defect." in sections["findings"].lower()
        assert "lungs: clear." in sections["findings"].lower()
        assert sections["impression"] == "1. Embolism."


@pytest.mark.parametrize("label", LABELS)
def test_label_in_the_impression_leaves_the_items_below_it(label: str) -> None:
    impression = read_report(f"IMPRESSION:\n1. Nodule.\n{label}: see above.\n2. Effusion.")["impression"]
    assert impression.startswith("1. Nodule.")
    assert impression.endswith("2. Effusion.")


INLINE = [
    "FINDINGS: Quality: Adequate. There is a filling defect. IMPRESSION: Embolism.",
    "Findings: Quality: Adequate. There is a filling defect. Impression: Embolism.",
    "Findings: Clear. Image quality: Adequate. There is a filling defect. Impression: Embolism.",
    "Findings: Lungs: Clear. Contrast: good. Arteries: There is a filling defect. Impression: Embolism.",
    "Findings: Lungs: Clear. History: CABG. Arteries: There is a filling defect. Impression: Embolism.",
    "FINDINGS:\nContrast: Adequate. There is a filling defect.\nIMPRESSION:\nEmbolism.",
    "FINDINGS:\nThe heart is big.\nPrior surgery: CABG.\nThere is a filling defect.\nIMPRESSION:\nEmbolism.",
]


@pytest.mark.parametrize("raw", INLINE)
def test_text_after_a_label_stays(raw: str) -> None:
    sections = read_report(raw)
    assert "There is a filling defect." in sections["findings"]
    assert sections["impression"] == "Embolism."


def test_line_of_a_listed_label_is_told_apart() -> None:
    raw = "FINDINGS:\nTechnical quality: Adequate.\nLungs: Clear.\nComparison: CT of 2019.\nHeart: Big."
    assert read_report(raw) == {
        "technique": "Adequate.",
        "findings": "Lungs: Clear. Heart: Big.",
        "comparison": "CT of 2019.",
    }


def test_sections_headed_as_the_main_ones_are_still_open() -> None:
    raw = "FINDINGS:\nClear.\n\nIMPRESSION:\nNormal.\n\nRADIATION DOSE: 1 mSv\n\nHISTORY:\nCough.\nFever."
    assert read_report(raw) == {
        "findings": "Clear.",
        "impression": "Normal.",
        "technique": "1 mSv",
        "indication": "Cough. Fever.",
    }
    raw = "FINDINGS: Clear. HISTORY: Cough. Fever. IMPRESSION: Normal."
    assert read_report(raw) == {"findings": "Clear.", "indication": "Cough. Fever.", "impression": "Normal."}


def test_one_label_in_a_line_does_not_make_a_label_of_the_next_heading() -> None:
    raw = "Find: Clear. Pression: Low volumes. Hx: Asthma. Imp: Normal."
    assert read_report(raw) == {
        "findings": "Clear. Pression: Low volumes.",
        "indication": "Asthma.",
        "impression": "Normal.",
    }
    assert read_report("Imp: Normal chest Hx: chest pain Find: Heart normal.")["impression"] == "Normal chest"
