# SPDX-License-Identifier: Apache-2.0
"""Sentences of reports, the findings that they state, and which cases are worth the time."""

from __future__ import annotations

import numpy as np
import pytest

from monai_unimedi.data.grounding import report_sentences, sentences_to_ground
from monai_unimedi.data.phantom import LABEL_NAMES, stated_finding
from monai_unimedi.data.phantom.reports import NEGATIONS, NEUTRAL, NORMAL, write_report

NAMES = ["nodule", "effusion"]


def test_findings_come_before_the_impression_and_each_sentence_once() -> None:
    report = "Technique: CT. Findings: A nodule. Clear. Impression: A nodule. Follow up in 3.5 months."
    assert report_sentences(report) == ["A nodule.", "Clear.", "Follow up in 3.5 months."]
    assert report_sentences("No heading here. Two sentences.") == ["No heading here.", "Two sentences."]
    assert report_sentences(report, max_sentences=1) == ["A nodule."]


def test_the_datalist_may_say_which_sentence_is_a_findings() -> None:
    findings = [{"finding": "nodule", "sentence": "A spot."}, {"finding": "effusion", "sentence": "Some fluid."}]
    arrays = {"report": ["A spot. Some fluid. Nothing else."], "findings": [findings], "lesion_mask": ...}
    chosen = sentences_to_ground({"3d": arrays}, NAMES)
    assert [(one["sentence"], one["finding"]) for one in chosen["3d"][0]] == [
        ("A spot.", 0),
        ("Some fluid.", 1),
        ("Nothing else.", None),
    ]


def test_only_cases_that_can_be_judged_or_are_shown_are_chosen() -> None:
    both = [{"finding": name} for name in NAMES]
    arrays = {
        "report": ["nodule. effusion.", "nodule. effusion.", "nodule.", "nothing."],
        "findings": [both, both, both[:1], []],
        "lesion_mask": ...,
    }

    def states(sentence: str) -> str | None:
        return sentence.strip(".") if sentence.strip(".") in NAMES else None

    test = {"3d": arrays, "2d": {"id": ["no report"]}}
    assert set(sentences_to_ground(test, NAMES, states)["3d"]) == {0, 1}
    assert set(sentences_to_ground(test, NAMES, states, max_cases=1)["3d"]) == {0}
    assert set(sentences_to_ground(test, NAMES, states, {"3d": [3]}, 1)["3d"]) == {0, 3}
    assert sentences_to_ground({"3d": {**arrays, "findings": None}}, NAMES, states) == {}
    assert sentences_to_ground({"3d": {"report": arrays["report"]}}, NAMES, None, {"3d": [1]})["3d"][1] == [
        {"sentence": "nodule.", "finding": None},
        {"sentence": "effusion.", "finding": None},
    ]


@pytest.mark.parametrize("name", [n for n in LABEL_NAMES if n != "cardiomegaly"])
def test_phantom_sentences_say_what_they_state(name: str) -> None:
    finding = {"finding": name, "side": "left", "zone": "upper", "size": "small"}
    for seed in range(20):
        heart = {"finding": "cardiomegaly", "side": None, "zone": None, "size": None}
        report = write_report([finding, heart], np.random.default_rng(seed))
        stated = [stated_finding(sentence) for sentence in report_sentences(report)]
        assert set(stated) - {None} == {name, "cardiomegaly"}
    silent = [*NEUTRAL, *NORMAL, *(sentence for denials in NEGATIONS.values() for sentence in denials)]
    assert {stated_finding(sentence) for sentence in silent} == {None}
