# SPDX-License-Identifier: Apache-2.0
"""Both dimensions' embeddings in the plane: principal components, and t-SNE beside it.

Principal components keep distances, so a gap between X-rays and CTs shows as a gap; t-SNE keeps neighbours
and says nothing about distance. Both are deterministic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from monai_unimedi.visualize.cases import finding_indices

__all__ = ["embedding_maps"]

SIZE, MARGIN = 480, 16
MAX_POINTS_PER_SOURCE = 600
MIN_POINTS_FOR_TSNE = 20


def embedding_maps(test: Mapping[str, Mapping[str, Any]], label_names: Sequence[str]) -> list[dict[str, Any]]:
    """Maps of every source's ``image_embedding``.

    Returns:
        ``{"title", "note", "size", "points"}`` each; a point has ``x``, ``y``, ``source``, ``id`` and
        ``findings`` (positions in ``label_names``, None where unknown). Empty where there are fewer than
        three embeddings.
    """
    cases = [(source, row) for source, arrays in test.items() for row in _rows(arrays)]
    if len(cases) < 3:
        return []
    rows = [torch.as_tensor(test[source]["image_embedding"][row]).float().numpy() for source, row in cases]
    findings = [finding_indices(test[source], row, label_names) for source, row in cases]
    return [
        {"title": title, "note": note, "size": SIZE, "points": _points(cases, findings, _fit(plane), test)}
        for title, note, plane in _planes(np.nan_to_num(np.stack(rows)), num_sources=len(test))
    ]


def _planes(embeddings: np.ndarray, num_sources: int) -> list[tuple[str, str, np.ndarray]]:
    """(title, note, (N, 2)) of each projection."""
    pca = PCA(n_components=2, svd_solver="full")
    components = pca.fit_transform(embeddings)
    share = 100 * float(np.nan_to_num(pca.explained_variance_ratio_).sum())
    gap = "; a gap between the dimensions would show here" if num_sources > 1 else ""
    planes = [("Principal components", f"{share:.0f} % of the variance{gap}", components)]
    if len(embeddings) >= MIN_POINTS_FOR_TSNE:
        perplexity = min(30.0, (len(embeddings) - 1) / 4)
        tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=0)
        with threadpool_limits(limits=1):  # so small that threads only wait, and the same on every machine
            neighbours = tsne.fit_transform(embeddings)
        planes.append(("t-SNE", "neighbours are kept; distances between groups mean nothing", neighbours))
    return planes


def _rows(arrays: Mapping[str, Any]) -> list[int]:
    """Every row, or MAX_POINTS_PER_SOURCE of them evenly spaced."""
    total = len(arrays["id"])
    count = min(total, MAX_POINTS_PER_SOURCE)
    return [index * total // count for index in range(count)]


def _fit(plane: np.ndarray) -> np.ndarray:
    """Moves and scales the plane, both axes alike, into the drawing."""
    centred = plane - (plane.max(0) + plane.min(0)) / 2
    reach = float(np.abs(centred).max()) or 1.0
    return SIZE / 2 + centred / reach * (SIZE / 2 - MARGIN)


def _points(
    cases: Sequence[tuple[str, int]],
    findings: Sequence[list[int] | None],
    plane: np.ndarray,
    test: Mapping[str, Mapping[str, Any]],
) -> list[dict[str, Any]]:
    return [
        {
            "x": float(x),
            "y": float(y),
            "source": source,
            "findings": found,
            "id": str(test[source]["id"][row]),
        }
        for (source, row), found, (x, y) in zip(cases, findings, plane)
    ]
