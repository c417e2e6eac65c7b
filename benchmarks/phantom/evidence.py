# SPDX-License-Identifier: Apache-2.0
"""The results as the tables of docs/evidence.md: each row against the full method, and each claim against its control.

A value stands with half of its 95 % interval over seeds and cases, a difference likewise, in bold where its interval
leaves 0 out. What has not been run is ``missing``.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.phantom.results import Results
from benchmarks.phantom.runs import REFERENCE, ROWS
from benchmarks.phantom.tables import Found, difference, of_row, seed_variance

__all__ = [
    "BASELINES",
    "COMPARED",
    "QUESTIONS",
    "TIER_1",
    "against",
    "by_finding",
    "components",
    "missing_runs",
    "questions",
    "rows",
]

MISSING = "missing"
NONE = "none"  # by construction
LEARNING = {
    "X-ray R@1": "retrieval.2d.image_to_report.R@1",
    "CT R@1": "retrieval.3d.image_to_report.R@1",
    "X-ray zero-shot": "zero_shot.2d.auroc",
    "CT zero-shot": "zero_shot.3d.auroc",
    "X-ray probe 1 %": "linear_probe.trained.2d.1",
    "CT probe 1 %": "linear_probe.trained.3d.1",
}
AWARENESS = {
    "slice hit@1": "slice_selection.all.attention.hit@1",
    "small lesions": "slice_selection.small.attention.hit@1",
    "lift": "slice_selection.lift",
    "X-ray pointing game": "xray_localization.pointing_game",
    "CT sentence hit@1": "grounding.3d.sentence.hit@1",
    "X-ray sentence hit@1": "grounding.2d.sentence.hit@1",
}
SPACE = {
    "X-ray to CT mAP": "cross_dimension.map_2d_to_3d",
    "CT to X-ray mAP": "cross_dimension.map_3d_to_2d",
    "modality gap": "extra.cross_dimension.modality_gap",
    "silhouette, findings": "extra.cross_dimension.silhouette_class",
    "silhouette, modality": "extra.cross_dimension.silhouette_modality",
    "modality probe": "cross_dimension.modality_probe_accuracy",
}
SHORT = {
    **dict(list(LEARNING.items())[:4]),
    **dict(list(AWARENESS.items())[:4]),
    "X-ray to CT mAP": SPACE["X-ray to CT mAP"],
}
COMPARED = frozenset({*LEARNING.values(), *AWARENESS.values(), *SPACE.values()})  # between rows
BOTH = ("2D only", "3D only")
SEPARATE = "two separate encoders"
BASELINES = ("full", "CLIP", "DINO", "UniMiSS", "supervised")
TIER_1 = (*(name for name, row in ROWS.items() if row["tier"] == 1 and name not in BASELINES[1:]), SEPARATE)
QUESTIONS: dict[str, dict[str, str]] = {  # the choices of each question, by name; REFERENCE is what ships
    "slices fed (k)": {
        "1": "k = 1",
        "2": "k = 2",
        "4": REFERENCE,
        "8": "k = 8",
        "8 at equal time": "k = 8 at equal time",
    },
    "mask ratio": {"0.25": "mask ratio 0.25", "0.5": REFERENCE, "0.75": "mask ratio 0.75"},
    "view contrasted": {"whole": REFERENCE, "masked": "masked view contrasted"},
    "hidden tokens": {"mask tokens": REFERENCE, "left out, predicted": "visible tokens only"},
    "slices drawn in training": {"half": REFERENCE, "none (the paper's)": "no slice explored"},
    "a patch's score": {"contribution": REFERENCE, "attention (the paper's)": "attention alone as score"},
    "a slice's score": {"mean": REFERENCE, "maximum": "maximum of a slice"},
    "attention scored": {"above its mean at the place": REFERENCE, "all (the paper's)": "scores not debiased"},
    "softmax": {"joint": REFERENCE, "of each slice": "softmax of each slice"},
    "layers of the score": {"all": REFERENCE, "last": "last layer's scores"},
    "scores refreshed": {
        "each visit": "selection each step",
        "3rd visit": REFERENCE,
        "10th visit": "selection each 10 epochs",
    },
    "centring": {"running centre": REFERENCE, "Sinkhorn": "Sinkhorn centring"},
    "distillation starts": {"at 65 %": REFERENCE, "at once": "distillation from the start"},
    "distillation's weight": {"0.3": REFERENCE, "1": "distillation weight 1"},
    "contrast": {"own": REFERENCE, "joint": "joint contrast", "alternating": "alternating contrast"},
    "equal reports": {"share a target": REFERENCE, "negatives (the paper's)": "plain InfoNCE"},
    "q and k gain": {"1": REFERENCE, "2.5": "q and k gain 2.5"},
    "teacher momentum": {"0.99 to 1": REFERENCE, "0.996 to 1": "teacher momentum 0.996"},
    "report in training": {"whole": REFERENCE, "half of them sentences": "sentences as prompts"},
}
COMPONENTS = {
    "slices": "no slices",
    "half of them attended, not all random": "random slices",
    "half of them attended, not all uniform": "uniform slices",
    "self-distillation": "no distillation",
    "both dimensions in one encoder": SEPARATE,
}


def dimensions(figure: str) -> set[str]:
    """The images that a figure speaks of."""
    if "cross_dimension" in figure:
        return {"2d", "3d"}
    return {"2d" if ".2d." in f".{figure}." or figure.startswith("xray") else "3d"}


def is_possible(row: str, figure: str) -> bool:
    """Whether a row has that figure by construction: one dimension alone has none of the other, nor any across."""
    if row == SEPARATE:
        return len(dimensions(figure)) == 1
    return dimensions(figure) <= set(ROWS[row].get("sources", ("2d", "3d")))


def cells(lines: Results, row: str, budget: str, figure: str) -> Found:
    """A figure by seed and precision; of the two separate encoders each dimension's own, and nothing across."""
    if row != SEPARATE:
        return of_row(lines, row, budget, figure)
    found = dimensions(figure)
    return of_row(lines, BOTH["3d" in found], budget, figure) if is_possible(row, figure) else {}


