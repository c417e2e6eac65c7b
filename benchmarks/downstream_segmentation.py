# SPDX-License-Identifier: Apache-2.0
"""Segmentation of real images by the bundles: pre-trained and from scratch, with each decoder, and MONAI's UNETR and
UNet, at equal time.

    python -m benchmarks.downstream_segmentation [--tasks nodules lungs organs] [--seconds 300]
        [--pretrained phantom=output/demo/models/model.pt real=output/real/fold{fold}_phantom/models/model.pt]

Each arm trains for the same time on the same rows (its steps follow from the pace of a short run, measured alone) and
is judged by the bundle's evaluation on unseen patients; every patient is unseen in one of three splits, and the figures
are over the unseen images of all splits, the differences paired by image: of a pre-trained encoder to the same network
from scratch, and of each arm to MONAI's UNet. ``--pretrained NAME=PATH`` adds an arm a decoder; ``{fold}`` in a path
stands for the split, for weights that must not have seen the split's unseen patients (those of
``benchmarks/real_files.py`` have not). Writes ``results.json`` and ``tables.md`` below ``--output``; the same command
goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.bundle_command import REPOSITORY, run_bundle, steps_in, threads_of_each
from benchmarks.paired import interval, paired_mean
from benchmarks.real.arms import SCRATCH, Arm, networks_from_scratch, our_arms, steps_of_each, training_costs
from benchmarks.real.constant_mask import constant_dice
from benchmarks.real.datalists import FOLDS, xrays
from benchmarks.real.masks import ORGANS, lungs, nodules, organs, write_list
from monai_unimedi.metrics.bootstrap import bootstrap_interval

TASKS: dict[str, dict[str, Any]] = {
    "nodules": {"source": "3d", "names": ["nodule"], "options": {"spacing": [0.7, 0.7, 0.75]}, "size": [48, 48, 16]},
    "lungs": {"source": "2d", "names": ["lung"], "options": {"xray_size": 96}, "size": [96, 96]},
    "organs": {"source": "3d", "names": list(ORGANS), "options": {"spacing": [4.0, 4.0, 8.0]}, "size": [48, 48, 16]},
}
MAKE = {"nodules": nodules, "lungs": lungs, "organs": organs}
HYBRID, UNET = "hybrid decoder, ", "MONAI UNet"
SHARED = {"batch_size": 4, "device": "cpu", "exclusive": True}


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Runs what is missing, then writes the tables; returns what ``results.json`` holds, empty without real files."""
    options = parse(words)
    if not options.data.is_dir():
        print(f"skipped: no real files at {options.data}; set UNIMEDI_REAL_DATA to the folder that holds them")
        return {}
    options.output = options.output.resolve()
    results = {}
    for task in options.tasks:
        rows = MAKE[task](options.data, options.output / task)
        everybody = xrays(options.data) if task == "lungs" else rows
        folds, path = range(1 if task == "organs" else FOLDS), options.output / task
        lists = [write_list(rows, everybody, path / f"fold{f}.json", TASKS[task]["names"], f) for f in folds]
        arms = arms_of(options, task)
        steps = steps_of_each(arms, partial(pace, options, task, lists[0]))
        runs = [(options, task, arm, fold, lists[fold], steps[arm.name]) for fold in folds for arm in arms]
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda one: run(*one), runs))
        results[task] = figures(options, task, arms, lists)
        (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    text = "\n".join(table(task, found) for task, found in results.items())
    (options.output / "tables.md").write_text(text)
    print(text)
    return results


def parse(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    default = os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", type=Path, default=Path(default))
    add("--output", type=Path, default=REPOSITORY / "output" / "downstream_segmentation")
    add("--tasks", nargs="+", choices=list(TASKS), default=list(TASKS))
    add("--seconds", type=float, default=300.0, help="of training for each run")
    add("--pretrained", nargs="*", default=["phantom=output/demo/models/model.pt"], metavar="NAME=PATH")
    add("--jobs", type=int, default=1, help="trainings at a time, each on its share of the cores")
    return parser.parse_args(words)


def arms_of(options: argparse.Namespace, task: str) -> list[Arm]:
    """Our network with each decoder, and MONAI's."""
    ours = our_arms(options.pretrained, "{} encoder")
    hybrid = our_arms(options.pretrained, f"{HYBRID}{{}} encoder", HYBRID + SCRATCH, {"decoder": "hybrid"})
    size = TASKS[task]["size"]
    return ours + hybrid + networks_from_scratch(peers(len(size), len(TASKS[task]["names"]) + 1, size))


def peers(dims: int, channels: int, size: list[int]) -> dict[str, dict[str, Any]]:
    """MONAI's networks of about the size of ours."""
    strides = [2, 2, 2] if dims == 2 else [[2, 2, 2], [2, 2, 2], [2, 2, 1]]
    unet = {"spatial_dims": dims, "in_channels": 1, "out_channels": channels, "channels": [16, 32, 64, 128]}
    unetr = {"in_channels": 1, "out_channels": channels, "img_size": size, "feature_size": 16, "hidden_size": 128}
    return {
        UNET: {"_target_": "monai.networks.nets.UNet", **unet, "strides": strides, "num_res_units": 2},
        "MONAI UNETR": {
            "_target_": "monai.networks.nets.UNETR", **unetr, "mlp_dim": 512, "num_heads": 4, "spatial_dims": dims,
        },
    }  # fmt: skip


def given(task: str, datalist: Path, arm: Arm, folder: Path) -> dict[str, Any]:
    """What training and evaluation are both told."""
    names = ["background", *TASKS[task]["names"]]
    classes = {"class_names": names, "class_values": list(range(len(names))), "out_channels": len(names)}
    places = {
        "datalist": datalist,
        "dataset_dir": datalist.parent,
        "output_dir": folder,
        "model_dir": folder / "models",
    }
    return {**SHARED, **TASKS[task]["options"], **classes, **places, **arm.network}


def pace(options: argparse.Namespace, task: str, datalist: Path, arm: Arm) -> int:
    """Steps of a network in the asked time."""
    folder = options.output / task / "pace" / arm.folder
    told = {**given(task, datalist, arm, folder), "pretrained": "none"}
    return steps_in(options.seconds, bundle(task), told, folder, threads_of_each(options.jobs))


def bundle(task: str) -> str:
    """Folder of the bundle."""
    return f"segmentation_{TASKS[task]['source']}"


def folder_of(options: argparse.Namespace, task: str, arm: Arm, fold: int) -> Path:
    """Of one run."""
    return Path(options.output) / task / f"fold{fold}" / arm.folder


def run(options: argparse.Namespace, task: str, arm: Arm, fold: int, datalist: Path, steps: int) -> None:
    """Trains and judges one model, unless that is done."""
    folder, threads = folder_of(options, task, arm, fold), threads_of_each(options.jobs)
    if (folder / "metrics.json").is_file():
        return
    length = {"num_steps": steps, "steps_per_epoch": max(1, steps // 5), "history_interval": 10}
    own = {"pretrained": arm.weights(fold), "seed": fold}
    common = given(task, datalist, arm, folder)
    run_bundle(bundle(task), "train", {**common, **length, **own}, folder / "log.txt", threads)
    run_bundle(bundle(task), "evaluate", common, folder / "log.txt", threads)
    print(f"{task}, split {fold}, {arm.name}: done", flush=True)


def figures(options: argparse.Namespace, task: str, arms: Sequence[Arm], lists: Sequence[Path]) -> dict[str, Any]:
    """Dice of every arm over the unseen images of all splits, its differences, and what it cost."""
    folders = {arm.name: [folder_of(options, task, arm, fold) for fold in range(len(lists))] for arm in arms}
    found = {name: torch.cat([dice(one, TASKS[task]["names"]) for one in ones]) for name, ones in folders.items()}
    results: dict[str, Any] = {}
    if task != "organs":
        values = torch.cat([constant_dice(path, TASKS[task]["source"], TASKS[task]["size"]) for path in lists])
        results["constant mask"] = {"dice": bootstrap_interval(values[:, None].double())}
    for arm in arms:
        others = {"difference": arm.from_scratch, "to_unet": UNET}
        gain = {
            key: paired_mean(found[arm.name][None], found[name][None])
            for key, name in others.items()
            if name != arm.name
        }
        results[arm.name] = {"dice": bootstrap_interval(found[arm.name]), **gain, **training_costs(folders[arm.name])}
    return results


def dice(folder: Path, names: Sequence[str]) -> Tensor:
    """(N, F) of the cases in the order of their ids, NaN where a class is absent in truth."""
    with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
        found = {(row["id"], row["class"]): float(row["dice"] or "nan") for row in csv.DictReader(file)}
    return torch.tensor([[found[name, kind] for kind in names] for name in sorted({name for name, _ in found})])


def table(task: str, results: Mapping[str, Any]) -> str:
    """The results of one task in Markdown."""
    count = results[SCRATCH]["dice"]["count"]
    lines = [
        f"{task}, {count} unseen images:",
        "",
        f"| start | Dice | 95 % interval | minus scratch | minus {UNET} | parameters, M | steps | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm, found in results.items():
        value = found["dice"]
        gains = [interval(found[key]) if key in found else "" for key in ("difference", "to_unet")]
        cells = " | ".join([f"{value['value']:.3f}", f"{value['low']:.3f} to {value['high']:.3f}", *gains])
        costs = (
            f"{found['parameters'] / 1e6:.2f} | {found['steps']} | {found['seconds']}" if "steps" in found else "| |"
        )
        lines.append(f"| {arm} | {cells} | {costs} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
