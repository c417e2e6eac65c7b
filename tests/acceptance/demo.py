# SPDX-License-Identifier: Apache-2.0
"""Acceptance 1 and the table of numbers: ``make demo`` reaches every floor with each of three seeds.

    python tests/acceptance/demo.py [--seeds 0 1 2] [--existing]

For each seed ``make demo SEED=n`` is run and timed, set-up included where there is no environment yet; then
``metrics.json`` must hold every figure, ``report.html`` must need no network, and every figure must reach its
floor, every time and the memory stay below its limit. With ``--existing`` what earlier runs wrote is checked.
The last line holds how many floors are reached, and which are not.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai_unimedi.metrics import compare_to_floors, format_floors

REPOSITORY = Path(__file__).resolve().parents[2]
RETRIEVED = "R@1,R@5,exact_R@1,exact_R@5,chance@1,chance@5,untrained@5"
SELECTORS = "attention,random,uniform,centre,constant,entropy"
KEYS = (
    f"retrieval.{{2d,3d}}.{{image_to_report,report_to_image}}.{{{RETRIEVED}}}",
    "zero_shot.{2d,3d}.{auroc,auroc_positive,auroc_negative,by_finding}",
    f"slice_selection.{{all,small}}.{{{SELECTORS}}}.{{hit@1,hit@2,hit@4,precision@1}}",
    "slice_selection.{by_finding,lift}",
    "xray_localization.{pointing_game,random,centre_prior}",
    "cross_dimension.{map_2d_to_3d,map_3d_to_2d,control_2d_to_3d,control_3d_to_2d}",
    "cross_dimension.{modality_probe_accuracy,by_finding}",
    "linear_probe.{trained,untrained}.{2d,3d}.{1,10,100}",
    "phantom.{version,intensity_probe,untrained_probe,supervised_probe}",
    "seconds.{phantom,train,evaluate}",
    "parameters",
    "peak_memory_gb",
    "seed",
)
FETCHED = re.compile(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|url\(["']?(?:https?:)?//|\bfetch\(""")


def main() -> int:
    """Runs or reads the demos; returns 0 where all floors are reached."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--existing", action="store_true")
    arguments = parser.parse_args()
    wrong: list[str] = []
    checked = 0
    for seed in arguments.seeds:
        seconds = None if arguments.existing else run_demo(seed)
        rows, missing = check(seed, seconds)
        print(f"seed {seed}\n{format_floors(rows)}\n", flush=True)
        checked += len(rows)
        missing += [miss(row) for row in rows if not row["met"]]
        wrong += [f"seed {seed}: {problem}" for problem in missing]
    result = "; ".join(wrong) if wrong else "none missed"
    seeds = ", ".join(map(str, arguments.seeds))
    print(f"demo: {checked} floors and limits over seeds {seeds}: {result}")
    return int(bool(wrong))


def folder_of(seed: int) -> Path:
    """Where `make demo` writes."""
    return REPOSITORY / "output" / (f"demo-{seed}" if seed else "demo")


def run_demo(seed: int) -> float:
    """Seconds that the whole command took.

    Raises:
        SystemExit: When it fails, or its folder holds an earlier run, which would not be trained again.
    """
    if (folder_of(seed) / "resume.pt").exists():
        raise SystemExit(f"demo: {folder_of(seed)} holds an earlier run: move it away, or give --existing")
    start = time.monotonic()
    if subprocess.run(["make", "demo", f"SEED={seed}"], cwd=REPOSITORY, check=False).returncode:
        raise SystemExit(f"demo: make demo SEED={seed} failed")
    return time.monotonic() - start


def check(seed: int, seconds: float | None) -> tuple[list[dict[str, Any]], list[str]]:
    """Each figure beside its floor, and what is missing.

    Args:
        seed: of the demo.
        seconds: of the whole command, where it was run.
    """
    folder = folder_of(seed)
    absent = [str(folder / name) for name in ("metrics.json", "report.html") if not (folder / name).is_file()]
    if absent:
        return [], [f"no {path}" for path in absent]
    metrics = json.loads((folder / "metrics.json").read_text())
    missing = [f"no {key}" for pattern in KEYS for key in expand(pattern) if not has(metrics, key)]
    missing += [] if metrics.get("seed") == seed else [f"seed is {metrics.get('seed')}"]
    fetched = FETCHED.search((folder / "report.html").read_text())
    missing += [f"report.html fetches {fetched.group()}"] if fetched else []
    if seconds is not None:
        metrics["seconds"]["demo"] = seconds
    return compare_to_floors(metrics), missing


def expand(pattern: str) -> Iterator[str]:
    """``a.{b,c}`` to ``a.b`` and ``a.c``."""
    parts = re.split(r"\{([^}]*)\}", pattern)
    for chosen in itertools.product(*(part.split(",") if i % 2 else [part] for i, part in enumerate(parts))):
        yield "".join(chosen)


def has(metrics: Any, key: str) -> bool:
    """Whether something stands at a dotted path; a figure must have its interval and count."""
    for name in key.split("."):
        if not isinstance(metrics, dict) or name not in metrics:
            return False
        metrics = metrics[name]
    is_figure = isinstance(metrics, dict) and "value" in metrics
    return not is_figure or {"low", "high", "count"} <= metrics.keys()


def miss(row: dict[str, Any]) -> str:
    value, floor = ("none" if number is None else f"{number:.3f}" for number in (row["value"], row["floor"]))
    return f"{row['figure']} {value}, must be {'at most' if row['is_limit'] else 'at least'} {floor}"


if __name__ == "__main__":
    sys.exit(main())
