# SPDX-License-Identifier: Apache-2.0
"""Bfloat16 is the default only where the device has units for it, in every bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from monai_unimedi.precision import autocast_dtype, has_bfloat16_units

BUNDLES = Path(__file__).resolve().parents[1] / "bundles"
CHECKS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")


@pytest.mark.parametrize("found", [(False, False), (True, False), (False, True)])
def test_a_cpu_has_units_where_torch_says_so(found: tuple[bool, bool], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(CHECKS, found):
        monkeypatch.setattr(torch.cpu, name, lambda value=value: value, raising=False)
    assert has_bfloat16_units("cpu") is any(found)
    assert has_bfloat16_units(torch.device("cpu")) is any(found)


def test_a_torch_that_cannot_say_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CHECKS:
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not has_bfloat16_units()


@pytest.mark.parametrize("is_native", [True, False])
def test_a_gpu_that_emulates_has_none(is_native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: is_native or including_emulation)
    assert has_bfloat16_units("cuda:0") is is_native


def test_the_types_of_autocast_go_by_name() -> None:
    assert (autocast_dtype("bfloat16"), autocast_dtype("float16")) == (torch.bfloat16, torch.float16)
    for name in ("bf16", "float32", "nn", ""):
        with pytest.raises(ValueError, match=f"amp_dtype must be 'bfloat16' or 'float16', got '{name}'"):
            autocast_dtype(name)


@pytest.mark.parametrize("path", sorted(BUNDLES.glob("*/configs/train.json")), ids=lambda path: path.parents[1].name)
def test_trainings_ask_their_device(path: Path) -> None:
    assert json.loads(path.read_text())["amp"] == "$has_bfloat16_units(@device)"
