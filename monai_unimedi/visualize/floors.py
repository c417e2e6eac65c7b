# SPDX-License-Identifier: Apache-2.0
"""The demo's figures beside what the demo promises: so much, so much above a control, so long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from monai_unimedi.visualize.metric_tables import cell, words

__all__ = ["demo_floors"]


class Promise(NamedTuple):
    """A figure has to reach ``bound``, or the best of the figures ``over`` plus ``bound``."""

    name: str
    figure: str
    bound: float
    over: tuple[str, ...] = ()
    is_ceiling: bool = False


DIMENSIONS = ("2d", "3d")
HIT = "slice_selection.all.{}.hit@1"
PROMISES = (
    *(
        Promise(f"{rank}, {words(dim)}, {words(way)}", f"retrieval.{dim}.{way}.{rank}", bound)
        for dim in DIMENSIONS
        for way in ("image_to_report", "report_to_image")
        for rank, bound in (("R@1", 0.45), ("R@5", 0.75))
    ),
    *(Promise(f"Zero-shot AUROC, {words(dim)}", f"zero_shot.{dim}.auroc", 0.70) for dim in DIMENSIONS),
    Promise("Slice hit@1, random + 0.25", HIT.format("attention"), 0.25, (HIT.format("random"),)),
    Promise(
        "Slice hit@1, best rival + 0.05",
        HIT.format("attention"),
        0.05,
        tuple(HIT.format(rule) for rule in ("uniform", "centre", "constant", "entropy")),
    ),
    Promise("Attention lift on lesion patches", "slice_selection.lift", 2.5),
    *(
        Promise(
            f"Linear probe, 1 % of labels, {words(dim)}, untrained + 0.15",
            f"linear_probe.trained.{dim}.1",
            0.15,
            (f"linear_probe.untrained.{dim}.1",),
        )
        for dim in DIMENSIONS
    ),
    *(
        Promise(
            f"{words('map_' + way)}, control + 0.05",
            f"cross_dimension.map_{way}",
            0.05,
            (f"cross_dimension.control_{way}",),
        )
        for way in ("2d_to_3d", "3d_to_2d")
    ),
    Promise(
        "Pointing game, X-ray, centre prior + 0.10",
        "xray_localization.pointing_game",
        0.10,
        ("xray_localization.centre_prior",),
    ),
    Promise("Phantoms, seconds", "seconds.phantom", 60.0, is_ceiling=True),
    Promise("Training, seconds", "seconds.train", 360.0, is_ceiling=True),
    Promise("Evaluation, seconds", "seconds.evaluate", 120.0, is_ceiling=True),
    Promise("Peak memory, GB", "peak_memory_gb", 4.0, is_ceiling=True),
)


def demo_floors(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The promises whose figures are there.

    Returns:
        ``{"name", "figure", "bound", "is_ceiling", "met"}`` each.
    """
    rows = [_row(metrics, promise) for promise in PROMISES]
    return [row for row in rows if row is not None]


def _row(metrics: Mapping[str, Any], promise: Promise) -> dict[str, Any] | None:
    figure = _at(metrics, promise.figure)
    controls = [control["value"] for control in (_at(metrics, path) for path in promise.over) if control]
    if figure is None or (promise.over and not controls):
        return None
    bound = promise.bound + max(controls, default=0.0)
    met = figure["value"] <= bound if promise.is_ceiling else figure["value"] >= bound
    return {
        "name": promise.name,
        "figure": figure,
        "bound": bound,
        "is_ceiling": promise.is_ceiling,
        "met": met,
    }


def _at(metrics: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    node: Any = metrics
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return cell(node)
