# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page of a segmentation: images with true and predicted outlines, curves, figures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from torch import Tensor

from monai_unimedi.visualize.attention_maps import outline_path
from monai_unimedi.visualize.curves import loss_charts, number
from monai_unimedi.visualize.metric_tables import figure_text, metric_tables, plain, plain_values
from monai_unimedi.visualize.pictures import KIND, picture_data
from monai_unimedi.visualize.report_page import ASSETS, write_whole

__all__ = ["ExampleCases", "write_segmentation_page"]


class ExampleCases:
    """Keeps the cases that a page shows: call it with a decollated output; None where the case is not kept.

    Chosen without looking at a result: cases of each class in turn, the first ones, and one without any.

    Args:
        to_channels: a mask (1, X, Y[, Z]) to (C, X, Y[, Z]), 0 or 1.
        has_background: whether channel 0 is the background.
        limit: how many cases.
        image_key, label_key, pred_key: on one grid, in the display's orientation.
        threshold: of the scores under ``pred_key``, which are probabilities.
    """

    def __init__(
        self,
        to_channels: Any,
        has_background: bool,
        limit: int = 8,
        image_key: str = "image",
        label_key: str = "label_seen",
        pred_key: str = "pred_seen",
        threshold: float = 0.5,
    ) -> None:
        self.to_channels = to_channels
        self.has_background = has_background
        self.limit = limit
        self.image_key, self.label_key, self.pred_key = image_key, label_key, pred_key
        self.threshold = threshold
        self.shown: list[int] = []  # cases kept by class, and at last without any

    def __call__(self, case: Mapping[str, Any]) -> dict[str, Any] | None:
        label = self._foreground(_plain(self.to_channels(case[self.label_key])))
        self.shown = self.shown or [0] * (len(label) + 1)
        present = torch.nonzero(label.flatten(1).any(1)).flatten().tolist() or [len(label)]
        fewest = min(present, key=lambda index: self.shown[index])
        if sum(self.shown) >= self.limit or self.shown[fewest] > min(self.shown):
            return None
        self.shown[fewest] += 1
        scores = _plain(case[self.pred_key])
        found = (
            torch.nn.functional.one_hot(scores.argmax(0), len(scores)).movedim(-1, 0)
            if self.has_background
            else scores > self.threshold
        )
        image = _plain(case[self.image_key])[0].float().clamp(0, 1)
        return {"id": str(case["id"]), "image": image, "truth": label > 0, "found": self._foreground(found) > 0}

    def _foreground(self, channels: Tensor) -> Tensor:
        return channels[int(self.has_background) :]


def _plain(tensor: Any) -> Tensor:
    return torch.as_tensor(tensor).as_subclass(Tensor).detach().cpu()


def write_segmentation_page(
    path: str | os.PathLike[str],
    examples: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
    names: Sequence[str],
    history: Sequence[Mapping[str, Any]] | None = None,
    title: str = "Segmentation",
    details: Mapping[str, Any] | None = None,
    is_phantom: bool = False,
) -> Path:
    """Writes the page.

    Args:
        path: HTML file.
        examples: from `ExampleCases`.
        metrics: figures, nested.
        names: of the classes, in the order of the channels.
        history: logged steps of the training, see ``loss_charts``.
        title: heading.
        details: plain settings to list.
        is_phantom: the page says so.
    """
    environment = Environment(
        loader=FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, figure=figure_text, finding_name=lambda index, known: known[index])
    cases = [_case(index, example, names) for index, example in enumerate(examples)]
    html = environment.get_template("segmentation.html").render(
        title=title,
        is_phantom=is_phantom,
        names=[name.replace("_", " ") for name in names],
        cases=cases,
        charts=loss_charts(history),
        tables=metric_tables(metrics),
        settings={key: plain(value) for key, value in (details or {}).items()} | plain_values(metrics),
    )
    return write_whole(Path(path), html)


def _case(index: int, example: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    image, truth, found = example["image"], example["truth"], example["found"]
    width, height, slices = (*image.shape, 1)[:3]
    name = f"s{index}"
    outlines = _outlines(name, truth, found)
    lesion = [outline["slice"] for outline in outlines if outline["is_true"]]
    kind = KIND["3d" if image.ndim == 3 else "2d"]
    known = [names[i] for i in torch.nonzero(truth.flatten(1).any(1)).flatten().tolist()]
    picture = {
        "name": name, "id": example["id"], "kind": kind, "width": width, "height": height, "slices": slices,
        "slice": lesion[len(lesion) // 2] if lesion else slices // 2, "outlines": outlines, "lesion_slices": lesion,
        "chosen_slices": [], "alt": f"{kind} {example['id']}, {', '.join(known) or 'nothing to find'}",
    }  # fmt: skip
    findings = [{"colour": names.index(item), "name": item.replace("_", " "), "detail": ""} for item in known]
    dice = [
        {"colour": i, "name": item.replace("_", " "), "dice": _dice(truth[i], found[i])}
        for i, item in enumerate(names)
        if truth[i].any() or found[i].any()
    ]
    return {"picture": picture, "style": picture_data(image), "findings": findings, "dice": dice}


def _dice(one: Tensor, other: Tensor) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


def _outlines(name: str, truth: Tensor, found: Tensor) -> list[dict[str, Any]]:
    """Outlines of each slice that has one: ``paths`` of (class, kind, path)."""
    layers = [(t if t.ndim == 4 else t.unsqueeze(-1)) for t in (truth, found)]
    drawn = []
    for index in torch.nonzero((layers[0] | layers[1]).flatten(0, 2).any(0)).flatten().tolist():
        paths = [
            (number, kind, outline_path(channel[..., index]))
            for kind, layer in zip(("truth", "found"), layers)
            for number, channel in enumerate(layer)
            if bool(channel[..., index].any())
        ]
        width, height = layers[0].shape[1:3]
        is_true = any(kind == "truth" for _, kind, _ in paths)
        drawn.append(
            {
                "name": f"o{name}-{index}",
                "slice": index,
                "paths": paths,
                "width": width,
                "height": height,
                "is_true": is_true,
            }
        )
    return drawn
