# SPDX-License-Identifier: Apache-2.0
"""From what a corpus yields to checked datalists: reports chosen, splits drawn, everything left out counted.

The same input gives the same bytes. Paths are relative to one folder, which trainings take as
``--dataset_dir``. A datalist keeps where it comes from under ``provenance``, without paths.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from tqdm import tqdm

from monai_unimedi import __version__
from monai_unimedi.data.corpora.items import Found, Item, LabelNames, LeftOut
from monai_unimedi.data.datalist import datalist_digest, word_count
from monai_unimedi.data.prepare_splits import SPLITS, label_fractions, shared_patients, split_sources
from monai_unimedi.data.report_text import choose_text, read_report

__all__ = ["Gathering", "gather", "write_datalists"]

Row = dict[str, Any]
PATH_KEYS = ("image", "lesion_mask", "label")
_LISTED = 20  # names under each reason in the summary; left_out.csv has all


class Gathering:
    """Rows by source and list, what was left out, names of labels and remarks.

    Args:
        dataset_dir: folder that paths become relative to.
        report_text: ``findings``, ``impression``, ``both`` or ``longer``.
        min_words: that a report must have at least.
    """

    def __init__(self, dataset_dir: Path, report_text: str = "both", min_words: int = 3) -> None:
        self.dataset_dir = Path(os.path.abspath(dataset_dir))
        self.report_text = report_text
        self.min_words = min_words
        self.rows: dict[str, dict[str, list[Row]]] = {}
        self.left_out: list[LeftOut] = []
        self.labels: dict[str, list[str] | dict[str, str]] = {}
        self.notes: list[str] = []
        self._ids: set[tuple[str, str]] = set()

    def add(self, item: Item) -> None:
        """Takes one item: a row that cannot be used becomes one that is left out."""
        if isinstance(item, Found):
            reason = self._keep(item)
            item = item if reason is None else LeftOut(str(item.row["id"]), reason)
        if isinstance(item, LeftOut):
            self.left_out.append(item)
        elif isinstance(item, LabelNames):
            self.labels[item.source] = item.names
        elif not isinstance(item, Found) and item.text not in self.notes:
            self.notes.append(item.text)

    def _keep(self, found: Found) -> str | None:
        row = {key: value for key, value in found.row.items() if value is not None}
        row |= {"id": str(row["id"]), "patient": str(row.get("patient", row["id"]))}
        missing = [key for key in PATH_KEYS if _is_path(row, key) and not os.path.exists(row[key])]
        if missing:
            return f"the {missing[0].replace('_', ' ')} file is missing"
        if "report" in row:
            row["report"], reason = self._report(row["report"])
            if reason:
                return reason
        if (found.source, row["id"]) in self._ids:
            return "the id occurs twice"
        self._ids.add((found.source, row["id"]))
        row |= {key: self._relative(row[key]) for key in PATH_KEYS if _is_path(row, key)}
        self.rows.setdefault(found.source, {}).setdefault(found.section, []).append(row)
        return None

    def _report(self, raw: str | Mapping[str, str]) -> tuple[str, str]:
        texts = [raw] if isinstance(raw, str) else raw.values()
        if not any(text.strip() for text in texts):
            return "", "the report is empty"
        text = _chosen(raw, self.report_text) if isinstance(raw, str) else choose_text(raw, self.report_text)
        if word_count(text) >= self.min_words:
            return text, ""
        part = {"both": "findings and impression", "longer": "findings or impression"}.get(
            self.report_text, self.report_text
        )
        return "", f"the report has under {self.min_words} words ({part})"

    def _relative(self, path: str | os.PathLike) -> str:
        return Path(os.path.relpath(os.path.abspath(path), self.dataset_dir)).as_posix()


def _is_path(row: Mapping[str, Any], key: str) -> bool:
    return isinstance(row.get(key), (str, os.PathLike))


@lru_cache(maxsize=1024)
def _chosen(raw: str, use: str) -> str:
    return choose_text(read_report(raw), use)


def gather(
    items: Iterable[Item], dataset_dir: str | os.PathLike, report_text: str = "both", min_words: int = 3
) -> Gathering:
    """All items of a corpus, with a progress bar on a terminal."""
    gathering = Gathering(Path(dataset_dir), report_text, min_words)
    for item in tqdm(items, desc="prepare", unit=" rows", disable=None):
        gathering.add(item)
    return gathering


def write_datalists(
    gathering: Gathering,
    output: str | os.PathLike,
    corpus: str,
    command: str,
    amounts: Mapping[str, float],
    seed: int = 42,
    label_seeds: Sequence[int] = (42,),
) -> dict[str, Any]:
    """Writes ``datalist_2d.json`` and ``datalist_3d.json``, ``left_out.csv`` and ``summary.json``.

    Args:
        gathering: from `gather`.
        output: folder of the files; datalists of an earlier run on the same corpus give way.
        corpus: its name.
        command: that asked for it, without paths.
        amounts: of validation and test to draw, see `split_sources`.
        seed: of the splits.
        label_seeds: of the label fractions, which lists with labels get.

    Returns:
        The summary: found, kept, left out by reason, rows and patients of each list, remarks.

    Raises:
        ValueError: When the folder holds another corpus.
    """
    output = Path(output)
    _require_own(output, corpus)
    output.mkdir(parents=True, exist_ok=True)
    summary = _counts(gathering, corpus, command)
    drawn = split_sources(gathering.rows, amounts, seed)
    for source in ("2d", "3d"):
        file = output / f"datalist_{source}.json"
        if source not in gathering.rows:
            file.unlink(missing_ok=True)
            continue
        content = _datalist(gathering, source, summary, *drawn[source], label_seeds)
        _write(file, _as_json(content))
        provenance = content["provenance"]
        summary["datalists"][source] = {"file": file.name, **{k: provenance[k] for k in ("lists", "hash")}}
    shared = shared_patients(*(lists for lists, _ in drawn.values()))
    if shared:
        summary["notes"].append(f"{shared} patients are in more than one of the official splits")
    _write(output / "left_out.csv", _left_out_table(gathering.left_out))
    _write(output / "summary.json", json.dumps(summary, indent=1) + "\n")
    return summary


def _require_own(output: Path, corpus: str) -> None:
    if not (output / "summary.json").is_file():
        return
    other = json.loads((output / "summary.json").read_text()).get("corpus")
    if other != corpus:
        raise ValueError(
            f"--output must be a new folder or one of {corpus!r}, {str(output)!r} holds {other!r}: name another."
        )


def _counts(gathering: Gathering, corpus: str, command: str) -> dict[str, Any]:
    kept = sum(len(rows) for lists in gathering.rows.values() for rows in lists.values())
    reasons = Counter(item.reason for item in gathering.left_out)
    names: dict[str, list[str]] = {reason: [] for reason in reasons}
    for item in gathering.left_out:
        names[item.reason].append(item.name)
    return {
        "corpus": corpus,
        "version": __version__,
        "command": command,
        "found": kept + len(gathering.left_out),
        "kept": kept,
        "left_out": dict(sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0]))),
        "examples": {reason: found[:_LISTED] for reason, found in sorted(names.items())},
        "datalists": {},
        "notes": list(gathering.notes),
    }


def _datalist(
    gathering: Gathering,
    source: str,
    summary: dict[str, Any],
    lists: dict[str, list[Row]],
    notes: Sequence[str],
    label_seeds: Sequence[int],
) -> dict[str, Any]:
    if any("label" in row for row in lists.get("training", ())):
        lists |= label_fractions(lists["training"], label_seeds)
    summary["notes"] += [f"{source}: {note}" for note in notes]
    counts = {
        name: {"rows": len(rows), "patients": len({row["patient"] for row in rows})} for name, rows in lists.items()
    }
    names = gathering.labels.get(source)
    key = "labels" if isinstance(names, dict) else "label_names"
    provenance = {
        **{name: summary[name] for name in ("corpus", "version", "command", "found", "kept", "left_out")},
        "lists": counts,
        "hash": datalist_digest(row for name in SPLITS for row in lists.get(name, ())),
    }
    return {
        "name": summary["corpus"],
        "provenance": provenance,
        **({key: names} if names else {}),
        **{name: lists.get(name, []) for name in SPLITS},
        **lists,
    }


def _as_json(content: Mapping[str, Any]) -> str:
    """JSON with one line a row."""
    parts = []
    for key, value in content.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            lines = ",\n".join(json.dumps(row) for row in value)
            parts.append(f"{json.dumps(key)}: [\n{lines}\n]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _left_out_table(left_out: Sequence[LeftOut]) -> str:
    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"'

    return "".join(f"{cell(name)},{cell(reason)}\n" for name, reason in [("name", "reason"), *left_out])


def _write(path: Path, text: str) -> None:
    """A whole file or none."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
    os.replace(part, path)
