# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of docs/evidence.md from a finished run's folder into docs/images.

    python docs/make_evidence_pictures.py [--run output/evidence/long/full_0_bfloat16]

``evidence_attention.png``: the first test CTs whose slice of largest score meets the lesion, and the first where it
does not, in the order of the list, so that nobody has chosen among them. ``evidence_maps.png``: embeddings of both
dimensions before and after training. ``evidence_training.png``: hit@1 over training, from
``benchmarks/phantom/over_training.csv`` where that is there.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import nibabel
import numpy as np
import torch
from monai.bundle import ConfigParser
from PIL import Image
from torch import Tensor

from monai_unimedi.encoder import ImageTextEncoder, load_encoder
from monai_unimedi.visualize.attention_maps import attention_on_grid
from monai_unimedi.visualize.embedding_map import embedding_maps

REPOSITORY = Path(__file__).resolve().parents[1]
NUM_SHOWN = 4
Rows = Sequence[Mapping[str, Any]]


def main(words: list[str] | None = None) -> None:
    """Draws what the run allows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=REPOSITORY / "output" / "evidence" / "long" / "full_0_bfloat16")
    parser.add_argument("--images", type=Path, default=REPOSITORY / "docs" / "images")
    over_training = REPOSITORY / "benchmarks" / "phantom" / "over_training.csv"
    parser.add_argument("--over_training", type=Path, default=over_training)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    options.images.mkdir(parents=True, exist_ok=True)
    encoder, phantoms = load_encoder(options.run / "models"), options.run.parent / "phantom"
    lists = {s: json.loads((phantoms / f"datalist_{s}.json").read_text(encoding="utf-8")) for s in ("2d", "3d")}
    test = {source: found["test"] for source, found in lists.items()}
    images = {s: torch.stack([encoder.read(phantoms / row["image"]) for row in rows]) for s, rows in test.items()}
    masks = np.stack([lesion(phantoms, row, images["3d"].shape[2:]) for row in test["3d"]])
    draw_attention(encoder, images["3d"], masks, options.images / "evidence_attention.png")
    draw_maps(options.run, encoder, images, test, lists["2d"]["label_names"], options.images / "evidence_maps.png")
    if options.over_training.is_file():
        draw_training(options.over_training, options.images / "evidence_training.png")


def lesion(phantoms: Path, row: Mapping[str, Any], shape: Sequence[int]) -> np.ndarray:
    """(X, Y, S) bool on the network's grid, which is the phantom's own."""
    mask = np.asarray(nibabel.load(phantoms / row["lesion_mask"]).dataobj) > 0  # type: ignore[attr-defined]
    if mask.shape != tuple(shape):
        raise ValueError(f"The masks must be on the grid {tuple(shape)} of the network, got {mask.shape}.")
    return mask


@torch.inference_mode()
def draw_attention(encoder: ImageTextEncoder, images: Tensor, masks: np.ndarray, path: Path) -> None:
    """Above where it finds the lesion, below where it fails; each CT by its chosen and its largest lesion slice."""
    attention = torch.cat([encoder.network.attention_map(part) for part in images.split(32)])  # (N, gx, gy, S)
    scores = torch.cat([encoder.network.slice_scores(part) for part in images.split(32)]).numpy()
    is_lesion = np.asarray(masks.any(axis=(1, 2)))  # (N, S)
    with_lesion = np.flatnonzero(is_lesion.any(axis=1))
    is_hit = is_lesion[with_lesion, scores[with_lesion].argmax(1)]
    groups = {
        f"found ({is_hit.sum()} of {len(is_hit)})": with_lesion[is_hit][:NUM_SHOWN],
        f"missed ({(~is_hit).sum()} of {len(is_hit)})": with_lesion[~is_hit][:NUM_SHOWN],
    }
    figure, axes = plt.subplots(2, 2 * NUM_SHOWN, figsize=(12, 3.4), layout="constrained")
    for line, (title, rows) in zip(axes, groups.items()):
        for place, row in enumerate(rows):
            seen = int(scores[row].argmax())
            true = int(np.where(is_lesion[row], masks[row].sum(axis=(0, 1)), -1).argmax())
            for axis, index, name in zip(line[2 * place :], (seen, true), ("chosen", "lesion")):
                _slice(axis, images[row, 0, :, :, index], attention[row], masks[row, :, :, index], index)
                axis.set_title(f"{name}: slice {index}", fontsize=7)
        line[0].set_ylabel(title, fontsize=8)
    _save(figure, path)


def _slice(axis: Any, image: Tensor, attention: Tensor, mask: np.ndarray, index: int) -> None:
    """One slice; red where attention is above its mean over the volume, as opaque as it is strong; the lesion's outline
    in yellow. The patient's right is on the viewer's left."""
    excess = attention_on_grid(attention - attention.mean(), (image.shape[0], image.shape[1])).clamp(min=0)
    axis.imshow(image.T, cmap="gray", vmin=0, vmax=1)
    opacity = (0.7 * excess / excess.max().clamp(min=1e-12))[..., index].T
    axis.imshow(np.ones(image.T.shape), cmap="Reds", vmin=0, vmax=1.3, alpha=opacity.numpy())
    if mask.any():
        axis.contour(mask.T, levels=[0.5], colors="yellow", linewidths=0.8)
    axis.set_xticks([])
    axis.set_yticks([])


def draw_maps(
    run: Path,
    encoder: ImageTextEncoder,
    images: Mapping[str, Tensor],
    test: Mapping[str, Rows],
    label_names: Sequence[str],
    path: Path,
) -> None:
    """Principal components and t-SNE, of an untrained network of the same shape and of the run's."""
    card = json.loads((run / "models" / "encoder.json").read_text(encoding="utf-8"))
    torch.manual_seed(0)
    untrained = ConfigParser({"network_def": card["network_def"]}).get_parsed_content("network_def")
    before = ImageTextEncoder(untrained, {}, run / "models" / "text")
    figure, axes = plt.subplots(2, 2, figsize=(7, 7.6), layout="constrained")
    for column, (title, network) in zip(axes.T, {"before training": before, "after": encoder}.items()):
        maps = embedding_maps(embedded(network, images, test), label_names)
        for axis, found in zip(column, maps):
            _points(axis, found["points"], label_names)
            axis.set_title(f"{found['title']}, {title}", fontsize=9)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), fontsize=7, loc="outside lower center", ncols=4)
    _save(figure, path)


