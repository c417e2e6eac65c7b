# SPDX-License-Identifier: Apache-2.0
"""Cleaning, sections, sentences, groups, and showing a part of a report."""

from __future__ import annotations

import pytest

from monai_unimedi.transforms.report import (
    RandReportSentences,
    RandReportSentencesd,
    ReportText,
    ReportTextd,
    report_group,
    split_sections,
    split_sentences,
)

REPORT = "FINDINGS: The heart is enlarged. 1. Small nodule. No effusion seen. IMPRESSION: Likely cardiomegaly now."


def test_cleaning_keeps_words_and_drops_breaks_and_marks() -> None:
    assert ReportText()("No  ___ nodule\r\n in ____.\n\n Clear\tlungs .") == "No nodule in. Clear lungs."
    assert ReportText()(REPORT) == REPORT


def test_report_that_is_no_text_raises() -> None:
    with pytest.raises(TypeError, match="must be a string, got float"):
        ReportText()(float("nan"))


def test_sections_are_found_by_heading() -> None:
    sections = split_sections("CT chest. Findings: A b. Conclusion: C d.")
    assert sections == {"": "CT chest.", "findings": "A b.", "impression": "C d."}


def test_list_number_stays_with_its_sentence() -> None:
    assert split_sentences("1. Nodule of 2.5 mm. 2. Effusion?") == ["1. Nodule of 2.5 mm.", "2. Effusion?"]


@pytest.mark.parametrize(
    "sentences",
    [
        ["Discussed with Dr. A. Lee.", "Clear."],
        ["Seen by Prof. Dr. med. Meier.", "Klar."],
        ["Nodule of approx. 3 cm vs. 2 cm.", "See No. 3.", "Next."],
        ["Effusion: no.", "Heart normal."],
        ["Infection, e.g. pneumonia.", "Contrast i.v. given.", "History of CA.", "Seen on MR.", "Normal."],
        ["Ca. 3 mm, z. B. Tumor.", "Hepatitis B.", "No effusion."],
    ],
)
def test_full_stop_of_an_abbreviation_ends_no_sentence(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


def test_equal_reports_in_other_case_and_spacing_share_a_group() -> None:
    first = ReportTextd()({"report": "No  Nodule seen."})
    second = ReportTextd()({"report": "no nodule\nSEEN."})
    other = ReportTextd()({"report": "No effusion seen."})
    assert first["pair_group"] == second["pair_group"] != other["pair_group"]
    assert 0 <= int(str(first["pair_group"])) < 2**63


def test_group_is_the_same_in_every_process() -> None:
    assert report_group("no nodule seen.") == 3448950676336521353


def test_array_and_dictionary_agree() -> None:
    assert ReportTextd()({"report": " a \n b c"})["report"] == ReportText()(" a \n b c")
    array = RandReportSentences(prob=0.7)
    array.set_random_state(seed=5)
    dictionary = RandReportSentencesd(prob=0.7)
    dictionary.set_random_state(seed=5)
    for _ in range(20):
        assert dictionary({"report": REPORT})["report"] == array(REPORT)


def test_group_survives_dropped_sentences() -> None:
    row = RandReportSentencesd(prob=1.0)(ReportTextd()({"report": REPORT}))
    assert row["report"] != REPORT
    assert row["pair_group"] == report_group(REPORT)


def test_parts_are_sentences_of_the_report_in_order() -> None:
    show = RandReportSentences(prob=1.0, impression_prob=0.0)
    show.set_random_state(seed=0)
    sentences = [s for text in split_sections(REPORT).values() for s in split_sentences(text)]
    for _ in range(50):
        part = show(REPORT)
        shown = [s for s in sentences if s in part]
        assert part in (" ".join(shown), REPORT)


def test_impression_alone_is_shown() -> None:
    show = RandReportSentences(prob=1.0, impression_prob=1.0)
    assert show(REPORT) == "Likely cardiomegaly now."
    assert show("Findings: A b c d. Impression: Normal.") == "Findings: A b c d. Impression: Normal."


def test_probability_zero_is_identity() -> None:
    assert RandReportSentences(prob=0.0)(REPORT) == REPORT


def test_replays_under_a_seed() -> None:
    show = RandReportSentencesd(prob=1.0)
    runs = [[show.set_random_state(seed=s)({"report": REPORT})["report"] for s in range(10)] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 2
