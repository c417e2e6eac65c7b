# SPDX-License-Identifier: Apache-2.0
"""The version check, the verb table and the doctor."""

from __future__ import annotations

import configparser
import json
import subprocess
import sys
from pathlib import Path

import pytest

import monai_unimedi
from monai_unimedi.__main__ import VERBS, main


@pytest.mark.parametrize("version", ["0", "0.1", "0.0.9", monai_unimedi.__version__])
def test_require_accepts_installed_or_older_version(version: str) -> None:
    monai_unimedi.require(version)


@pytest.mark.parametrize("version", ["0.1.1", "0.9", "1", "10.0.0"])
def test_require_refuses_newer_version_in_one_line_with_remedy(version: str) -> None:
    with pytest.raises(ImportError, match=f"monai-unimedi>={version} is needed.* pip install --upgrade PATH") as caught:
        monai_unimedi.require(version)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", ["", "1.x", "1.2.3.4", ">=0.1", 1.0])
def test_require_refuses_what_is_no_version(version: str) -> None:
    with pytest.raises(ValueError, match="one to three numbers"):
        monai_unimedi.require(version)


def test_each_part_of_the_version_is_one_digit() -> None:
    assert all(len(part) == 1 for part in monai_unimedi.__version__.split("."))


def test_changelog_names_the_version(repository: Path) -> None:
    assert f"## {monai_unimedi.__version__}" in (repository / "CHANGELOG.md").read_text()


def test_every_requirement_is_pinned_by_constraints(repository: Path) -> None:
    setup = configparser.ConfigParser()
    setup.read(repository / "setup.cfg")
    wanted = (setup["options"]["install_requires"] + setup["options.extras_require"]["test"]).split()
    pins = dict(_pins(repository / "constraints.txt"))
    assert [name for name in (entry.split(">=")[0] for entry in wanted) if name not in pins] == []
    assert pins["torch"] == "2.13.0"


def _pins(path: Path) -> list[list[str]]:
    lines = path.read_text().splitlines()
    return [line.split(";")[0].split("==") for line in lines if line and not line.startswith("#")]


def test_import_loads_nothing_heavy() -> None:
    code = "import sys, monai_unimedi.__main__; print({'torch', 'monai', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_each_verb_has_a_file_and_each_file_a_verb(repository: Path) -> None:
    files = {path.stem for path in (repository / "monai_unimedi" / "verbs").glob("*.py")} - {"__init__"}
    assert files == set(VERBS)


def test_help_lists_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in VERBS)


def test_unknown_verb_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctr"]) == 2
    assert "did you mean 'doctor'?" in capsys.readouterr().err


def test_doctor_reports_versions_and_a_bundle_that_lacks_properties(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    configs = tmp_path / "broken" / "configs"
    configs.mkdir(parents=True)
    (configs / "metadata.json").write_text(json.dumps({"version": "0.1.0"}))
    config = {"device": "cpu", "net": {"_target_": "monai_unimedi.no.Net"}}
    (configs / "train.json").write_text(json.dumps(config))
    assert main(["doctor", "--json", "--bundles", str(tmp_path)]) == 1
    result = json.loads(capsys.readouterr().out)
    missing = result["bundles"]["broken"]["train.json"]
    assert {"bundle_root", "trainer", "monai_unimedi.no.Net"} <= set(missing)
    assert not {"device", "version"} & set(missing)
    assert result["versions"]["torch"]
    assert all(finding["remedy"] for finding in result["findings"])
