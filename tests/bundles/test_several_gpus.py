# SPDX-License-Identifier: Apache-2.0
"""The page on several GPUs: its examples name what exists, and its shell script is one."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from torch.distributed.run import get_args_parser

from tests.bundles.conftest import CONFIGS

ROOT = CONFIGS.parents[2]
PAGE = (ROOT / "docs" / "several_gpus.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
COMMANDS = [block for kind, block in BLOCKS if kind == "bash"]
(SCRIPT,) = [block for kind, block in BLOCKS if kind == "sbatch"]


def launched(words: list[str]) -> list[str]:
    """torchrun's own options are its own, and the rest is a bundle's command; returns the rest."""
    first = words.index("torchrun") + 1
    split = words.index("-m", first)
    unknown = get_args_parser().parse_known_args([*words[first:split], "script.py"])[1]
    assert unknown == []
    return words[split:]


@pytest.mark.parametrize("text", [*COMMANDS, SCRIPT[SCRIPT.index("srun") :]])
def test_example_names_what_exists(text: str) -> None:
    rest = launched(shlex.split(text))
    assert rest[:3] == ["-m", "monai.bundle", "run"]
    files = re.findall(r"bundles/[\w/]+\.json", text)
    assert files == ["bundles/pretrain/configs/train.json", "bundles/pretrain/configs/multi_gpu_train.json"]
    assert all((ROOT / file).is_file() for file in files)


def test_slurm_script_is_bash(tmp_path: Path) -> None:
    (tmp_path / "pretrain.sh").write_text(SCRIPT)
    subprocess.run(["bash", "-n", str(tmp_path / "pretrain.sh")], check=True)


def test_bundle_readme_gives_the_same_command() -> None:
    assert COMMANDS[0] in (CONFIGS.parent / "docs" / "README.md").read_text()


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
