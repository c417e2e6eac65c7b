# SPDX-License-Identifier: Apache-2.0
"""Slice selection: every selector by hand, small lesions, entropy and the attention's lift."""

from __future__ import annotations

import math

import pytest
import torch

from monai_unimedi.metrics.slice_selection import (
    attention_lift,
    centre_slices,
    constant_slices,
    is_small,
    selector_hits,
    slice_entropy,
    uniform_slices,
)


def lesions(num_slices: int, *rows: set[int]) -> torch.Tensor:
    return torch.tensor([[i in row for i in range(num_slices)] for row in rows])


def test_uniform_slices_are_the_middles_of_equal_parts() -> None:
    assert [uniform_slices(16, k) for k in (1, 2, 4)] == [[8], [4, 12], [2, 6, 10, 14]]


def test_centre_slices_are_round_the_middle() -> None:
    assert [centre_slices(16, k) for k in (1, 2, 4)] == [[7], [7, 8], [6, 7, 8, 9]]
    assert centre_slices(5, 1) == [2]


def test_constant_slices_cover_greedily() -> None:
    seen = lesions(6, {0, 1}, {1}, {1, 2}, {4}, {4, 5}, set())
    assert constant_slices(seen, 1) == [1]
    assert constant_slices(seen, 2) == [1, 4]
    assert sorted(constant_slices(seen, 6)) == list(range(6))


def test_every_selector_by_hand() -> None:
    is_lesion = lesions(8, {0, 1}, {4}, set())
    scores = torch.tensor(
        [[9, 0, 0, 0, 0, 0, 0, 0], [8, 9, 7, 0, 6, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
    ).float()
    hits = selector_hits(is_lesion, scores, scores.flip(1), other_lesion=is_lesion)

    def pair(selector: str, name: str) -> list[float]:
        assert hits[selector][name][2].isnan()  # no lesion, no case
        return hits[selector][name][:2].tolist()

    assert pair("attention", "hit@1") == [1, 0]
    assert pair("attention", "precision@1") == [1, 0]
    assert pair("attention", "hit@4") == [1, 1]
    assert pair("entropy", "hit@1") == [0, 0]
    assert pair("random", "hit@1") == pytest.approx([2 / 8, 1 / 8])
    assert pair("random", "hit@2") == pytest.approx([1 - (6 * 5) / (8 * 7), 2 / 8])
    assert pair("uniform", "hit@1") == [0, 1]
    assert pair("centre", "hit@1") == [0, 0]
    assert pair("centre", "hit@2") == [0, 1]
    assert pair("constant", "hit@2") == [1, 1]
    assert pair("attention", "precision@2") == pytest.approx([(1 + 1 / 7) / 2, 0])  # slice 0 and one of seven ties
    assert pair("random", "precision@4") == pytest.approx([2 / 8, 1 / 8])
    assert pair("centre", "precision@2") == [0, 1 / 2]


def test_what_is_not_given_is_left_out_and_k_is_capped() -> None:
    hits = selector_hits(lesions(3, {1}, {2}))
    assert set(hits) == {"random", "uniform", "centre"}
    assert all(values["hit@4"].tolist() == [1, 1] for values in hits.values())


def test_random_equals_drawing_slices() -> None:
    is_lesion = lesions(10, {2, 3, 7})
    generator = torch.Generator().manual_seed(0)
    drawn = torch.rand(20000, 10, generator=generator).argsort(dim=1)[:, :2]
    drawn_hits = is_lesion[0][drawn].any(dim=1).double().mean().item()
    assert selector_hits(is_lesion)["random"]["hit@2"].item() == pytest.approx(drawn_hits, abs=0.015)


def test_constant_slices_of_another_number_are_an_error() -> None:
    with pytest.raises(ValueError, match="must have 4 slices a volume as the test set, got 5"):
        selector_hits(lesions(4, {1}), other_lesion=lesions(5, {1}))


def test_small_means_a_quarter_of_the_slices_at_most() -> None:
    assert is_small(lesions(8, {0, 1}, {0, 1, 2}, set())).tolist() == [True, False, False]


def test_entropy_of_flat_and_of_two_valued_slices() -> None:
    image = torch.zeros(1, 1, 4, 4, 2)
    image[0, 0, :2, :, 1] = 1.0
    assert slice_entropy(image)[0].tolist() == pytest.approx([0, math.log(2)])


def test_lift_by_hand() -> None:
    mask = torch.zeros(3, 4, 4, 2, dtype=torch.uint8)
    mask[0, 0, 0, 1] = 4  # one voxel makes its patch a lesion patch
    mask[1] = 1
    attention = torch.ones(3, 2, 2, 2)
    attention[0, 0, 0, 1] = 9
    lift = attention_lift(attention, mask)
    assert lift[:2].tolist() == pytest.approx([9 / 2, 1])
    assert lift[2].isnan()


def test_lift_does_not_depend_on_the_attention_s_scale() -> None:
    generator = torch.Generator().manual_seed(0)
    attention = torch.rand(2, 2, 2, 3, generator=generator)
    mask = (torch.rand(2, 4, 4, 3, generator=generator) < 0.2).to(torch.uint8)
    assert torch.allclose(attention_lift(attention, mask), attention_lift(7 * attention, mask))
