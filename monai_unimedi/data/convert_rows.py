# SPDX-License-Identifier: Apache-2.0
"""The work of one conversion task: rows to one shard; a row that cannot be read is set aside."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Transform

from monai_unimedi.data.shard_sources import SOURCES, relative_path, source_facts
from monai_unimedi.data.shard_steps import conversion_steps, quantise
from monai_unimedi.data.shards import ENDS, IMAGE, MASK, TOKENS, write_shard
from monai_unimedi.data.tokens import encode_reports
from monai_unimedi.transforms.checks import RowError
from monai_unimedi.transforms.report import ReportText, report_group

__all__ = ["make_shard"]

Row = dict[str, Any]
Converted = tuple[np.ndarray, np.ndarray | None, Row]  # image, mask, row
_REASON = 300  # characters
_ADDRESS = re.compile(r"0x[0-9a-f]+")


def make_shard(task: Mapping[str, Any], output: str, recipe: Mapping[str, Any], tokenizer: Any) -> tuple[int, bool]:
    """Converts the rows of one shard, one after the other, and writes it; one that is there and lacks rows is
    left as it is where each of these fails again as it did.

    Args:
        task: ``name``, ``section``, ``first`` (row of the section), ``rows``, ``digest`` (of the rows),
            ``twice`` (ids that occur again), ``root`` (folder of relative paths) and, of a shard that is
            there, ``failures`` (of its ``shard.json``).
        output: folder of the shards.
        recipe: see `conversion_steps`.
        tokenizer: keeps token ids; none where None.

    Returns:
        The number of rows, good and bad, and whether the shard was made. Bad rows stand with their reasons in
        ``shard.json``.
    """
    steps = conversion_steps(recipe)
    before = task.get("failures", [])
    with _one_thread():
        if before and _converted([f["row"] for f in before], steps, recipe, task) == ([], before):
            return len(task["rows"]), False
        sources = source_facts(task["rows"], task["root"])  # before they are read: a later change is noticed
        numbers = range(task["first"], task["first"] + len(task["rows"]))
        good, failures = _converted(numbers, steps, recipe, task)
    facts = {"section": task["section"], "first_row": task["first"], "datalist": task["digest"]}
    rows = [row for _, _, row in good]
    arrays = _arrays(good) | (_token_arrays(rows, tokenizer) if tokenizer is not None and rows else {})
    facts["failures"] = failures
    write_shard(Path(output), task["name"], arrays, rows, facts, {SOURCES: sources})
    return len(task["rows"]), True


def _converted(
    numbers: Iterable[int], steps: list[Transform], recipe: Mapping[str, Any], task: Mapping[str, Any]
) -> tuple[list[Converted], list[Row]]:
    """The rows of these numbers in their section that could be converted, and why the others could not."""
    good: list[Converted] = []
    failures: list[Row] = []
    for number in numbers:
        row = task["rows"][number - task["first"]]
        try:
            good.append(_convert(row, steps, recipe, task))
        except Exception as error:
            failures.append({**_place(row, task), "row": number, "reason": _reason(error, task["root"])})
    return good, failures


def _arrays(good: list[Converted]) -> dict[str, np.ndarray]:
    if not good:
        return {}
    arrays = {IMAGE: np.stack([image for image, _, _ in good])}
    if any(mask is not None for _, mask, _ in good):
        arrays[MASK] = np.zeros(arrays[IMAGE].shape, np.uint8)
        for place, (_, mask, _) in enumerate(good):
            if mask is not None:
                arrays[MASK][place] = mask
    return arrays


def _token_arrays(rows: list[Row], tokenizer: Any) -> dict[str, np.ndarray]:
    clean = ReportText()
    texts = [clean(row["report"]) if isinstance(row.get("report"), str) else None for row in rows]
    ids, ends = encode_reports(tokenizer, texts)
    return {TOKENS: ids, ENDS: ends}


def _convert(row: Row, steps: list[Transform], recipe: Mapping[str, Any], task: Mapping[str, Any]) -> Converted:
    if not isinstance(row.get("image"), str):
        raise ValueError("The key 'image' must hold a path, it is missing.")
    if row.get("id") in task["twice"]:
        raise ValueError("The id must occur once in its section, it occurs again: mend the datalist.")
    if not os.path.exists(row["image"]):
        raise ValueError("There must be a file or folder at the path, found none; is --dataset_dir right?")
    data: Any = {key: row[key] for key in ("image", "lesion_mask") if row.get(key) is not None}
    geometry: dict[str, Any] = {}
    for number, step in enumerate(steps):
        data = step(data)
        if number == 0:
            geometry = _geometry(data["image"], recipe["source"])
    if recipe["source"] == "3d":
        geometry["affine"] = data["image"].affine.tolist()
    mask = data.get("lesion_mask")
    kept = {key: value for key, value in row.items() if key not in ("image", "lesion_mask")}
    if isinstance(row.get("report"), str):
        kept.setdefault("pair_group", report_group(ReportText()(row["report"])))
    kept |= {"path": relative_path(row["image"], task["root"]), "geometry": geometry}
    kept |= {} if mask is None else {"has_lesion_mask": True}
    stored = None if mask is None else np.asarray(mask)[0].astype(np.uint8)
    return quantise(data["image"], recipe), stored, kept


def _geometry(image: MetaTensor, source: str) -> dict[str, Any]:
    """Of the file: size in pixels or voxels and, of a CT, spacing in mm, along the file's own axes."""
    shape = {"file_shape": [int(n) for n in image.shape[1:]]}
    if source == "2d":
        return shape
    lengths = np.linalg.norm(image.affine.numpy()[:3, :3].astype(np.float64), axis=0)
    return {**shape, "file_spacing": [round(float(length), 6) for length in lengths]}


def _place(row: Row, task: Mapping[str, Any]) -> Row:
    path = row.get("image")
    path = relative_path(path, task["root"]) if isinstance(path, str) else None
    return {"section": task["section"], "id": row.get("id"), "path": path}


def _reason(error: BaseException, root: str) -> str:
    """What went wrong in one line, the same at every run, with paths as the datalist has them."""
    if isinstance(error, RowError) and error.__cause__ is not None:
        error = error.__cause__  # the row stands beside the reason
    text = " ".join(str(error).split())
    if not text or not isinstance(error, (ValueError, OSError)):
        text = f"{type(error).__name__}: {text}"
    for folder in (os.path.realpath(root), os.path.abspath(root), root):
        text = text.replace(folder.rstrip(os.sep) + os.sep, "")
    return _ADDRESS.sub("0x", text)[:_REASON]


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """One thread a worker: as many workers as cores run beside each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
