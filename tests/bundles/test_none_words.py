# SPDX-License-Identifier: Apache-2.0
"""``none`` on the command line, a word there, is none wherever a key of a bundle may be none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

from tests.bundles.conftest import CONFIGS, Bundle

BUNDLES = CONFIGS.parents[1]
KINDS = {"train": "train", "evaluate": "infer", "inference": "infer"}


def none_by_default(name: str) -> list[str]:
    return [key for key, value in json.loads((CONFIGS / f"{name}.json").read_text()).items() if value is None]


@pytest.mark.parametrize("word", ["none", "None", "null"])
@pytest.mark.parametrize("name", KINDS)
def test_word_for_none_is_none(tmp_path: Path, name: str, word: str) -> None:
    keys = none_by_default(name)
    parser = Bundle(tmp_path, tmp_path).workflow(name, kind=KINDS[name], **dict.fromkeys(keys, word)).parser
    assert keys
    assert {key: parser.get_parsed_content(key) for key in keys} == dict.fromkeys(keys)
    assert [parser.get(key) for key in keys] == [None] * len(keys)


def test_towers_start_from_scratch_at_the_word(tmp_path: Path) -> None:
    workflow = Bundle(tmp_path, tmp_path).workflow("train", "paper", image_checkpoint="none", text_model="none")
    assert workflow.parser.get_parsed_content("image_weights") is None
    assert workflow.parser.get_parsed_content("text_model") is None


def test_other_words_and_values_stay(tmp_path: Path) -> None:
    given = {"slice_rule": "none", "text_model": "none-such/model", "max_tokens": 64, "ct_depths": [8, 16]}
    parser = Bundle(tmp_path, tmp_path).workflow("train", **given).parser
    assert {key: parser.get_parsed_content(key) for key in given} == given


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("bundle", sorted(path.name for path in BUNDLES.iterdir()))
def test_every_key_that_is_none_by_default_is_read(bundle: str, name: str) -> None:
    content = json.loads((BUNDLES / bundle / "configs" / f"{name}.json").read_text())
    (call,) = [line for line in content["initialize"] if "read_none(" in line]
    read = re.findall(r"'(\w+)'", call)
    by_default = [key for key, value in content.items() if value is None]
    assert read[: len(by_default)] == by_default
    assert set(read[len(by_default) :]) == {"clip_norm", "min_voxels"} & content.keys()


def test_a_protocols_patience_can_be_turned_off() -> None:
    folder = BUNDLES / "classification_2d" / "configs"
    files = [str(folder / f"{name}.json") for name in ("train", "chexpert")]
    places = {"bundle_root": str(folder.parent), "early_stop_patience": "none"}
    workflow = ConfigWorkflow(files, logging_file=False, workflow_type="train", **places)
    workflow.initialize()
    assert workflow.parser.get_parsed_content("early_stop_patience") is None