def mean(found: Found) -> tuple[float, float] | None:
    """Over runs, and half of the 95 % interval over seeds and cases; None without a run."""
    if not found:
        return None
    values = [cell.value for cell in found.values()]
    of_cases = statistics.mean(cell.variance for cell in found.values())
    of_seeds = statistics.variance(values) / len(values) if len(values) > 1 else 0.0
    return statistics.mean(values), 1.96 * math.sqrt(of_cases + of_seeds)


def shown(found: Found) -> str:
    """``0.61 ± 0.04``."""
    value = mean(found)
    return MISSING if value is None else f"{value[0]:.2f} ± {value[1]:.2f}"


def gained(one: Found, other: Found, of_one_seed: float | None = None) -> str:
    """``+0.03 ± 0.05``; bold where the interval leaves 0 out. Arguments as those of `difference`."""
    gain = difference(one, other, of_one_seed)
    if gain is None:
        return MISSING
    text = f"{gain[0]:+.2f} ± {gain[1]:.2f}"
    return f"**{text}**" if abs(gain[0]) > gain[1] else text


def rows(lines: Results, names: Sequence[str], budget: str, figures: Mapping[str, str]) -> str:
    """Rows of the method beside each other; below a mean its difference to the full method."""
    body = []
    spread = {figure: seed_variance(lines, budget, path) for figure, path in figures.items()}
    for name in names:
        found = {figure: cells(lines, name, budget, path) for figure, path in figures.items()}
        text = [_with_gain(lines, name, budget, figures[figure], own, spread[figure]) for figure, own in found.items()]
        body.append([name, str(max(map(len, found.values()))), *text])
    return markdown(["row", "runs", *figures], body)


def _with_gain(lines: Results, name: str, budget: str, figure: str, own: Found, spread: float) -> str:
    if not is_possible(name, figure):
        return NONE
    if name == REFERENCE or not own:
        return shown(own)
    return f"{shown(own)}<br>{gained(own, cells(lines, REFERENCE, budget, figure), spread)}"


