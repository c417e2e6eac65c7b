# SPDX-License-Identifier: Apache-2.0
"""What the Makefile would run, and the runner of the acceptance scripts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


def make(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """make as a person calls it: nothing that a make around these tests hands down reaches it."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    command = ["make", *arguments]
    nothing_else = {"PATH": os.environ["PATH"]}
    return subprocess.run(command, cwd=repository, env=nothing_else, capture_output=True, text=True, check=False)


def planned(repository: Path, *arguments: str) -> str:
    done = make(repository, "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("seed", "folder"), [(None, "demo"), (0, "demo"), (2, "demo-2")])
def test_demo_trains_then_evaluates_in_the_folder_of_its_seed(
    repository: Path, seed: int | None, folder: str
) -> None:
    lines = planned(repository, "demo", *([] if seed is None else [f"SEED={seed}"])).splitlines()
    train, evaluate = (line for line in lines if "monai.bundle run" in line)
    assert "configs/train.json" in train
    assert "configs/evaluate.json" in evaluate
    for line in (train, evaluate):
        assert f"--seed {seed or 0} --output_dir output/{folder} --model_dir output/{folder}/models " in line


BUNDLES = ("classification_2d", "classification_3d", "segmentation_2d", "segmentation_3d")


def downstream(repository: Path, *arguments: str) -> list[str]:
    return [line for line in planned(repository, "downstream", *arguments).splitlines() if "monai.bundle run" in line]


@pytest.mark.parametrize(("seed", "suffix"), [(None, ""), (0, ""), (3, "-3")])
def test_downstream_trains_each_bundle_from_the_demo_then_evaluates_it(
    repository: Path, seed: int | None, suffix: str
) -> None:
    lines = downstream(repository, *([] if seed is None else [f"SEED={seed}"]))
    for name, train, evaluate in zip(BUNDLES, lines[::2], lines[1::2], strict=True):
        assert f"bundles/{name}/configs/train.json --pretrained output/demo/models/model.pt " in train
        assert f"bundles/{name}/configs/evaluate.json " in evaluate
        folder = f"output/downstream/{name}{suffix}"
        for line in (train, evaluate):
            assert f"--seed {seed or 0} --output_dir {folder} --model_dir {folder}/models " in line
            assert line.endswith(f"--phantom_dir output/downstream/{name}/phantom")


@pytest.mark.parametrize("name", BUNDLES)
def test_downstream_takes_one_bundle(repository: Path, name: str) -> None:
    lines = downstream(repository, f"BUNDLE={name}")
    assert [f"bundles/{name}/configs/" in line for line in lines] == [True, True]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("BUNDLE=classification",), "BUNDLE must be one or more of classification_2d classification_3d"),
        (("PRETRAINED=nowhere/model.pt",), "there are no pre-trained weights at nowhere/model.pt: run 'make demo'"),
    ],
)
def test_downstream_says_what_is_missing_before_it_installs(
    repository: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    done = make(repository, "downstream", f"VENV={tmp_path / 'none'}", *arguments)
    assert done.returncode != 0
    (line,) = done.stdout.splitlines()
    assert line.startswith(sentence)
    assert not (tmp_path / "none").exists()


def stand_in(folder: Path, status: int) -> Path:
    """An environment whose python says what it is asked for and ends with a status."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\necho "{folder.name}: $@"\nexit {status}\n')
    python.chmod(0o755)
    (folder / ".installed").touch()
    return folder


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="monailabel 0.8.5 needs Python 3.10 or 3.11")
@pytest.mark.parametrize(("label", "core"), [(0, 0), (1, 0), (0, 1)])
def test_fast_tier_runs_the_label_apps_tests_then_the_others_and_fails_with_either(
    repository: Path, tmp_path: Path, label: int, core: int
) -> None:
    environments = [
        f"VENV={stand_in(tmp_path / 'core', core)}",
        f"LABEL_VENV={stand_in(tmp_path / 'label', label)}",
        f"PYTHON={sys.executable}",
    ]
    done, limit = make(repository, "test", *environments), "--timeout 600 --timeout-method thread"
    assert (done.returncode == 0) is (label == core == 0)
    assert done.stdout.splitlines()[:2] == [
        f"label: -m pytest -q {limit} tests/apps",
        f"core: -m pytest -q -n 2 --dist loadfile --max-worker-restart 0 {limit} --ignore=tests/apps tests",
    ]


def test_fast_tier_and_its_script_leave_the_acceptance_scripts_out(repository: Path) -> None:
    assert "pytest -q -n 2" in planned(repository, "test-core")
    assert "--ignore=tests/acceptance" in (repository / "pyproject.toml").read_text()
    assert (repository / ".ci" / "run").read_text().rstrip().endswith("make test")


@pytest.fixture
def runner(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The acceptance runner, looking at two scripts in a temporary folder."""
    spec = importlib.util.spec_from_file_location(
        "run_all", repository / "tests" / "acceptance" / "run_all.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "a_holds.py").write_text("print('first')\nprint('error 0.5 below 1.0')\n")
    (tmp_path / "b_fails.py").write_text("print('error 2.0 above 1.0')\nraise SystemExit(1)\n")
    (tmp_path / "_shared.py").write_text("raise SystemExit('never run')\n")
    for name, value in {
        "HERE": tmp_path,
        "REPOSITORY": tmp_path,
        "LOGS": tmp_path / "output" / "logs",
    }.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_runner_prints_the_last_line_of_each_script(
    runner: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert runner.main([]) == 1
    first, second, total = capsys.readouterr().out.splitlines()
    assert first.startswith("ok   a_holds (")
    assert first.endswith("error 0.5 below 1.0")
    assert second.startswith("FAIL b_fails (")
    assert second.endswith("error 2.0 above 1.0")
    assert total.startswith("1 of 2 acceptance scripts hold")


def test_runner_takes_a_part_of_a_name(runner: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["holds"]) == 0
    assert runner.main(["nothing_like_it"]) == 1
    assert "no acceptance script" in capsys.readouterr().out
