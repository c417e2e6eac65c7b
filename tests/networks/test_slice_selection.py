# SPDX-License-Identifier: Apache-2.0
"""Scores and selection of slices, and the hashed masks."""

from __future__ import annotations

import pytest
import torch

from monai_unimedi.networks.blocks.slice_selection import SliceSelector
from monai_unimedi.networks.blocks.token_masking import hashed_uniform, random_token_mask
from monai_unimedi.networks.blocks.usual_attention import usual_attention

SEEDS = torch.tensor([3, 2**62 + 5, 3])


def test_the_k_largest_scores_come_in_anatomical_order() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.3, 0.8], [0.5, 0.1, 0.7, 0.2]])
    assert SliceSelector(2).select(scores, SEEDS[:2]).tolist() == [[1, 3], [0, 2]]


def test_scores_are_the_mean_or_maximum_over_a_slices_patches() -> None:
    attention = torch.rand(2, 3, 4, 5)
    patches = attention.flatten(1, 2)
    torch.testing.assert_close(SliceSelector(1).scores(attention), patches.mean(1))
    torch.testing.assert_close(SliceSelector(1, reduction="max").scores(attention), patches.max(1).values)


def test_uniform_slices_are_evenly_spaced_and_random_ones_follow_the_seed() -> None:
    scores = torch.zeros(3, 16)
    assert SliceSelector(4, "uniform").select(scores, SEEDS).tolist() == [[2, 6, 10, 14]] * 3
    chosen = SliceSelector(4, "random").select(scores, SEEDS)
    assert chosen[0].tolist() == chosen[2].tolist() != chosen[1].tolist()


def test_some_slices_are_explored_and_the_best_stay() -> None:
    scores = torch.arange(16.0).expand(2000, -1)
    selector = SliceSelector(4, explored_share=0.5)
    chosen = selector.select(scores, torch.arange(2000))
    assert chosen[:, 2:].eq(torch.tensor([14, 15])).all() and (chosen.diff(dim=1) > 0).all()
    counts = chosen[:, :2].flatten().bincount(minlength=14)
    assert len(counts) == 14 and 220 < counts.min() <= counts.max() < 350  # 286 of each are expected
    assert torch.equal(chosen, selector.select(scores, torch.arange(2000)))
    best = torch.tensor([12, 13, 14, 15])
    assert selector.select(scores, None).eq(best).all()
    assert selector.eval().select(scores, torch.arange(2000)).eq(best).all()
    assert [SliceSelector(k, explored_share=0.5).num_explored for k in (0, 1, 2, 8)] == [0, 0, 1, 4]


def with_a_sink() -> torch.Tensor:
    """(1, 2, 2, 4): a sink in the last slice, a prior of the height beside it."""
    attention = torch.tensor([0.1, 0.2, 0.3, 0.4]).expand(1, 2, 2, 4).clone()
    attention[0, 1, 1, 3] = 4.0
    return attention / attention.sum()


def test_debiased_attention_is_what_exceeds_the_running_mean_at_its_place() -> None:
    selector = SliceSelector(1, debiased=True, num_places=(2, 2, 4))
    usual = with_a_sink()
    torch.testing.assert_close(selector.excess(usual), usual, atol=1e-6, rtol=1e-5)  # nothing is known yet
    selector.place_mean.copy_(selector.places(usual)[0])
    torch.testing.assert_close(usual_attention(selector.place_mean, [2, 2, 4]), usual[0] * 16)
    seen = usual.clone()
    seen[0, 0, 1, 1] *= 2
    seen /= seen.sum()
    expected = (seen - usual).clamp(min=0)
    torch.testing.assert_close(selector.excess(seen), expected / expected.sum(), atol=1e-6, rtol=1e-5)
    assert selector.scores(seen).argmax().item() == 3
    assert selector.scores(selector.excess(seen)).argmax().item() == 1
    torch.testing.assert_close(selector.excess(usual), torch.full_like(usual, 1 / 16))


def test_the_running_mean_serves_any_grid() -> None:
    selector = SliceSelector(1, debiased=True, num_places=(2, 2, 4))
    even = torch.full((3, 6, 4, 8), 1 / 192)
    selector.place_mean.copy_(selector.places(even).mean(0))
    torch.testing.assert_close(selector.place_mean, torch.ones(2, 2, 4))
    torch.testing.assert_close(usual_attention(selector.place_mean, [5, 3, 7]), torch.ones(5, 3, 7))
    finer = SliceSelector(1, debiased=True)
    for shape in ((4, 4, 16), (8, 8, 32), (14, 14, 20)):
        attention = torch.rand(2, *shape)
        finer.place_mean.copy_(finer.places(attention).mean(0))
        usual = usual_attention(finer.place_mean, list(shape))
        torch.testing.assert_close(usual, attention.mean(0) * attention[0].numel())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "best"}, "slice_rule"),
        ({"reduction": "sum"}, "score_reduction"),
        ({"explored_share": 1.5}, "explored_share must be from 0 to 1, got 1.5"),
        ({"explored_share": -0.1}, "explored_share must be from 0 to 1"),
        ({"num_selected_slices": -1}, "0 or"),
    ],
)
def test_unknown_settings_are_errors(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SliceSelector(**({"num_selected_slices": 1} | arguments))


def test_every_sample_hides_the_same_number_of_tokens_by_its_seed_alone() -> None:
    mask = random_token_mask(SEEDS, 40, 0.5)
    assert mask.dtype == torch.bool and mask.sum(1).tolist() == [20, 20, 20]
    assert torch.equal(mask[0], mask[2]) and not torch.equal(mask[0], mask[1])
    assert torch.equal(random_token_mask(SEEDS[1:2], 40, 0.5)[0], mask[1])


def test_hashed_numbers_are_uniform_and_uncorrelated() -> None:
    numbers = hashed_uniform(torch.arange(2000), 30)
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(numbers.mean().item() - 0.5) < 0.01 and abs(numbers.std().item() - 12**-0.5) < 0.01
    off_diagonal = torch.corrcoef(numbers.T) - torch.eye(30)
    assert off_diagonal.abs().max() < 0.1
    other = hashed_uniform(torch.arange(2000), 30, 1)[:, 0]
    assert abs(torch.corrcoef(torch.stack([numbers[:, 0], other]))[0, 1]) < 0.1


def test_hashed_numbers_are_those_of_splitmix64() -> None:
    """Sums and products of 64 bits without a sign, as of Python's integers cut to 64 bits."""
    golden = 2**64 - 7046029254386353131

    def mixed(x: int) -> int:
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    for stream in range(4):
        starts = [mixed((seed - golden * (stream + 1)) % 2**64) for seed in SEEDS.tolist()]
        expected = [[(mixed((start + n * golden) % 2**64) >> 11) * 2.0**-53 for n in (1, 2)] for start in starts]
        for function in (hashed_uniform, torch.jit.script(hashed_uniform)):
            assert function(SEEDS, 2, stream).tolist() == expected