def questions(lines: Results, budget: str, figures: Mapping[str, str] = SHORT) -> str:
    """Each open value's choices, as differences to what ships."""
    body = []
    spread = {path: seed_variance(lines, budget, path) for path in figures.values()}
    for question, choices in QUESTIONS.items():
        for choice, name in choices.items():
            found = {path: cells(lines, name, budget, path) for path in figures.values()}
            count = str(max(map(len, found.values())))
            full = {path: cells(lines, REFERENCE, budget, path) for path in found}
            is_full = name == REFERENCE
            text = [shown(own) if is_full else gained(own, full[path], spread[path]) for path, own in found.items()]
            body.append([question, f"{choice} (ships)" if is_full else choice, count, *text])
    return markdown(["open value", "choice", "runs", *figures], body)


def components(lines: Results, budget: str, figures: Mapping[str, str] = SHORT) -> str:
    """What each part adds: the full method minus the method without it."""
    body = []
    spread = {path: seed_variance(lines, budget, path) for path in figures.values()}
    for part, without in COMPONENTS.items():
        own = {path: cells(lines, without, budget, path) for path in figures.values()}
        full = {path: cells(lines, REFERENCE, budget, path) for path in own}
        gains = [
            gained(full[path], found, spread[path]) if is_possible(without, path) else NONE
            for path, found in own.items()
        ]
        body.append([part, str(max(map(len, own.values()))), *gains])
    return markdown(["part", "runs", *figures], body)


def against(
    lines: Results, budget: str, names: Mapping[str, str], figures: Mapping[str, str], row: str = REFERENCE
) -> str:
    """Ways to do one thing beside each other, in one row's runs; ``{}`` in a figure's path stands for the way.

    Args:
        lines: the results.
        budget: of the runs.
        names: title of each way, by its name in the path; the first is the method's, the others are compared with it.
        figures: path with ``{}`` of each column, by title.
        row: of the runs.
    """
    first, body = next(iter(names)), []
    for name, title in names.items():
        text = []
        for path in figures.values():
            own, ours = (of_row(lines, row, budget, path.format(way)) for way in (name, first))
            text.append(shown(own) if name == first or not own else f"{shown(own)}<br>{gained(ours, own)}")
        body.append([title, *text])
    return markdown(["", *figures], body)


def by_finding(lines: Results, budget: str, findings: Sequence[str], row: str = REFERENCE) -> str:
    """Mean average precision across dimensions beside the shuffled-query control, finding by finding."""
    body = []
    for finding in findings:
        text = []
        for way in ("2d_to_3d", "3d_to_2d"):
            path = f"extra.cross_dimension.by_finding.{finding}"
            own, control = (of_row(lines, row, budget, f"{path}.{kind}_{way}") for kind in ("map", "control"))
            text += [shown(own), shown(control), gained(own, control)]
        body.append([finding.replace("_", " "), *text])
    ways = [f"{way} {what}" for way in ("X-ray to CT", "CT to X-ray") for what in ("mAP", "control", "difference")]
    return markdown(["finding", *ways], body)


def missing_runs(lines: Results, names: Sequence[str], seeds: Sequence[int], budget: str, title: str) -> str:
    """One sentence on what is still to be run, in either precision, of the rows called by a title."""
    known = {(line["row"], int(line["seed"])) for line in lines if line["budget"] == budget}
    wanted = {name: [seed for seed in seeds if (name, seed) not in known] for name in names if name in ROWS}
    left = [f"{name} (seed {', '.join(map(str, found))})" for name, found in wanted.items() if found]
    place = f"{title}, budget {budget}"
    return f"{place}, not run yet: {'; '.join(left)}." if left else f"{place}: all runs are in."


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table."""
    return "\n".join(_lines(head, body))


def _lines(head: Sequence[str], body: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for line in body:
        yield f"| {' | '.join(line)} |"
