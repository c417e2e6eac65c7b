# SPDX-License-Identifier: Apache-2.0
"""Acceptance 4: two processes with half the batch each train as one process with the whole batch.

    python tests/acceptance/two_processes.py

The bundle trains on phantoms, in single precision, whose reports are shared: 32 rows have 4 texts, so that
every row of a batch of 16 has partners that are not its negatives, on its own rank and on the other. All the
method is on from the first step: masks, slice selection (scores kept for two of three visits), distillation
with its centres, teacher. Two gloo processes are started by torchrun with ``multi_gpu_train.json``. The
losses of each step must agree to 1e-5 up to three steps on, and with them the gradient's norm and the scores
of the slices. The last line holds the largest difference.

Trained three times: by plain gradient descent, which lets a gradient of the wrong size show; by the shipped
optimizer with Muon's iteration in single precision, as on CPUs without units for bfloat16; and with PyTorch's own
in bfloat16, for information: that turns the last digit of a gradient into the third of an update.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

from _bundle import OUTPUT, command, copy_bundles, execute, load

from monai_unimedi.data.phantom import ensure_phantom

FOLDER = OUTPUT / "two_processes"
TOLERANCE = 1e-5
STEPS, TEXTS, ROWS, BATCH = 4, 4, 32, 16
CONFIGS = "bundles/pretrain/configs"
TRAINING = [
    *("--num_steps", str(STEPS), "--steps_per_epoch", str(STEPS)),
    *("--batch_2d", str(BATCH), "--batch_3d", str(BATCH), "--amp", "false", "--history_interval", "1"),
    *("--distillation_start", "0.0", "--distillation_ramp", "0", "--warmup", "0.0"),
    *("--clip_norm", "1.0"),
]
DESCENT = {
    "_target_": "torch.optim.SGD",
    "params": "$[parameter for parameter in @network.parameters() if parameter.requires_grad]",
    "lr": 0.3,
}


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "gradient descent": {"optimizer": DESCENT},
    "Muon in float32": {"optimizer#float32_iteration": True},
    "Muon in bfloat16": {"optimizer#float32_iteration": False},
}


def main() -> int:
    """Trains with each optimizer; returns 0 where the losses agree."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    root = copy_bundles(FOLDER / "repository")
    phantoms = ensure_phantom(FOLDER / "phantom", num_training=ROWS, num_validation=8, num_test=8)
    options = [*TRAINING]
    for source, path in shared_reports(phantoms).items():
        options += [f"--datalist_{source}", str(path)]
    gaps = {}
    for name, overlay in OPTIMIZERS.items():
        print(name)
        gaps[name] = train_twice(root, FOLDER / name.replace(" ", "_"), options, overlay)
    holds = all(max(gaps[name]) <= TOLERANCE for name in list(OPTIMIZERS)[:2])
    found = "; ".join(f"{loss:.1e} (slice scores {scores:.1e}) by {name}" for name, (loss, scores) in gaps.items())
    print(f"two processes: losses of {STEPS} steps differ at most by {found}; the first two at most {TOLERANCE:.0e}")
    return int(not holds)


def train_twice(root: Path, folder: Path, options: list[str], overlay: dict[str, Any]) -> tuple[float, float]:
    """By one process and by two; returns the largest differences of a loss and of a slice score."""
    one, two = (folder / name for name in ("one", "two"))
    folder.mkdir(parents=True)
    extra = folder / "optimizer.json"
    extra.write_text(json.dumps(overlay))
    train, several = f"{CONFIGS}/train.json", f"{CONFIGS}/multi_gpu_train.json"
    words = command(f"['{train}','{extra}']", *options, *folders(one))
    execute(words, root, folder / "one.log")
    words = command(f"['{train}','{several}','{extra}']", *options, *folders(two))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    execute([words[0], *launcher, *words[1:]], root, folder / "two.log")
    return compare(history(one), history(two)), compare_scores(one, two)


def shared_reports(datalists: dict[str, Path]) -> dict[str, Path]:
    """The lists again, with so few different reports that every batch holds equal ones."""
    written = {}
    for source, path in datalists.items():
        content = json.loads(Path(path).read_text())
        rows = content["training"]
        content["training"] = [{**row, "report": rows[i % TEXTS]["report"]} for i, row in enumerate(rows)]
        written[source] = Path(path).with_name(f"shared_{source}.json")
        written[source].write_text(json.dumps(content))
    return written


def folders(output: Path) -> list[str]:
    data = ["--dataset_dir", str(FOLDER / "phantom")]
    return ["--output_dir", str(output), "--model_dir", str(output / "models"), *data]


def history(folder: Path) -> list[dict[str, Any]]:
    """The lines of the training steps."""
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def compare(one: list[dict[str, Any]], two: list[dict[str, Any]]) -> float:
    """The largest difference of a loss's term; every line must hold all terms of all sources, and move."""
    needed = {f"{source}_{term}" for source in ("2d", "3d") for term in ("loss_vl", "loss_icl", "loss_pcl")}
    terms = {"loss", "grad_norm", *needed}
    if len(one) != STEPS or len(two) != STEPS or any(terms - line.keys() for line in one + two):
        raise SystemExit(f"two processes: each of {STEPS} lines must hold {sorted(terms)}, got {one}, {two}")
    if len({line["loss"] for line in one}) < STEPS:
        raise SystemExit("two processes: the loss must change from step to step")
    for first, second in zip(one, two):
        gaps = {name: abs(first[name] - second[name]) for name in sorted(terms)}
        print(f"step {first['step']}:", *(f"{name} {gap:.1e}" for name, gap in gaps.items()), flush=True)
    return max(abs(first[name] - second[name]) for first, second in zip(one, two) for name in terms)


def compare_scores(one: Path, two: Path) -> float:
    """The largest difference between the kept slice scores of the CTs, as a share of the largest score."""
    states = [load(folder / "resume.pt")["trainer"] for folder in (one, two)]
    caches = [state["selection_cache"]["scores"]["3d"] for state in states]
    if caches[0].shape != caches[1].shape:
        return math.inf
    return float((caches[0] - caches[1]).abs().max() / caches[0].abs().max())


if __name__ == "__main__":
    sys.exit(main())
