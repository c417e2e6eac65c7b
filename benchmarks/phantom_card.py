# SPDX-License-Identifier: Apache-2.0
"""How hard the phantoms are: writes `monai_unimedi/data/phantom/difficulty_card.json`, once per version.

    python -m benchmarks.phantom_card --phantom_dir output/phantom      (about 10 minutes on two cores)

Three questions, on the demo's set. Can slices be guessed without looking (best constant slices) or by
entropy? Can findings be told from the intensity histogram alone? Does a supervised network with ten times
the data of a 10 % probe, that is every training phantom, learn them? Constants are chosen on one half of the
training split and measured, as entropy is, on the other; probes are fitted on all of it and measured on the
other two splits.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from monai_unimedi.data.phantom import LABEL_NAMES, VERSION, ensure_phantom
from monai_unimedi.precision import has_bfloat16_units

CARD = Path(__file__).parents[1] / "monai_unimedi" / "data" / "phantom" / "difficulty_card.json"
TOP = (1, 2, 4)
BINS = 64
LIMITS = {"guess_margin": 0.10, "intensity_probe": 0.65, "supervised_probe": 0.95}


def load(datalist: Path) -> dict[str, tuple[np.ndarray, list[dict[str, Any]]]]:
    """Images in [0, 1], float16, and rows of the training split and of the two others together."""
    content = json.loads(datalist.read_text())
    rows = {"fit": content["training"], "measure": content["validation"] + content["test"]}
    return {
        part: (np.stack([_read(datalist.parent / r["image"]) for r in rs]), rs) for part, rs in rows.items()
    }


def _read(path: Path) -> np.ndarray:
    if path.suffix == ".png":
        return (np.asarray(Image.open(path), np.float32).T / 255).astype(np.float16)
    volume = np.asarray(nibabel.load(path).dataobj, np.float32)
    return (np.clip((volume + 1150) / 1500, 0, 1)).astype(np.float16)


def lesion_slices(rows: list[dict[str, Any]], num_slices: int) -> np.ndarray:
    """One row per lesion on at most a quarter of the slices: (L, S) bool."""
    spans = [f["slice_range"] for row in rows for f in row["findings"] if f["side"] and f["slice_range"]]
    table = np.array([[low <= s <= high for s in range(num_slices)] for low, high in spans])
    table = table.reshape(-1, num_slices)
    return table[table.sum(axis=1) <= num_slices // 4]


def best_constant(table: np.ndarray, k: int) -> list[int]:
    """The k slices that meet most lesions, by exhaustive search."""
    return list(
        max(combinations(range(table.shape[1]), k), key=lambda c: table[:, list(c)].any(axis=1).sum())
    )


def random_hit(table: np.ndarray, k: int) -> float:
    """Expected share of lesions that k slices drawn at random meet."""
    total = table.shape[1]
    return float(np.mean([1 - math.comb(total - n, k) / math.comb(total, k) for n in table.sum(axis=1)]))


def slice_entropy(volume: np.ndarray) -> np.ndarray:
    """Entropy (nats) of each axial slice's histogram."""
    counts = np.stack([np.histogram(volume[..., s], BINS, (0, 1))[0] for s in range(volume.shape[-1])])
    share = counts / counts.sum(axis=1, keepdims=True)
    return -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1)


def guessing(parts: dict[str, tuple[np.ndarray, list[dict[str, Any]]]]) -> dict[str, Any]:
    """hit@k on small lesions of what needs no learning."""
    images, rows = parts["fit"]
    half, num_slices = len(rows) // 2, images.shape[-1]
    fit, images, rows = lesion_slices(rows[:half], num_slices), images[half:], rows[half:]
    every = lesion_slices(rows, num_slices)
    order = np.argsort(-np.stack([slice_entropy(v) for v in images]), axis=1)
    figures: dict[str, Any] = {"count": len(every), "mean_slices": float(every.sum(axis=1).mean())}
    for k in TOP:
        chosen = best_constant(fit, k)
        hits = []
        for row, ranked in zip(rows, order):
            table = lesion_slices([row], num_slices)
            hits += [bool(lesion[ranked[:k]].any()) for lesion in table]
        figures[f"hit@{k}"] = {
            "random": random_hit(every, k),
            "constant": float(every[:, chosen].any(axis=1).mean()),
            "constant_slices": chosen,
            "entropy": float(np.mean(hits)),
        }
    return figures


def labels(rows: list[dict[str, Any]]) -> np.ndarray:
    return np.array([row["label"] for row in rows])


def auroc_by_finding(truth: np.ndarray, score: np.ndarray) -> dict[str, float]:
    return {name: float(roc_auc_score(truth[:, i], score[:, i])) for i, name in enumerate(LABEL_NAMES)}


