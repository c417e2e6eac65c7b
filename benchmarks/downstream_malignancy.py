# SPDX-License-Identifier: Apache-2.0
"""Malignancy rating of real nodules (LIDC crops), split by patient, beside what the crop's extent alone tells.

    python benchmarks/downstream_malignancy.py --starts scratch=none phantom=output/demo/models/model.pt

The label is the radiologists' rating (Malign or Benign), not pathology. Crops are boxed as in
``benchmarks/real/datalists.py``. Every patient is unseen in one of three splits; the figures are over the unseen
crops of all splits. A start's path may hold ``{fold}``, for weights pre-trained on real crops: their text gives the
rating away, so they must not have seen the split's unseen patients (``output/real/fold{fold}_phantom/models/model.pt``
of ``benchmarks/real_files.py`` have not). Writes ``malignancy.json`` and ``malignancy.md`` below ``--output``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from downstream import REPOSITORY, command, interval
from paired import paired_auroc
from real.datalists import FOLDS, SPACING, VOXELS, ct_crops, read_manifest, split_patients
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_unimedi.metrics.bootstrap import Figure, bootstrap_statistic, weighted_auroc

CLASS = "Malign"
SIZES = {"ct_size": list(VOXELS), "spacing": list(SPACING), "ct_padding": "edge"}
EXTENT = "extent alone"


def main() -> None:
    """Runs what is missing, then writes the table; says why where there are no real files."""
    options = parse()
    data = Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not (data / "lidc_nodule_voi").is_dir():
        print(f"skipped: no real images at {data}: set UNIMEDI_REAL_DATA to the folder that holds them")
        return
    rows = rated(data, options.output / "crops")
    label = torch.tensor([row["label"] for row in rows])
    starts = dict(start.split("=", 1) for start in options.starts)
    scores = {EXTENT: torch.stack([extent_scores(rows)] * len(options.seeds))}
    for name, weights in starts.items():
        scores[name] = torch.stack([unseen_scores(options, rows, name, weights, seed) for seed in options.seeds])
    first = next(iter(starts))
    results = {
        name: {"auroc": mean_auroc(found, label), f"minus {first}": paired_auroc(found, scores[first], label)}
        for name, found in scores.items()
    }
    (options.output / "malignancy.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.output / "malignancy.md").write_text(table(results, first, rows))
    print(table(results, first, rows))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--starts", nargs="+", required=True, metavar="NAME=PATH", help="the first is what others are compared with")
    add("--output", type=Path, default=REPOSITORY / "output" / "malignancy")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--num_steps", type=int, default=200)
    add("--threads", type=int, default=max(1, (os.cpu_count() or 2)))
    return parser.parse_args()


def rated(data: Path, output: Path) -> list[dict[str, Any]]:
    """Boxed crops with ``label`` [1] for Malign and [0] for Benign."""
    manifest = read_manifest(data / "lidc_nodule_voi")
    crops = ct_crops(data, output)
    labels = [[int(row["labels"] == CLASS)] for row in manifest]
    return [
        {**{key: crop[key] for key in ("id", "image", "patient", "extent")}, "label": label}
        for crop, label in zip(crops, labels, strict=True)
    ]


def fold_of(rows: Sequence[Mapping[str, Any]], fold: int) -> list[str]:
    """The list of each row in one split."""
    parts = split_patients([dict(row) for row in rows], fold)
    return [parts[row["patient"]] for row in rows]


def unseen_scores(
    options: argparse.Namespace, rows: list[dict[str, Any]], name: str, weights: str, seed: int
) -> torch.Tensor:
    """(N, 1) probabilities of each crop by the model that has not seen its patient."""
    found: dict[str, float] = {}
    for fold in range(FOLDS):
        folder = options.output / f"fold{fold}" / f"{name}_{seed}"
        if not (folder / "metrics.json").is_file():
            places = {"output_dir": folder, "model_dir": folder / "models", "datalist": write_list(options, rows, fold)}
            given = {**places, "dataset_dir": folder, "class_names": [CLASS], **SIZES}
            path = weights.format(fold=fold)
            own = {"pretrained": path if path == "none" else Path(path).resolve(), "seed": seed}
            training = {**own, "num_steps": options.num_steps, "steps_per_epoch": 50, "augment_prob": 1.0}
            command("3d", "train", {**given, **training}, options.threads)
            command("3d", "evaluate", given, options.threads)
        content = json.loads((folder / "predictions.json").read_text())
        found |= {key: value[CLASS] for key, value in content.items()}
    return torch.tensor([[found[row["id"]]] for row in rows])


def write_list(options: argparse.Namespace, rows: Sequence[Mapping[str, Any]], fold: int) -> Path:
    """The datalist of one split."""
    content: dict[str, Any] = {"label_names": [CLASS], "training": [], "validation": [], "test": []}
    for row, section in zip(rows, fold_of(rows, fold)):
        content[section].append({key: value for key, value in row.items() if key != "extent"})
    path = options.output.resolve() / f"fold{fold}" / "datalist_3d.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content) + "\n")
    return path


def extent_scores(rows: Sequence[Mapping[str, Any]]) -> torch.Tensor:
    """(N, 1) by logistic regression on shape, spacing, extent and padding of the crop as it was in its file."""
    numbers = np.array([row["extent"] for row in rows])
    numbers = np.concatenate([numbers, np.log1p(numbers)], axis=1)
    label = np.array([row["label"][0] for row in rows])
    scores = np.zeros(len(rows))
    for fold in range(FOLDS):
        is_unseen = np.array(fold_of(rows, fold)) == "test"
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        scores[is_unseen] = model.fit(numbers[~is_unseen], label[~is_unseen]).predict_proba(numbers[is_unseen])[:, 1]
    return torch.from_numpy(scores)[:, None]


def mean_auroc(scores: torch.Tensor, label: torch.Tensor) -> Figure:
    """Mean over seeds with its 95 % interval over crops."""

    def statistic(weights: torch.Tensor) -> torch.Tensor:
        return torch.stack([weighted_auroc(one.double(), label, weights)[:, 0] for one in scores]).mean(0)

    return bootstrap_statistic(statistic, len(label))


def table(results: Mapping[str, Any], first: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The results in Markdown."""
    patients = len({row["patient"] for row in rows})
    lines = [
        f"{len(rows)} crops of {patients} patients, rated Malign or Benign; unseen patients of three splits.",
        "",
        f"| start | AUROC | 95 % interval | minus {first} |",
        "|---|---|---|---|",
    ]
    for name, found in results.items():
        auroc, gain = found["auroc"], found[f"minus {first}"]
        cells = f"{auroc['value']:.3f} | {auroc['low']:.3f} to {auroc['high']:.3f}"
        lines.append(f"| {name} | {cells} | {'' if name == first else interval(gain)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
