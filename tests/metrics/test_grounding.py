# SPDX-License-Identifier: Apache-2.0
"""Grounding by hand: own sentence, the other's, findings that meet, images that cannot be judged."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_unimedi.metrics.grounding import grounding, grounding_hits, stated_targets

NAMES = ["nodule", "effusion"]


def peak(at: int, size: int = 4) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(at), size).float()


def sentence(finding: int | None, scores: torch.Tensor, other: torch.Tensor | None = None) -> dict[str, Any]:
    return {"sentence": "s", "finding": finding, "scores": scores} | ({} if other is None else {"other_scores": other})


def cts() -> dict[str, Any]:
    """Of case 0 both sentences are right, of case 1 one; of case 2 the findings meet; case 3 has only one."""
    mask = torch.zeros(4, 2, 2, 4, dtype=torch.uint8)
    mask[0, 0, 0, 0], mask[0, 1, 1, 2:] = 1, 2
    mask[1, 0, 0, 1], mask[1, 0, 0, 3] = 1, 2
    mask[2, 0, 0, 1:3], mask[2, 1, 0, 2] = 1, 2
    mask[3, 0, 0, 0] = 1
    found = {
        0: [sentence(0, peak(0), peak(3)), sentence(1, peak(2), peak(2)), sentence(None, peak(1))],
        1: [sentence(0, peak(1), peak(0)), sentence(1, peak(1), peak(0))],
        2: [sentence(0, peak(1)), sentence(1, peak(2))],
        3: [sentence(0, peak(0))],
    }
    return {"lesion_mask": mask, "grounding": found, "slice_scores": torch.stack([peak(0)] * 4)}


def figures(test: dict[str, Any]) -> dict[str, Any]:
    return {".".join(path): figure for path, figure in grounding(test, NAMES, seed=0)}


def test_own_sentence_attention_random_and_the_others_by_hand() -> None:
    found = figures({"3d": cts()})
    assert found["grounding.3d.sentence.hit@1"]["value"] == pytest.approx((1 + 0.5) / 2)
    assert found["grounding.3d.sentence.hit@1"]["count"] == 2  # images, not sentences
    assert found["grounding.3d.attention.hit@1"]["value"] == pytest.approx((0.5 + 0) / 2)
    assert found["grounding.3d.random.hit@1"]["value"] == pytest.approx(((1 / 4 + 2 / 4) / 2 + 1 / 4) / 2)
    assert found["grounding.3d.other_sentence.hit@1"]["value"] == pytest.approx((0 + 0.5) / 2)
    assert found["grounding.3d.other_image.hit@1"]["value"] == pytest.approx((0.5 + 0) / 2)
    assert found["extra.grounding.3d.by_finding.effusion"]["value"] == pytest.approx(0.5)


def test_findings_that_meet_count_among_all_only() -> None:
    found = figures({"3d": cts()})
    assert found["extra.grounding.3d.all.sentence.hit@1"]["count"] == 3
    assert found["extra.grounding.3d.all.sentence.hit@1"]["value"] == pytest.approx((1 + 0.5 + 1) / 3)


def test_patches_of_x_rays_are_judged_in_the_same_way() -> None:
    mask = torch.zeros(1, 4, 4, dtype=torch.uint8)
    mask[0, 0, 0], mask[0, 3, 3] = 1, 2
    found = {0: [sentence(0, peak(0).reshape(2, 2)), sentence(1, peak(0).reshape(2, 2))]}
    assert [target.tolist() for target in stated_targets(mask[0], found[0]).values()] == [
        [True, False, False, False],
        [False, False, False, True],
    ]
    values = figures({"2d": {"lesion_mask": mask, "grounding": found, "attention": torch.ones(1, 2, 2)}})
    assert values["grounding.2d.sentence.hit@1"]["value"] == pytest.approx(0.5)
    assert values["grounding.2d.attention.hit@2"]["value"] == pytest.approx(0.5)
    assert values["grounding.2d.centre_prior.hit@1"]["value"] == pytest.approx(0.25)


def test_equal_scores_are_in_random_order_and_more_places_than_there_are_hit() -> None:
    hits = grounding_hits(torch.zeros(3), torch.tensor([True, False, False]))
    assert [hits[f"hit@{k}"] for k in (1, 2, 4)] == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize("missing", ["lesion_mask", "grounding"])
def test_without_masks_or_sentences_a_sentence_says_so(missing: str) -> None:
    arrays = {key: value for key, value in cts().items() if key != missing}
    assert figures({"3d": arrays})["grounding.3d"].startswith("no image whose report has sentences")
    arrays = cts()
    arrays["grounding"] = {3: arrays["grounding"][3]}
    assert figures({"3d": arrays})["grounding.3d"].startswith("no image")
