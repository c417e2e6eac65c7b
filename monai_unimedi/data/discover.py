# SPDX-License-Identifier: Apache-2.0
"""Images in a folder, by kind: X-rays (pictures, single DICOM files) and CTs (volumes, DICOM folders).

The dimension is the file's, not an option. The slices (CT, MR, PET) in a folder are one volume, whatever pictures,
volumes and subfolders lie beside them; X-rays in DICOM are an image each. DICOM objects without an image (reports,
presentation states, segmentations, a medium's directory) are no images, hidden files are none either.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.misc import is_dicom
from pydicom.uid import UID, CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage

from monai_unimedi.data.datalist import printable
from monai_unimedi.data.label_fraction import each_row_once
from monai_unimedi.data.shards import is_shard_folder, read_index, shard_content
from monai_unimedi.transforms.dicom_pixels import read_dicom

__all__ = ["discover", "require_images", "source_of"]

logger = logging.getLogger(__name__)

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
VOLUMES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
SLICED = ("CT", "MR", "PT")
_MODALITY_OF = {CTImageStorage: "CT", MRImageStorage: "MR", PositronEmissionTomographyImageStorage: "PT"}
_KINDS = {"2d": "X-rays", "3d": "CTs"}
_LISTED = 5  # ids named in one message
_NO_IMAGE = ("SR", "SEG", "PR", "KO", "REG", "FID", "DOC", "RWV", "PLAN", "M3D")  # and all of radiotherapy, "RT..."


def source_of(path: str | os.PathLike) -> str:
    """``2d`` for an X-ray, ``3d`` for a CT.

    Raises:
        ValueError: When there is nothing at `path`, or it is of no known kind.
    """
    path = Path(path)
    if not path.exists():
        raise ValueError(f"There must be a file or a DICOM folder at {str(path)!r}, found none.")
    source = _source(path)
    if source is None:
        raise ValueError(
            f"An image must be a picture ({', '.join(PICTURES)}), a DICOM file with an image, a volume "
            f"({', '.join(VOLUMES)}) or a folder of DICOM slices, got {str(path)!r}."
        )
    return source


def discover(
    dataset_dir: str | os.PathLike | None = None,
    images: str | Sequence[str] | None = None,
    output_dir: str | os.PathLike | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """Rows ``{"id", "image"}`` of all images, by source, in the order of their paths.

    Args:
        dataset_dir: folder to look through, with its subfolders; ids are paths within it. Of a folder of
            shards the rows of all sections, with their own ids; what label fractions repeat is there once.
        images: paths or patterns (``*.nii.gz``) of files and DICOM folders instead; ids are the paths.
        output_dir: a folder below `dataset_dir` that is left out: what is written there is no input of a second run.

    Returns:
        ``{"2d": rows, "3d": rows}``, a source without images left out. What is no image is counted in the
        log.
    """
    root = None if images is not None or dataset_dir is None else Path(dataset_dir)
    if root is not None and is_shard_folder(root):
        return _rows_of_shards(root)
    given = [images] if isinstance(images, str) else list(images or ())
    paths = [Path(found) for found in dict.fromkeys(found for pattern in given for found in _matches(pattern))]
    rows: dict[str, list[dict[str, Any]]] = {}
    others, left_out = 0, None if output_dir is None else Path(output_dir).resolve()
    for path in paths if root is None else _walk(root, left_out):
        source = _source(path) if root is not None else source_of(path)
        if source is None:
            others += 1
            continue
        name = path if root is None else path.relative_to(root)
        rows.setdefault(source, []).append({"id": printable(name.as_posix()), "image": str(path)})
    counts = ", ".join(f"{len(found)} {source}" for source, found in sorted(rows.items())) or "none"
    logger.info("images found: %s; %d other files", counts, others)
    return dict(sorted(rows.items()))


def _matches(pattern: str) -> list[str]:
    """What a pattern stands for; a path that is there stands for itself, whatever its characters mean in patterns."""
    return [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True)) or [pattern]


def _rows_of_shards(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Images of all sections, without their reports; those of label fractions once."""
    index, content = read_index(folder), shard_content(folder)
    keys = ("id", "image", "path", "shard_row", "shard_digest")
    once = each_row_once({section: content[section] for section in index["sections"]})
    rows = [{key: row[key] for key in keys} for row in once]
    logger.info("images found: %d %s in shards", len(rows), index["recipe"]["source"])
    return {index["recipe"]["source"]: rows}


