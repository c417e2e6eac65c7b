# SPDX-License-Identifier: Apache-2.0
"""Acceptance 2: the bundle's command, wherever it is typed, does the same training.

    python tests/acceptance/bare_command.py

The bundles are copied into an empty folder. A short training starts from that folder, from inside the bundle,
and from another folder with ``--bundle_root``; only the length and the number of phantoms are given, so that
all folders are the defaults. The three end with the same weights, bit for bit, and leave files in the
bundle's ``output/`` and ``models/`` only. The last line holds the result.
"""

from __future__ import annotations

import sys
from pathlib import Path

from _bundle import OUTPUT, SHORT, command, copy_bundles, differing, execute, files_below, load

FOLDER = OUTPUT / "bare_command"
WRITTEN = ("output/", "models/")
CONFIG = "bundles/pretrain/configs/train.json"


def main() -> int:
    """Runs the three; returns 0 where they do the same."""
    elsewhere = FOLDER / "elsewhere"
    roots = {name: copy_bundles(FOLDER / name) for name in ("root", "inside", "other")}
    elsewhere.mkdir(parents=True, exist_ok=True)
    other = roots["other"]
    starts = {
        "root": (roots["root"], CONFIG, []),
        "inside": (roots["inside"] / "bundles" / "pretrain", "configs/train.json", []),
        "other": (elsewhere, str(other / CONFIG), ["--bundle_root", str(other / "bundles" / "pretrain")]),
    }
    wrong: list[str] = []
    for name, (folder, config, options) in starts.items():
        before = files_below(roots[name])
        execute(command(config, *options, *SHORT), folder, FOLDER / f"{name}.log")
        wrong += [f"{name} wrote {path}" for path in misplaced(roots[name], before)]
        print(f"{name}: trained in {folder}", flush=True)
    wrong += [f"{path} in {elsewhere}" for path in files_below(elsewhere)]
    states = {name: trained(root / "bundles" / "pretrain") for name, root in roots.items()}
    for name in ("inside", "other"):
        wrong += [f"{entry} of {name}" for entry in differing(states["root"], states[name])]
    count = len(states["root"]["model"])
    result = (
        "; ".join(wrong[:5]) if wrong else f"0 of {count} tensors of model.pt differ, files where they belong"
    )
    print(f"bare command: 3 trainings from 3 folders: {result}")
    return int(bool(wrong))


def misplaced(root: Path, before: list[str]) -> list[str]:
    """New files outside of the bundle's own folders for them."""
    new = set(files_below(root)) - set(before)
    allowed = tuple(f"bundles/pretrain/{part}" for part in WRITTEN)
    return sorted(path for path in new if not path.startswith(allowed))


def trained(bundle: Path) -> dict[str, object]:
    """Weights of the shipped tower and of the whole training module."""
    model, resume = load(bundle / "models" / "model.pt"), load(bundle / "output" / "resume.pt")
    return {"model": model, "network": resume["objects"]["network"]}


if __name__ == "__main__":
    sys.exit(main())
