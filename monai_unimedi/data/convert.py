# SPDX-License-Identifier: Apache-2.0
"""A datalist's images and reports to shards, once, on all cores or a cluster (``performance.md``, data path).

The rows of a section are cut into shards by their number alone, each shard is one task of joblib, and a task
writes its shard whole or not at all (`write_shard`). So neither the number of workers, nor the backend, nor
any number of kills changes a byte of the result; the same command goes on with the shards that are missing,
makes those anew whose files have changed, and tries the rows again that were left out.
A worker holds one shard (64 MiB) and one image at a time, however large the corpus.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from joblib import Parallel, delayed, parallel_config
from tqdm import tqdm

from monai_unimedi.data.convert_rows import make_shard
from monai_unimedi.data.datalist import datalist_digest, load_datalist, other_content, section_names
from monai_unimedi.data.discover import source_of
from monai_unimedi.data.shard_sources import source_change, source_facts
from monai_unimedi.data.shards import FACTS, FORMAT, INDEX, check_files, is_shard_folder, write_json
from monai_unimedi.data.tokens import tokenizer_digest

__all__ = ["convert_datalist", "find_source"]

logger = logging.getLogger(__name__)
Row = dict[str, Any]
_RECIPE = "recipe.json"
_FAILURES = "failures.csv"
_SHARD_BYTES = 64 << 20
_MIN_SHARDS = 32  # of a section, so that a small one keeps many workers busy and a kill loses little
_MIN_ROWS = 8
_VOTERS = 20
_LISTED = 5  # shards named in the log
_COLUMNS = ("section", "row", "id", "path", "reason")
NOTICE = """Patient data. Do not publish, copy or send this folder.

It holds images, reports and token ids of reports. Token ids are the report's text in another spelling:
whoever has the tokenizer reads them. Treat this folder as you treat the files that it was made from: the same
permissions, the same agreements, the same deletion dates.
"""


def find_source(rows: Sequence[Row]) -> str:
    """``2d`` or ``3d``: what most of the first files are.

    Raises:
        ValueError: When none of the first files is an image.
    """
    votes: Counter[str] = Counter()
    for row in rows:
        with contextlib.suppress(ValueError, OSError, TypeError):
            votes[source_of(row.get("image", ""))] += 1
        if sum(votes.values()) == _VOTERS:
            break
    if not votes:
        raise ValueError(
            f"A datalist must name image files, found none at the paths of its {len(rows)} rows; is "
            "--dataset_dir right?"
        )
    return votes.most_common(1)[0][0]


def convert_datalist(
    datalist: str | os.PathLike,
    output_dir: str | os.PathLike,
    recipe: Mapping[str, Any],
    dataset_dir: str | os.PathLike | None = None,
    tokenizer: Any = None,
    jobs: int = -1,
    backend: str = "loky",
    verify: bool = False,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Writes a folder of shards, or goes on with one that a killed conversion left.

    Args:
        datalist: JSON file in Decathlon form, of X-rays or of CTs.
        output_dir: folder of the shards.
        recipe: see `conversion_steps` and `quantise`; ``source`` is found by `find_source`.
        dataset_dir: folder that relative paths start from; the datalist's own where None.
        tokenizer: keeps token ids of the cleaned reports; none where None.
        jobs: workers; all cores where -1.
        backend: of joblib: ``loky`` (this machine), or one that is registered, such as ``dask``.
        verify: compare the checksums of the shards that are there; else their sizes.
        show_progress: a bar over the rows.

    Returns:
        ``{"source", "rows", "shards", "made", "bytes", "failures": [{"section", "row", "id", "path",
        "reason"}]}``.

    Raises:
        ValueError: When the datalist has no images, or the folder holds shards of other settings.
    """
    output, root = Path(output_dir), Path(dataset_dir if dataset_dir is not None else Path(datalist).parent)
    if is_shard_folder(datalist):
        raise ValueError(f"{str(datalist)!r} holds shards already: give the datalist that they were made from.")
    sections = {name: load_datalist(datalist, name, root) for name in section_names(datalist)}
    source = find_source([row for rows in sections.values() for row in rows])
    settings = json.loads(json.dumps({**_of_source(recipe, source), "format": FORMAT}))
    if tokenizer is not None:
        settings["tokenizer"] = tokenizer_digest(tokenizer)
    with _alone(output):
        _prepare(output, settings)
        tasks = [task for name, rows in sections.items() for task in _tasks(name, rows, settings, root)]
        _remove_others(output, {task["name"] for task in tasks})
        missing = _missing(output, tasks, verify)
        total, left = (sum(len(task["rows"]) for task in part) for part in (tasks, missing))
        with tqdm(
            total=total, initial=total - left, unit="row", desc=f"convert {source}", disable=not show_progress
        ) as bar:
            made = 0
            for count, is_made in _run(missing, output, settings, tokenizer, jobs, backend):
                bar.update(count)
                made += is_made
        return _finish(output, datalist, settings, tasks, sections) | {"made": made}


