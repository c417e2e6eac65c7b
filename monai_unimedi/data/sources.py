# SPDX-License-Identifier: Apache-2.0
"""The rows of a run, by split and source: a user's own datalists, or phantoms made on first use."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monai_unimedi.data.datalist import (
    check_datalist,
    datalist_digest,
    label_names,
    load_datalist,
    section_names,
)
from monai_unimedi.data.hashing import stable_hash
from monai_unimedi.data.label_values import with_read_labels
from monai_unimedi.data.patient_split import split_sources_by_patient, warn_of_shared_patients
from monai_unimedi.data.phantom import ensure_phantom
from monai_unimedi.transforms.report import ReportText

__all__ = [
    "clean_reports",
    "digests",
    "draw_rows",
    "find_datalists",
    "is_phantom",
    "load_learnt",
    "load_split",
    "load_test",
    "load_training",
    "load_unjudged",
    "phantom_facts",
    "shared_label_names",
]

logger = logging.getLogger(__name__)

Row = dict[str, Any]
Rows = dict[str, list[Row]]
MANIFEST = "phantom.json"


def find_datalists(
    datalist_2d: str | os.PathLike | None,
    datalist_3d: str | os.PathLike | None,
    phantom_dir: str | os.PathLike | None = None,
    phantom: Mapping[str, Any] | None = None,
    phantom_if_none: Mapping[str, Any] | None = None,
) -> dict[str, Path]:
    """The datalist of each source that takes part.

    Args:
        datalist_2d: X-rays; None without any.
        datalist_3d: CTs; None without any. Phantoms take the place of both where both are None.
        phantom_dir: folder of the phantoms; None where phantoms will not do.
        phantom: arguments of `ensure_phantom`, which makes them on first use; None takes what is there.
        phantom_if_none: the same for an evaluation: what is there is taken, whatever its size, and where there is
            nothing, as in a downloaded bundle, these are made.

    Returns:
        ``{"2d": path, "3d": path}``, a source without list left out.

    Raises:
        ValueError: When no list is given and phantoms will not do, or there are none and none are to be made.
    """
    given = {"2d": datalist_2d, "3d": datalist_3d}
    if any(given.values()):
        return {source: Path(path) for source, path in given.items() if path}
    if phantom_dir is None:
        raise ValueError(
            "This config needs images and reports of its own, got no datalist: give --datalist_2d, "
            "--datalist_3d or both."
        )
    if phantom is not None:
        return ensure_phantom(phantom_dir, show_progress=sys.stderr.isatty(), **phantom)
    found = {source: Path(phantom_dir) / f"datalist_{source}.json" for source in given}
    if phantom_if_none is not None and not (phantom_facts(found) or {}).get("is_complete"):
        logger.warning("No phantoms of a training in %s: those of the bundle's test set are made.", phantom_dir)
        return ensure_phantom(phantom_dir, show_progress=sys.stderr.isatty(), **phantom_if_none)
    if not is_phantom(found):
        raise ValueError(
            f"phantom_dir must hold the phantoms of a training, found none in {str(phantom_dir)!r}: train "
            "first, name the training's --phantom_dir, or give --datalist_2d and --datalist_3d."
        )
    return found


def is_phantom(datalists: Mapping[str, str | os.PathLike]) -> bool:
    """Whether the lists lie in a phantom's folder."""
    return all((Path(path).parent / MANIFEST).is_file() for path in datalists.values())


def phantom_facts(datalists: Mapping[str, str | os.PathLike]) -> dict[str, Any] | None:
    """The phantom's manifest: version, seed, sizes and the seconds that it took; None for other data."""
    folders = {Path(path).parent for path in datalists.values()}
    if len(folders) != 1 or not is_phantom(datalists):
        return None
    return dict(json.loads((folders.pop() / MANIFEST).read_text()))


def shared_label_names(datalists: Mapping[str, str | os.PathLike]) -> list[str]:
    """Names of the labels' entries, which must be the same in all lists; empty where a list has none.

    Raises:
        ValueError: When two lists name different labels.
    """
    names = {source: label_names(path) for source, path in datalists.items()}
    known = [found for found in names.values() if found]
    if any(found != known[0] for found in known):
        raise ValueError(f"label_names must be the same in all datalists, got {names}.")
    return known[0] if known else []


def load_split(
    datalists: Mapping[str, str | os.PathLike],
    section: str,
    base_dir: str | os.PathLike | None = None,
    keys: Sequence[str] = ("id", "image", "report"),
    on_bad_report: str = "raise",
    label_names: Sequence[str] | None = None,
) -> Rows:
    """Checked rows of one section, by source; a source without such rows is left out.

    Args:
        datalists: from `find_datalists`.
        section: ``training``, ``validation`` or ``test``.
        base_dir: folder that relative paths start from; each list's own folder where None.
        keys: must be present in every row.
        on_bad_report: ``raise`` or ``drop``, see `check_datalist`.
        label_names: the labels are read, see `with_read_labels`; None leaves them as they are.
    """
    rows: Rows = {}
    for source, path in datalists.items():
        if section in section_names(path):
            found = load_datalist(path, section, base_dir)
            if label_names is not None:
                found = with_read_labels(found, f"source {source!r}, list {section!r}", label_names)
            rows[source] = check_datalist(found, source, keys, on_bad_report=on_bad_report)
    return rows


