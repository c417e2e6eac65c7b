# SPDX-License-Identifier: Apache-2.0
"""Slice selection on real lung tumours: each patient's CT deformed many times, the contour with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from monai_unimedi.data.phantom.shapes import Grid
from monai_unimedi.encoder import ImageTextEncoder, load_encoder
from monai_unimedi.metrics.slice_selection import selector_hits, slice_entropy

from .datalists import save
from .thoraces import Scan
from .volumes import SHAPE, SPACING, STRETCH, ZOOM, deform

__all__ = ["tumour_figures"]

COPIES = 40
SHIFT = (7.0, 7.0, 40.0)  # mm, at most


def tumour_figures(models: Path, scans: Sequence[Scan], output: Path, seed: int) -> Iterator[tuple[str, float, int]]:
    """Mean of each selector's hit@k over the copies of each patient.

    Only slices that the file covers are chosen from: a crop's empty slices would be no choice.

    Args:
        models: folder of a trained encoder.
        scans: patients with a mask ``tumour``.
        output: folder for the copies; they are written anew.
        seed: of the copies.

    Yields:
        ``<patient>.<selector>.hit@k``, the mean, and how many copies show the tumour.
    """
    encoder = load_encoder(models)
    for scan in scans:
        hits: dict[str, list[float]] = {}
        for index in range(COPIES):
            path = output / scan.name.replace(", ", "_").replace(" ", "_") / f"{index:03d}.nii"
            is_lesion, is_covered = _write_copy(scan, path, seed, index)
            if is_lesion[is_covered].any():
                for name, hit in _hits(encoder, path, is_lesion, is_covered).items():
                    hits.setdefault(name, []).append(hit)
        for name, values in hits.items():
            yield f"{scan.name}.{name}", float(np.mean(values)), len(values)


def _write_copy(scan: Scan, path: Path, seed: int, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Writes one deformed copy; which of its slices show the tumour, which the file covers: (S,) bool each."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, *scan.name.encode(), index]))
    stretch, zoom = rng.uniform(*STRETCH), rng.uniform(*ZOOM)
    x, y, z = (float(rng.uniform(-most, most)) for most in SHIFT)
    grid = Grid.around(SHAPE, SPACING, (x, y, z), zoom)
    middle = (np.array(scan.hu.shape) - 1) / 2
    hu, masks = deform(scan, middle, grid, stretch, rng)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, np.clip(np.rint(hu), -1024, 2000).astype(np.int16))
    places = grid.z / stretch / scan.spacing[2] + middle[2]
    return np.any(masks["tumour"] > 0.5, axis=(0, 1)), (places >= 0) & (places <= scan.hu.shape[2] - 1)


def _hits(encoder: ImageTextEncoder, path: Path, is_lesion: np.ndarray, is_covered: np.ndarray) -> dict[str, float]:
    image = encoder.read(path)
    with torch.inference_mode():
        scores = encoder.network.slice_scores(image[None]).float().cpu()
    kept = torch.from_numpy(np.flatnonzero(is_covered))
    entropy = slice_entropy(image[None].cpu())[:, kept]
    found = selector_hits(torch.from_numpy(is_lesion)[None, kept], scores[:, kept], entropy)
    return {f"{name}.hit@{k}": float(hits[f"hit@{k}"]) for name, hits in found.items() for k in (1, 2, 4)}
