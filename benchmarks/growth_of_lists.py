# SPDX-License-Identifier: Apache-2.0
"""The part of ``growth.py`` that does not touch the network: disk, reads and memory against rows of the lists."""

from __future__ import annotations

import json
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from PIL import Image

from benchmarks.side_by_side import medians
from monai_unimedi.data.convert import convert_datalist
from monai_unimedi.data.datalist import load_datalist
from monai_unimedi.data.shards import ShardReader
from monai_unimedi.data.sources import digests, load_training

__all__ = ["disk_rows", "list_rows"]

RECIPE: dict[str, Any] = {
    "xray_size": 64, "spacing": [8.0, 8.0, 20.0], "ct_size": [48, 48, 16], "ct_padding": "constant",
    "dtype": "uint8", "hu_range": [-1150.0, 350.0],
}  # fmt: skip
REPORT = "Heart and mediastinum are normal. Small effusion on the right, patient {0}. No nodule. " * 4
Row = Callable[[str, str, Any, Any, str], None]


def disk_rows(row: Row, repeats: int) -> None:
    """Bytes of shards, and CPU seconds of a gather, against images."""
    for source, kind, counts in (("2d", "X-rays 64 x 64", (64, 128, 256)), ("3d", "CTs 48 x 48 x 16", (16, 32, 64))):
        megabytes, milliseconds = [], []
        for count in counts:
            with tempfile.TemporaryDirectory() as folder:
                path = write_images(Path(folder), source, count)
                convert_datalist(path, shards := Path(folder) / "shards", RECIPE, jobs=1)
                files = [file for file in shards.rglob("*") if file.is_file()]
                megabytes.append(sum(file.stat().st_size for file in files) / 1e6)
                found, reader = load_datalist(shards), ShardReader()
                run = {"gather": lambda: [reader.gather(found) for _ in range(20)]}  # noqa: B023
                milliseconds.append(medians(run, repeats)["gather"] / 20 * 1e3)
        row("disk of shards", f"{kind}, uint8", counts, megabytes, "MB")
        row("gather", f"{kind}, uint8", counts, milliseconds, "ms")


def write_images(folder: Path, source: str, count: int) -> Path:
    """A datalist of random images."""
    random = np.random.RandomState(0)
    rows = []
    for i in range(count):
        name = f"{i}.{'png' if source == '2d' else 'nii'}"
        if source == "2d":
            Image.fromarray(random.randint(0, 256, (64, 64), np.uint8)).save(folder / name)
        else:
            volume = random.randint(-1000, 400, (48, 48, 16)).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(volume, np.diag([-8.0, -8.0, 20.0, 1.0])), folder / name)
        rows.append({"id": f"{i}", "image": name, "report": REPORT.format(i)})
    path = folder / f"{source}.json"
    path.write_text(json.dumps({"training": rows}))
    return path


def list_rows(row: Row) -> None:
    """Memory and CPU seconds, in each process, of a list's rows with reports of 350 characters: read, checked and
    hashed as a run does at its start."""
    counts, megabytes, seconds = (2000, 4000, 8000), [], []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            rows = [
                {"id": f"{i}", "image": f"p{i // 1000}/{i}/image.png", "report": REPORT.format(i), "patient": f"{i}"}
                for i in range(count)
            ]
            path = Path(folder) / "list.json"
            path.write_text(json.dumps({"training": rows, "validation": rows[:10]}))
            for image in {row["image"] for row in rows}:
                (Path(folder) / image).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / image).touch()
            start = time.process_time()
            digests(load_training({"2d": path}))
            seconds.append(time.process_time() - start)
            tracemalloc.start()
            kept = load_training({"2d": path})
            megabytes.append(tracemalloc.get_traced_memory()[0] / 1e6)
            tracemalloc.stop()
            del kept
    row("lists in memory, a process", "rows", counts, megabytes, "MB")
    row("reading the lists, a process", "rows", counts, seconds, "s")
