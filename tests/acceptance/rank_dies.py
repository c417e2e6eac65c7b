# SPDX-License-Identifier: Apache-2.0
"""A process of several dies, torchrun starts all of them again, and the run ends as if nothing had happened.

    python tests/acceptance/rank_dies.py

Two gloo processes train the bundle under ``torchrun --max-restarts 2`` with a checkpoint after each step. Rank 1 gets
a SIGKILL after step 3, rank 0 one after step 6. The run was begun with ``--resume false``, which must hold for the
launch and not for its restarts. Its end, all weights, moments, centres and counters, and each line of the history must
be those of an uninterrupted run bit for bit. The last line holds the steps that were done again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from _bundle import OUTPUT, REPOSITORY, SHORT, command, copy_bundles, differing, load

FOLDER = OUTPUT / "rank_dies"
RANKS, STEPS, KILLS = 2, 9, ((1, 3), (0, 6))  # which rank, after which step
CONFIGS = ["bundles/pretrain/configs/train.json", "bundles/pretrain/configs/multi_gpu_train.json"]
OPTIONS = [
    *SHORT, "--num_steps", str(STEPS), "--steps_per_epoch", "3", "--save_interval", "0", "--resume", "false",
    "--phantom_dir", str(FOLDER / "phantom"),
]  # fmt: skip
TIMEOUT = 900.0  # seconds for all of a run


def main() -> int:
    """Returns 0 where both runs end alike."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    root = copy_bundles(FOLDER / "repository")
    whole, parts = FOLDER / "whole", FOLDER / "parts"
    wait(start(root, whole), whole)
    launcher = start(root, parts)
    for rank, step in KILLS:
        wait_for_step(launcher, parts, step)
        kill_rank(launcher, rank)
    wait(launcher, parts)
    said = parts.with_suffix(".log").read_text(errors="replace")
    begun = [int(step) for step in re.findall(r"optimizer step (\d+) of", said)][::RANKS]
    wrong = differing(load(whole / "resume.pt")["objects"], load(parts / "resume.pt")["objects"])
    wrong += [] if curves(whole) == curves(parts) else ["history.jsonl"]
    again = [step - from_step for (_, step), from_step in zip(KILLS, begun)]
    result = f"differs in {', '.join(wrong[:5])}" if wrong else "ends bit for bit as the uninterrupted one"
    print(f"rank_dies: killed after steps 3 and 6 of {STEPS}, went on from {begun}: {again} steps again; {result}")
    return int(bool(wrong) or len(begun) != len(KILLS) or min(begun) == 0)


def start(root: Path, folder: Path) -> subprocess.Popen[bytes]:
    """The command of two processes, its output in `<folder>.log`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = command(str(CONFIGS), *OPTIONS, "--output_dir", str(folder), "--model_dir", str(folder / "models"))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", "2", "--nproc_per_node", str(RANKS)]
    path = f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    environment["PYTHONFAULTHANDLER"] = "1"
    with folder.with_suffix(".log").open("wb") as log:
        return subprocess.Popen([words[0], *launcher, *words[1:]], cwd=root, env=environment, stdout=log, stderr=log)


def wait(launcher: subprocess.Popen[bytes], folder: Path) -> None:
    """To the run's end, which must be a good one."""
    try:
        status = launcher.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        for process in psutil.Process(launcher.pid).children():
            process.send_signal(signal.SIGABRT)  # each says in the log where it waits
        status = launcher.wait(60)
    finally:
        launcher.terminate()
    if status:
        print(*folder.with_suffix(".log").read_text(errors="replace").splitlines()[-15:], sep="\n")
        raise SystemExit(f"rank_dies: the run ended with {status}, see {folder.with_suffix('.log')}")


def wait_for_step(launcher: subprocess.Popen[bytes], folder: Path, step: int) -> None:
    """Until the checkpoint of a step is on disk."""
    end = time.monotonic() + TIMEOUT
    while not any((folder / "history.jsonl").exists() and line["step"] >= step for line in curves(folder)):
        if launcher.poll() is not None or time.monotonic() > end:
            launcher.terminate()
            raise SystemExit(f"rank_dies: step {step} was not reached, see {folder.with_suffix('.log')}")
        time.sleep(0.02)


def kill_rank(launcher: subprocess.Popen[bytes], rank: int) -> None:
    """SIGKILL to one of the launcher's own processes."""
    for process in psutil.Process(launcher.pid).children():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("RANK") == str(rank):
                process.kill()
                print(f"rank {rank} killed", flush=True)
                return
    raise SystemExit(f"rank_dies: there is no process of rank {rank}")


def curves(folder: Path) -> list[dict[str, Any]]:
    """The whole lines of the history, without its clock."""
    path = folder / "history.jsonl"
    found = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in found]


if __name__ == "__main__":
    sys.exit(main())
