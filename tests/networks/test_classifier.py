# SPDX-License-Identifier: Apache-2.0
"""The classifier: both dimensions, both poolings, batch equals single, frozen stays frozen, weights load, scripts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_unimedi.networks.nets.classifier import UniMediClassifier
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from monai_unimedi.networks.pretrained import load_encoder_weights

SIZES: dict[str, Any] = {
    "patch_size": (4, 4), "patch_depth": 2, "grid_size": (3, 3), "num_depths": 4, "hidden_size": 16, "mlp_dim": 32,
    "num_layers": 2, "num_heads": 2, "num_selected_slices": 2,
}  # fmt: skip
XRAY, CT = (3, 1, 12, 12), (3, 1, 12, 12, 8)


@pytest.mark.parametrize("pooling", ["class", "attention"])
@pytest.mark.parametrize("shape", [XRAY, CT])
def test_one_logit_a_class_and_batch_equals_each_alone(pooling: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = UniMediClassifier(5, pooling, **SIZES).eval()
    image = torch.rand(shape)
    logits = network(image)
    assert logits.shape == (3, 5)
    alone = torch.cat([network(one[None]) for one in image])
    torch.testing.assert_close(logits, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pooling", ["class", "attention"])
@pytest.mark.parametrize("shape", [XRAY, CT])
def test_scripted_network_gives_the_same(pooling: str, shape: tuple[int, ...]) -> None:
    network = UniMediClassifier(2, pooling, **SIZES).eval()
    image = torch.rand(shape)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image), atol=1e-5, rtol=1e-5)


def test_frozen_tower_rests_and_the_head_learns() -> None:
    network = UniMediClassifier(2, "attention", frozen=True, **SIZES).train()
    assert not network.encoder.training
    assert network.head.training
    trained = {name.split(".")[0] for name, one in network.named_parameters() if one.requires_grad}
    assert trained == {"pool", "head"}
    network(torch.rand(XRAY)).sum().backward()
    assert all(one.grad is None for one in network.encoder.parameters())


def test_gradient_reaches_tokenizer_and_every_query() -> None:
    network = UniMediClassifier(2, "attention", **SIZES)
    network(torch.rand(CT)).pow(2).sum().backward()
    assert network.encoder.vit.tokenizer.volume_patch.weight.grad.any()
    assert network.pool.query.grad.abs().amax(-1).all()


def test_untrained_queries_take_the_mean_of_the_tokens() -> None:
    pool = UniMediClassifier(2, "attention", **SIZES).pool
    tokens = torch.rand(2, 7, 16)
    torch.testing.assert_close(pool(tokens), pool(tokens.mean(1, keepdim=True)))


def test_pretrained_tower_changes_the_output_and_leaves_the_projection_out() -> None:
    torch.manual_seed(1)
    tower = UniMediImageEncoder(embed_dim=6, **SIZES)
    network = UniMediClassifier(2, **SIZES).eval()
    image = torch.rand(CT)
    before = network(image)
    summary = load_encoder_weights(network, tower.state_dict())
    assert summary["left_out"] == ["projection.weight"]
    assert set(summary["fresh"]) == {"head.weight", "head.bias"}
    assert not torch.allclose(network(image), before)
    torch.testing.assert_close(network.tokens(image)[:, 0], tower.eval().features(image))


def test_pretrained_tower_selects_the_slices_that_its_pretraining_would() -> None:
    torch.manual_seed(1)
    tower = UniMediImageEncoder(embed_dim=6, debiased=True, **SIZES)
    volumes = torch.rand(8, *CT[1:])
    plain = tower.select_slices(volumes, None, None)
    tower.selector.place_mean[..., ::2] = 2.0
    network = UniMediClassifier(2, **SIZES)
    load_encoder_weights(network, tower.state_dict())
    chosen = network.encoder.select_slices(volumes, None, None)
    assert torch.equal(chosen, tower.select_slices(volumes, None, None)) and not torch.equal(chosen, plain)


def test_prior_is_where_the_logits_start() -> None:
    network = UniMediClassifier(2, prior=0.1, **SIZES)
    torch.testing.assert_close(network.head.bias.sigmoid(), torch.full((2,), 0.1))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"pooling": "max"}, "pooling must be one of"), ({"num_classes": 0}, "num_classes must be 1 or more")],
)
def test_bad_arguments_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UniMediClassifier(**{"num_classes": 2, **SIZES, **changes})
