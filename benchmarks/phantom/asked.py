# SPDX-License-Identifier: Apache-2.0
"""What the full method was asked to reach with runs of 30 minutes, what it reached, and whether that holds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from benchmarks.phantom.evidence import MISSING, gained, markdown, mean, shown
from benchmarks.phantom.results import Results
from benchmarks.phantom.runs import REFERENCE
from benchmarks.phantom.segmentation import SCRATCH
from benchmarks.phantom.tables import Found, difference, of_row

__all__ = ["asked_table", "best_rival"]

RIVALS = ("random", "uniform", "centre", "constant", "entropy")
DIMENSIONS = {"2d": "X-ray", "3d": "CT"}
MARGIN = 0.15
Line = tuple[str, str, bool | None]  # asked, measured, holds; None where a run is missing


def asked_table(lines: Results, masks: Results, budget: str, findings: Sequence[str]) -> str:
    """Asked, measured, holds.

    Args:
        lines: results of the rows.
        masks: results of the segmentation.
        budget: of the runs judged.
        findings: names in the results.
    """
    found = [*_slices(lines, budget), *_zero_shot(lines, budget), *_crossing(lines, budget, findings)]
    found += [*_grounding(lines, budget), *_probes(lines, budget), *_masks(masks, budget)]
    names = {True: "yes", False: "**no**", None: MISSING}
    return markdown(
        ["asked", "measured", "holds"], [[asked, measured, names[holds]] for asked, measured, holds in found]
    )


def best_rival(lines: Results, budget: str, subset: str, row: str = REFERENCE) -> str | None:
    """The choice of one slice, among those that know no report, that meets most lesions in the mean."""
    hits = {name: of_row(lines, row, budget, f"slice_selection.{subset}.{name}.hit@1") for name in RIVALS}
    known = {name: statistics.mean(cell.value for cell in found.values()) for name, found in hits.items() if found}
    return max(known, key=lambda name: known[name]) if known else None


def _slices(lines: Results, budget: str) -> Iterator[Line]:
    asked = f"small lesions: hit@1 at least {MARGIN} above the best of {', '.join(RIVALS)}, interval above 0"
    rival = best_rival(lines, budget, "small")
    if rival is None:
        yield asked, MISSING, None
        return
    own, other = (_full(lines, budget, f"slice_selection.small.{name}.hit@1") for name in ("attention", rival))
    gain = difference(own, other)
    holds = None if gain is None else gain[0] >= MARGIN and gain[0] > gain[1]
    yield asked, f"{shown(own)} against {rival} {shown(other)}: {gained(own, other)}", holds


def _zero_shot(lines: Results, budget: str) -> Iterator[Line]:
    for source, name in DIMENSIONS.items():
        yield _at_least(f"{name} zero-shot AUROC 0.85", _full(lines, budget, f"zero_shot.{source}.auroc"), 0.85)
        for finding in ("nodule", "ground_glass"):
            own = _full(lines, budget, f"zero_shot.{source}.by_finding.{finding}")
            yield _at_least(f"{name} zero-shot AUROC of {finding.replace('_', ' ')} above 0.70", own, 0.70)


def _crossing(lines: Results, budget: str, findings: Sequence[str]) -> Iterator[Line]:
    for way, name in {"2d_to_3d": "X-ray to CT", "3d_to_2d": "CT to X-ray"}.items():
        asked = f"{name} mAP {MARGIN} above the shuffled-query control"
        own, control = (_full(lines, budget, f"cross_dimension.{kind}_{way}") for kind in ("map", "control"))
        yield _above(asked, own, control, MARGIN)
        gains = {}
        for finding in findings:
            path = f"extra.cross_dimension.by_finding.{finding}"
            gains[finding] = difference(*(_full(lines, budget, f"{path}.{kind}_{way}") for kind in ("map", "control")))
        reached = [finding for finding, gain in gains.items() if gain is not None and gain[0] >= MARGIN]
        is_known = all(gain is not None for gain in gains.values())
        names = ", ".join(finding.replace("_", " ") for finding in reached) or "none"
        measured = f"{len(reached)}: {names}" if is_known else MISSING
        yield f"the same in at least 4 of {len(findings)} findings", measured, len(reached) >= 4 if is_known else None


def _grounding(lines: Results, budget: str) -> Iterator[Line]:
    for source, name in DIMENSIONS.items():
        asked = f"{name} grounding: hit@1 of the finding's sentence {MARGIN} above the other finding's"
        own, other = (_full(lines, budget, f"grounding.{source}.{way}.hit@1") for way in ("sentence", "other_sentence"))
        yield _above(asked, own, other, MARGIN)


def _probes(lines: Results, budget: str) -> Iterator[Line]:
    for source, name in DIMENSIONS.items():
        one = _full(lines, budget, f"linear_probe.trained.{source}.1")
        untrained = _full(lines, budget, f"linear_probe.untrained.{source}.100")
        yield _above(
            f"{name} linear probe with 1 % of labels at least the untrained network's with 100 %", one, untrained
        )


def _masks(masks: Results, budget: str) -> Iterator[Line]:
    for source, name in DIMENSIONS.items():
        figure = "segmentation.{}.{}.dice_positives".format
        own = of_row(masks, REFERENCE, budget, figure(source, 10))
        scratch = of_row(masks, SCRATCH, budget, figure(source, 100))
        yield _above(
            f"{name} masks (Dice over the positives) with 10 % of labels at least scratch with 100 %", own, scratch
        )


def _full(lines: Results, budget: str, figure: str) -> Found:
    return of_row(lines, REFERENCE, budget, figure)


def _at_least(asked: str, found: Found, least: float) -> Line:
    value = mean(found)
    return asked, shown(found), None if value is None else value[0] >= least


def _above(asked: str, own: Found, other: Found, margin: float = 0.0) -> Line:
    gain = difference(own, other)
    measured = MISSING if gain is None else f"{shown(own)} against {shown(other)}: {gained(own, other)}"
    return asked, measured, None if gain is None else gain[0] >= margin
