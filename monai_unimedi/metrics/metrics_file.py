# SPDX-License-Identifier: Apache-2.0
"""The metrics file of one evaluation: the figures, and beside them what they cost and on what they stand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai_unimedi.file_digest import file_digest

__all__ = ["read_training", "weight_digests", "write_metrics"]

PROBES = ("intensity_probe", "supervised_probe")


def read_training(output_dir: str | Path) -> dict[str, Any]:
    """``training.json`` of a run's folder; empty where the model was trained elsewhere."""
    path = Path(output_dir) / "training.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def weight_digests(model_dir: str | Path) -> dict[str, str]:
    """SHA-256 of ``model.pt`` and of each file of the report tower, ``text/``, by name."""
    folder = Path(model_dir)
    files = [folder / "model.pt", *sorted((folder / "text").rglob("*"))]
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files if path.is_file()}


def write_metrics(
    path: str | Path,
    figures: Mapping[str, Any],
    training: Mapping[str, Any],
    seconds: float,
    parameters: int,
    peak_memory_gb: float,
    seed: int,
    phantom: Mapping[str, Any] | None = None,
    difficulty_card: Mapping[str, Any] | None = None,
    model_dir: str | Path | None = None,
) -> dict[str, Any]:
    """Completes the figures by plain values and writes them.

    Args:
        path: the JSON file.
        figures: from `summarize`.
        training: from `read_training`.
        seconds: of the evaluation.
        parameters: of the image tower.
        peak_memory_gb: of the evaluation; the larger of this and the training's is written.
        seed: of the evaluation, where the training's is not known.
        phantom: the phantom's manifest, where the data are phantoms.
        difficulty_card: of the phantom's version.
        model_dir: folder of the weights that were judged; their digests tie the figures to them.

    Returns:
        What was written: `figures`, ``phantom`` (on phantoms), ``seconds``, ``parameters``,
        ``peak_memory_gb``, ``seed`` and ``weights`` (name to SHA-256, where `model_dir` is given).
    """
    times = {"phantom": (phantom or {}).get("seconds"), "train": training.get("seconds"), "evaluate": seconds}
    metrics = dict(figures)
    if phantom:
        metrics["phantom"] = _phantom(phantom, difficulty_card or {}, figures)
    metrics |= {
        "seconds": {name: round(value, 1) for name, value in times.items() if value is not None},
        "parameters": parameters,
        "peak_memory_gb": max(peak_memory_gb, training.get("peak_memory_gb", 0.0)),
        "seed": training.get("seed", seed),
        **({} if model_dir is None else {"weights": weight_digests(model_dir)}),
    }
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    part = Path(path).with_name(f"{Path(path).name}.part")
    part.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    part.replace(path)
    return metrics


def _phantom(
    phantom: Mapping[str, Any], card: Mapping[str, Any], figures: Mapping[str, Any]
) -> dict[str, Any]:
    """Version and how hard it is; probes of a card of another version are left out."""
    probes = {name: card[name] for name in PROBES if name in card and card["version"] == phantom["version"]}
    untrained = figures.get("linear_probe", {}).get("untrained", {})
    measured = {source: row["100"]["value"] for source, row in untrained.items() if "100" in row}
    return {"version": phantom["version"], **probes, "untrained_probe": measured}
