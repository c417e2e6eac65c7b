# SPDX-License-Identifier: Apache-2.0
"""Effects of slices and patches by the definition, sentences against the empty text, and what is returned for whom."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from monai_unimedi.inferers.grounding import (
    GroundingInferer,
    ground_reports,
    patch_effects,
    sentence_directions,
    sentence_scores,
    slice_effects,
)
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from tests.inferers.test_zero_shot import CountLetters, tokenizer


@pytest.fixture
def network() -> UniMediImageEncoder:
    torch.manual_seed(0)
    return UniMediImageEncoder(
        patch_size=(4, 4), patch_depth=2, grid_size=(3, 2), num_depths=4, hidden_size=16, mlp_dim=16,
        num_layers=2, num_heads=2, embed_dim=3, num_selected_slices=2,
    ).eval()  # fmt: skip


@torch.no_grad()
def test_a_slices_effect_is_the_volume_beside_that_slice_against_the_mean(network: UniMediImageEncoder) -> None:
    image = torch.rand(2, 1, 12, 8, 6)
    each = [network.project(network.vit(image, torch.full((2, 1), i))[:, 0]) for i in range(6)]
    expected = torch.stack(each, 1) - torch.stack(each, 1).mean(1, keepdim=True)
    assert torch.allclose(slice_effects(image, network), expected, atol=1e-6)


@torch.no_grad()
def test_a_patchs_effect_is_what_the_x_ray_loses_without_it(network: UniMediImageEncoder) -> None:
    image = torch.rand(2, 1, 12, 8)
    content, position = network.vit.tokenizer.images(image)
    tokens = content + position
    effects = patch_effects(image, network)
    assert effects.shape == (2, 3, 2, 3)
    without = torch.cat([tokens[:, :3], tokens[:, 4:]], 1)  # patch x = 1, y = 1 left out
    expected = network(image) - network.project(network.vit.encode(without)[:, 0])
    assert torch.allclose(effects[:, 1, 1], expected, atol=1e-6)


@torch.no_grad()
def test_many_sequences_are_as_few(network: UniMediImageEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(3, 1, 12, 8, 6), torch.rand(3, 1, 12, 8)
    whole = slice_effects(images[0], network), patch_effects(images[1], network)
    monkeypatch.setattr("monai_unimedi.inferers.grounding.SEQUENCES", 4)
    assert torch.allclose(slice_effects(images[0], network), whole[0], atol=1e-6)
    assert torch.allclose(patch_effects(images[1], network), whole[1], atol=1e-6)


def empty_knows(sentences: list[str], **options: Any) -> dict[str, Tensor]:
    """The empty text is read as one "c"."""
    return tokenizer([sentence or "c" for sentence in sentences], **options)


def test_a_sentence_is_what_it_says_beyond_the_empty_text(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [[1, 0, -1], [0, 1, -1], [0, 0, 0]]
    assert sentence_directions(["a", "b b", "c"], CountLetters(), empty_knows).tolist() == expected
    monkeypatch.setattr("monai_unimedi.inferers.grounding.TEXTS", 2)
    assert sentence_directions(["a", "b b", "c"], CountLetters(), empty_knows).tolist() == expected


def test_scores_are_laid_out_by_sentence() -> None:
    scores = sentence_scores(torch.rand(2, 5, 4, 3), torch.eye(3)[:2])
    assert scores.shape == (2, 2, 5, 4)
    effects = torch.tensor([[[1.0, 2, 3], [4, 5, 6]]])
    assert sentence_scores(effects, torch.eye(3)[[2, 0]]).tolist() == [[[3, 6], [1, 4]]]


def test_either_dimension_is_grounded_by_one_inferer(network: UniMediImageEncoder) -> None:
    inferer = GroundingInferer(torch.rand(4, 3))
    assert inferer(torch.rand(2, 1, 12, 8, 6), network).shape == (2, 4, 6)
    scores = inferer(torch.rand(2, 1, 12, 8), network)
    assert scores.shape == (2, 4, 3, 2)
    assert not scores.requires_grad


def test_reports_are_grounded_in_their_own_image_and_beside_it_in_the_one_before(
    network: UniMediImageEncoder,
) -> None:
    image = torch.rand(3, 1, 12, 8, 6)
    given = {"3d": {0: [{"sentence": "a", "finding": 1}, {"sentence": "b", "finding": None}], 2: [{"sentence": "a"}]}}
    test = ground_reports({"3d": {"image": image}, "2d": {"id": []}}, given, network, CountLetters(), empty_knows)
    grounding = test["3d"]["grounding"]
    assert set(grounding) == {0, 2} and "grounding" not in test["2d"]
    assert [one["finding"] for one in grounding[0]] == [1, None]
    inferer = GroundingInferer(sentence_directions(["a", "b"], CountLetters(), empty_knows))
    own, other = inferer(image[[0]], network)[0], inferer(image[[2]], network)[0]
    assert torch.allclose(grounding[0][1]["scores"], own[1], atol=1e-6)
    assert torch.allclose(grounding[0][1]["other_scores"], other[1], atol=1e-6)
    assert torch.allclose(grounding[2][0]["other_scores"], own[0], atol=1e-6)
