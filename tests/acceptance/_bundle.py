# SPDX-License-Identifier: Apache-2.0
"""What the acceptance scripts share: a copy of the bundle, its commands, and what they leave behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
OUTPUT = REPOSITORY / "output" / "acceptance"
SHORT = [
    *("--num_steps", "6", "--steps_per_epoch", "3", "--history_interval", "1"),
    *("--distillation_start", "0.5", "--distillation_ramp", "1", "--batch_2d", "16", "--batch_3d", "16"),
    *("--phantom#num_training", "64", "--phantom#num_validation", "16", "--phantom#num_test", "16"),
]


def copy_bundles(folder: Path) -> Path:
    """A new folder with the repository's bundles, as a clone has them: nothing that a run wrote."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(
        REPOSITORY / "bundles", folder / "bundles", ignore=shutil.ignore_patterns("output", "models", "eval")
    )
    return folder


def command(config: str, *options: str) -> list[str]:
    """The command that a user types."""
    return [sys.executable, "-m", "monai.bundle", "run", "--config_file", config, *options]


def execute(words: Sequence[str], folder: Path, log: Path) -> None:
    """Runs a command in a folder on the CPU, its output in a log.

    Raises:
        SystemExit: When the command fails; ends with the last lines of the log.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    path = f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    with log.open("w") as stream:
        status = subprocess.run(words, cwd=folder, env=environment, stdout=stream, stderr=stream, check=False)
    if status.returncode:
        print(*log.read_text(errors="replace").splitlines()[-15:], sep="\n")
        raise SystemExit(f"{log.stem}: {' '.join(map(str, words))} ended with {status.returncode}, see {log}")


def load(path: Path) -> Any:
    """A file of tensors and plain containers."""
    return torch.load(path, weights_only=True, map_location="cpu")


def differing(one: Any, other: Any, name: str = "") -> list[str]:
    """Names of the entries of two nested containers that are not the same bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) else [name]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        named = ((key, f"{name}.{key}".lstrip(".")) for key in one)
        return [found for key, path in named for found in differing(one[key], other[key], path)]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return differing(dict(enumerate(one)), dict(enumerate(other)), name)
    return [] if type(one) is type(other) and one == other else [name]


def files_below(folder: Path) -> list[str]:
    """Paths within a folder, compiled files left out."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(str(path) for path in found if "__pycache__" not in path.parts)
