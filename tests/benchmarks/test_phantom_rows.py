# SPDX-License-Identifier: Apache-2.0
"""The evidence's driver: its rows are options that exist, finished runs are kept, tables and guard are arithmetic."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

import benchmarks.phantom.__main__ as driver
from benchmarks.phantom import over_training, segmentation
from benchmarks.phantom import runs as commands
from benchmarks.phantom.evidence import COMPARED
from benchmarks.phantom.influences import influence_path, keep_influence, load_influence
from benchmarks.phantom.results import append, done, read, replace
from benchmarks.phantom.runs import ROWS, Run, figures_of, planned
from benchmarks.phantom.tables import MAIN, Cell, difference, falls, of_row, seed_variance, table


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


def evaluation(value: float, case: float = 0.5) -> Callable[[Run, Path], dict[str, Any]]:
    """In the place of the bundle's: what it returns and what it writes."""

    def evaluate(run: Run, output: Path) -> dict[str, Any]:
        folder = run.folder(output)
        folder.mkdir(parents=True, exist_ok=True)
        names = (MAIN["CT R@1"], "extra.slice_selection.by_finding.nodule.attention.hit@1", "calibration")
        np.savez(folder / "influence.npz", **{name: np.array([case, -case], np.float16) for name in names})
        return metrics(value)

    return evaluate


def test_rows_are_options_of_the_bundle(repository: Path) -> None:
    config = json.loads((repository / "bundles" / "pretrain" / "configs" / "train.json").read_text())
    for name, row in ROWS.items():
        assert row["tier"] in (1, 2)
        assert row.keys() <= {"tier", "text", "options", "sources", "times_steps"}
        for key, value in row.get("options", {}).items():
            base, *below = key.split("#")
            assert base in config, name
            assert below or config[base] != value, f"{name} is the default"
            assert not (below and isinstance(value, bool)), f"{name}: a word below a network's name is never false"


def test_plan_goes_seed_by_seed() -> None:
    runs = planned(["full", "no slices"], [0, 1], "demo")
    assert [(run.row, run.seed) for run in runs] == [("full", 0), ("no slices", 0), ("full", 1), ("no slices", 1)]


def test_an_unknown_row_is_named_before_anything_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        driver.main(["--rows", "fool"])
    assert "invalid choice: 'fool' (choose from" in capsys.readouterr().err


def test_figures_are_named_by_their_place_and_detail_is_left_out() -> None:
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 3}
    detail = {"slice_selection": {"c": figure}, "cross_dimension": {"modality_gap": figure}}
    found = dict(figures_of({"a": {"b": figure, "by_finding": {"c": figure}}, "extra": detail, "seed": 0}))
    assert found == dict.fromkeys(("a.b", "a.by_finding.c", "extra.cross_dimension.modality_gap"), figure)


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


def test_figures_of_a_run_are_replaced_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    for seed in range(3):
        append(path, Run("full", seed, "demo"), metrics(0.5), 600, 300.0 + seed, "abc1234")
    new = metrics(0.7) | {"calibration": {"value": 0.1, "low": 0.0, "high": 0.2, "count": 9}}
    replace(path, Run("full", 1, "demo"), new, "def5678+")
    replace(path, Run("full", 1, "demo"), new, "0123456")
    lines = read(path)
    assert [int(line["seed"]) for line in lines] == [0] * len(MAIN) + [1] * (len(MAIN) + 1) + [2] * len(MAIN)
    own = [line for line in lines if line["seed"] == "1"]
    assert {(line["commit"], line["steps"], line["seconds"]) for line in own} == {("abc1234/0123456", "600", "301")}
    assert of_row(lines, "full", "demo", "calibration")[1, "float32"][0] == 0.1
    assert [of_row(lines, "full", "demo", MAIN["CT R@1"])[seed, "float32"][0] for seed in range(3)] == [0.5, 0.7, 0.5]


