# SPDX-License-Identifier: Apache-2.0
"""Kills a run again and again and compares its end with that of an uninterrupted run, bit for bit.

    python tests/acceptance/kill_resume.py [--kills 10] [--folder FOLDER] [-- COMMAND ... {output_dir} ...]

Without a command it is a shortened demo. `{output_dir}` in the command is replaced by the folder of each of
the two runs. A kill is a SIGKILL to the process and its loader workers when the run reaches a random step, at
a random moment of it; the same command follows. The steps are read from `history.jsonl` and `resume.pt`, so
the command should write a line of history every step. What an earlier test left in the two folders is
removed. The last line holds the result.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

FOLDER = Path("output/kill_resume")
BUNDLE = [
    *(sys.executable, "-m", "monai.bundle", "run", "--config_file", "bundles/pretrain/configs/train.json"),
    *("--output_dir", "{output_dir}", "--model_dir", "{output_dir}/models"),
    *("--phantom_dir", str(FOLDER / "phantom"), "--phantom#num_training", "256"),
    *("--phantom#num_validation", "64", "--phantom#num_test", "8"),
    *("--num_steps", "120", "--steps_per_epoch", "40", "--distillation_start", "0.3"),
    *("--num_workers", "2", "--history_interval", "1", "--save_interval", "5"),
]


def main() -> int:
    """Runs the test; returns 0 where both runs end alike."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("command", nargs="*", default=BUNDLE)
    arguments = parser.parse_args()
    whole, parts = arguments.folder / "whole", arguments.folder / "parts"
    for folder in (whole, parts):
        shutil.rmtree(folder, ignore_errors=True)
    finish(arguments.command, whole)
    steps = last_line(whole)["step"]
    generator = random.Random(arguments.seed)
    targets = sorted(generator.sample(range(1, steps - 1), min(arguments.kills, steps - 2)))
    again = sum(kill_at(arguments.command, parts, target, generator.random()) for target in targets)
    finish(arguments.command, parts)
    wrong = differences(whole, parts)
    result = f"differ in {', '.join(wrong)}" if wrong else "equal those of the uninterrupted run bit for bit"
    print(f"kill_resume: {len(targets)} kills in {steps} steps, {again} steps done again, weights {result}")
    return int(bool(wrong))


def start(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Starts the command with its output in `<folder>.log`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    filled = [word.replace("{output_dir}", str(folder)) for word in command]
    with folder.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(filled, start_new_session=True, stdout=log, stderr=log)


def finish(command: list[str], folder: Path) -> None:
    """Runs the command to its end."""
    if start(command, folder).wait() != 0:
        raise SystemExit(f"kill_resume: the command failed, see {folder.with_suffix('.log')}")


def kill_at(command: list[str], folder: Path, target: int, share: float) -> int:
    """Kills the run when it reaches a step; returns how many steps have to be done again."""
    process = start(command, folder)
    while last_line(folder)["step"] < target:
        if process.poll() is not None:
            raise SystemExit(f"kill_resume: the command ended by itself, see {folder.with_suffix('.log')}")
        time.sleep(0.01)
    time.sleep(share * seconds_per_step(folder))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reached, saved = last_line(folder), newest(folder)
    again = reached["step"] - saved["step"]
    seconds = max(reached["seconds"] - saved["seconds"], 0.0)
    print(f"killed after step {reached['step']}: {again} steps ({seconds:.1f} s) are done again", flush=True)
    return again


def last_line(folder: Path) -> dict[str, Any]:
    """The newest whole line of the history."""
    path = folder / "history.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return json.loads(lines[-1]) if lines else {"step": 0, "seconds": 0.0}


def seconds_per_step(folder: Path) -> float:
    line = last_line(folder)
    return line["seconds"] / max(line["step"], 1)


def newest(folder: Path) -> dict[str, Any]:
    """Step and seconds of the checkpoint from which the run will go on."""
    if not (folder / "resume.pt").exists():
        return {"step": 0, "seconds": 0.0}
    checkpoint = torch.load(folder / "resume.pt", weights_only=True)
    return {"step": checkpoint["step"], "seconds": checkpoint["trainer"]["train_seconds"]}


def differences(whole: Path, parts: Path) -> list[str]:
    """Names of what is not the same at the end of both runs."""
    one, other = (torch.load(folder / "resume.pt", weights_only=True)["objects"] for folder in (whole, parts))
    wrong = [name for name in one if not equal(one[name], other[name])]
    for path in whole.rglob("model.pt"):
        counterpart = parts / path.relative_to(whole)
        files = [torch.load(file, weights_only=True) for file in (path, counterpart)]
        wrong += [] if equal(*files) else [path.name]
    return wrong + ([] if curves(whole) == curves(parts) else ["history.jsonl"])


def equal(one: Any, other: Any) -> bool:
    """Equality of nested containers, bit for bit in their tensors."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def curves(folder: Path) -> list[dict[str, Any]]:
    """The history without its clock."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


if __name__ == "__main__":
    sys.exit(main())
