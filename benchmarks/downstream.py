# SPDX-License-Identifier: Apache-2.0
"""Pre-trained against scratch on phantoms, by the bundles' own commands, paired over seeds and cases.

    python -m benchmarks.downstream --pretrained output/demo/models/model.pt

Every run trains the same architecture for the same number of steps on the same labels and is judged on the same
unseen phantoms; only the encoder's start differs (and the learning rates that the bundle takes for it). A run that is
finished is not done again, one that was killed goes on. ``--seconds 300`` trains for that time instead of the bundle's
own number of steps; ``--jobs 2`` trains two at a time, each on its share of the cores. Writes ``results.json`` and
``tables.md`` (for docs/downstream.md) below ``--output``.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from benchmarks.bundle_command import REPOSITORY, run_bundle, steps_in, threads_of_each
from benchmarks.paired import interval, paired_auroc, paired_mean, paired_pooled_dice

STARTS = ("pretrained", "scratch")
FIGURES = {"classification": "AUROC", "segmentation": "Dice over the positives"}
BESIDE = ("Dice over all", "Dice pooled")
CHECKPOINTS = 5


def main(words: list[str] | None = None) -> list[dict[str, Any]]:
    """Runs what is missing, then writes the tables; returns what ``results.json`` holds."""
    options = parse(words)
    rows = list(product(options.tasks, options.dimensions, options.fractions))
    steps = {}
    for task, dimension in product(options.tasks, options.dimensions):
        make_phantoms(options, task, dimension)
        steps[task, dimension] = length(options, task, dimension)
    runs = [(*row, seed, start, steps[row[:2]]) for row in rows for seed in options.seeds for start in STARTS]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda one: run(options, *one), runs))
    results = [compare(options, *row) for row in rows]
    (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.output / "tables.md").write_text(tables(results))
    print(tables(results))
    return results


def parse(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pretrained", type=Path, nargs="+", required=True, help="model.pt of a pre-training; one, or one a seed")
    add("--output", type=Path, default=REPOSITORY / "output" / "downstream_phantom")
    add("--tasks", nargs="+", default=list(FIGURES), choices=list(FIGURES))
    add("--dimensions", nargs="+", default=["2d", "3d"], choices=("2d", "3d"))
    add("--fractions", nargs="+", type=float, default=[1, 10], help="percent of the labels")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--seconds", type=float, help="of training for each run; without it the bundle's own number of steps")
    add("--jobs", type=int, default=1, help="trainings at a time")
    add("--decoder", help="of the segmentation; without it the bundle's own")
    add("--options", nargs="*", default=[], help="further options of train.json, such as --options num_steps=100")
    return parser.parse_args(words)


def make_phantoms(options: argparse.Namespace, task: str, dimension: str) -> None:
    """One set a task and dimension for all runs, made by a run that stops before training."""
    if not (phantoms(options, task, dimension) / "phantom.json").is_file():
        given = {"output_dir": options.output / "first", "phantom_dir": phantoms(options, task, dimension)}
        first = {"num_steps": 1, "steps_per_epoch": 1, "model_dir": options.output / "first", "resume": False}
        run_bundle(f"{task}_{dimension}", "train", {**given, **first}, options.output / "first.log", 1)


def length(options: argparse.Namespace, task: str, dimension: str) -> dict[str, int]:
    """Of every run, as options of ``train.json``: the steps that a run from scratch does in the asked time."""
    if options.seconds is None:
        return {}
    folder = options.output.resolve() / "pace" / f"{task}_{dimension}"
    told = {"pretrained": "none", "phantom_dir": phantoms(options, task, dimension)} | decoder_of(options, task)
    steps = steps_in(options.seconds, f"{task}_{dimension}", told, folder, threads_of_each(options.jobs))
    return {"num_steps": steps, "steps_per_epoch": max(1, steps // CHECKPOINTS)}


def decoder_of(options: argparse.Namespace, task: str) -> dict[str, str]:
    """What training and evaluation of a segmentation are told of it."""
    return {"decoder": options.decoder} if options.decoder and task == "segmentation" else {}


def phantoms(options: argparse.Namespace, task: str, dimension: str) -> Path:
    """Where they lie."""
    return options.output.resolve() / "phantom" / f"{task}_{dimension}"


def folder_of(options: argparse.Namespace, task: str, dimension: str, fraction: float, seed: int, start: str) -> Path:
    """Of one run."""
    return options.output.resolve() / f"{task}_{dimension}" / f"{fraction:g}" / f"{start}_{seed}"


def run(
    options: argparse.Namespace,
    task: str,
    dimension: str,
    fraction: float,
    seed: int,
    start: str,
    steps: Mapping[str, int],
) -> None:
    """Trains and judges one model, unless that is done."""
    folder = folder_of(options, task, dimension, fraction, seed, start)
    if (folder / "metrics.json").is_file():
        return
    weights = options.pretrained[options.seeds.index(seed) % len(options.pretrained)].resolve()
    places: dict[str, Any] = {"output_dir": folder, "model_dir": folder / "models"}
    places |= {"phantom_dir": phantoms(options, task, dimension)} | decoder_of(options, task)
    own = {"pretrained": weights if start == "pretrained" else "none", "label_fraction": f"{fraction:g}", "seed": seed}
    own |= steps | dict(option.split("=", 1) for option in options.options)
    bundle = f"{task}_{dimension}"
    run_bundle(bundle, "train", {**places, **own}, folder / "log.txt", threads_of_each(options.jobs))
    run_bundle(bundle, "evaluate", places, folder / "log.txt", threads_of_each(options.jobs))
    print(f"{bundle}, {fraction:g} % of the labels, seed {seed}, {start}: done", flush=True)


def compare(options: argparse.Namespace, task: str, dimension: str, fraction: float) -> dict[str, Any]:
    """Both starts' means and their paired difference, over all findings and for each."""
    names, labels = truth(phantoms(options, task, dimension) / f"datalist_{dimension}.json")
    folders = {s: [folder_of(options, task, dimension, fraction, seed, s) for seed in options.seeds] for s in STARTS}
    records = {s: [json.loads((folder / "training.json").read_text()) for folder in folders[s]] for s in STARTS}
    known = {
        "task": task, "dimension": dimension, "fraction": fraction, "seeds": len(options.seeds), "cases": len(labels),
        "steps": records["scratch"][0]["steps"],
        "seconds": {start: [record["seconds"] for record in found] for start, found in records.items()},
    }  # fmt: skip
    if task == "classification":
        label = torch.tensor(list(labels.values()))
        both = [torch.stack([probabilities(folder, list(labels), names) for folder in folders[s]]) for s in STARTS]
        return known | {"figures": {FIGURES[task]: of_auroc(both[0], both[1], label, names)}}
    cases = [torch.stack([masks(folder, list(labels), names) for folder in folders[start]]) for start in STARTS]
    dice, dice_all = ([start[..., column] for start in cases] for column in (0, 1))
    pooled = [torch.stack([start[..., 0].nan_to_num(0) * start[..., 2], start[..., 2]], -1) for start in cases]
    figures = {FIGURES[task]: of_mean(dice[0], dice[1], names), BESIDE[0]: of_mean(dice_all[0], dice_all[1], names)}
    return known | {"figures": figures | {BESIDE[1]: of_pooled(pooled[0], pooled[1], names)}}


