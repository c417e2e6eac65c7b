# SPDX-License-Identifier: Apache-2.0
"""Every benchmark is run by one form of command, `python -m benchmarks.<name>`, from the repository's root."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
FILES = sorted(FOLDER.rglob("*.py"))
NEIGHBOURS = {path.stem for path in FILES} | {path.parent.name for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_imports_its_neighbours_by_their_package(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    assert {name.split(".")[0] for name in names} & NEIGHBOURS <= {"benchmarks"}


@pytest.mark.parametrize("path", [path for path in FILES if "__main__" in path.read_text()], ids=lambda path: path.stem)
def test_names_its_command(path: Path) -> None:
    name = r"\.".join(part for part in path.relative_to(FOLDER).with_suffix("").parts if part != "__main__")
    commands = re.findall(r"python (?:-m )?benchmarks\S+", path.read_text())
    assert commands and all(re.match(rf"python -m benchmarks\.{name}\b", command) for command in commands)


def test_rows_name_benchmarks_that_exist() -> None:
    rows = re.findall(r"^\| `(.*?)` \|", (FOLDER / "RESULTS.md").read_text(), flags=re.MULTILINE)
    assert rows
    for row in rows:
        named = re.match(r"python -m benchmarks\.(\w+)", row)
        assert named and (FOLDER / f"{named[1]}.py").is_file(), row