def require_images(rows: Mapping[str, Sequence[Mapping[str, Any]]], where: object, source: str | None = None) -> None:
    """Stops where nothing was found; says which images are of the dimension that is not read.

    Args:
        rows: by source, from `discover`.
        where: that was looked through.
        source: the only one that is read; None for both.

    Raises:
        ValueError: When there is no row to read.
    """
    other = {"2d": "3d", "3d": "2d"}.get(str(source))
    ids = [repr(row["id"]) for row in rows.get(other or "", ())]
    more = f" and {len(ids) - _LISTED} more" if len(ids) > _LISTED else ""
    left = f"{_KINDS[str(other)]} ({', '.join(ids[:_LISTED])}{more}) are for the bundles named _{other}" if ids else ""
    if not any(found for kind, found in rows.items() if kind != other):
        raise ValueError(
            f"There must be at least one {'image' if source is None else _KINDS[source][:-1]} to read, found none in "
            f"{where!r}{left and '; its ' + left}: give a folder, or paths or patterns, with some."
        )
    if left:
        logger.warning("not read: %s", left)


def _walk(folder: Path, left_out: Path | None, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Files and folders of slices below a folder, hidden ones left out; beside slices the pictures and volumes. A link
    to one of the folders above is not followed."""
    above |= {folder.resolve()}
    paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")] if folder.is_dir() else []
    is_sliced, stray = _is_sliced(folder), None
    if is_sliced and any(path.is_dir() for path in paths):
        stray = _lone_slice(paths)
    if stray:
        logger.warning("left out: %s, one slice above other folders, is no volume", stray)
    elif is_sliced:
        yield folder
    for path in paths:
        if path.is_dir():
            yield from _walk(path, left_out, above) if path.resolve() not in {left_out, *above} else ()
        elif path != stray and (stray or not is_sliced or path.name.lower().endswith((*PICTURES, *VOLUMES))):
            yield path


def _lone_slice(paths: Sequence[Path]) -> Path | None:
    """The slice among files that has no other beside it."""
    files = (path for path in paths if path.is_file() and not path.name.lower().endswith((*PICTURES, *VOLUMES)))
    slices = (path for path in files if _modality(path) in SLICED)
    first, second = next(slices, None), next(slices, None)
    return None if second else first


def _source(path: Path) -> str | None:
    name = path.name.lower()
    if path.is_dir():
        return "3d" if _is_sliced(path) else None
    if name.endswith(VOLUMES):
        return "3d"
    return "2d" if name.endswith(PICTURES) or _modality(path) is not None else None


def _is_sliced(folder: Path) -> bool:
    """Whether the first image in DICOM of a folder that says what it is is a slice of a volume."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()] if folder.is_dir() else []
    files = [path for path in files if not path.name.startswith(".")]
    found = (_modality(path) for path in files if not path.name.lower().endswith((*PICTURES, *VOLUMES)))
    return next((name for name in found if name), "") in SLICED


def _modality(path: Path) -> str | None:
    """Modality of an image in DICOM ("DX", "CT", ...; empty where the file does not say, or is broken); None for
    other files."""
    if not path.name.lower().endswith(".dcm") and not is_dicom(path):
        return None
    try:
        header = read_dicom(path, ("SOPClassUID", "Modality", "Rows"), pixels=False)
    except (ValueError, OSError):
        return ""
    kind = UID(str(header.get("SOPClassUID") or _media_class(header)))
    modality = str(header.get("Modality") or "").strip().upper() or _MODALITY_OF.get(kind, "")
    return modality if _has_image(header, kind, modality) else None


def _media_class(header: Dataset) -> object:
    return header.file_meta.get("MediaStorageSOPClassUID", "") if hasattr(header, "file_meta") else ""


def _has_image(header: Dataset, kind: UID, modality: str) -> bool:
    """By the class of the object where the standard has it; a vendor's own classes by their size in pixels."""
    if modality in _NO_IMAGE or modality.startswith("RT"):
        return False
    is_standard = kind.name != kind
    return "Image" in kind.name if is_standard else "Rows" in header
