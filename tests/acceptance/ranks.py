# SPDX-License-Identifier: Apache-2.0
"""One, two and four processes train alike, on lists that nothing divides, and hand a run to one another.

    python tests/acceptance/ranks.py

The bundle trains on phantoms in single precision under torchrun, with all of the method on from the first step and
Muon's iteration in single precision (see ``two_processes.py``). 37 X-rays and 34 CTs make two batches of 16 a pass,
so that rows are left over in each pass; 13 validation rows fall to four processes as 4, 3, 3 and 3. Every step's
losses, its gradient's norm, and both validations must be those of one process to 1e-5. Then a checkpoint of half the
run goes on with another number of processes: two to one, one to two, two to four. A number of processes that does not
divide the batch must stop with a sentence that names one that does. The last line holds the largest differences.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from _bundle import OUTPUT, command, copy_bundles, execute
from two_processes import OPTIMIZERS, shared_reports

from monai_unimedi.data.phantom import ensure_phantom

FOLDER = OUTPUT / "ranks"
TOLERANCE = 1e-5
STEPS, PER_EPOCH, BATCH = 4, 2, 16
TRAINING, VALIDATION = {"2d": 37, "3d": 34}, {"2d": 8, "3d": 5}
TERMS = {"loss", "grad_norm", *(f"{s}_{t}" for s in TRAINING for t in ("loss_vl", "loss_icl", "loss_pcl"))}
OPTIONS = [
    *("--num_steps", str(STEPS), "--steps_per_epoch", str(PER_EPOCH), "--history_interval", "1"),
    *("--batch_2d", str(BATCH), "--batch_3d", str(BATCH), "--amp", "false", "--warmup", "0.0"),
    *("--distillation_start", "0.0", "--distillation_ramp", "0", "--save_interval", "0", "--keep_last", "9"),
]
HANDED_ON = ((2, 1), (1, 2), (2, 4))


def main() -> int:
    """Returns 0 where all runs agree."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    root = copy_bundles(FOLDER / "repository")
    lists = shared_reports(ensure_phantom(FOLDER / "phantom", 0, TRAINING, VALIDATION, 8))
    options = [*OPTIONS, "--dataset_dir", str(FOLDER / "phantom")]
    options += [word for source, path in lists.items() for word in (f"--datalist_{source}", str(path))]
    for count in (1, 2, 4):
        train(root, count, FOLDER / f"{count}", options)
    one = lines(FOLDER / "1")
    gaps = {f"{count}": largest_gap(one, lines(FOLDER / f"{count}")) for count in (2, 4)}
    for before, after in HANDED_ON:
        folder = hand_on(FOLDER / f"{before}", FOLDER / f"{before}_then_{after}")
        train(root, after, folder, options)
        gaps[folder.name.replace("_", " ")] = largest_gap(one, lines(folder))
    print(message := refusal(root, options))
    found = ", ".join(f"{name}: {gap:.1e}" for name, gap in gaps.items())
    holds = max(gaps.values()) <= TOLERANCE and "start 2 processes" in message
    print(f"ranks: largest difference from one process in {STEPS} steps and 2 validations {found}; at most {TOLERANCE}")
    return int(not holds)


def train(root: Path, count: int, folder: Path, options: list[str]) -> None:
    """One run by `count` processes; `folder.log` has what they said."""
    extra = FOLDER / "optimizer.json"
    extra.write_text(json.dumps(OPTIMIZERS["Muon in float32"]))
    several = [] if count == 1 else ["bundles/pretrain/configs/multi_gpu_train.json"]
    files = ["bundles/pretrain/configs/train.json", *several, str(extra)]
    words = command(str(files), *options, "--output_dir", str(folder), "--model_dir", str(folder / "models"))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    execute([words[0], *(launcher if count > 1 else []), *words[1:]], root, folder.with_suffix(".log"))
    print(f"{folder.name} done", flush=True)


def hand_on(before: Path, folder: Path) -> Path:
    """A folder as the run `before` left it when half of its steps were done."""
    shutil.copytree(before / "vocabulary", folder / "vocabulary")
    shutil.copy(before / f"resume_{STEPS // 2:08d}.pt", folder / "resume.pt")
    shutil.copy(before / "history.jsonl", folder / "history.jsonl")
    return folder


def lines(folder: Path) -> list[dict[str, Any]]:
    """The lines of all steps and both validations."""
    found = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    steps = [line for line in found if "loss" in line]
    if len(steps) != STEPS or len(found) != STEPS + STEPS // PER_EPOCH or any(TERMS - line.keys() for line in steps):
        raise SystemExit(f"ranks: {folder} must hold {STEPS} steps with {sorted(TERMS)} and 2 validations, got {found}")
    return found


def largest_gap(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> float:
    """Over all terms of all steps, and the validations' figures."""
    names = {*TERMS, "val_retrieval"}
    pairs = [(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in names & a.keys()]
    return max(abs(first - second) for first, second in pairs)


def refusal(root: Path, options: list[str]) -> str:
    """What three processes say about a batch of 16."""
    try:
        train(root, 3, FOLDER / "3", options)
    except SystemExit:
        said = (FOLDER / "3.log").read_text(errors="replace").splitlines()
        return next((line for line in said if "must divide the batch" in line), "")
    return ""


if __name__ == "__main__":
    sys.exit(main())