def test_row_of_cheaper_steps_has_more_of_them_validated_as_often_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, dict[str, Any]] = {}

    def run_bundle(bundle: str, config: str, options: dict[str, Any], *others: Any) -> None:
        told[f"{bundle} {config}"] = options
        Path(options["output_dir"]).mkdir(parents=True, exist_ok=True)
        (Path(options["output_dir"]) / "training.json").write_text('{"steps": 1200, "seconds": 80.5}')
        (Path(options["output_dir"]) / "metrics.json").write_text("{}")

    monkeypatch.setattr(commands, "run_bundle", run_bundle)
    counted = ("num_steps", "steps_per_epoch", "distillation_ramp")
    for budget, expected in {"demo": (1200, 200, 120), "long": (6000, 600, 120), "smoke": (8, 4, 120)}.items():
        assert commands.train(Run("alternating contrast", 0, budget), tmp_path) == (1200, 80.5)
        assert tuple(told["pretrain train"][name] for name in counted) == expected
        commands.train(Run("k = 8 at equal time", 0, budget), tmp_path)
        fewer = {"demo": (438, 73, 44), "long": (2190, 219, 44), "smoke": (3, 1, 44)}[budget]
        assert tuple(told["pretrain train"][name] for name in counted) == fewer
        commands.train(Run("full", 0, budget), tmp_path)
        assert "distillation_ramp" not in told["pretrain train"]
    assert told["pretrain train"]["amp"] is False
    commands.train(Run("full", 0, "demo", "bfloat16"), tmp_path)
    assert told["pretrain train"]["amp"] is True
    assert told["pretrain train"]["output_dir"] == tmp_path / "demo" / "full_0_bfloat16"
    commands.evaluate(Run("k = 2", 1, "demo"), tmp_path)
    assert told["pretrain evaluate"]["num_selected_slices"] == 2
    commands.evaluate(Run("mask ratio 0.25", 1, "demo"), tmp_path)
    assert "mask_ratio" not in told["pretrain evaluate"]


def test_towers_of_each_epoch_are_judged_with_the_options_of_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def run_bundle(bundle: str, config: str, options: dict[str, Any], *others: Any) -> None:
        told.update(options)
        (Path(options["output_dir"]) / "metrics.json").write_text("{}")

    monkeypatch.setattr(over_training, "run_bundle", run_bundle)
    run = Run("no slices", 1, "smoke")
    (run.folder(tmp_path) / "models").mkdir(parents=True)
    weights = run.folder(tmp_path) / "epochs" / "model_epoch=2.pt"
    weights.parent.mkdir()
    weights.touch()
    over_training.judge(run, tmp_path, 2, weights)
    assert (told["num_selected_slices"], told["seed"]) == (0, 1)
    assert told["model_dir"] == weights.parent / "2" / "models"


def test_masks_are_learnt_from_each_encoder_and_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    figure = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 9}

    def run_bundle(bundle: str, config: str, options: dict[str, Any], *others: Any) -> None:
        told.append((f"{bundle} {config}", options))
        Path(options["output_dir"]).mkdir(parents=True, exist_ok=True)
        content = {"segmentation": {"dice_positives": figure}, "by_class": {"nodule": {"dice_positives": figure}}}
        (Path(options["output_dir"]) / "metrics.json").write_text(json.dumps(content))

    monkeypatch.setattr(segmentation, "run_bundle", run_bundle)
    for _ in range(2):  # the second finds all done
        segmentation.main([Run("full", 0, "smoke")], tmp_path, jobs=1)
    trained = [(name, given) for name, given in told if name.endswith("train") and given["num_steps"] == 2]
    assert len(trained) == 2 * 2 * 3
    for dimension in ("2d", "3d"):
        own = [given for name, given in trained if name == f"segmentation_{dimension} train"]
        assert [given["label_fraction"] for given in own] == [1, 10, 100] * 2
        assert not any(given["amp"] for given in own)
        assert {str(given["pretrained"]) for given in own} == {"none", str(tmp_path / "smoke/full_0/models/model.pt")}
    lines = read(tmp_path / "smoke_segmentation.csv")
    assert {line["row"] for line in lines} == {segmentation.SCRATCH, "full"}
    assert of_row(lines, "full", "smoke", "segmentation.3d.10.dice_positives")[0, "float32"][0] == 0.5


