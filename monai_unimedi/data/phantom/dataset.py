# SPDX-License-Identifier: Apache-2.0
"""Phantoms on disk: PNG and NIfTI files with two datalists, the same bytes for any number of processes."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from filelock import FileLock
from joblib import Parallel, cpu_count, delayed
from PIL import Image
from tqdm import tqdm

from monai_unimedi.data.phantom.generate import (
    DIMENSIONS,
    SPLITS,
    VERSION,
    generate_ct,
    generate_xray,
    seed_sequence,
)
from monai_unimedi.data.phantom.lesions import LABEL_NAMES

__all__ = ["ensure_phantom", "write_phantom"]

logger = logging.getLogger(__name__)

MANIFEST = "phantom.json"
CHUNK = 25
FIELD_OF_VIEW = (384.0, 384.0, 320.0)  # mm, of a CT
DESCRIPTION = "Synthetic chest phantoms with template reports; evidence for a mechanism, never for clinical accuracy."

Counts = int | Mapping[str, int]
Chunk = tuple[str, str, int, int]


def write_phantom(
    output_dir: str | os.PathLike[str],
    seed: int = 0,
    num_training: Counts = 6000,
    num_validation: Counts = 200,
    num_test: Counts = 200,
    ct_shape: tuple[int, int, int] = (48, 48, 16),
    xray_shape: tuple[int, int] = (72, 72),
    training_masks: bool = False,
    num_processes: int | None = None,
    show_progress: bool = False,
) -> dict[str, Path]:
    """Write a data set of phantoms, in place of the one that an earlier call wrote there.

    The set is complete once `phantom.json` says so; that file is written last, atomically, and holds the
    seconds that it took.

    Args:
        output_dir: folder for `datalist_2d.json`, `datalist_3d.json`, `2d/` and `3d/`.
        seed: of the set; splits and dimensions have seed ranges of their own.
        num_training: phantoms in the training split: one number, or one for each of "2d" and "3d".
        num_validation: the same for the validation split.
        num_test: the same for the test split.
        ct_shape: voxels of a CT; the field of view stays 384 x 384 x 320 mm.
        xray_shape: pixels of an X-ray; the field of view stays 360 mm wide.
        training_masks: write masks of the training phantoms too; those of the others are always there.
        num_processes: by default the number of CPU cores this process may use, each with 25 phantoms or more.
        show_progress: draw a progress bar.

    Returns:
        Paths of the datalists: {"2d": ..., "3d": ...}.

    Raises:
        ValueError: When a count, a shape or the seed is out of range, or the folder holds other data.
    """
    root = Path(output_dir)
    settings = _settings(seed, (num_training, num_validation, num_test), ct_shape, xray_shape, training_masks)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".phantom.lock"):
        _write(root, settings, num_processes, show_progress)
    return _datalists(root)


def ensure_phantom(
    output_dir: str | os.PathLike[str],
    seed: int = 0,
    num_training: Counts = 6000,
    num_validation: Counts = 200,
    num_test: Counts = 200,
    ct_shape: tuple[int, int, int] = (48, 48, 16),
    xray_shape: tuple[int, int] = (72, 72),
    training_masks: bool = False,
    num_processes: int | None = None,
    show_progress: bool = False,
) -> dict[str, Path]:
    """Return the set that `write_phantom` would write; write it only if it is not there complete.

    Several processes may call this at once: one writes, the others wait.

    Args:
        output_dir: see `write_phantom`, also for the other arguments.
        seed: see there.
        num_training: see there.
        num_validation: see there.
        num_test: see there.
        ct_shape: see there.
        xray_shape: see there.
        training_masks: see there; a set that has them will do where they are not asked for.
        num_processes: see there.
        show_progress: see there.

    Returns:
        Paths of the datalists: {"2d": ..., "3d": ...}.
    """
    root = Path(output_dir)
    settings = _settings(seed, (num_training, num_validation, num_test), ct_shape, xray_shape, training_masks)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".phantom.lock"):
        known = _manifest(root) or {}
        if known.get("is_complete") and {name: known.get(name) for name in settings} == settings:
            logger.info("the phantom set in %s is complete", root)
        else:
            _write(root, settings, num_processes, show_progress)
    return _datalists(root)


def _settings(
    seed: int, counts: tuple[Counts, ...], ct_shape: Any, xray_shape: Any, training_masks: bool
) -> dict[str, Any]:
    """Everything the set depends on, checked, in plain JSON types."""
    if int(seed) != seed or seed < 0:
        raise ValueError(f"seed must be a whole number of 0 or more, got {seed!r}")
    for name, shape, rank in (("ct_shape", ct_shape, 3), ("xray_shape", xray_shape, 2)):
        if len(shape) != rank or min(shape) < 8:
            raise ValueError(f"{name} must be {rank} numbers of 8 or more, got {tuple(shape)!r}")
    table = {}
    for split, count in zip(SPLITS, counts):
        each = dict(count) if isinstance(count, Mapping) else dict.fromkeys(DIMENSIONS, count)
        if set(each) - set(DIMENSIONS) or min(each.values(), default=0) < 0:
            raise ValueError(f"counts of {split} must be 0 or more for each of {DIMENSIONS}, got {count!r}")
        table[split] = {dimension: int(each.get(dimension, 0)) for dimension in DIMENSIONS}
    return {
        "version": VERSION,
        "seed": int(seed),
        "counts": table,
        "ct_shape": [int(n) for n in ct_shape],
        "xray_shape": [int(n) for n in xray_shape],
        **({"training_masks": True} if training_masks else {}),
    }


def _datalists(root: Path) -> dict[str, Path]:
    return {dimension: root / f"datalist_{dimension}.json" for dimension in DIMENSIONS}


def _manifest(root: Path) -> dict[str, Any] | None:
    try:
        return json.loads((root / MANIFEST).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _write_json(path: Path, content: Any) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, separators=(",", ":")))
    os.replace(temporary, path)


def _clear(root: Path) -> None:
    """Remove an earlier set; never a folder that is not a phantom's."""
    occupied = [root / name for name in DIMENSIONS if (root / name).exists()]
    if occupied and not (root / MANIFEST).exists():
        raise ValueError(
            f"output_dir must be empty or hold phantoms, got {occupied[0]} without {MANIFEST}: choose another"
        )
    for folder in occupied:
        shutil.rmtree(folder)


