# SPDX-License-Identifier: Apache-2.0
"""Segmentation of real images by the bundles: pre-trained, from scratch, and MONAI's UNETR and UNet, at equal time.

    python benchmarks/downstream_segmentation.py [--tasks nodules lungs organs] [--seconds 300] [--folds 3]
        [--pretrained phantom=output/demo/models/model.pt ...] [--output FOLDER]

Each arm trains for the same wall time on the same rows (its steps follow from the pace of a short run) and is
judged by the bundle's evaluation on unseen patients. ``--pretrained NAME=PATH`` adds an arm, once for each. Writes
``results.json`` and prints a table; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real.masks import ORGANS, lungs, nodules, organs, write_list

from monai_unimedi.handlers.history import read_history
from monai_unimedi.metrics.bootstrap import bootstrap_interval

REPOSITORY = Path(__file__).resolve().parents[1]
TASKS: dict[str, dict[str, Any]] = {
    "nodules": {"source": "3d", "names": ["nodule"], "options": {"spacing": [0.7, 0.7, 0.75]}},
    "lungs": {"source": "2d", "names": ["lung"], "options": {"xray_size": 96}},
    "organs": {"source": "3d", "names": list(ORGANS), "options": {"spacing": [4.0, 4.0, 8.0]}},
}
MAKE = {"nodules": nodules, "lungs": lungs, "organs": organs}
PACE_STEPS = 6


def peers(source: str, channels: int, size: list[int]) -> dict[str, dict[str, Any]]:
    """MONAI's networks of about the size of ours; UNETR knows patches of 16 voxels a side, so its depth is padded."""
    dims = 2 if source == "2d" else 3
    strides = [2, 2, 2] if dims == 2 else [[2, 2, 2], [2, 2, 2], [2, 2, 1]]
    unet = {"spatial_dims": dims, "in_channels": 1, "out_channels": channels, "channels": [16, 32, 64, 128]}
    unetr = {"in_channels": 1, "out_channels": channels, "img_size": size, "feature_size": 16, "hidden_size": 128}
    return {
        "MONAI UNet": {"_target_": "monai.networks.nets.UNet", **unet, "strides": strides, "num_res_units": 2},
        "MONAI UNETR": {
            "_target_": "monai.networks.nets.UNETR", **unetr, "mlp_dim": 512, "num_heads": 4, "spatial_dims": dims,
        },
    }  # fmt: skip


def run(config: str, source: str, options: dict[str, Any], log: Path) -> None:
    """One command of the bundle.

    Raises:
        RuntimeError: When it fails.
    """
    words = [word for key, value in options.items() for word in (f"--{key}", _word(value))]
    path = f"bundles/segmentation_{source}/configs/{config}.json"
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", path, *words]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with log.open("a") as stream:
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream, check=False)
    if done.returncode:
        raise RuntimeError(f"{config} failed with status {done.returncode}, see {log}.")


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (list, dict, bool)) else str(value)


