# SPDX-License-Identifier: Apache-2.0
"""One tiny training of the pre-training bundle, in process, shared by the tests of this folder."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ignite.distributed
import pytest
import torch
from monai.bundle import ConfigWorkflow

CONFIGS = Path(__file__).resolve().parents[2] / "bundles" / "pretrain" / "configs"
SIZES = {"hidden_size": 32, "mlp_dim": 64, "num_layers": 2, "num_heads": 2, "embed_dim": 16}
TINY: dict[str, Any] = {
    **SIZES,
    "num_steps": 4, "steps_per_epoch": 2, "history_interval": 1, "save_interval": 0,
    "batch_2d": 6, "batch_3d": 6, "text_hidden_size": 16, "text_num_layers": 1, "text_num_heads": 2,
    "distillation_start": 0.5, "distillation_ramp": 1, "head_dim": 32, "bottleneck_dim": 8,
    "phantom#num_training": 36, "phantom#num_validation": 10, "phantom#num_test": 16,
}


class Bundle:
    """Runs the bundle's configs with one output folder."""

    def __init__(self, output_dir: Path, phantom_dir: Path) -> None:
        self.output_dir = output_dir
        self.places = {
            "bundle_root": str(CONFIGS.parent),
            "output_dir": str(output_dir),
            "model_dir": str(output_dir / "models"),
            "phantom_dir": str(phantom_dir),
            "device": "cpu",
        }

    def workflow(self, *names: str, kind: str = "train", **changes: Any) -> ConfigWorkflow:
        files = [str(CONFIGS / f"{name}.json") for name in names]
        workflow = ConfigWorkflow(files, logging_file=False, workflow_type=kind, **{**self.places, **changes})
        workflow.initialize()
        return workflow

    def train(self, *overlays: str, **changes: Any) -> ConfigWorkflow:
        workflow = self.workflow("train", *overlays, **{**TINY, **changes})
        workflow.run()
        workflow.finalize()
        return workflow

    def evaluate(self, **changes: Any) -> str:
        """What the evaluation printed."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.workflow("evaluate", kind="infer", **{**SIZES, **changes}).run()
        return printed.getvalue()

    def infer(self, **changes: Any) -> Path:
        """The folder that the inference wrote."""
        folder = Path(changes.pop("output_dir", self.output_dir / "inference"))
        self.workflow("inference", kind="infer", **{**SIZES, "output_dir": str(folder), **changes}).run()
        return folder


def same(one: Any, other: Any) -> bool:
    """Equality of nested containers, bit for bit in their tensors."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def phantom_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundle") / "phantom"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, phantom_dir: Path) -> Bundle:
    """A finished training; do not train it on."""
    bundle = Bundle(tmp_path_factory.mktemp("trained"), phantom_dir)
    bundle.train()
    return bundle


@pytest.fixture
def new_bundle(tmp_path: Path, phantom_dir: Path, trained: Bundle) -> Bundle:
    """An empty output folder, with the phantoms of the finished training."""
    return Bundle(tmp_path / "output", phantom_dir)


@pytest.fixture(scope="session")
def equal() -> Callable[[Any, Any], bool]:
    return same


@pytest.fixture
def one_rank(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process alone in a launch; a store in a file that cannot be opened when it is freed would end it."""
    monkeypatch.setenv("LOCAL_RANK", "0")
    for name in ("_model", "_need_to_sync"):  # Ignite goes on taking this process for one of several
        monkeypatch.setattr(ignite.distributed.utils, name, getattr(ignite.distributed.utils, name))
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
