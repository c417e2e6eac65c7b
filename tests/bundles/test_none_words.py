# SPDX-License-Identifier: Apache-2.0
"""``none`` on the command line, a word there, is none wherever a key of the pre-training bundle may be none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.bundles.conftest import CONFIGS, Bundle

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
def test_every_key_that_is_none_by_default_is_read(name: str) -> None:
    lines = json.loads((CONFIGS / f"{name}.json").read_text())["initialize"]
    (call,) = [line for line in lines if "read_none(" in line]
    assert re.findall(r"'(\w+)'", call) == none_by_default(name)