def train_and_judge(task: str, arm: str, datalist: Path, output: Path, changes: dict[str, Any], seconds: float) -> Any:
    """Metrics of one run; None of it is done again where it was done."""
    folder = output / f"{datalist.stem}_{arm.replace(' ', '_')}"
    if (folder / "metrics.json").is_file():
        return json.loads((folder / "metrics.json").read_text())
    folder.mkdir(parents=True, exist_ok=True)
    about, names = TASKS[task], ["background", *TASKS[task]["names"]]
    classes = {"class_names": names, "class_values": list(range(len(names))), "exclusive": "true"}
    options = {"datalist": datalist.resolve(), "dataset_dir": datalist.parent.resolve(), "out_channels": len(names)}
    places = {"output_dir": folder.resolve(), "model_dir": (folder / "models").resolve(), "device": "cpu"}
    shared = options | classes | about["options"] | places
    small = {"batch_size": 4, "history_interval": 1, "val_interval": 1000}
    learn = {k: v for k, v in changes.items() if k != "network_def"}
    net = {"network_def": changes["network_def"]} if "network_def" in changes else {}
    pace = {"num_steps": PACE_STEPS, "steps_per_epoch": PACE_STEPS, "resume": "false"}
    trial = {"output_dir": (folder / "pace").resolve(), "model_dir": (folder / "pace").resolve()}
    run("train", about["source"], shared | small | learn | net | pace | trial, folder / "log.txt")
    lines = [line for line in read_history(folder / "pace") if "loss" in line]
    step = (lines[-1]["seconds"] - lines[0]["seconds"]) / (len(lines) - 1)
    steps = max(4, round(0.9 * seconds / step))
    length = {"num_steps": steps, "steps_per_epoch": max(1, steps // 4), "val_interval": 1, "history_interval": 10}
    run("train", about["source"], shared | small | learn | net | length, folder / "log.txt")
    run("evaluate", about["source"], shared | net, folder / "log.txt")
    return json.loads((folder / "metrics.json").read_text())


def constant_dice(datalist: Path, source: str, size: list[int]) -> float:
    """Mean Dice of the best constant mask of the training list: what the place in the box alone tells."""
    from monai_unimedi.transforms import LoadVolumed, LoadXrayd, ScaleXrayd

    content = json.loads(datalist.read_text())

    def masks(section: str) -> torch.Tensor:
        load = LoadVolumed("label") if source == "3d" else LoadXrayd("label")
        scale = (lambda row: row) if source == "3d" else ScaleXrayd("label", size[0], mode="nearest")
        found = [torch.as_tensor(scale(load({"label": row["label"]}))["label"])[0] > 0 for row in content[section]]
        return torch.stack(found).flatten(1).float()

    training, test = masks("training"), masks("test")
    mean, best = training.mean(0), (0.0, 0.5)
    for level in np.linspace(0.05, 0.95, 19):
        best = max(best, (float(_dice(mean > level, training).mean()), float(level)))
    return float(_dice(mean > best[1], test).mean())


def _dice(mask: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    both = (others * mask.float()).sum(1)
    return 2 * both / (others.sum(1) + mask.sum()).clamp(min=1)


def main() -> None:
    """Runs what is not done, writes and prints the table."""
    default = os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(default))
    parser.add_argument("--output", type=Path, default=REPOSITORY / "output" / "downstream_segmentation")
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--pretrained", nargs="*", default=["phantom=output/demo/models/model.pt"], metavar="NAME=PATH")
    parser.add_argument("--without_peers", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"skipped: no real files at {arguments.data}; set UNIMEDI_REAL_DATA to the folder that holds them")
        return
    results = {task: one_task(task, arguments) for task in arguments.tasks}
    (arguments.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    for task, arms in results.items():
        print(f"\n{task}\n| arm | Dice, unseen | 95 % interval | runs |\n|---|---|---|---|")
        for arm, figure in arms.items():
            interval = f"{figure['low']:.3f} to {figure['high']:.3f}"
            print(f"| {arm} | {figure['value']:.3f} | {interval} | {figure['count']} |", flush=True)


def one_task(task: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Mean Dice of every arm over the folds, with an interval over folds, and the constant mask's."""
    about, output = TASKS[task], arguments.output
    rows = MAKE[task](arguments.data, output / task)
    size = [about["options"]["xray_size"]] * 2 if about["source"] == "2d" else [48, 48, 16]
    arms: dict[str, dict[str, Any]] = {"scratch": {"layer_decay": 1.0}}
    for word in arguments.pretrained:
        name, path = word.split("=", 1)
        arms[f"{name} encoder"] = {"pretrained": Path(path).resolve()}
    if not arguments.without_peers:
        found = peers(about["source"], len(about["names"]) + 1, size)
        arms |= {name: {"network_def": net, "layer_decay": 1.0} for name, net in found.items()}
    scores: dict[str, list[float]] = {}
    for fold in range(1 if task == "organs" else arguments.folds):
        datalist = write_list(rows, output / f"{task}{fold}.json", about["names"], fold)
        if task != "organs":
            scores.setdefault("constant mask", []).append(constant_dice(datalist, about["source"], size))
        for arm, changes in arms.items():
            options = {"pretrained": "none", "seed": fold} | changes
            metrics = train_and_judge(task, arm, datalist, output, options, arguments.seconds)
            scores.setdefault(arm, []).append(metrics["segmentation"]["dice_positives"]["value"])
    return {arm: bootstrap_interval(torch.tensor(values)) for arm, values in scores.items()}


if __name__ == "__main__":
    main()
