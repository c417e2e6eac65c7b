# SPDX-License-Identifier: Apache-2.0
"""The evidence's page: its tables from a small made-up set of results, and what stands where runs are missing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.phantom import asked, evidence
from benchmarks.phantom.results import Results, append, read
from benchmarks.phantom.runs import ROWS, Run
from benchmarks.phantom.segmentation import SCRATCH
from docs import make_evidence

SHORT = {"CT R@1": "retrieval.3d.image_to_report.R@1", "mAP": "cross_dimension.map_2d_to_3d"}
FINDINGS = ["nodule", "ground_glass"]


def figure(value: float, half: float = 0.0098) -> dict[str, Any]:
    return {"value": value, "low": value - half, "high": value + half, "count": 200}


def made_up(path: Path, rows: dict[str, list[dict[str, float]]], budget: str = "demo") -> Results:
    """Results of rows, a dictionary of figures a seed."""
    for row, seeds in rows.items():
        for seed, values in enumerate(seeds):
            metrics = {name: figure(value) for name, value in values.items()}
            append(path, Run(row, seed, budget), metrics, 600, 1800.0, "abc1234")
    return read(path)


def test_rows_stand_beside_the_full_method_and_what_is_not_run_is_missing(tmp_path: Path) -> None:
    ct, crossing = SHORT.values()
    full = [{ct: 0.5, crossing: 0.4}, {ct: 0.6, crossing: 0.4}]
    rows = {"full": full, "no slices": [{ct: 0.3, crossing: 0.4}, {ct: 0.4, crossing: 0.4}], "3D only": [{ct: 0.7}]}
    lines = made_up(tmp_path / "results.csv", rows)
    names = ("full", "no slices", "uniform slices", evidence.SEPARATE, "2D only")
    table = evidence.rows(lines, names, "demo", SHORT).splitlines()
    assert table[2] == "| full | 2 | 0.55 ± 0.10 | 0.40 ± 0.01 |"
    assert table[3] == "| no slices | 2 | 0.35 ± 0.10<br>**-0.20 ± 0.01** | 0.40 ± 0.01<br>+0.00 ± 0.01 |"
    assert table[4] == "| uniform slices | 0 | missing | missing |"
    assert table[5] == "| two separate encoders | 1 | 0.70 ± 0.01<br>**+0.20 ± 0.01** | none |"
    assert table[6] == "| 2D only | 0 | none | none |"
    assert "missing" in evidence.rows(lines, names, "long", SHORT)


def test_two_separate_encoders_have_each_dimension_of_its_own_run(tmp_path: Path) -> None:
    names = ("zero_shot.2d.auroc", "zero_shot.3d.auroc", "slice_selection.lift", "xray_localization.pointing_game")
    rows = {row: [dict.fromkeys(names, value)] for row, value in {"2D only": 0.2, "3D only": 0.3}.items()}
    lines = made_up(tmp_path / "results.csv", rows)
    found = [evidence.cells(lines, evidence.SEPARATE, "demo", name)[0, "float32"][0] for name in names]
    assert found == [0.2, 0.3, 0.3, 0.2]
    assert evidence.cells(lines, evidence.SEPARATE, "demo", "extra.cross_dimension.modality_gap") == {}


def test_components_are_the_full_method_minus_the_row_without(tmp_path: Path) -> None:
    ct = SHORT["CT R@1"]
    lines = made_up(tmp_path / "results.csv", {"full": [{ct: 0.5}], "no distillation": [{ct: 0.58}]})
    table = evidence.components(lines, "demo", SHORT)
    assert "| self-distillation | 1 | **-0.08 ± 0.01** | missing |" in table
    assert "| both dimensions in one encoder | 0 | missing | none |" in table


def test_every_row_of_tier_2_answers_a_question_beside_what_ships() -> None:
    answered = {name for choices in evidence.QUESTIONS.values() for name in choices.values()}
    assert {name for name, row in ROWS.items() if row["tier"] == 2} | {"full"} == answered
    assert all(list(choices.values()).count("full") == 1 for choices in evidence.QUESTIONS.values())
    shown = {*evidence.TIER_1, *evidence.BASELINES} - {evidence.SEPARATE}
    assert {name for name, row in ROWS.items() if row["tier"] == 1} == shown


def test_ways_are_compared_with_the_first(tmp_path: Path) -> None:
    values = {f"slice_selection.small.{name}.hit@1": hit for name, hit in {"attention": 0.5, "random": 0.2}.items()}
    lines = made_up(tmp_path / "results.csv", {"full": [values]})
    ways = {"attention": "attention", "random": "random", "entropy": "entropy"}
    table = evidence.against(lines, "demo", ways, {"small": "slice_selection.small.{}.hit@1"}).splitlines()[2:]
    assert table == [
        "| attention | 0.50 ± 0.01 |", "| random | 0.20 ± 0.01<br>**+0.30 ± 0.01** |", "| entropy | missing |",
    ]  # fmt: skip


def test_numbers_asked_for_are_judged(tmp_path: Path) -> None:
    selection = "slice_selection.small.{}.hit@1".format
    hits = {"attention": 0.5, "random": 0.2, "uniform": 0.3, "centre": 0.36, "constant": 0.1, "entropy": 0.1}
    values = {selection(name): hit for name, hit in hits.items()}
    values |= {"zero_shot.2d.auroc": 0.86, "zero_shot.3d.auroc": 0.84, "zero_shot.2d.by_finding.nodule": 0.71}
    values |= {"linear_probe.trained.2d.1": 0.8, "linear_probe.untrained.2d.100": 0.79}
    values |= {"grounding.3d.sentence.hit@1": 0.5, "grounding.3d.other_sentence.hit@1": 0.36}
    masks = {
        "full": [{"segmentation.3d.10.dice_positives": 0.6}],
        SCRATCH: [{"segmentation.3d.100.dice_positives": 0.7}],
    }
    lines = made_up(tmp_path / "results.csv", {"full": [values]}, "long")
    drawn = made_up(tmp_path / "masks.csv", masks, "long")
    table = [line.split(" | ") for line in asked.asked_table(lines, drawn, "long", FINDINGS).splitlines()[2:]]
    holds = {line[0].strip("| "): line[2].strip("| ") for line in table}
    measured = {line[0].strip("| "): line[1] for line in table}
    slices = next(name for name in holds if name.startswith("small lesions"))
    assert holds[slices] == "**no**"  # 0.14 above the best rival
    assert measured[slices] == "0.50 ± 0.01 against centre 0.36 ± 0.01: **+0.14 ± 0.01**"
    assert holds["X-ray zero-shot AUROC 0.85"] == "yes"
    assert holds["CT zero-shot AUROC 0.85"] == "**no**"
    assert holds["X-ray zero-shot AUROC of nodule above 0.70"] == "yes"
    assert holds["CT zero-shot AUROC of nodule above 0.70"] == "missing"
    assert [answer for name, answer in holds.items() if "linear probe" in name] == ["yes", "missing"]
    assert [answer for name, answer in holds.items() if "grounding" in name] == ["missing", "**no**"]
    assert [answer for name, answer in holds.items() if "masks" in name] == ["missing", "**no**"]


def test_findings_that_cross_are_counted(tmp_path: Path) -> None:
    path = "extra.cross_dimension.by_finding.{}.{}_2d_to_3d".format
    values = {path(finding, "control"): 0.2 for finding in "abcdef"} | {path(f, "map"): 0.4 for f in "abcd"}
    values |= {path(finding, "map"): 0.3 for finding in "ef"}
    lines = made_up(tmp_path / "results.csv", {"full": [values]}, "long")
    table = asked.asked_table(lines, [], "long", list("abcdef"))
    assert "| the same in at least 4 of 6 findings | 4: a, b, c, d | yes |" in table
    assert "| the same in at least 4 of 6 findings | missing | missing |" in table
    assert "| a | 0.40 ± 0.01 | 0.20 ± 0.01 | **+0.20 ± 0.01** | missing" in evidence.by_finding(
        lines, "long", list("ab")
    )


def test_page_is_filled_between_its_markers_and_again(tmp_path: Path, repository: Path) -> None:
    page = tmp_path / "evidence.md"
    page.write_text((repository / "docs" / "evidence.md").read_text(encoding="utf-8"), encoding="utf-8")
    made_up(tmp_path / "results.csv", {"full": [{SHORT["CT R@1"]: 0.5}]})
    words = ["--page", str(page), "--results", str(tmp_path / "results.csv"), "--masks", str(tmp_path / "none.csv")]
    make_evidence.main(words)
    once = page.read_text(encoding="utf-8")
    assert "1 runs, 0.5 hours of one core, by the commits abc1234." in once
    assert "no slices (seed 0, 1, 2)" in once
    assert "| full | 1 | missing | 0.50 ± 0.01 |" in once
    make_evidence.main(words)
    assert page.read_text(encoding="utf-8") == once
    with pytest.raises(ValueError, match="must have the markers <!-- probes -->"):
        make_evidence.fill("a page", "probes", "a table")


def test_what_the_readme_says_it_shows_is_a_cell_of_the_tables(repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    page = (repository / "docs" / "evidence.md").read_text(encoding="utf-8")
    claims = readme.split("## What it shows")[1].split("\n## ")[0]
    rows = [line.split("|") for line in page.splitlines() if line.startswith("|")]
    cells = {part.strip(" *+-") for row in rows for cell in row for part in cell.split("<br>")}
    said = re.findall(r"\d\.\d\d ± \d\.\d\d", claims)
    assert len(said) > 10
    assert [figure for figure in said if figure not in cells] == []
    assert not re.findall(r"\d\.\d\d(?! ±)(?!\d)", re.sub(r"\d\.\d\d ± \d\.\d\d", "", claims))


def test_what_the_page_says_of_its_tables_stands_in_them(repository: Path) -> None:
    """Sentences may round to fewer digits, and turn a difference round."""
    lines = (repository / "docs" / "evidence.md").read_text(encoding="utf-8").splitlines()
    figure = r"(\d+\.\d+) ± (\d+\.\d+)"
    tables, sentences = ("\n".join(line for line in lines if line.startswith("|") is kept) for kept in (True, False))
    cells = [(float(value), float(half)) for value, half in re.findall(figure, tables)]
    said = re.findall(figure, sentences)
    assert len(said) > 20
    for value, half in said:
        near = 0.5 * 10.0 ** -len(value.split(".")[1]) + 1e-9
        assert any(abs(v - float(value)) <= near and abs(h - float(half)) <= near for v, h in cells), (value, half)
