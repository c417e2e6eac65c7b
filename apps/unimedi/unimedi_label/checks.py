# SPDX-License-Identifier: Apache-2.0
"""What may come in: ids, names, files and parameters, each checked before MONAI Label sees it.

A wrong one is answered with 4xx and one sentence.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from fastapi import HTTPException, UploadFile
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferType

__all__ = [
    "check_guess",
    "check_id",
    "json_object",
    "known_image",
    "one_sentence",
    "only",
    "received_file",
]

IDENTIFIER = re.compile(r"[A-Za-z0-9._-]{1,200}")
IMAGE_FILES = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".jpg", ".jpeg", ".dcm")
MAX_JSON = 1_000_000  # characters
_PATH = re.compile(r"(?<![\w.])/(?:[^\s/'\"]+/)+")


def check_id(value: str, name: str = "image") -> str:
    """An id or a name: letters, digits, dot, hyphen and underscore, and no relative folder.

    Raises:
        HTTPException: 400 when it is something else.
    """
    if not IDENTIFIER.fullmatch(value) or value.startswith(".") or ".." in value:
        raise HTTPException(400, f"{name} must be letters, digits, '.', '-' and '_', and not begin with a dot.")
    return value


def check_guess(task: Any, params: Mapping[str, Any]) -> None:
    """A result that is to be kept: of a segmentation, under a tag of its own.

    Raises:
        HTTPException: 400 when it is of another kind, or would take the place of what an annotator submitted.
    """
    if task.type != InferType.SEGMENTATION:
        raise HTTPException(400, "Only segmentations are kept as labels.")
    if check_id(str(params.get("label_tag") or "original"), "label_tag").lower() == DefaultLabelTag.FINAL:
        raise HTTPException(400, "label_tag final is of what an annotator submitted: choose another.")


def known_image(datastore: Any, image: str) -> str:
    """An id that the datastore has.

    Raises:
        HTTPException: 400 when it is no id, 404 when there is no such image.
    """
    if not datastore.has_image(check_id(image)):
        raise HTTPException(404, f"There is no image {image}.")
    return image


def json_object(text: str | None, name: str = "params") -> dict[str, Any]:
    """A form's JSON object.

    Raises:
        HTTPException: 400 when it is none, or too long.
    """
    try:
        found = json.loads(text or "{}") if len(text or "") <= MAX_JSON else None
    except (json.JSONDecodeError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HTTPException(400, f"{name} must be a JSON object of at most {MAX_JSON:,} characters.")
    return found


def only(given: Mapping[str, Any] | None, allowed: Collection[str]) -> dict[str, Any]:
    """The parameters that a task knows; the others are dropped, ``image``, ``model`` and paths among them."""
    return {name: value for name, value in (given or {}).items() if name in allowed}


def received_file(file: UploadFile, allowed: Collection[str], folder: str | None = None) -> Path:
    """A file that was sent, under a name of our own with the suffix of its own.

    Raises:
        HTTPException: 415 when the type is not allowed, 400 when it is empty.
    """
    name = (file.filename or "").lower()
    suffix = max((end for end in allowed if name.endswith(end)), key=len, default=None)
    if suffix is None:
        raise HTTPException(415, f"The file must be one of {', '.join(allowed)}.")
    with tempfile.NamedTemporaryFile(suffix=suffix, prefix="received_", dir=folder, delete=False) as target:
        shutil.copyfileobj(file.file, target)
        size = target.tell()
    if not size:
        Path(target.name).unlink()
        raise HTTPException(400, "The file must not be empty.")
    return Path(target.name)


def one_sentence(error: BaseException) -> str:
    """An error's message without folders of this machine, at most 500 characters."""
    text = " ".join(str(getattr(error, "msg", None) or error).split())
    return _PATH.sub("", text)[:500] or type(error).__name__
