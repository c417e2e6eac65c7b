# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import nn

from monai_unimedi.networks.nets.unified_vit import UnifiedViT
from monai_unimedi.optimizers import layer_decay_groups


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.vit = UnifiedViT(1, (4, 4), 2, (2, 2), 4, 16, 32, 3, 2)
        self.head = nn.Linear(16, 5)


def rate_of(network: nn.Module, groups: list[dict]) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {names[id(parameter)]: group["lr"] for group in groups for parameter in group["params"]}


def test_rate_falls_by_one_factor_from_head_to_embeddings() -> None:
    network = Classifier()
    rates = rate_of(network, layer_decay_groups(network, 1.0, 0.1, 0.5))
    assert rates["head.weight"] == rates["vit.norm.bias"] == 1.0
    blocks = [rates[f"vit.blocks.{block}.attention.qkv.weight"] for block in range(3)]
    assert blocks == [0.125, 0.25, 0.5]
    assert rates["vit.cls_token"] == rates["vit.tokenizer.position"] == 0.0625
    assert rates.keys() == {name for name, _ in network.named_parameters()}


def test_biases_and_norms_do_not_decay() -> None:
    network = Classifier()
    decays = {id(p): g["weight_decay"] for g in layer_decay_groups(network, 1.0, 0.1) for p in g["params"]}
    assert all(decays[id(p)] == (0.1 if p.ndim >= 2 else 0.0) for p in network.parameters())


def test_frozen_encoder_leaves_the_head_alone() -> None:
    network = Classifier()
    network.vit.requires_grad_(False)
    rates = rate_of(network, layer_decay_groups(network, 1.0, 0.1))
    assert rates == {"head.weight": 1.0, "head.bias": 1.0}


def test_optimizer_takes_the_groups_and_bad_factors_raise() -> None:
    network = Classifier()
    assert len(torch.optim.AdamW(layer_decay_groups(network, 1e-3, 0.05), lr=1e-3).param_groups) >= 8
    with pytest.raises(ValueError, match=r"\(0, 1\], got 1\.5"):
        layer_decay_groups(network, 1.0, 0.1, 1.5)
    with pytest.raises(ValueError, match="require a gradient"):
        layer_decay_groups(network.requires_grad_(False), 1.0, 0.1)
