# SPDX-License-Identifier: Apache-2.0
"""Malignancy rating of real nodules (LIDC crops), split by patient, beside what the crop's extent alone tells.

    python -m benchmarks.downstream_malignancy
        [--pretrained phantom=output/demo/models/model.pt real=output/real/fold{fold}_phantom/models/model.pt]

The label is the radiologists' rating (Malign or Benign), not pathology. Crops are boxed as in
``benchmarks/real/datalists.py``. Every patient is unseen in one of three splits; the figures are over the unseen
crops of all splits. A path may hold ``{fold}``, for weights pre-trained on real crops: their text gives the rating
away, so they must not have seen the split's unseen patients (those of ``benchmarks/real_files.py`` have not). Beside
them MONAI's ResNet of like size, from scratch. Each arm trains for the same time (its steps follow from the pace of a
short run, measured alone). Writes ``results.json`` and ``tables.md`` below ``--output``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.bundle_command import REPOSITORY, run_bundle, steps_in, threads_of_each
from benchmarks.paired import interval, paired_auroc
from benchmarks.real.arms import SCRATCH, Arm, networks_from_scratch, our_arms, steps_of_each, training_costs
from benchmarks.real.datalists import FOLDS, SPACING, VOXELS, ct_crops, read_manifest, split_patients
from monai_unimedi.metrics.bootstrap import Figure, bootstrap_statistic, weighted_auroc

BUNDLE, CLASS, EXTENT = "classification_3d", "Malign", "extent alone"
SIZES = {"ct_size": list(VOXELS), "spacing": list(SPACING), "ct_padding": "edge"}
RESNET = {
    "_target_": "monai.networks.nets.ResNet", "block": "basic", "layers": [1, 1, 1, 1],
    "block_inplanes": [16, 32, 64, 128], "spatial_dims": 3, "n_input_channels": 1, "num_classes": 1,
}  # fmt: skip
PEERS = {"MONAI ResNet": RESNET}
Rows = Sequence[Mapping[str, Any]]


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Runs what is missing, then writes the tables; returns what ``results.json`` holds, empty without real files."""
    options = parse(words)
    data = Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (data / "lidc_nodule_voi").is_dir():
        print(f"skipped: no real files at {data}; set UNIMEDI_REAL_DATA to the folder that holds them")
        return {}
    options.output = options.output.resolve()
    rows = rated(data, options.output / "crops")
    lists = [write_list(options.output, rows, fold) for fold in range(FOLDS)]
    arms = our_arms(options.pretrained) + networks_from_scratch(PEERS)
    steps = steps_of_each(arms, partial(pace, options, lists[0]))
    runs = [(options, arm, fold, lists[fold], steps[arm.name]) for fold in range(FOLDS) for arm in arms]
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(lambda one: run(*one), runs))
    scores = {EXTENT: extent_scores(rows)} | {arm.name: unseen_scores(options.output, rows, arm) for arm in arms}
    label = torch.tensor([row["label"] for row in rows])
    results: dict[str, Any] = {
        name: {"auroc": auroc(found, label), "difference": paired_auroc(found[None], scores[SCRATCH][None], label)}
        for name, found in scores.items()
    }
    for arm in arms:
        results[arm.name] |= training_costs([folder_of(options.output, arm, fold) for fold in range(FOLDS)])
    (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.output / "tables.md").write_text(table(results, rows))
    print(table(results, rows))
    return results


