# SPDX-License-Identifier: Apache-2.0
"""Predicted masks as files on the grid of their images: NIfTI, NRRD, DICOM SEG, for X-rays PNG; with a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
from PIL import Image

from monai_unimedi.data.discover import PICTURES, VOLUMES

__all__ = ["MaskWriter"]

FORMATS = (".nii.gz", ".nii", ".nrrd", ".dcm")
IMAGE_SUFFIXES = (*VOLUMES, *PICTURES, ".dcm")
MAX_GREY = 2**16 - 1  # of a PNG
MM3_PER_ML = 1000.0
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class MaskWriter:
    """Writes a case's mask; returns one row a class for the table. Call it with a decollated output.

    Numbers are those of the training's masks: one a class, or bit i for finding i where findings may overlap;
    ``labels.json`` beside the table says which. A DICOM SEG is written for a folder of DICOM slices only.

    Args:
        output_dir: masks go to ``masks/`` below it, in the folders that the images' ids name.
        names: of the channels.
        values: number or bit of each.
        is_exclusive: numbers or bits.
        extension: of CT masks, one of .nii.gz, .nii, .nrrd, .dcm (needs highdicom); X-rays get .png.
        pred_key: the mask (1, X, Y[, Z]) with the image's affine.
        image_key: whose metadata name the source file.

    Raises:
        ValueError: When the extension is unknown.
    """

    def __init__(
        self,
        output_dir: str | Path,
        names: Sequence[str],
        values: Sequence[int],
        is_exclusive: bool,
        extension: str = ".nii.gz",
        pred_key: str = "pred",
        image_key: str = "image",
    ) -> None:
        if extension not in FORMATS:
            raise ValueError(f"extension must be one of {', '.join(FORMATS)}, got {extension!r}.")
        self.folder = Path(output_dir)
        self.names, self.values, self.is_exclusive = list(names), list(values), is_exclusive
        self.extension = extension
        self.pred_key, self.image_key = pred_key, image_key
        self._taken: dict[str, str] = {}

    def start(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Looks at the images' paths before the first is read, and writes ``labels.json``.

        Raises:
            ValueError: When DICOM SEGs are asked for images that are no folders of slices; names them. When a class of
                X-rays has a number that no PNG holds.
        """
        files = [str(row["image"]) for row in rows if not Path(row["image"]).is_dir()]
        if self.extension == ".dcm" and files:
            more = f" and {len(files) - 3} more" if len(files) > 3 else ""
            raise ValueError(
                f"A DICOM SEG must refer to a folder of DICOM slices, {', '.join(files[:3])}{more} are none; write "
                ".nii.gz or .nrrd, or give --images with the folders alone."
            )
        if max(self.values) > MAX_GREY and any(not file.lower().endswith(VOLUMES) for file in files):
            raise ValueError(
                f"The masks of X-rays are PNG files, whose numbers must be {MAX_GREY} at most, got {max(self.values)}; "
                "give the classes smaller numbers in the datalist's labels and its masks, and train again."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        meaning = "number" if self.is_exclusive else "bit"
        content = {"meaning": meaning, "labels": {str(v): n for v, n in zip(self.values, self.names)}}
        (self.folder / "labels.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def __call__(self, case: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Writes the mask of one case.

        Returns:
            Rows ``{"id", "file", "class", "voxels", "volume_ml"}``; ``volume_ml`` is None for X-rays.

        Raises:
            ValueError: When a DICOM SEG is asked for an image that is no DICOM folder.
        """
        mask = case[self.pred_key]
        array, source = np.asarray(mask.detach().cpu())[0], case[self.image_key].meta["filename_or_obj"]
        affine = None if array.ndim == 2 else np.asarray(mask.affine, dtype=np.float64)
        path = self._path(str(case["id"]), ".png" if array.ndim == 2 else self.extension)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".part.{path.name}")
        self._write(part, array, affine, Path(str(source)))
        part.replace(path)
        ml = None if affine is None else abs(float(np.linalg.det(affine[:3, :3]))) / MM3_PER_ML
        return [
            {
                "id": str(case["id"]),
                "file": path.relative_to(self.folder).as_posix(),
                "class": name,
                "voxels": voxels,
                "volume_ml": None if ml is None else round(voxels * ml, 4),
            }
            for name, voxels in self._counts(array)
        ]

    def finish(self, found: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Writes ``segments.csv`` and ``segments.json``."""
        rows = [row for case in found for row in case]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "segments.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        with (self.folder / "segments.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["id", "file", "class", "voxels", "volume_ml"])
            writer.writeheader()
            writer.writerows(rows)

    def _counts(self, array: np.ndarray) -> list[tuple[str, int]]:
        first = int(self.is_exclusive)
        pairs = list(zip(self.names, self.values))[first:]
        if self.is_exclusive:
            return [(name, int((array == value).sum())) for name, value in pairs]
        return [(name, int((array >> value & 1).sum())) for name, value in pairs]

    def _path(self, name: str, extension: str) -> Path:
        """Where the mask goes; two images that differ in their suffix alone keep it, and what is left is numbered."""
        safe = "/".join(part for part in Path(name).as_posix().split("/") if part not in ("", ".", ".."))
        suffix = next((end for end in IMAGE_SUFFIXES if safe.lower().endswith(end)), "")
        stem = safe.removesuffix(safe[len(safe) - len(suffix) :]) if suffix else safe
        names = chain((stem, safe), (f"{safe}_{number}" for number in count(2)))
        stem = next(free for free in names if self._taken.setdefault(free, name) == name)
        return self.folder / "masks" / f"{stem}_seg{extension}"

    def _write(self, path: Path, array: np.ndarray, affine: np.ndarray | None, source: Path) -> None:
        if affine is None:
            grey = array if array.dtype == np.uint8 else array.astype(np.uint16)
            Image.fromarray(np.ascontiguousarray(grey.T)).save(path, format="PNG")
        elif path.name.endswith(".dcm"):
            from monai_unimedi.data.dicom_seg import write_dicom_seg

            write_dicom_seg(path, array, affine, source, self.names, self.values, self.is_exclusive)
        elif path.name.endswith(".nrrd"):
            _write_nrrd(path, array, affine)
        else:
            image = nibabel.Nifti1Image(np.asarray(array), affine)
            image.set_qform(affine, code=1)
            image.set_sform(affine, code=1)
            image.header.set_xyzt_units("mm")
            nibabel.save(image, path)


def _write_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """By ITK itself: MONAI's ``ITKWriter`` takes an oblique or turned grid for one of fewer axes."""
    to_world = _RAS_TO_LPS @ affine
    spacing = np.linalg.norm(to_world[:3, :3], axis=0)
    image = itk.image_from_array(np.ascontiguousarray(array.T))
    image.SetSpacing([float(length) for length in spacing])
    image.SetOrigin([float(place) for place in to_world[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(to_world[:3, :3] / spacing)))
    itk.imwrite(image, str(path), compression=True)
