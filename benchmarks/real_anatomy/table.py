# SPDX-License-Identifier: Apache-2.0
"""From the results to the tables of the page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from benchmarks.phantom.evidence import markdown

from .results import Lines
from .runs import MODELS

__all__ = ["put_into", "tables"]

BEGIN, END = "<!-- tables: python -m benchmarks.real_anatomy -->", "<!-- end of tables -->"
CONTROLS = ("random", "centre", "uniform", "entropy", "constant")
KS = (1, 2, 4)
GROUNDING = ("sentence", "attention", "random", "other_sentence", "other_image")
TUMOUR = "tumour"
ZERO_SHOT = {
    "lift": "slice_selection.lift",
    "zero-shot `auroc`": "zero_shot.3d.auroc",
    "`auroc_positive`": "zero_shot.3d.auroc_positive",
    "`auroc_negative`": "zero_shot.3d.auroc_negative",
}
LEARNT = {
    "image to report R@1": "retrieval.3d.image_to_report.R@1",
    "report to image R@1": "retrieval.3d.report_to_image.R@1",
    "probe": "linear_probe.trained.3d.100",
    "probe of the untrained network": "linear_probe.untrained.3d.100",
}


def tables(lines: Lines) -> str:
    """Markdown."""
    by_key = {(line["model"], line["tested"], line["figure"]): line for line in lines}
    tested = list(dict.fromkeys(line["tested"] for line in lines))
    models = [model for model in MODELS if any(line["model"] == model for line in lines)]
    parts = [
        ("Training", _training(lines)),
        ("Slice selection, all lesions: hit@1 / hit@2 / hit@4", _selection("all", models, tested, by_key)),
        ("Slice selection, small lesions: hit@1 / hit@2 / hit@4", _selection("small", models, tested, by_key)),
        ("Attention and zero-shot", _figures(ZERO_SHOT, models, tested, by_key)),
        ("Retrieval and linear probes with all labels", _figures(LEARNT, models, tested, by_key)),
        ("Grounding, volumes with two findings at different heights: hit@1", _grounding(models, tested, by_key)),
        ("Real tumours: hit@1 / hit@2 / hit@4", _tumours(lines, models)),
    ]
    return "\n\n".join(f"### {title}\n\n{text}" for title, text in parts) + "\n"


def put_into(page: Path, text: str) -> None:
    """Replaces what stands between the page's marks.

    Raises:
        ValueError: When the page has no marks.
    """
    content = page.read_text(encoding="utf-8")
    if BEGIN not in content or END not in content:
        raise ValueError(f"{page} must hold the lines {BEGIN!r} and {END!r}, between which the tables go.")
    before, rest = content.split(BEGIN, 1)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")


Key = dict[tuple[str, str, str], dict[str, str]]


def _number(by_key: Key, model: str, tested: str, figure: str, with_interval: bool = False) -> str:
    line = by_key.get((model, tested, figure))
    if line is None:
        return "-"
    value = f"{float(line['value']):.2f}"
    has_interval = with_interval and line["low"]
    return f"{value} ({float(line['low']):.2f} to {float(line['high']):.2f})" if has_interval else value


def _training(lines: Lines) -> str:
    """Of each run once; the phantoms' model is the same for all test patients."""
    keys = dict.fromkeys(
        (line["model"], line["tested"], line["steps"], line["seconds"], line["commit"]) for line in lines
    )
    rows = [[tested, model, *others] for model, tested, *others in keys]
    return markdown(["test patient", "model", "steps", "seconds", "commit"], rows)


def _selection(subset: str, models: list[str], tested: list[str], by_key: Key) -> str:
    rows = []
    for patient in tested:
        for model in models:
            cell = _hits(by_key, model, patient, f"slice_selection.{subset}.attention")
            if cell.strip("- /"):
                interval = _number(by_key, model, patient, f"slice_selection.{subset}.attention.hit@1", True)
                rows.append([patient, f"attention, {model}", cell, interval])
        known = [model for model in models if (model, patient, f"slice_selection.{subset}.random.hit@1") in by_key]
        for control in CONTROLS:  # of the same volumes, whatever the model
            rows += [
                [patient, control, _hits(by_key, m, patient, f"slice_selection.{subset}.{control}"), ""]
                for m in known[:1]
            ]
    return markdown(["test patient", "selector", "hit@1 / @2 / @4", "hit@1 with 95 % interval"], rows)


def _hits(by_key: Key, model: str, tested: str, path: str) -> str:
    return " / ".join(_number(by_key, model, tested, f"{path}.hit@{k}") for k in KS)


def _figures(figures: Mapping[str, str], models: list[str], tested: list[str], by_key: Key) -> str:
    rows = [
        [patient, model, *(_number(by_key, model, patient, path, True) for path in figures.values())]
        for patient in tested
        for model in models
        if (model, patient, next(iter(figures.values()))) in by_key
    ]
    return markdown(["test patient", "model", *figures], rows)


def _grounding(models: list[str], tested: list[str], by_key: Key) -> str:
    rows = []
    for patient in tested:
        for model in models:
            line = by_key.get((model, patient, "grounding.3d.sentence.hit@1"))
            if line is not None:
                cells = [_number(by_key, model, patient, f"grounding.3d.{name}.hit@1", True) for name in GROUNDING]
                rows.append([patient, model, line["count"], *cells])
    heads = [name.replace("_", " ") for name in GROUNDING]
    return markdown(["test patient", "model", "volumes", *heads], rows)


def _tumours(lines: Lines, models: list[str]) -> str:
    """Means over the models that were trained for different test patients."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for line in lines:
        if line["figure"].startswith(f"{TUMOUR}."):
            patient, selector, key = line["figure"].split(".")[1:]
            values.setdefault((patient, f"{selector}, {line['model']}", key), []).append(float(line["value"]))
    rows = []
    for patient in dict.fromkeys(name for name, _, _ in values):
        selectors = [f"attention, {model}" for model in models]
        selectors += [f"{control}, {models[0]}" for control in CONTROLS[:-1]]
        for selector in selectors:
            found = [values.get((patient, selector, f"hit@{k}"), []) for k in KS]
            if all(found):
                hits = " / ".join(f"{statistics.mean(part):.2f}" for part in found)
                shown = selector if selector.startswith("attention") else selector.split(",")[0]
                rows.append([patient, shown, hits, str(len(found[0])) if "attention" in selector else ""])
    return markdown(["patient", "selector", "hit@1 / @2 / @4", "models"], rows)