def parse(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pretrained", nargs="*", default=["phantom=output/demo/models/model.pt"], metavar="NAME=PATH")
    add("--output", type=Path, default=REPOSITORY / "output" / "downstream_malignancy")
    add("--seconds", type=float, default=300.0, help="of training for each run")
    add("--jobs", type=int, default=1, help="trainings at a time, each on its share of the cores")
    return parser.parse_args(words)


def rated(data: Path, output: Path) -> list[dict[str, Any]]:
    """Boxed crops with ``label`` [1] for Malign and [0] for Benign."""
    labels = [[int(row["labels"] == CLASS)] for row in read_manifest(data / "lidc_nodule_voi")]
    kept = ("id", "image", "patient", "extent")
    crops = ct_crops(data, output)
    return [{**{k: crop[k] for k in kept}, "label": label} for crop, label in zip(crops, labels, strict=True)]


def write_list(output: Path, rows: Rows, fold: int) -> Path:
    """The datalist of one split."""
    content: dict[str, Any] = {"label_names": [CLASS], "training": [], "validation": [], "test": []}
    for row, section in zip(rows, sections(rows, fold)):
        content[section].append({key: value for key, value in row.items() if key != "extent"})
    path = output / f"fold{fold}" / "datalist_3d.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) + "\n")
    return path


def sections(rows: Rows, fold: int) -> list[str]:
    """The list of each row in one split."""
    parts = split_patients([dict(row) for row in rows], fold)
    return [parts[row["patient"]] for row in rows]


def pace(options: argparse.Namespace, datalist: Path, arm: Arm) -> int:
    """Steps of a network in the asked time."""
    folder = options.output / "pace" / arm.folder
    return steps_in(options.seconds, BUNDLE, given(arm, 0, datalist), folder, threads_of_each(options.jobs))


def given(arm: Arm, fold: int, datalist: Path) -> dict[str, Any]:
    """What training is told of one arm, less its length and its folders."""
    return {**shared(arm, datalist), "pretrained": arm.weights(fold), "seed": fold, "augment_prob": 1.0}


def shared(arm: Arm, datalist: Path) -> dict[str, Any]:
    """What training and evaluation are both told."""
    return {"datalist": datalist, "dataset_dir": datalist.parent, "class_names": [CLASS], **SIZES, **arm.network}


def folder_of(output: Path, arm: Arm, fold: int) -> Path:
    """Of one run."""
    return output / f"fold{fold}" / arm.folder


def run(options: argparse.Namespace, arm: Arm, fold: int, datalist: Path, steps: int) -> None:
    """Trains and judges one model, unless that is done."""
    folder, threads = folder_of(options.output, arm, fold), threads_of_each(options.jobs)
    if (folder / "metrics.json").is_file():
        return
    places, log = {"output_dir": folder, "model_dir": folder / "models"}, folder / "log.txt"
    length = {"num_steps": steps, "steps_per_epoch": max(1, steps // 5)}
    run_bundle(BUNDLE, "train", {**given(arm, fold, datalist), **places, **length}, log, threads)
    run_bundle(BUNDLE, "evaluate", {**shared(arm, datalist), **places}, log, threads)
    print(f"split {fold}, {arm.name}: done", flush=True)


def unseen_scores(output: Path, rows: Rows, arm: Arm) -> torch.Tensor:
    """(N, 1) probability of each crop by the model that has not seen its patient."""
    found: dict[str, float] = {}
    for fold in range(FOLDS):
        content = json.loads((folder_of(output, arm, fold) / "predictions.json").read_text())
        found |= {key: value[CLASS] for key, value in content.items()}
    return torch.tensor([[found[row["id"]]] for row in rows])


def extent_scores(rows: Rows) -> torch.Tensor:
    """(N, 1) by logistic regression on shape, spacing, extent and padding of the crop as it was in its file."""
    numbers = np.array([row["extent"] for row in rows])
    numbers = np.concatenate([numbers, np.log1p(numbers)], axis=1)
    label = np.array([row["label"][0] for row in rows])
    scores = np.zeros(len(rows))
    for fold in range(FOLDS):
        is_unseen = np.array(sections(rows, fold)) == "test"
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        scores[is_unseen] = model.fit(numbers[~is_unseen], label[~is_unseen]).predict_proba(numbers[is_unseen])[:, 1]
    return torch.from_numpy(scores)[:, None]


def auroc(scores: torch.Tensor, label: torch.Tensor) -> Figure:
    """With its 95 % interval over crops."""
    return bootstrap_statistic(lambda weights: weighted_auroc(scores.double(), label, weights)[:, 0], len(label))


def table(results: Mapping[str, Any], rows: Rows) -> str:
    """The results in Markdown."""
    patients = len({row["patient"] for row in rows})
    lines = [
        f"{len(rows)} crops of {patients} patients, rated Malign or Benign; unseen patients of three splits.",
        "",
        f"| start | AUROC | 95 % interval | minus {SCRATCH} | parameters, M | steps | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in results.items():
        value, gain = found["auroc"], interval(found["difference"]) if name != SCRATCH else ""
        spent = (
            f"{found['parameters'] / 1e6:.2f} | {found['steps']} | {found['seconds']}" if "steps" in found else "| |"
        )
        cells = f"{value['value']:.3f} | {value['low']:.3f} to {value['high']:.3f} | {gain}"
        lines.append(f"| {name} | {cells} | {spent} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