def test_finished_runs_are_judged_again_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*arguments: Any) -> tuple[int, float]:
        raise AssertionError

    monkeypatch.setattr(driver, "train", train)
    monkeypatch.setattr(driver, "evaluate", evaluation(0.6))
    monkeypatch.setattr(driver, "make_phantoms", lambda *arguments: None)
    path = tmp_path / "results.csv"
    for seed in (0, 1):
        append(path, Run("full", seed, "demo"), metrics(0.5), 600, 300.0, "abc1234")
    model = Run("full", 0, "demo").folder(tmp_path) / "models" / "model.pt"
    model.parent.mkdir(parents=True)
    model.touch()
    words = ["--precision", "float32", "--rows", "full", "--evaluate_again"]
    words += ["--output", str(tmp_path), "--results", str(path)]
    assert driver.main(words) == 0
    found = of_row(read(path), "full", "demo", MAIN["CT R@1"])
    assert [found[seed, "float32"][0] for seed in (0, 1)] == [0.6, 0.5]
    assert "full, seed 1: its folder is not there, its figures stay" in capsys.readouterr().out


def test_difference_holds_spread_over_seeds_and_cases() -> None:
    one = {(0, "a"): Cell(0.6, 0.0001), (1, "a"): Cell(0.7, 0.0001)}
    other = {(seed, "a"): Cell(0.5, 0.0003) for seed in (0, 1)} | {(2, "a"): Cell(0.9, 1.0), (0, "b"): Cell(0.9, 1.0)}
    gain = difference(one, other)
    assert gain is not None
    assert gain[0] == pytest.approx(0.15)
    assert gain[1] == pytest.approx(1.96 * (0.0004 + 0.005 / 2) ** 0.5)
    assert difference(one, {(0, "b"): Cell(0.1, 0.1), (5, "a"): Cell(0.1, 0.1)}) is None


def test_difference_is_paired_by_case_where_the_influence_of_each_is_known() -> None:
    cases = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)).double()
    cases[1] = cases[0] + 0.1 * cases[1]  # what is hard for one is hard for the other
    cases -= cases.mean(-1, keepdim=True)
    one, other = ({(seed, "a"): Cell(0.5, 1.0, side[seed]) for seed in range(3)} for side in cases)
    gain = difference(one, other)
    assert gain is not None
    of_mean = (cases[0] - cases[1]).mean(0)  # over seeds, case by case
    paired = 1.96 * float(of_mean.std()) / 50**0.5
    assert gain == (0.0, pytest.approx(paired))
    mixed = difference({**one, (3, "a"): Cell(0.5, 0.02)}, {**other, (3, "a"): Cell(0.5, 0.02)})
    assert mixed is not None
    assert mixed[1] == pytest.approx((3 * paired + 1.96 * 0.04**0.5) / 4)
    uneven = {run: cell._replace(influence=torch.zeros(49)) for run, cell in other.items()}
    assert difference(one, uneven) == (0.0, pytest.approx(1.96 * 2**0.5))


def test_spread_of_one_seed_is_that_of_all_rows(tmp_path: Path) -> None:
    path, figure = tmp_path / "rows.csv", MAIN["CT R@1"]
    for row, values in {"full": (0.5, 0.6, 0.7), "CLIP": (0.4, 0.6, 0.8), "DINO": (0.2, 0.2), "k = 1": (0.9,)}.items():
        for seed, value in enumerate(values):
            append(path, Run(row, seed, "demo"), metrics(value), 600, 300.0, "abc1234")
    # gains of CLIP -0.1, 0, 0.1: variance 0.01 of two degrees; of DINO -0.3, -0.4: 0.005 of one
    assert seed_variance(read(path), "demo", figure) == pytest.approx((2 * 0.01 + 0.005) / 3)
    assert seed_variance(read(path), "long", figure) == 0
    full_alone = [line for line in read(path) if line["row"] == "full"]
    assert seed_variance(full_alone, "demo", figure) == pytest.approx(2 * 0.01)


def test_few_seeds_borrow_the_spread_of_all_rows() -> None:
    one, other = ({(seed, "a"): Cell(value, 0.0) for seed, value in enumerate(row)} for row in ((0.6, 0.8), (0.5, 0.5)))
    single = {(0, "a"): one[0, "a"]}
    assert difference(single, other) == (pytest.approx(0.1), 0.0)
    assert difference(single, other, 0.03) == (pytest.approx(0.1), pytest.approx(1.96 * 0.03**0.5))
    assert difference(one, other, 0.03) == (
        pytest.approx(0.2), pytest.approx(1.96 * ((0.02 + 2 * 0.03) / 3 / 2) ** 0.5),
    )  # fmt: skip