def intensity_probe(parts: dict[str, tuple[np.ndarray, list[dict[str, Any]]]]) -> dict[str, float]:
    """AUROC of a logistic regression on the whole image's histogram."""
    features = {
        part: np.stack([np.histogram(v, BINS, (0, 1))[0] for v in images])
        for part, (images, _) in parts.items()
    }
    truth = labels(parts["fit"][1])
    scores = []
    for i in range(len(LABEL_NAMES)):
        probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
        scores.append(
            probe.fit(np.sqrt(features["fit"]), truth[:, i]).predict_proba(np.sqrt(features["measure"]))[:, 1]
        )
    return auroc_by_finding(labels(parts["measure"][1]), np.stack(scores, axis=1))


class SupervisedNetwork(torch.nn.Sequential):
    """A small convolutional network; pools only at its end. (B, 1, X, Y[, Z]) to (B, 6) logits."""

    def __init__(self, spatial_dims: int) -> None:
        conv = torch.nn.Conv2d if spatial_dims == 2 else torch.nn.Conv3d
        norm = torch.nn.BatchNorm2d if spatial_dims == 2 else torch.nn.BatchNorm3d
        pool = torch.nn.AdaptiveMaxPool2d if spatial_dims == 2 else torch.nn.AdaptiveMaxPool3d
        widths = (1, 24, 48, 96, 96) if spatial_dims == 2 else (1, 16, 24, 48, 48)
        strides = ((2, 2, 1), (2, 2, 2), (2, 2, 2), (1, 1, 1))
        layers: list[torch.nn.Module] = []
        for before, after, stride in zip(widths, widths[1:], strides):
            layers += [
                conv(before, after, 3, stride[:spatial_dims], 1, bias=False),
                norm(after),
                torch.nn.ReLU(),
            ]
        layers += [pool((3, 3, 2)[:spatial_dims]), torch.nn.Flatten(), torch.nn.LazyLinear(len(LABEL_NAMES))]
        super().__init__(*layers)


def supervised_probe(
    parts: dict[str, tuple[np.ndarray, list[dict[str, Any]]]], epochs: int, seed: int = 0
) -> dict[str, float]:
    """AUROC of a network trained on all labels."""
    torch.manual_seed(seed)
    images, truth = torch.from_numpy(parts["fit"][0]), torch.from_numpy(labels(parts["fit"][1])).float()
    network = SupervisedNetwork(images.ndim - 1)
    network(images[:2, None].float())
    batch, start = 32, time.perf_counter()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=epochs * (len(images) // batch)
    )
    for _ in range(epochs):
        for rows in torch.randperm(len(images))[: len(images) // batch * batch].view(-1, batch):
            with torch.autocast("cpu", torch.bfloat16, enabled=has_bfloat16_units()):
                logits = network(images[rows, None].float())
            loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), truth[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"  {time.perf_counter() - start:.0f} s, loss {loss.item():.3f}", flush=True)
    with torch.no_grad():
        network.eval()
        score = torch.cat(
            [network(x[:, None].float()) for x in torch.from_numpy(parts["measure"][0]).split(64)]
        )
    return auroc_by_finding(labels(parts["measure"][1]), score.numpy())


def _rounded(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _rounded(value) for key, value in content.items()}
    return round(content, 4) if isinstance(content, float) else content


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phantom_dir", default="output/phantom")
    parser.add_argument("--epochs", type=int, default=6, help="of each supervised training; 0 leaves it out")
    parser.add_argument("--output", type=Path, default=CARD)
    parser.add_argument("--num_training", type=int, default=6000)
    arguments = parser.parse_args()
    paths = ensure_phantom(
        arguments.phantom_dir, num_training=arguments.num_training, show_progress=sys.stderr.isatty()
    )
    card: dict[str, Any] = {"version": VERSION, "num_training": arguments.num_training, "limits": LIMITS}
    by_finding: dict[str, Any] = {"intensity_probe": {}, "supervised_probe": {}}
    for dimension, path in paths.items():
        parts = load(path)
        if dimension == "3d":
            card["small_lesions"] = guessing(parts)
            print(json.dumps(_rounded(card["small_lesions"]), indent=1), flush=True)
        by_finding["intensity_probe"][dimension] = intensity_probe(parts)
        print(dimension, _rounded(by_finding["intensity_probe"][dimension]), flush=True)
        if arguments.epochs:
            by_finding["supervised_probe"][dimension] = supervised_probe(parts, arguments.epochs)
            print(dimension, _rounded(by_finding["supervised_probe"][dimension]), flush=True)
    for name, figures in by_finding.items():
        card[name] = {
            dimension: float(np.mean(list(values.values()))) for dimension, values in figures.items()
        }
    card["by_finding"] = by_finding
    arguments.output.write_text(json.dumps(_rounded(card), indent=2) + "\n")
    print(json.dumps(_rounded({name: card[name] for name in by_finding})))


if __name__ == "__main__":
    main()
