# SPDX-License-Identifier: Apache-2.0
"""Zero-shot figures: polarity, absent findings, agreement with scikit-learn."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import normalize

from monai_unimedi.metrics.zero_shot import auroc_figure, negation_gap, zero_shot_scores

AXES = torch.eye(4)
PROMPTS = {
    "nodule": {"positive": AXES[0], "negative": AXES[1]},
    "effusion": {"positive": AXES[2], "negative": AXES[3]},
}


def test_scores_by_hand() -> None:
    scores = zero_shot_scores(torch.tensor([[0.6, 0.8, 0.0, 0.0]]), PROMPTS, ["effusion", "nodule"])
    assert scores["auroc"][0].tolist() == pytest.approx([0, -0.2])
    assert scores["auroc_positive"][0].tolist() == pytest.approx([0, 0.6])
    assert scores["auroc_negative"][0].tolist() == pytest.approx([0, -0.8])


def test_each_polarity_is_one_where_its_prompt_separates() -> None:
    image = torch.stack([AXES[0], AXES[0], AXES[1], AXES[1]])
    label = torch.tensor([[1], [1], [0], [0]])
    for scores in zero_shot_scores(image, PROMPTS, ["nodule"]).values():
        assert auroc_figure(scores, label)["value"] == 1


def test_mean_over_findings_leaves_out_those_with_one_class() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, label = torch.rand(40, 3, generator=generator), torch.randint(0, 2, (40, 3), generator=generator)
    label[:, 2] = 0
    expected = sum(roc_auc_score(label[:, f], scores[:, f]) for f in range(2)) / 2
    figure = auroc_figure(scores, label)
    assert figure["value"] == pytest.approx(expected)
    assert figure["low"] < expected < figure["high"]
    assert figure["count"] == 40


def test_repetitions_are_averaged_after_the_auroc() -> None:
    label = torch.tensor([[1], [1], [0], [0]])
    good, bad = normalize(label.float()), -normalize(label.float())
    assert auroc_figure(torch.stack([good, 100 * bad]), label)["value"] == 0.5


def test_missing_prompt_names_the_finding() -> None:
    with pytest.raises(ValueError, match=r"got none for \['cardiomegaly'\]"):
        zero_shot_scores(AXES, PROMPTS, ["nodule", "cardiomegaly"])


def test_negation_gap_is_what_the_negative_prompt_ranks_worse() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 2, (60, 2), generator=generator)
    noise = torch.rand(60, 2, generator=generator)
    scores = {"auroc_positive": label + noise / 2, "auroc_negative": noise}
    expected = auroc_figure(scores["auroc_positive"], label)["value"] - auroc_figure(noise, label)["value"]
    gap = negation_gap(scores, label)
    assert gap["value"] == pytest.approx(expected)
    assert 0.2 < gap["low"] < expected < gap["high"]
    assert negation_gap({**scores, "auroc_negative": scores["auroc_positive"]}, label)["high"] == 0


def test_unknown_labels_count_neither_as_present_nor_as_absent() -> None:
    scores = torch.tensor([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0.0])[:, None]
    nan = torch.nan
    label = torch.tensor([nan, 1, 1, 0, 1, nan, 1, 0, 0, 0, nan, nan])[:, None]
    is_known = ~label[:, 0].isnan()
    figure = auroc_figure(scores, label)
    assert figure["value"] == pytest.approx(roc_auc_score(label[is_known, 0], scores[is_known, 0]))
    assert figure["count"] == 8
    polarities = {"auroc_positive": scores, "auroc_negative": scores * 0}
    gap = negation_gap(polarities, label)
    assert (gap["value"], gap["count"]) == (pytest.approx(figure["value"] - 0.5), 8)
