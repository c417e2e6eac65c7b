# SPDX-License-Identifier: Apache-2.0
"""The profile of a few steps: what it writes, and that it changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine

from monai_unimedi.handlers import StepProfile


def run(steps: int, first_distilled: int, handler: StepProfile | None) -> list[float]:
    """Sums of products, one a step."""
    generator = torch.Generator().manual_seed(0)
    sums: list[float] = []

    def step(engine: Any, batch: torch.Tensor) -> list[dict[str, float]]:
        product = batch @ torch.rand(8, 8, generator=generator)
        sums.append(product.sum().item())
        return [{"distillation_weight": float(engine.state.iteration >= first_distilled)}]

    engine = Engine(step)
    if handler is not None:
        handler.attach(engine)
    engine.run([torch.ones(8, 8)] * steps)
    return sums


def test_both_phases_are_recorded_after_their_warm_up(tmp_path: Path) -> None:
    sums = run(20, 9, StepProfile(tmp_path / "profile", num_rows=4))
    assert sums == run(20, 9, None)
    for phase, steps in (("contrast", 3), ("distillation", 3)):
        events = json.loads((tmp_path / "profile" / f"{phase}.pt.trace.json").read_text())["traceEvents"]
        assert sum(event.get("name") == "aten::mm" for event in events) == steps
        table = (tmp_path / "profile" / f"{phase}.txt").read_text()
        rows = [line for line in table.splitlines() if "ms" in line or "us" in line]
        assert "aten::mm" in table and len([line for line in rows if "%" in line]) == 4


@pytest.mark.parametrize(("steps", "first_distilled"), [(2, 9), (3, 3)])
def test_a_run_that_ends_before_its_profile_writes_none(tmp_path: Path, steps: int, first_distilled: int) -> None:
    run(steps, first_distilled, StepProfile(tmp_path / "profile"))
    assert not (tmp_path / "profile").exists()