@contextlib.contextmanager
def _alone(output: Path) -> Iterator[None]:
    """One conversion a folder; the lock of a killed one is open.

    Raises:
        ValueError: When another conversion is at work in the folder.
    """
    there = [path.name for path in output.iterdir()] if output.is_dir() else []
    if _RECIPE not in there and any(not name.startswith(".") for name in there):
        raise ValueError(f"--output must be a new or empty folder, or one of shards, {str(output)!r} is not.")
    output.mkdir(parents=True, exist_ok=True)
    path = output / ".lock"
    try:
        with FileLock(str(path), timeout=0):
            yield
            path.unlink(missing_ok=True)
    except Timeout as error:
        raise ValueError(f"Another conversion is at work in {str(output)!r}: wait for its end.") from error


def _of_source(recipe: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The entries of a recipe that hold for X-rays or for CTs."""
    if source == "2d":
        grey = {"levels": None, "percentiles": [0.5, 99.5]}
        size = {"xray_size": recipe["xray_size"], "fit": "pad"}
        return {"source": source, "dtype": "uint8", **size, "voi": "header", "grey": grey}
    names = ("spacing", "ct_size", "ct_padding", "dtype", "hu_range")
    found = {"source": source, **{name: recipe[name] for name in names if recipe.get(name) is not None}}
    if found["dtype"] == "int16":
        found.pop("hu_range", None)
    return found


def _prepare(output: Path, settings: Mapping[str, Any]) -> None:
    """The folder with its notice, or the folder of an earlier call with the same settings."""
    path = output / _RECIPE
    if path.is_file():
        before = json.loads(path.read_text("utf-8"))
        keys = sorted(before.keys() | settings.keys())
        changed = [k for k in keys if before.get(k) != settings.get(k)]
        if changed:
            listed = ", ".join(f"{k} (was {before.get(k)}, is {settings.get(k)})" for k in changed)
            raise ValueError(
                f"{str(output)!r} must hold shards of these settings, but differs in {listed}: name another "
                "--output, or remove the folder."
            )
    for left in output.glob(".*-[0-9]*"):
        shutil.rmtree(left, ignore_errors=True)  # of a killed worker
    (output / INDEX).unlink(missing_ok=True)
    write_json(path, settings)
    (output / "NOTICE").write_text(NOTICE, "utf-8")


def _tasks(section: str, rows: Sequence[Row], recipe: Mapping[str, Any], root: Path) -> Iterator[dict[str, Any]]:
    size = _row_bytes(recipe)
    count = min(max(1, _SHARD_BYTES // size), max(_MIN_ROWS, -(-len(rows) // _MIN_SHARDS)))
    seen = Counter(row.get("id") for row in rows)
    for number, first in enumerate(range(0, len(rows), count)):
        part = list(rows[first : first + count])
        yield {
            "name": f"{section}-{number:05d}", "section": section, "first": first, "rows": part,
            "root": str(root),
            "digest": datalist_digest(part), "twice": [r.get("id") for r in part if seen[r.get("id")] > 1],
        }  # fmt: skip


def _row_bytes(recipe: Mapping[str, Any]) -> int:
    if recipe["source"] == "2d":
        return int(recipe["xray_size"]) ** 2
    return int(np.prod(recipe["ct_size"])) * np.dtype(recipe["dtype"]).itemsize


def _remove_others(output: Path, names: set[str]) -> None:
    """Shards of a longer datalist that lay here before."""
    for path in output.iterdir():
        if (path / FACTS).is_file() and path.name not in names:
            shutil.rmtree(path)


def _missing(output: Path, tasks: Sequence[dict[str, Any]], verify: bool) -> list[dict[str, Any]]:
    """Shards that are not there, hold other rows, are damaged or were made from files that have changed; and
    those that lack rows, with their ``failures``: what was wrong may lie outside the files (a decoder, a
    permission)."""
    missing, reasons = [], []
    for task in tasks:
        facts = _facts(output, task["name"])
        if facts is None or facts["datalist"] != task["digest"]:
            missing.append(task)
        elif reason := _fault(output, task, verify):
            missing.append(task)
            reasons.append(reason)
        elif facts["failures"]:
            missing.append(task | {"failures": facts["failures"]})
    for reason in reasons[:_LISTED]:
        logger.warning("made again: %s", reason)
    if len(reasons) > _LISTED:
        logger.warning("made again: %d more shards", len(reasons) - _LISTED)
    return missing


def _facts(output: Path, name: str) -> dict[str, Any] | None:
    path = output / name / FACTS
    return dict(json.loads(path.read_text("utf-8"))) if path.is_file() else None


def _fault(output: Path, task: Mapping[str, Any], verify: bool) -> str | None:
    """Why a shard of the right rows must be made again; None where it need not."""
    wrong = check_files(output, task["name"], contents=verify)
    return wrong or source_change(output / task["name"], source_facts(task["rows"], task["root"]))


def _run(
    tasks: Sequence[Mapping[str, Any]], output: Path, recipe: Mapping[str, Any], tokenizer: Any, jobs: int,
    backend: str,
) -> Iterator[tuple[int, bool]]:  # fmt: skip
    """Rows of each shard that is done, and whether it was made, in the order of their ends; Ray's pool gives them
    all at the end."""
    threads = {"inner_max_num_threads": 1} if backend == "loky" else {}
    try:
        with parallel_config(backend=backend, n_jobs=jobs, **threads):
            yield from Parallel(return_as="list" if backend == "ray" else "generator_unordered")(
                delayed(make_shard)(task, str(output), recipe, tokenizer) for task in tasks
            )
    except BrokenProcessPool as error:
        raise OSError(
            "A worker was killed, for want of memory perhaps: give the command again, it goes on, with fewer --jobs."
        ) from error


def _finish(
    output: Path, datalist: str | os.PathLike, recipe: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]],
    sections: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Writes the table of bad rows and, last, the index that makes the folder one of shards."""
    facts = {task["name"]: json.loads((output / task["name"] / FACTS).read_text("utf-8")) for task in tasks}
    failures = [failure for found in facts.values() for failure in found["failures"]]
    with (output / f".{_FAILURES}").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(failures)
    (output / f".{_FAILURES}").replace(output / _FAILURES)
    names: dict[str, list[str]] = {section: [] for section in sections}
    for name, found in facts.items():
        if found["num_rows"]:
            names[found["section"]].append(name)
    rows = {section: sum(facts[name]["num_rows"] for name in found) for section, found in names.items()}
    index = {"format": FORMAT, "recipe": dict(recipe), "sections": names, "rows": rows}
    index |= {"left_out": len(failures), "datalist": other_content(datalist)}
    write_json(output / INDEX, index)
    size = sum(file["bytes"] for found in facts.values() for file in found["files"].values())
    counts = {"rows": sum(rows.values()), "shards": sum(map(len, names.values())), "bytes": size}
    return {"source": recipe["source"], **counts, "failures": failures}
