# SPDX-License-Identifier: Apache-2.0
"""Sentences of a report beside the places they lead to: slices of a CT as a table, patches of an X-ray as pictures.

Colour is the sentence's score above the mean of its scores over all places, on one scale for all sentences of an
image: a sentence that is about nothing in particular stays pale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_unimedi.visualize.cases import finding_name
from monai_unimedi.visualize.pictures import overlay_data

__all__ = ["sentence_rows"]


def sentence_rows(
    arrays: Mapping[str, Any], row: int, label_names: Sequence[str], show_text: bool
) -> list[dict[str, Any]]:
    """The grounded sentences of one image for display.

    Args:
        arrays: evaluation arrays of one source, with `grounding` where sentences were grounded: by row,
            ``{"sentence", "finding", "scores"}`` each, `scores` being (S,) or (gx, gy).
        row: the image.
        label_names: names of the lesion mask's bits, in order.
        show_text: with the sentences; otherwise their numbers.

    Returns:
        ``{"words", "colour", "name", "cells", "overlay", "peak", "best"}`` each; none where nothing was grounded.
        `cells`, of a CT, are ``{"slice", "strength", "edges"}``: `strength` in [0, 1], `edges` the borders of the
        true lesion's range; `overlay`, of an X-ray, is a picture as a data URI, to be shown as strongly as `peak`,
        the largest strength, says. `best` is the place of the best score.
    """
    sentences = (arrays.get("grounding") or {}).get(row, ())
    strengths = _strengths([one["scores"] for one in sentences])
    rows = []
    for number, (one, strength) in enumerate(zip(sentences, strengths), start=1):
        finding = one.get("finding")
        is_volume = strength.ndim == 1
        rows.append(
            {
                "words": one["sentence"] if show_text else f"sentence {number}",
                "colour": finding,
                "name": None if finding is None else finding_name(finding, label_names),
                "cells": _cells(strength, _true_slices(arrays, row, finding)) if is_volume else None,
                "overlay": None if is_volume else overlay_data(strength, arrays["image"][row][0].shape),
                "peak": float(strength.max()),
                "best": int(one["scores"].argmax()),
            }
        )
    return rows


def _strengths(scores: Sequence[Tensor]) -> list[Tensor]:
    """Scores above their sentence's mean, the best of all sentences being 1."""
    above = [(values.float() - values.float().mean()).clamp(min=0) for values in scores]
    best = max((float(values.max()) for values in above), default=0.0)
    return [values / best if best > 0 else values for values in above]


def _true_slices(arrays: Mapping[str, Any], row: int, finding: int | None) -> list[int]:
    mask = arrays.get("lesion_mask")
    if mask is None or finding is None:
        return []
    return torch.nonzero(((torch.as_tensor(mask[row]).int() >> finding) & 1).flatten(0, 1).any(0)).flatten().tolist()


def _cells(strength: Tensor, true: Sequence[int]) -> list[dict[str, Any]]:
    """One cell a slice; the cells of the lesion's range carry its outline."""
    cells = []
    for index, value in enumerate(strength.tolist()):
        edges = ["lesion", *(name for name, next_ in (("first", -1), ("last", 1)) if index + next_ not in true)]
        cells.append({"slice": index, "strength": value, "edges": " ".join(edges) if index in true else ""})
    return cells
