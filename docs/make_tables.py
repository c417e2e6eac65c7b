# SPDX-License-Identifier: Apache-2.0
"""Writes what the demos reached into the README and the decisions, between their markers.

    python docs/make_tables.py [--output output]

Reads ``demo/metrics.json``, ``demo-1/metrics.json`` and ``demo-2/metrics.json`` below the folder.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from monai_unimedi.metrics import compare_to_floors

REPOSITORY = Path(__file__).resolve().parents[1]
DEMOS = {0: "demo", 1: "demo-1", 2: "demo-2"}
RIVALS = ("uniform", "centre", "constant", "entropy")


def main() -> None:
    """Fills both pages."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=REPOSITORY / "output")
    folder = parser.parse_args().output
    found = {seed: folder / name / "metrics.json" for seed, name in DEMOS.items()}
    metrics = {seed: json.loads(path.read_text()) for seed, path in found.items() if path.is_file()}
    fill(REPOSITORY / "README.md", demo_table(metrics[0]))
    fill(REPOSITORY / "docs" / "decisions.md", seeds_table(metrics))


def fill(page: Path, table: list[str]) -> None:
    """Replaces what stands between the page's two markers."""
    text = page.read_text(encoding="utf-8")
    begin, end = "<!-- demo: docs/make_tables.py -->", "<!-- end of demo -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", flags=re.DOTALL)
    body = "\n".join([begin, *table, end])
    page.write_text(pattern.sub(lambda _: body, text), encoding="utf-8")


def demo_table(metrics: dict[str, Any]) -> list[str]:
    """Figures with 95 % intervals, X-ray beside CT, and what no learning gives."""
    ways = {"image_to_report": "image to report", "report_to_image": "report to image"}
    rows = ["| figure (seed 0) | X-ray | CT | to compare with |", "|---|---|---|---|"]
    for way, title in ways.items():
        for k in (1, 5):
            chance = " and ".join(
                f"{get(metrics, f'retrieval.{d}.{way}.chance@{k}'):.2f}" for d in ("2d", "3d")
            )
            rows.append(row(metrics, f"{title} R@{k}", f"retrieval.{{}}.{way}.R@{k}", f"chance {chance}"))
    rows.append(row(metrics, "zero-shot AUROC", "zero_shot.{}.auroc", "chance 0.50"))
    untrained = " and ".join(f"{get(metrics, f'linear_probe.untrained.{d}.1'):.2f}" for d in ("2d", "3d"))
    title = "linear probe AUROC, 1 % of the labels"
    rows.append(row(metrics, title, "linear_probe.trained.{}.1", f"untrained {untrained}"))
    hits = "slice_selection.all.{}.hit@1"
    best = max(RIVALS, key=lambda name: get(metrics, hits.format(name)))
    rival = f"{best} {get(metrics, hits.format(best)):.2f}, random {get(metrics, hits.format('random')):.2f}"
    rows.append(f"| slice hit@1 | | {shown(metrics, hits.format('attention'))} | {rival} |")
    rows.append(
        f"| attention on lesions over its mean | | {shown(metrics, 'slice_selection.lift')} | none 1.0 |"
    )
    prior = f"centre prior {get(metrics, 'xray_localization.centre_prior'):.2f}"
    game = shown(metrics, "xray_localization.pointing_game")
    rows.append(f"| affected areas, pointing game | {game} | | {prior} |")
    crossings = ("2d_to_3d", "3d_to_2d")
    found = [shown(metrics, f"cross_dimension.map_{way}") for way in crossings]
    control = " and ".join(f"{get(metrics, f'cross_dimension.control_{way}'):.2f}" for way in crossings)
    rows.append(f"| to the other dimension, mAP | {found[0]} | {found[1]} | shuffled queries {control} |")
    seconds = {name: f"{value:.0f} s" for name, value in metrics["seconds"].items()}
    parts = f"{seconds['phantom']} phantoms, {seconds['train']} training, {seconds['evaluate']} evaluation"
    size = (
        f"{metrics['parameters'] / 1e6:.1f} million parameters, {metrics['peak_memory_gb']:.1f} GB of memory"
    )
    missed = [row["figure"] for row in compare_to_floors(metrics) if not row["met"]]
    verdict = (
        f"Missed floors and limits: `{'`, `'.join(missed)}`" if missed else "No floor or limit is missed"
    )
    return [*rows, "", f"It took {parts}; {size}. {verdict} ([all, by seed](docs/decisions.md))."]


def seeds_table(metrics: dict[int, dict[str, Any]]) -> list[str]:
    """Every figure with a floor, seed by seed; a floor that is missed stands in bold."""
    checked = {
        seed: {row["figure"]: row for row in compare_to_floors(found)} for seed, found in metrics.items()
    }
    names = list(dict.fromkeys(name for rows in checked.values() for name in rows))
    head = "| figure | " + " | ".join(f"seed {seed}" for seed in DEMOS) + " |"
    lines = [head, "|---|" + "---|" * len(DEMOS)]
    for name in names:
        cells = [cell(checked.get(seed, {}).get(name)) for seed in DEMOS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def cell(row: dict[str, Any] | None) -> str:
    """The value, and in brackets what it must reach."""
    if row is None or row["value"] is None:
        return "not measured"
    digits = 0 if row["figure"].startswith("seconds") else 2
    value, floor = (f"{number:.{digits}f}" for number in (row["value"], row["floor"]))
    bound = "at most" if row["is_limit"] else "at least"
    return f"{value if row['met'] else f'**{value}**'} ({bound} {floor})"


def row(metrics: dict[str, Any], title: str, path: str, compared: str) -> str:
    xray, ct = (shown(metrics, path.format(source)) for source in ("2d", "3d"))
    return f"| {title} | {xray} | {ct} | {compared} |"


def figure(metrics: dict[str, Any], path: str) -> dict[str, float]:
    found: Any = metrics
    for key in path.split("."):
        found = found[key]
    return dict(found)


def get(metrics: dict[str, Any], path: str) -> float:
    return figure(metrics, path)["value"]


def shown(metrics: dict[str, Any], path: str) -> str:
    """``0.61 (0.54 to 0.68)``."""
    values = figure(metrics, path)
    return f"{values['value']:.2f} ({values['low']:.2f} to {values['high']:.2f})"


if __name__ == "__main__":
    main()
