# SPDX-License-Identifier: Apache-2.0
"""Images as the page holds them: each one embedded once, shown wherever its name is used.

A picture is a CSS class with two backgrounds, the image and its attention. A volume is a strip of axial
slices from top to bottom that the page scrolls, so a viewer needs one number, the slice. Displayed as
radiologists expect: X (to the patient's left) runs to the viewer's right, Y down, so the patient's right is
on the viewer's left and, in CT, anterior is up.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from monai_unimedi.visualize.attention_maps import attention_levels, attention_lift, outline_path
from monai_unimedi.visualize.cases import finding_indices, finding_name

__all__ = ["Pictures", "overlay_data", "picture_data"]

MAX_SIDE = 256
MAX_PIXELS = 600_000  # of one volume's strip; larger ones are shown smaller
MAX_LOSSLESS_PIXELS = 150_000  # PNG up to here, JPEG above
MAX_ATTENTION_SIDE = 48
NUM_LEVELS = 32
KIND = {"2d": "X-ray", "3d": "CT"}


class Pictures:
    """Collects the pictures a page uses and writes each of them once.

    Args:
        test: evaluation arrays per source.
        label_names: names of the lesion mask's bits, in order.
    """

    def __init__(self, test: Mapping[str, Mapping[str, Any]], label_names: Sequence[str]) -> None:
        self.test = test
        self.label_names = label_names
        self.by_name: dict[str, dict[str, Any]] = {}

    def __call__(self, source: str, row: int) -> dict[str, Any]:
        """What a viewer needs of one image: name, size, slices, slice to open at, outlines, description."""
        name = f"p{source}-{row}"
        if name not in self.by_name:
            self.by_name[name] = self._describe(name, source, row)
        return self.by_name[name]

    def style(self) -> str:
        """CSS rules that hold the image data of every picture asked for so far."""
        return "\n".join(self._rule(picture) for picture in self.by_name.values())

    def outlines(self) -> list[dict[str, Any]]:
        """Lesion outlines of every picture asked for so far: ``{"name", "width", "height", "paths"}``."""
        return [outline for picture in self.by_name.values() for outline in picture["outlines"]]

    def _describe(self, name: str, source: str, row: int) -> dict[str, Any]:
        arrays = self.test[source]
        image = torch.as_tensor(arrays["image"][row])[0]
        width, height, slices = (*image.shape, 1)[:3]
        mask = _optional(arrays, "lesion_mask", row)
        lesion = None if mask is None else mask.reshape(image.shape)  # with or without a channel
        attention = _optional(arrays, "attention", row)
        outlines = [] if lesion is None else self._outlines(name, lesion)
        return {
            "name": name,
            "source": source,
            "row": row,
            "id": str(arrays["id"][row]),
            "kind": KIND[source],
            "width": width,
            "height": height,
            "slices": slices,
            "slice": _opening_slice(arrays, row, slices),
            "outlines": outlines,
            "lesion_slices": [outline["slice"] for outline in outlines],
            "chosen_slices": _chosen_slices(arrays, row),
            "has_attention": attention is not None,
            "lift": None if attention is None or lesion is None else attention_lift(attention, lesion > 0),
            "alt": self._alt(arrays, source, row),
        }

    def _outlines(self, name: str, lesion: Tensor) -> list[dict[str, Any]]:
        planes = lesion.unsqueeze(-1) if lesion.ndim == 2 else lesion
        outlines = []
        for index in torch.nonzero(planes.flatten(0, 1).any(0)).flatten().tolist():
            plane = planes[..., index].int()
            paths = [
                (bit, outline_path((plane >> bit) & 1))
                for bit in range(8)
                if bool(((plane >> bit) & 1).any())
            ]
            size = {"width": plane.shape[0], "height": plane.shape[1]}
            outlines.append({"name": f"o{name}-{index}", "slice": index, "paths": paths, **size})
        return outlines

    def _alt(self, arrays: Mapping[str, Any], source: str, row: int) -> str:
        indices = finding_indices(arrays, row, self.label_names)
        names = [finding_name(index, self.label_names) for index in indices or ()]
        known = "" if indices is None else f", findings: {', '.join(names) or 'none'}"
        return f"{KIND[source]} {arrays['id'][row]}{known}"

    def _rule(self, picture: Mapping[str, Any]) -> str:
        arrays, row = self.test[picture["source"]], picture["row"]
        image = torch.as_tensor(arrays["image"][row])[0].float()
        layers = {"image": picture_data(image)}
        if picture["has_attention"]:
            layers["attention"] = overlay_data(torch.as_tensor(arrays["attention"][row]), image.shape)
        name = picture["name"]
        return "\n".join(
            f".{name} .{layer}{{background-image:url({data})}}" for layer, data in layers.items()
        )


def _optional(arrays: Mapping[str, Any], key: str, row: int) -> Tensor | None:
    return None if arrays.get(key) is None else torch.as_tensor(arrays[key][row])


def _chosen_slices(arrays: Mapping[str, Any], row: int) -> list[int]:
    chosen = _optional(arrays, "slice_indices", row)
    return [] if chosen is None else chosen.tolist()


def _opening_slice(arrays: Mapping[str, Any], row: int, slices: int) -> int:
    """The chosen slice with the highest score; the middle one where nothing was chosen."""
    chosen, scores = _chosen_slices(arrays, row), _optional(arrays, "slice_scores", row)
    if scores is None:
        return chosen[0] if chosen else slices // 2
    return max(chosen or range(slices), key=lambda index: float(scores[index]))


def _strip(image: Tensor) -> np.ndarray:
    """(X, Y) -> (Y, X); (X, Y, S) -> (S * Y, X): rows run down the screen, slices follow one another."""
    planes = image.unsqueeze(-1) if image.ndim == 2 else image
    return planes.permute(2, 1, 0).flatten(0, 1).contiguous().numpy()


def picture_data(image: Tensor, max_side: int = MAX_SIDE) -> str:
    """(X, Y[, S]) float in [0, 1] as a data URI, made smaller where it is large."""
    slices = image.shape[2] if image.ndim == 3 else 1
    limit = min(max_side, math.isqrt(MAX_PIXELS // slices))
    strip = _strip(_at_most(torch.nan_to_num(image), limit).mul(255).round().clamp(0, 255).to(torch.uint8))
    buffer = io.BytesIO()
    lossless = strip.size <= MAX_LOSSLESS_PIXELS
    if lossless:
        Image.fromarray(strip).save(buffer, "PNG", optimize=True)
    else:
        Image.fromarray(strip).save(buffer, "JPEG", quality=85)
    return _data_uri(buffer, "png" if lossless else "jpeg")


def _at_most(image: Tensor, limit: int) -> Tensor:
    """(X, Y[, S]) averaged down in-plane until its longer side is at most ``limit`` pixels."""
    scale = limit / max(image.shape[:2])
    if scale >= 1:
        return image
    size = [max(1, round(side * scale)) for side in image.shape[:2]]
    planes = (image.unsqueeze(-1) if image.ndim == 2 else image).permute(2, 0, 1).unsqueeze(1)
    smaller = F.interpolate(planes, size=size, mode="area").squeeze(1).permute(1, 2, 0)
    return smaller if image.ndim == 3 else smaller[..., 0]


def overlay_data(weights: Tensor, shape: Sequence[int]) -> str:
    """Weights of patches as a data URI to lie over an image; what is not above their mean is clear.

    Args:
        weights: (gx, gy) or (gx, gy, S), float.
        shape: of the image, (X, Y[, S]).
    """
    scale = min(1.0, MAX_ATTENTION_SIDE / max(shape[:2]))
    size = (max(1, round(shape[0] * scale)), max(1, round(shape[1] * scale)))
    picture = Image.fromarray(_strip(attention_levels(weights, size, NUM_LEVELS)))
    colours = colormaps["inferno"](np.linspace(0.3, 0.95, NUM_LEVELS))
    picture.putpalette((colours[:, :3] * 255).astype(np.uint8).tobytes())
    opacity = (np.linspace(0, 1, NUM_LEVELS) ** 0.7 * 255).astype(np.uint8)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True, transparency=opacity.tobytes())
    return _data_uri(buffer, "png")


def _data_uri(buffer: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
