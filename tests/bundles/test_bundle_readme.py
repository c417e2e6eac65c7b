# SPDX-License-Identifier: Apache-2.0
"""Every command of the bundle's README runs, in process and at a tiny size; its keys and files exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ckpt_export, verify_net_in_out

from monai_unimedi.__main__ import main
from tests.bundles.conftest import CONFIGS, SIZES, Bundle

README = CONFIGS.parent / "docs" / "README.md"
TEXT = README.read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
COMMANDS = [line for kind, block in BLOCKS if kind == "bash" for line in block.splitlines()]
ELSEWHERE = ("torchrun", "paper.json", "--tracking")  # test_train.py, test_bundle_verbs.py, launch_examples.py


def options(words: list[str]) -> dict[str, Any]:
    given = {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}
    return {name: json.loads(value) if re.match(r"\[\d", value) else value for name, value in given.items()}


def stand_in(value: str, bundle: Bundle) -> str:
    phantom = Path(bundle.places["phantom_dir"])
    files = {"X.json": phantom / "datalist_2d.json", "Y.json": phantom / "datalist_3d.json"}
    return str({**files, "DATA": phantom / "2d" / "training"}.get(value, value))


@pytest.mark.parametrize("command", [c for c in COMMANDS if not any(word in c for word in ELSEWHERE)])
def test_command_runs(command: str, trained: Bundle, new_bundle: Bundle) -> None:
    words = [stand_in(word, trained) for word in shlex.split(command)]
    assert words[:2] == ["python", "-m"]
    models = str(trained.output_dir / "models")
    if words[2] == "monai_unimedi":
        assert main([models if "models" in word else word for word in words[3:]]) == 0
    elif words[3] == "run":
        given = options(words[4:])
        run(Path(given.pop("config_file")).stem, given, trained, new_bundle)
    else:
        given = {name: str(CONFIGS.parent.parents[1] / value) for name, value in options(words[5:]).items()}
        model = {"ckpt_file": f"{models}/model.pt", "filepath": str(new_bundle.output_dir / "model.ts")}
        verb = {"verify_net_in_out": verify_net_in_out, "ckpt_export": ckpt_export}[words[3]]
        changed = {name: value for name, value in model.items() if name in given}
        sizes: dict[str, Any] = {**SIZES, "_meta_#network_data_format#outputs#pred#num_channels": 16}
        new_bundle.output_dir.mkdir(exist_ok=True)
        verb(words[4], **{**given, **changed, **sizes})


def run(name: str, given: dict[str, Any], trained: Bundle, new_bundle: Bundle) -> None:
    if name == "train":
        if "datalist_3d" in given:
            given["dataset_dir"] = trained.places["phantom_dir"] + "/."
        new_bundle.train(**given)
    elif name == "evaluate":
        trained.evaluate(**given, probe_rows=8)
    else:
        assert name == "inference"
        trained.infer(**given, output_dir=str(new_bundle.output_dir))


def test_python_of_the_readme_runs(trained: Bundle) -> None:
    (code,) = [block for kind, block in BLOCKS if kind == "python"]
    phantom = Path(trained.places["phantom_dir"]) / "3d" / "test" / "000000.nii"
    code = code.replace("bundles/pretrain/models", str(trained.output_dir / "models"))
    found: dict[str, Any] = {}
    exec(code.replace("ct.nii.gz", str(phantom)), found)
    assert -1 <= float(found["similarity"]) <= 1


def test_every_key_and_file_of_the_readme_exists() -> None:
    keys = {key for path in CONFIGS.glob("*.json") for key in json.loads(path.read_text())}
    keys |= {
        "key",
        "block",
        "bundle_root",
        "tracking",
        "nproc_per_node",
        "standalone",
        "max",  # --max-restarts
        "config_file",
    }  # MONAI's and torchrun's
    keys |= {"meta_file", "filepath", "ckpt_file", "text", "grounding"}  # the last two of embed
    assert set(re.findall(r"--(\w+)", TEXT)) - keys == set()
    rows = re.findall(r"^\| (`.*?`) \|", TEXT, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named - keys == set()
    for name in set(re.findall(r"bundles/pretrain/(configs/\w+\.json)", TEXT)):
        assert (CONFIGS.parent / name).is_file()
