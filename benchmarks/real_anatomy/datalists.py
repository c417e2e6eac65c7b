# SPDX-License-Identifier: Apache-2.0
"""Volumes on disk and their datalists, one a test patient: nobody is on both sides of a split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from joblib import Parallel, delayed

from monai_unimedi.data.phantom import LABEL_NAMES, PROMPTS, VERSION

from .thoraces import Thorax
from .volumes import SHAPE, SPACING, make_volume

__all__ = ["PROMPTS_FILE", "SPLITS", "fold_file", "known_rows", "patient_rows", "save", "volume_seed", "write_folds"]

Rows = dict[str, list[dict[str, Any]]]
SPLITS = ("training", "validation", "test")
PROMPTS_FILE = "prompts.json"
DESCRIPTION = "Phantom lesions in real thoraces with template reports; evidence for a mechanism alone."


def volume_seed(seed: int, patient: str, split: str, index: int) -> np.random.SeedSequence:
    """Of one volume; different for every combination of the arguments."""
    return np.random.SeedSequence([*map(ord, VERSION), seed, *patient.encode(), SPLITS.index(split), index])


def patient_rows(thorax: Thorax, output: Path, counts: Mapping[str, int], seed: int, processes: int) -> Rows:
    """Makes the volumes of one patient; those of an earlier call with the same seed are kept.

    Args:
        thorax: the patient.
        output: folder; a volume and its row, written last, go to ``<patient>/<split>``.
        counts: volumes by split; the first ones do not depend on how many follow.
        seed: of all.
        processes: at a time; the files do not depend on it.

    Returns:
        Rows by split, paths relative to ``output``.
    """
    tasks = [(split, index) for split in SPLITS for index in range(counts[split])]
    for split in SPLITS:
        (output / thorax.scan.name / split).mkdir(parents=True, exist_ok=True)
    made = Parallel(n_jobs=processes)(delayed(_write)(thorax, output, seed, task) for task in tasks)
    return {split: [row for (part, _), row in zip(tasks, made) if part == split] for split in SPLITS}


def known_rows(name: str, output: Path, counts: Mapping[str, int], seed: int) -> Rows | None:
    """What `patient_rows` would return, without the patient's CT; None where a volume is missing."""
    rows: Rows = {}
    for split in SPLITS:
        found = [_known(output, f"{name}/{split}/{index:05d}", seed) for index in range(counts[split])]
        rows[split] = [row for row in found if row is not None]
        if len(rows[split]) < len(found):
            return None
    return rows


def write_folds(rows: Mapping[str, Rows], output: Path) -> dict[str, Path]:
    """A datalist for each patient as the one to be tested; the others are trained on and choose the checkpoint.

    Raises:
        ValueError: When there are fewer than two patients.
    """
    if len(rows) < 2:
        raise ValueError(
            f"Training and test must be different patients, so two thoraces or more are needed, got {list(rows)}."
        )
    (output / PROMPTS_FILE).write_text(json.dumps(PROMPTS), encoding="utf-8")
    lists = {}
    for tested in rows:
        others = {split: _joined(rows[name][split] for name in rows if name != tested) for split in SPLITS[:2]}
        head = {"name": f"real-anatomy-{tested}", "description": DESCRIPTION, "label_names": list(LABEL_NAMES)}
        lists[tested] = fold_file(output, tested)
        lists[tested].write_text(json.dumps({**head, **others, "test": rows[tested]["test"]}), encoding="utf-8")
    return lists


def fold_file(output: Path, tested: str) -> Path:
    """Of the datalist whose test patient is ``tested``."""
    return output / f"datalist_3d_{tested}.json"


def save(path: Path, array: np.ndarray) -> None:
    """Writes (X, Y, Z) in LPS as NIfTI, whose world is RAS, its origin in the middle of the picture."""
    step = np.array(SPACING) * (-1, -1, 1)
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = -step * (np.array(SHAPE) - 1) / 2
    nibabel.save(nibabel.Nifti1Image(array, affine), path)


def _write(thorax: Thorax, output: Path, seed: int, task: tuple[str, int]) -> dict[str, Any]:
    """Draws and writes one volume, with its mask where it is not trained on, unless it is there; returns its row."""
    split, index = task
    name = thorax.scan.name
    stem = f"{name}/{split}/{index:05d}"
    if (known := _known(output, stem, seed)) is not None:
        return known
    volume = make_volume(thorax, volume_seed(seed, name, split, index))
    row: dict[str, Any] = {"id": f"{name}-{split}-{index:05d}", "patient": name, "image": f"{stem}.nii"}
    save(output / row["image"], volume["image"])
    if split != "training":
        row["lesion_mask"] = f"{stem}_mask.nii"
        save(output / row["lesion_mask"], volume["lesion_mask"])
    row |= {key: volume[key] for key in ("report", "label", "findings")}
    made = {"made_by": {"version": VERSION, "seed": seed}, "row": row}
    (output / f"{stem}.json").write_text(json.dumps(made), encoding="utf-8")
    return row


def _known(output: Path, stem: str, seed: int) -> dict[str, Any] | None:
    """The row of a volume that an earlier call wrote with this seed."""
    path = output / f"{stem}.json"
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return dict(content["row"]) if content["made_by"] == {"version": VERSION, "seed": seed} else None


def _joined(parts: Iterable[list[Any]]) -> list[Any]:
    return [row for part in parts for row in part]