def test_influence_is_kept_beside_the_results_and_found_with_them(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    for run in (Run("full", 0, "demo", "bfloat16"), Run("mask ratio 0.25", 0, "demo", "bfloat16")):
        found = evaluation(0.5)(run, tmp_path / "runs")
        keep_influence(path, run, tmp_path / "runs", COMPARED)
        append(path, run, found, 600, 300.0, "abc1234")
    assert influence_path(path, run) == tmp_path / "influence" / "demo" / "mask_ratio_0.25_0_bfloat16.npz"
    assert load_influence(str(influence_path(path, run))).keys() == {MAIN["CT R@1"]}
    full = load_influence(str(tmp_path / "influence" / "demo" / "full_0_bfloat16.npz"))
    assert full.keys() == {MAIN["CT R@1"], "calibration"}  # of the detail none that no table shows
    cell = of_row(read(path), "mask ratio 0.25", "demo", MAIN["CT R@1"])[0, "bfloat16"]
    assert cell.influence is not None
    assert cell.influence.tolist() == [0.5, -0.5]
    assert of_row(read(path), "full", "demo", MAIN["CT zero-shot"])[0, "bfloat16"].influence is None
    replace(path, run, metrics(0.6), "def5678")
    assert "influence" not in path.read_text()


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
    half = 1.96 * (2 * 0.05**2 + 2 * 0.02) ** 0.5  # over cases, and over the seeds of full
    assert f"| no slices | 1 | 0.400 (-0.100 ± {half:.3f}) |" in text
    assert "k = 1" not in text
    assert of_row(lines, "full", "long", MAIN["CT R@1"]) == {}


def test_guard_names_what_fell(tmp_path: Path) -> None:
    before = results(tmp_path, "before.csv", 0.5, 0.6)
    assert falls(before, before, "demo") == []
    assert falls(before, results(tmp_path, "same.csv", 0.45, 0.615), "demo") == []  # -0.0175 in the mean
    found = falls(before, results(tmp_path, "after.csv", 0.5, 0.6, **{"CT zero-shot": 0.4}), "demo")
    assert found == ["CT zero-shot fell by 0.150 (seed 0 -0.100, seed 1 -0.200)"]
    assert falls(before, [], "demo") == [f"{name}: no seed in common, in one precision" for name in MAIN]


def test_only_missing_runs_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    executed: list[Run] = []

    def train(run: Run, output: Path) -> tuple[int, float]:
        executed.append(run)
        return 600, 321.0

    monkeypatch.setattr(driver, "train", train)
    monkeypatch.setattr(driver, "evaluate", evaluation(0.5))
    monkeypatch.setattr(driver, "make_phantoms", lambda *arguments: None)
    words = ["--precision", "float32", "--jobs", "1", "--rows", "full", "CLIP", "--output", str(tmp_path)]
    words += ["--results", str(tmp_path / "results.csv")]
    assert driver.main([*words, "--dry_run"]) == 0
    assert "0 of 6 runs are done; the others take about 0 h 45 min" in capsys.readouterr().out
    append(tmp_path / "results.csv", Run("CLIP", 1, "demo"), metrics(0.4), 600, 300.0, "abc1234")
    taken = Run("full", 2, "demo").folder(tmp_path)
    taken.mkdir(parents=True)
    with FileLock(taken / ".lock"):
        driver.main([*words, "--rows", "full", "--seeds", "2"])
    assert "full, seed 2: another driver is at it" in capsys.readouterr().out
    assert not executed
    assert driver.main([*words, "--guard", str(tmp_path / "results.csv")]) == 0
    assert "1 of 6 runs are done; the others take about 0 h 25 min" in capsys.readouterr().out
    assert sorted((run.row, run.seed) for run in executed) == [
        ("CLIP", 0), ("CLIP", 2), ("full", 0), ("full", 1), ("full", 2),
    ]  # fmt: skip
    assert (tmp_path / "demo" / "tables.md").is_file()
    assert done(read(tmp_path / "results.csv"))[Run("full", 0, "demo")] == 321  # what it trained before it was killed
    driver.do(executed[0], driver.parse(words))  # planned before another driver had done it
    assert len(executed) == 5
