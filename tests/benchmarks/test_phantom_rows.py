# SPDX-License-Identifier: Apache-2.0
"""The evidence's driver: its rows are options that exist, finished runs are kept, tables and guard are arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import benchmarks.phantom.__main__ as driver
from benchmarks.phantom.results import append, done, read
from benchmarks.phantom.runs import ROWS, Run, figures_of, planned
from benchmarks.phantom.tables import MAIN, difference, falls, of_row, table


def metrics(value: float, **others: float) -> dict[str, Any]:
    """Every main figure with one value and an interval of 0.1 to both sides."""
    content: dict[str, Any] = {}
    for name, path in MAIN.items():
        node, found = content, others.get(name, value)
        *parents, last = path.split(".")
        for key in parents:
            node = node.setdefault(key, {})
        node[last] = {"value": found, "low": found - 0.098, "high": found + 0.098, "count": 200}
    return content


def test_rows_are_options_of_the_bundle(repository: Path) -> None:
    config = json.loads((repository / "bundles" / "pretrain" / "configs" / "train.json").read_text())
    for name, row in ROWS.items():
        assert row["tier"] in (1, 2)
        assert row.keys() <= {"tier", "text", "options", "sources"}
        for key, value in row.get("options", {}).items():
            base, *below = key.split("#")
            assert base in config, name
            assert below or config[base] != value, f"{name} is the default"


def test_plan_goes_seed_by_seed() -> None:
    runs = planned(["full", "no slices"], [0, 1], "demo")
    assert [(run.row, run.seed) for run in runs] == [("full", 0), ("no slices", 0), ("full", 1), ("no slices", 1)]
    with pytest.raises(ValueError, match=r"rows must be among full, .*; got fool"):
        planned(["fool"], [0], "demo")


def test_figures_are_named_by_their_place_and_detail_is_left_out() -> None:
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 3}
    found = dict(figures_of({"a": {"b": figure, "by_finding": {"c": figure}}, "extra": {"d": figure}, "seed": 0}))
    assert found == {"a.b": figure}


def test_finished_runs_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    assert read(path) == []
    append(path, Run("full", 0, "demo"), metrics(0.5), 600, 371.4, "abc1234")
    append(path, Run("no slices", 1, "demo"), metrics(0.4), 600, 300.0, "abc1234+")
    lines = read(path)
    assert len(lines) == 2 * len(MAIN)
    assert done(lines) == {Run("full", 0, "demo"): 371.0, Run("no slices", 1, "demo"): 300.0}
    assert {line["commit"] for line in lines} == {"abc1234", "abc1234+"}
    path.write_text("row,seed\nfull,0\n")
    with pytest.raises(ValueError, match="must have the columns row, seed"):
        read(path)


def test_difference_holds_spread_over_seeds_and_cases() -> None:
    one, other = {0: (0.6, 0.0001), 1: (0.7, 0.0001)}, {0: (0.5, 0.0003), 1: (0.5, 0.0003), 2: (0.9, 1.0)}
    gain = difference(one, other)
    assert gain is not None
    assert gain[0] == pytest.approx(0.15)
    assert gain[1] == pytest.approx(1.96 * (0.0004 + 0.005 / 2) ** 0.5)
    assert difference(one, {5: (0.1, 0.1)}) is None


def results(tmp_path: Path, name: str, *values: float, **others: float) -> list[dict[str, str]]:
    path = tmp_path / name
    for seed, value in enumerate(values):
        append(path, Run("full", seed, "demo"), metrics(value, **others), 600, 300.0, "abc1234")
    return read(path)


def test_table_shows_means_and_differences(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = results(tmp_path, "rows.csv", 0.5, 0.7)
    append(path, Run("no slices", 0, "demo"), metrics(0.4), 600, 300.0, "abc1234")
    text = table(read(path), "demo", {"CT R@1": MAIN["CT R@1"]})
    assert "| full | 2 | 0.600 |" in text
    assert "| no slices | 1 | 0.400 (-0.100 ± 0.139) |" in text
    assert "k = 1" not in text
    assert of_row(lines, "full", "long", MAIN["CT R@1"]) == {}


def test_guard_names_what_fell(tmp_path: Path) -> None:
    before = results(tmp_path, "before.csv", 0.5, 0.6)
    assert falls(before, before, "demo") == []
    assert falls(before, results(tmp_path, "same.csv", 0.45, 0.615), "demo") == []  # -0.0175 in the mean
    found = falls(before, results(tmp_path, "after.csv", 0.5, 0.6, **{"CT zero-shot": 0.4}), "demo")
    assert found == ["CT zero-shot fell by 0.150 (seed 0 -0.100, seed 1 -0.200)"]
    assert falls(before, [], "demo") == [f"{name}: no seed in common" for name in MAIN]


def test_only_missing_runs_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    executed: list[Run] = []

    def execute(run: Run, output: Path) -> dict[str, Any]:
        executed.append(run)
        folder = run.folder(output)
        folder.mkdir(parents=True)
        (folder / "training.json").write_text('{"steps": 600}')
        return metrics(0.5)

    monkeypatch.setattr(driver, "execute", execute)
    monkeypatch.setattr(driver, "make_phantoms", lambda *arguments: None)
    words = ["--jobs", "1", "--rows", "full", "CLIP", "--output", str(tmp_path)]
    words += ["--results", str(tmp_path / "results.csv")]
    assert driver.main([*words, "--dry_run"]) == 0
    assert "0 of 6 runs are done; the others take about 0 h 45 min" in capsys.readouterr().out
    append(tmp_path / "results.csv", Run("CLIP", 1, "demo"), metrics(0.4), 600, 300.0, "abc1234")
    assert driver.main([*words, "--guard", str(tmp_path / "results.csv")]) == 0
    assert "1 of 6 runs are done; the others take about 0 h 25 min" in capsys.readouterr().out
    assert sorted((run.row, run.seed) for run in executed) == [
        ("CLIP", 0), ("CLIP", 2), ("full", 0), ("full", 1), ("full", 2),
    ]  # fmt: skip
    assert (tmp_path / "demo" / "tables.md").is_file()