def embedded(
    encoder: ImageTextEncoder, images: Mapping[str, Tensor], test: Mapping[str, Rows]
) -> dict[str, dict[str, Any]]:
    """Evaluation arrays, as far as a map needs them."""
    found = {}
    for source, rows in test.items():
        parts = [encoder.embed(list(part))[0] for part in images[source].split(32)]
        label = torch.tensor([row["label"] for row in rows])
        found[source] = {"image_embedding": torch.cat(parts), "label": label, "id": [row["id"] for row in rows]}
    return found


def _points(axis: Any, points: Sequence[Mapping[str, Any]], label_names: Sequence[str]) -> None:
    """Colour by finding, where there is exactly one; form by dimension."""
    for source, marker in {"2d": "o", "3d": "^"}.items():
        for index, name in enumerate(label_names):
            own = [p for p in points if p["source"] == source and p["findings"] == [index]]
            title = f"{name.replace('_', ' ')}, {'X-ray' if source == '2d' else 'CT'}"
            axis.scatter(
                [p["x"] for p in own], [p["y"] for p in own], s=9, marker=marker, color=f"C{index}", label=title
            )
    axis.set_xticks([])
    axis.set_yticks([])


def draw_training(results: Path, path: Path) -> None:
    """hit@1 of all and of small lesions over the steps, row by row, beside random and the best constant slices."""
    with results.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    rivals = {"random": "grey", "constant": "black"}
    rows = list(dict.fromkeys(line["row"] for line in lines))
    colours = rivals | {row: f"C{number}" for number, row in enumerate(rows)}
    for axis, subset in zip(axes, ("all", "small")):
        curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for line in lines:
            for name in ("attention", *rivals):
                if line["figure"] == f"slice_selection.{subset}.{name}.hit@1":
                    title = line["row"] if name == "attention" else name
                    curves[title].append((int(line["steps"]), float(line["value"])))
        for title, points in curves.items():
            style = ":" if title in rivals else "-"
            marker = None if title in rivals else "."
            axis.plot(*zip(*sorted(set(points))), style, marker=marker, color=colours[title], label=title)
        axis.set_title(f"hit@1, {subset} lesions", fontsize=9)
        axis.set_xlabel("step", fontsize=8)
        axis.set_ylim(0, 1)
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="outside lower center", ncols=4)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=80)
    plt.close(figure)
    with Image.open(path) as drawn:
        drawn.convert("RGB").quantize(64).save(path, optimize=True)  # a fifth of the size
    print(path)


if __name__ == "__main__":
    main()
