# SPDX-License-Identifier: Apache-2.0
"""The embedding engine computes in the type that it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_unimedi.engines.embedder import EmbeddingEvaluator

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "pretrain" / "configs"


class Tower(nn.Module):
    """Embeds by one product and keeps the type that it came in."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4))
        self.types: list[torch.dtype] = []

    def features(self, image: Tensor) -> Tensor:
        found = image.flatten(1) @ self.weight
        self.types.append(found.dtype)
        return found

    def project(self, feature: Tensor) -> Tensor:
        return feature


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, torch.float32),
        ({"amp_dtype": "float16"}, torch.float32),
        ({"amp": True}, torch.bfloat16),
        ({"amp": True, "amp_dtype": "float16"}, torch.float16),
    ],
)
def test_autocast_has_the_type_that_was_asked_for(options: dict[str, Any], expected: torch.dtype) -> None:
    tower = Tower()
    evaluator = EmbeddingEvaluator("cpu", [{"2d": {"image": torch.rand(2, 1, 2, 2)}}], tower, carried=[], **options)
    evaluator.run()
    assert tower.types == [expected]
    assert evaluator.arrays["2d"]["image_embedding"].dtype == torch.float32


@pytest.mark.parametrize("name", ["train", "evaluate", "inference"])
def test_every_embedding_engine_of_the_bundle_is_told_the_type(name: str) -> None:
    content = json.loads((CONFIGS / f"{name}.json").read_text())
    blocks = [*content.values(), *content.get("validate", {}).values()]
    engines = [b for b in blocks if isinstance(b, dict) and str(b.get("_target_")).endswith("EmbeddingEvaluator")]
    assert engines and {engine["amp_dtype"] for engine in engines} == {"@amp_dtype"}
    assert content["amp_dtype"] == "bfloat16"