def load_test(
    datalists: Mapping[str, str | os.PathLike],
    base_dir: str | os.PathLike | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    on_bad_report: str = "raise",
    label_names: Sequence[str] | None = None,
) -> Rows:
    """Rows to be judged: the test lists; validation rows of a source that has none, and the log says so.

    Arguments as in `load_training`, of the same run.
    """
    rows = load_split(datalists, "test", base_dir, on_bad_report=on_bad_report, label_names=label_names)
    missing = {source: path for source, path in datalists.items() if source not in rows}
    if missing:
        logger.warning(
            "%s: no test list; the validation rows, which chose the checkpoint, are judged.",
            ", ".join(missing),
        )
        of_run = (base_dir, validation_fraction, seed, on_bad_report, label_names)
        rows |= _validation_of(missing, datalists, *of_run)
    return rows


def _validation_of(
    missing: Mapping[str, str | os.PathLike], datalists: Mapping[str, str | os.PathLike], *of_run: Any
) -> Rows:
    """Validation rows of some sources; drawn ones as in the training, which had the other sources too."""
    is_drawn = any("validation" not in section_names(path) for path in missing.values())
    others = {name: path for name, path in datalists.items() if is_drawn and "training" in section_names(path)}
    validation = load_training({**others, **missing}, *of_run)["validation"]
    return {source: validation[source] for source in missing}


def load_learnt(
    datalists: Mapping[str, str | os.PathLike],
    base_dir: str | os.PathLike | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    on_bad_report: str = "raise",
    label_names: Sequence[str] | None = None,
) -> Rows:
    """Training rows without those that the training split off; a source without a training list is left out.

    Arguments as in `load_training`, of the same run.
    """
    lists = {source: path for source, path in datalists.items() if "training" in section_names(path)}
    return load_training(lists, base_dir, validation_fraction, seed, on_bad_report, label_names)["training"]


def load_unjudged(
    datalists: Mapping[str, str | os.PathLike],
    learnt: Mapping[str, list[Row]],
    base_dir: str | os.PathLike | None = None,
    on_bad_report: str = "raise",
) -> Rows:
    """Rows to choose constant answers on, none of which is judged: the validation list of a source that has a test
    list too, else its rows of `load_learnt`.

    Args:
        datalists: from `find_datalists`.
        learnt: of `load_learnt`.
        base_dir: see `load_split`.
        on_bad_report: see `load_split`.
    """
    apart = {source: path for source, path in datalists.items() if "test" in section_names(path)}
    return {**learnt, **load_split(apart, "validation", base_dir, on_bad_report=on_bad_report)}


def load_training(
    datalists: Mapping[str, str | os.PathLike],
    base_dir: str | os.PathLike | None = None,
    validation_fraction: float = 0.1,
    seed: int = 0,
    on_bad_report: str = "raise",
    label_names: Sequence[str] | None = None,
) -> dict[str, Rows]:
    """Rows to learn from and rows that choose the best checkpoint.

    Args:
        datalists: from `find_datalists`.
        base_dir: see `load_split`.
        validation_fraction: share of a source's patients that is split off where its list has no validation
            rows. A patient of two sources is on one side in both.
        seed: of that split.
        on_bad_report: see `load_split`.
        label_names: see `load_split`; a training needs no labels.

    Returns:
        ``{"training": {source: rows}, "validation": {source: rows}}``.
    """
    training, validation = (
        load_split(datalists, section, base_dir, on_bad_report=on_bad_report, label_names=label_names)
        for section in ("training", "validation")
    )
    for source in datalists:
        if source not in training:
            raise ValueError(f"Datalist {str(datalists[source])!r} must have rows under 'training', got none.")
    warn_of_shared_patients(list(datalists.values()), ("training", "validation", "test"))
    training, validation = split_sources_by_patient(training, validation, validation_fraction, seed)
    return {"training": training, "validation": validation}


def draw_rows(
    rows: Mapping[str, Sequence[Row]],
    key: str,
    limit: int | None = None,
    seed: int = 0,
    without: Sequence[str] = (),
) -> Rows:
    """At random and in their order, at most `limit` rows of each source that have a key, and of it anything known.

    Args:
        rows: by source.
        key: such as ``label`` for a linear probe.
        limit: most rows of a source; all where None.
        seed: of the draw.
        without: keys to leave out of the rows, such as ``lesion_mask`` where it need not be read.
    """
    chosen: Rows = {}
    for source, found in rows.items():
        having = [row for row in found if not _is_unknown(row.get(key))]
        order = np.random.RandomState(stable_hash("draw", seed, source) % 2**32).permutation(len(having))
        drawn = [having[index] for index in sorted(order[:limit])]
        chosen[source] = [{name: row[name] for name in row if name not in without} for row in drawn]
    return {source: found for source, found in chosen.items() if found}


def _is_unknown(value: Any) -> bool:
    return value is None or (isinstance(value, np.ndarray) and bool(np.isnan(value).all()))


def clean_reports(rows: Mapping[str, Sequence[Row]]) -> list[str]:
    """The cleaned reports of all sources, in their order: what a vocabulary is learnt from."""
    clean = ReportText()
    return [clean(row["report"]) for found in rows.values() for row in found]


def digests(rows: Mapping[str, Mapping[str, Sequence[Row]]]) -> dict[str, str]:
    """Hashes of `load_training`'s lists, by ``<source>.<split>``."""
    return {
        f"{source}.{split}": datalist_digest(found)
        for split, sources in rows.items()
        for source, found in sources.items()
    }
