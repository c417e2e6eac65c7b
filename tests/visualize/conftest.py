# SPDX-License-Identifier: Apache-2.0
"""Evaluation arrays as an embedder would give them: small drawn chests with bright lesions of known place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

LABEL_NAMES = ["nodule", "consolidation", "ground_glass", "pleural_effusion", "pneumothorax", "cardiomegaly"]
SLICES = 16


def _grid(size: int) -> tuple[Tensor, Tensor]:
    axis = torch.linspace(-1, 1, size)
    x, y = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def _chest(size: int) -> Tensor:
    """(size, size): a body with two dark lungs."""
    x, y = _grid(size)
    body = (x / 0.9) ** 2 + (y / 0.8) ** 2 < 1
    lungs = ((x.abs() - 0.42) / 0.3) ** 2 + (y / 0.6) ** 2 < 1
    return 0.75 * body - 0.55 * (body & lungs)


def _lesion(size: int, side: int, generator: torch.Generator) -> Tensor:
    x, y = _grid(size)
    height = float(torch.rand((), generator=generator)) - 0.5
    return ((x - 0.42 * side) ** 2 + (y - height) ** 2) < 0.03


def make_source(source: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Evaluation arrays of ``count`` cases; every seventh is normal, every fifth has two findings."""
    generator = torch.Generator().manual_seed(seed)
    size, depth = (72, 1) if source == "2d" else (48, SLICES)
    image = _chest(size)[None, :, :, None].repeat(count, 1, 1, depth)
    image = image + 0.04 * torch.randn(image.shape, generator=generator)
    mask = torch.zeros(count, size, size, depth, dtype=torch.uint8)
    label = torch.zeros(count, len(LABEL_NAMES))
    findings: list[list[dict[str, Any]]] = []
    for row in range(count):
        present = [] if row % 7 == 6 else sorted({row % 6, (row + 2) % 6 if row % 5 == 4 else row % 6})
        findings.append([])
        for index in present:
            side = 1 if (row + index) % 2 else -1
            area = _lesion(size, side, generator)
            low = 0 if depth == 1 else int(torch.randint(0, depth - 4, (), generator=generator))
            high = 0 if depth == 1 else low + 3
            mask[row, ..., low : high + 1] |= (area.to(torch.uint8) << index)[..., None]
            label[row, index] = 1
            findings[-1].append(
                {
                    "finding": LABEL_NAMES[index],
                    "side": "left" if side > 0 else "right",
                    "zone": "lower",
                    "size": "small",
                    "slice_range": [low, high],
                }
            )
    image = (image + 0.3 * (mask > 0)).clamp(0, 1)
    attention = torch.nn.functional.avg_pool2d((mask > 0).float().permute(0, 3, 1, 2), 12).permute(0, 2, 3, 1)
    attention = attention + 0.08 * torch.rand(attention.shape, generator=generator) + 0.02
    attention = attention / attention.sum((1, 2, 3), keepdim=True)
    centre = torch.randn(len(LABEL_NAMES), 32, generator=torch.Generator().manual_seed(5))
    embedding = label @ centre + 0.6 * torch.randn(count, 32, generator=generator)
    text = label @ centre + 0.6 * torch.randn(count, 32, generator=generator)
    report = [
        "Findings: "
        + " ".join(f"There is a {f['size']} {f['finding']} in the {f['side']} lung." for f in found)
        + " The mediastinum is unremarkable. Impression: <b>see above</b> & follow up."
        for found in findings
    ]
    arrays: dict[str, Any] = {
        "id": [f"{source}-case-{row:04d}" for row in range(count)],
        "image": (image if source == "3d" else image[..., 0])[:, None],
        "image_embedding": torch.nn.functional.normalize(embedding, dim=1),
        "text_embedding": torch.nn.functional.normalize(text, dim=1),
        "feature": embedding,
        "report": report,
        "findings": findings,
        "label": label,
        "attention": attention if source == "3d" else attention[..., 0],
        "lesion_mask": mask if source == "3d" else mask[..., 0],
    }
    if source == "3d":
        scores = attention.mean((1, 2))
        arrays["slice_scores"] = scores
        arrays["slice_indices"] = scores.topk(4, dim=1).indices.sort(1).values
    return arrays


def make_metrics() -> dict[str, Any]:
    """Nested figures of the demo, some of them below what it has to reach."""

    def figure(value: float) -> dict[str, float | int]:
        return {"value": value, "low": value - 0.06, "high": value + 0.05, "count": 200}

    ways = ("image_to_report", "report_to_image")
    names = ("R@1", "R@5", "exact_R@1", "exact_R@5", "chance@1", "chance@5", "untrained@5")
    hits = ("hit@1", "hit@2", "hit@4", "precision@1")
    rules = ("attention", "random", "uniform", "centre", "constant", "entropy")
    aurocs = ("auroc", "auroc_positive", "auroc_negative")
    return {
        "retrieval": {
            d: {w: {n: figure(0.8 - 0.1 * i) for i, n in enumerate(names)} for w in ways}
            for d in ("2d", "3d")
        },
        "zero_shot": {
            d: {a: figure(0.74) for a in aurocs}
            | {"by_finding": {f: {a: figure(0.7) for a in aurocs} for f in LABEL_NAMES}}
            for d in ("2d", "3d")
        },
        "slice_selection": {
            part: {rule: {h: figure(0.66 - 0.07 * i) for h in hits} for i, rule in enumerate(rules)}
            for part in ("all", "small")
        }
        | {"lift": {"value": 4.31, "low": 3.9, "high": 4.7, "count": 160}},
        "xray_localization": {
            "pointing_game": figure(0.5),
            "random": figure(0.2),
            "centre_prior": figure(0.3),
        },
        "cross_dimension": {
            "map_2d_to_3d": figure(0.45),
            "map_3d_to_2d": figure(0.4),
            "control_2d_to_3d": figure(0.38),
            "control_3d_to_2d": figure(0.37),
            "modality_probe_accuracy": figure(0.9),
        },
        "linear_probe": {
            who: {
                d: {p: figure(0.8 if who == "trained" else 0.6) for p in ("1", "10", "100")}
                for d in ("2d", "3d")
            }
            for who in ("trained", "untrained")
        },
        "phantom": {
            "version": "1",
            "intensity_probe": 0.61,
            "untrained_probe": 0.66,
            "supervised_probe": 0.96,
        },
        "seconds": {"phantom": 42.1, "train": 352.0, "evaluate": 64.2},
        "parameters": 1234567,
        "peak_memory_gb": 2.31,
        "seed": 0,
    }


def make_history() -> list[dict[str, Any]]:
    """Logged steps of a run whose distillation starts half-way."""
    return [
        {
            "step": step,
            "loss": 7.2 * 0.996**step + 0.4,
            "loss_vl_2d": 3.46 * 0.995**step + 0.3,
            "loss_vl_3d": 3.46 * 0.994**step + 0.2,
        }
        | ({"loss_icl_3d": 4.1 - step / 400, "loss_icl_2d": 4.0 - step / 500} if step > 300 else {})
        for step in range(0, 600, 5)
    ]


@pytest.fixture(scope="session")
def test_arrays() -> dict[str, Any]:
    return {"2d": make_source("2d", 40), "3d": make_source("3d", 36, seed=1)}


@pytest.fixture
def metrics() -> dict[str, Any]:
    return make_metrics()


@pytest.fixture
def history() -> list[dict[str, Any]]:
    return make_history()


@pytest.fixture
def label_names() -> list[str]:
    return list(LABEL_NAMES)
