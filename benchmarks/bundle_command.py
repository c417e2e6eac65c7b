# SPDX-License-Identifier: Apache-2.0
"""A bundle's own command, as a user gives it, its output in a log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["REPOSITORY", "run_bundle"]

REPOSITORY = Path(__file__).resolve().parents[1]


def run_bundle(bundle: str, config: str, options: Mapping[str, Any], log: Path, threads: int) -> None:
    """Runs ``python -m monai.bundle run`` on one config from the repository's root.

    Args:
        bundle: its folder's name.
        config: ``train``, ``evaluate`` or ``inference``.
        options: overrides of the config's keys.
        log: file that its output is added to.
        threads: of computation.

    Raises:
        RuntimeError: When it fails; names the log.
    """
    words = [word for key, value in options.items() for word in (f"--{key}", _word(value))]
    file = f"bundles/{bundle}/configs/{config}.json"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(REPOSITORY)}
    with log.open("a") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "monai.bundle", "run", "--config_file", file, *words],
            cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{config} of {bundle} ended with {done.returncode}, see {log}.")


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (list, dict, bool)) else str(value)
