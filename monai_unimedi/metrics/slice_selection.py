# SPDX-License-Identifier: Apache-2.0
"""Whether the chosen slices of a CT meet its lesion, against choices that know nothing of the report.

`hit@k`: one of the k chosen slices meets the lesion. `precision@k`: the share of lesion slices among the k chosen;
with one it is hit@1. A hit rate above random alone proves nothing: the same heights in every patient can
reach it, so the best constant slices, the image's own entropy and the attention's lift on lesion patches
stand beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from monai_unimedi.metrics.lesion_mask import finding_mask, lesion_patches
from monai_unimedi.metrics.ranking import expected_hit_rate, expected_precision

__all__ = [
    "attention_lift",
    "centre_slices",
    "constant_slices",
    "is_small",
    "ranked_selection",
    "selection_hits",
    "selection_precision",
    "selector_hits",
    "slice_entropy",
    "uniform_slices",
]


def uniform_slices(num_slices: int, k: int) -> list[int]:
    """k evenly spaced slices: the middles of k equal parts of the volume."""
    return [int((i + 0.5) * num_slices / k) for i in range(k)]


def centre_slices(num_slices: int, k: int) -> list[int]:
    """k neighbouring slices round the middle of the volume."""
    start = (num_slices - k) // 2
    return list(range(start, start + k))


def constant_slices(is_lesion: Tensor, k: int) -> list[int]:
    """The k slices that together meet most lesions of another set, chosen one after the other.

    Args:
        is_lesion: (M, S) bool, lesion slices of the set to choose on, never the one to be tested.
        k: how many.

    Returns:
        Slice indices in the order of choice. Of equally good ones the slice that meets most lesions, met
        before or not, comes first.
    """
    chosen: list[int] = []
    unmet = is_lesion.any(dim=1)
    for _ in range(k):
        gain = (
            is_lesion[unmet].sum(dim=0) + is_lesion.double().mean(dim=0) / 2
        )  # the mean, below 1, breaks ties
        gain[chosen] = -1.0
        chosen.append(int(gain.argmax()))
        unmet &= ~is_lesion[:, chosen[-1]]
    return chosen


def slice_entropy(image: Tensor, num_bins: int = 64) -> Tensor:
    """Entropy (nats) of each slice's intensity histogram over [0, 1]: (N, S) from (N, 1, X, Y, S)."""
    result = torch.empty(image.shape[0], image.shape[-1], dtype=torch.float64)
    for row, volume in enumerate(image):
        slices = volume.float().movedim(-1, 0).flatten(1)
        bins = (slices * num_bins).long().clamp(0, num_bins - 1)
        counts = torch.zeros(len(slices), num_bins, dtype=torch.float64)
        counts.scatter_add_(1, bins, torch.ones_like(bins, dtype=torch.float64))
        result[row] = torch.special.entr(counts / slices.shape[1]).sum(dim=1)
    return result


def ranked_selection(is_lesion: Tensor, scores: Tensor, k: int) -> Tensor:
    """Hit of the k best slices by `scores` (N, S), ties in random order: (N,), NaN without lesion."""
    return expected_hit_rate(scores.double(), is_lesion, k)


def selection_hits(is_lesion: Tensor, indices: Sequence[int]) -> Tensor:
    """Hit of the same slices in every volume: (N,) float64, NaN for a volume without lesion."""
    hits = is_lesion[:, list(indices)].any(dim=1).double()
    return torch.where(is_lesion.any(dim=1), hits, torch.nan)


def selection_precision(is_lesion: Tensor, indices: Sequence[int]) -> Tensor:
    """Share of lesion slices among the same slices of every volume: (N,) float64, NaN for a volume without lesion."""
    share = is_lesion[:, list(indices)].double().mean(dim=1)
    return torch.where(is_lesion.any(dim=1), share, torch.nan)


def selector_hits(
    is_lesion: Tensor,
    slice_scores: Tensor | None = None,
    entropy: Tensor | None = None,
    other_lesion: Tensor | None = None,
    ks: Sequence[int] = (1, 2, 4),
) -> dict[str, dict[str, Tensor]]:
    """Every selector's hits on the same volumes.

    Args:
        is_lesion: (N, S) bool, lesion slices.
        slice_scores: (N, S) of the network; without them ``attention`` is left out.
        entropy: (N, S) of `slice_entropy`; without it ``entropy`` is left out.
        other_lesion: (M, S) bool, lesion slices to choose ``constant`` on; without them it is left out.
        ks: the k of hit@k; more than S is taken as S.

    Returns:
        By selector, ``hit@k`` and ``precision@k`` for each k, each (N,) float64, NaN for a volume without lesion.
    """
    num_slices = is_lesion.shape[1]
    rankings: Mapping[str, Tensor | None] = {
        "attention": slice_scores,
        "entropy": entropy,
        "random": torch.zeros(is_lesion.shape),
    }
    hits: dict[str, dict[str, Tensor]] = {
        name: {f"hit@{k}": ranked_selection(is_lesion, scores, k) for k in ks}
        | {f"precision@{k}": expected_precision(scores.double(), is_lesion, k) for k in ks}
        for name, scores in rankings.items()
        if scores is not None
    }
    capped = {k: min(k, num_slices) for k in ks}
    fixed = {
        "uniform": {k: uniform_slices(num_slices, c) for k, c in capped.items()},
        "centre": {k: centre_slices(num_slices, c) for k, c in capped.items()},
    }
    if other_lesion is not None:
        _check_slices(num_slices, other_lesion.shape[1])
        fixed["constant"] = {k: constant_slices(other_lesion, c) for k, c in capped.items()}
    for name, choice in fixed.items():
        hits[name] = {f"hit@{k}": selection_hits(is_lesion, choice[k]) for k in ks}
        hits[name] |= {f"precision@{k}": selection_precision(is_lesion, choice[k]) for k in ks}
    return hits


def is_small(is_lesion: Tensor) -> Tensor:
    """(N,) volumes whose lesion meets at least one and at most a quarter of the (N, S) slices."""
    count = is_lesion.sum(dim=1)
    return (count > 0) & (4 * count <= is_lesion.shape[1])


def attention_lift(attention: Tensor, lesion_mask: Tensor) -> Tensor:
    """Mean attention on lesion patches over the mean on all patches; 1 = it does not see the lesion.

    Args:
        attention: (N, gx, gy[, S]), [CLS] attention of each patch, non-negative.
        lesion_mask: (N, X, Y[, S]) uint8 bitmask; a patch with any lesion voxel is a lesion patch.

    Returns:
        (N,) float64; NaN for an image without lesion.
    """
    grid = tuple(attention.shape[1:])
    patches = lesion_patches(finding_mask(lesion_mask), grid).flatten(1).double()
    weights = attention.double().flatten(1)
    on_lesion = (weights * patches).sum(dim=1) / patches.sum(dim=1)  # 0 / 0 = NaN without lesion
    return on_lesion / weights.mean(dim=1)


def _check_slices(num_slices: int, other: int) -> None:
    if num_slices != other:
        raise ValueError(
            f"The set that the constant slices are chosen on must have {num_slices} slices a volume "
            f"as the test set, got {other}: use the same transforms for both."
        )