def _write(root: Path, settings: dict[str, Any], num_processes: int | None, show_progress: bool) -> None:
    _clear(root)
    start = time.perf_counter()
    _write_json(root / MANIFEST, {**settings, "is_complete": False})
    chunks: list[Chunk] = []
    for dimension in DIMENSIONS:
        for split in SPLITS:
            (root / dimension / split).mkdir(parents=True)
            count = settings["counts"][split][dimension]
            chunks += [(dimension, split, i, min(i + CHUNK, count)) for i in range(0, count, CHUNK)]
    rows: dict[str, dict[str, list[Any]]] = {d: {s: [] for s in SPLITS} for d in DIMENSIONS}
    total = sum(stop - start for _, _, start, stop in chunks)
    with tqdm(total=total, desc="phantoms", unit="phantom", disable=not show_progress) as progress:
        for made, (dimension, split, _, _) in zip(_map_chunks(root, settings, chunks, num_processes), chunks):
            rows[dimension][split] += made
            progress.update(len(made))
    for dimension, path in _datalists(root).items():
        head = {"name": f"phantom-{dimension}", "description": DESCRIPTION, "version": VERSION}
        _write_json(path, {**head, "label_names": list(LABEL_NAMES), **rows[dimension]})
    seconds = round(time.perf_counter() - start, 3)
    _write_json(root / MANIFEST, {**settings, "is_complete": True, "seconds": seconds})
    logger.info("wrote %d phantoms to %s", total, root)


def _map_chunks(
    root: Path, settings: dict[str, Any], chunks: list[Chunk], num_processes: int | None
) -> Iterator[list[dict[str, Any]]]:
    full = sum(stop - start for _, _, start, stop in chunks) // CHUNK
    count = num_processes or min(cpu_count(), full)  # a process is not worth its start for a few phantoms
    root = root.absolute()  # processes that are used again are in the folder of the first call
    jobs = [delayed(_make_chunk)(root, settings, chunk) for chunk in chunks]
    return Parallel(n_jobs=max(1, min(count, len(chunks))), return_as="generator", batch_size=1)(jobs)


def _make_chunk(root: Path, settings: dict[str, Any], chunk: Chunk) -> list[dict[str, Any]]:
    dimension, split, start, stop = chunk
    return [_make_row(root, settings, dimension, split, index) for index in range(start, stop)]


def _make_row(root: Path, settings: dict[str, Any], dimension: str, split: str, index: int) -> dict[str, Any]:
    """Draw and write one phantom; returns its row. Masks of training phantoms are written where asked for."""
    seed = seed_sequence(settings["seed"], split, dimension, index)
    stem = f"{dimension}/{split}/{index:06d}"
    row: dict[str, Any] = {"id": f"{dimension}-{split}-{index:06d}"}
    if dimension == "3d":
        phantom = generate_ct(seed, settings["ct_shape"], [e / n for e, n in zip(FIELD_OF_VIEW, settings["ct_shape"])])
    else:
        phantom = generate_xray(seed, settings["xray_shape"])
    suffix = {"2d": ".png", "3d": ".nii"}[dimension]
    row["image"] = stem + suffix
    _save(root / row["image"], phantom["image"])
    if split != "training" or settings.get("training_masks"):
        row["lesion_mask"] = f"{stem}_mask{suffix}"
        _save(root / row["lesion_mask"], phantom["lesion_mask"])
    return {**row, **{key: phantom[key] for key in ("report", "label", "findings")}}


def _save(path: Path, array: np.ndarray) -> None:
    """Write (X, Y) as a picture whose rows are Y, or (X, Y, Z) in LPS as NIfTI."""
    if array.ndim == 2:
        Image.fromarray(np.ascontiguousarray(array.T)).save(path, compress_level=1)
    else:
        path.write_bytes(_nifti_head(array.shape, array.dtype.str) + array.tobytes(order="F"))


@lru_cache
def _nifti_head(shape: tuple[int, ...], dtype: str) -> bytes:
    """All bytes before the voxels: the same for all volumes of a set, and slow to make.

    NIfTI's world is RAS: the first two axes of the affine point the other way. Its origin is the middle.
    """
    step = np.array(FIELD_OF_VIEW) / shape * (-1, -1, 1)
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = -step * (np.array(shape) - 1) / 2
    image = nibabel.Nifti1Image(np.zeros(shape, dtype), affine)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_xyzt_units("mm")
    whole = image.to_bytes()
    return whole[: len(whole) - np.zeros(shape, dtype).nbytes]