def of_auroc(one: Tensor, other: Tensor, label: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """From probabilities (S, N, F)."""
    means = {s: [float(roc_auc_score(label, seed)) for seed in found] for s, found in zip(STARTS, (one, other))}
    found = {
        name: paired_auroc(one[:, :, i : i + 1], other[:, :, i : i + 1], label[:, i : i + 1])
        for i, name in enumerate(names)
    }
    return {"means": means, "difference": paired_auroc(one, other, label), "by_finding": found}


def of_mean(one: Tensor, other: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """From a figure of each case (S, N, F)."""
    means = {start: found.nanmean(1).mean(1).tolist() for start, found in zip(STARTS, (one, other))}
    found = {name: paired_mean(one[:, :, i : i + 1], other[:, :, i : i + 1]) for i, name in enumerate(names)}
    return {"means": means, "difference": paired_mean(one, other), "by_finding": found}


def of_pooled(one: Tensor, other: Tensor, names: Sequence[str]) -> dict[str, Any]:
    """From overlaps and sizes (S, N, F, 2)."""
    sums = {start: found.sum(1) for start, found in zip(STARTS, (one, other))}
    means = {start: (found[..., 0] / found[..., 1]).mean(1).tolist() for start, found in sums.items()}
    found = {name: paired_pooled_dice(one[:, :, i : i + 1], other[:, :, i : i + 1]) for i, name in enumerate(names)}
    return {"means": means, "difference": paired_pooled_dice(one, other), "by_finding": found}


def truth(datalist: Path) -> tuple[list[str], dict[str, list[int]]]:
    """Names of the findings, and the test rows' labels by id."""
    content = json.loads(datalist.read_text())
    return content["label_names"], {row["id"]: row["label"] for row in content["test"]}


def probabilities(folder: Path, ids: Sequence[str], names: Sequence[str]) -> Tensor:
    """(N, F) in the order of the ids and names."""
    content = json.loads((folder / "predictions.json").read_text())
    return torch.tensor([[content[name][finding] for finding in names] for name in ids])


def masks(folder: Path, ids: Sequence[str], names: Sequence[str]) -> Tensor:
    """(N, F, 3): Dice (NaN where a finding is absent in truth), Dice over all, voxels of both masks."""

    def figures(row: Mapping[str, str]) -> list[float]:
        both = float(row["voxels"]) + float(row["predicted_voxels"])
        return [float(row["dice"] or "nan"), float(row["dice_all"]), both]

    with (folder / "cases.csv").open(newline="", encoding="utf-8") as file:
        found = {(row["id"], row["class"]): figures(row) for row in csv.DictReader(file)}
    return torch.tensor([[found[name, finding] for finding in names] for name in ids])


def mean(values: Sequence[float]) -> float:
    """Over seeds."""
    return sum(values) / len(values)


def tables(results: Sequence[Mapping[str, Any]]) -> str:
    """The results in Markdown: over all findings, then for each."""
    lines = [
        "| figure | images | labels | pre-trained | from scratch | difference | steps | seconds of training |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [(name, figure, result) for result in results for name, figure in result["figures"].items()]
    for name, figure, result in rows:
        both = " | ".join(f"{mean(figure['means'][start]):.3f}" for start in STARTS)
        seconds = " and ".join(f"{mean(found):.0f}" for found in result["seconds"].values())
        cells = f"{result['dimension']} | {result['fraction']:g} % | {both} | {interval(figure['difference'])}"
        lines.append(f"| {name} | {cells} | {result['steps']} | {seconds} |")
    findings = list(rows[0][1]["by_finding"])
    lines += ["", "The difference by finding:", "", f"| figure | images | labels | {' | '.join(findings)} |"]
    lines.append("|---|---|---|" + "---|" * len(findings))
    for name, figure, result in rows:
        cells = " | ".join(interval(found) for found in figure["by_finding"].values())
        lines.append(f"| {name} | {result['dimension']} | {result['fraction']:g} % | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
