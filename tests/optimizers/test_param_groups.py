# SPDX-License-Identifier: Apache-2.0
"""What decays, and what does not."""

from __future__ import annotations

import pytest
from torch import nn

from monai_unimedi.optimizers import split_by_decay


def test_matrices_decay_and_biases_and_norms_do_not() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3), nn.Embedding(4, 5))
    decayed, others = split_by_decay(network, 0.1)
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert [tuple(p.shape) for p in decayed["params"]] == [(3, 2), (4, 5)]
    assert [tuple(p.shape) for p in others["params"]] == [(3,), (3,), (3,)]


def test_frozen_parameters_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1, bias=False))
    network[0].requires_grad_(False)
    (group,) = split_by_decay(network, 0.1)
    assert [tuple(p.shape) for p in group["params"]] == [(1, 3)]
    with pytest.raises(ValueError, match="unfreeze a part"):
        split_by_decay(network.requires_grad_(False), 0.1)
