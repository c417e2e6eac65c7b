# SPDX-License-Identifier: Apache-2.0
"""Options that no bundle has: MONAI adds them to the config without a word, and nothing reads them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigWorkflow

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
KINDS = {"train": "train", "evaluate": "infer", "inference": "infer"}


def parsed(bundle: str, name: str, **options: Any) -> ConfigWorkflow:
    folder = BUNDLES / bundle
    file = str(folder / "configs" / f"{name}.json")
    workflow = ConfigWorkflow(file, logging_file=False, workflow_type=KINDS[name], bundle_root=str(folder), **options)
    workflow.initialize()
    return workflow


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("bundle", sorted(path.name for path in BUNDLES.iterdir()))
def test_every_config_looks_for_them(bundle: str, name: str) -> None:
    lines = json.loads((BUNDLES / bundle / "configs" / f"{name}.json").read_text())["initialize"]
    assert lines.count("$check_options()") == 1


@pytest.mark.parametrize(
    ("given", "meant"), [("num_stpes", "num_steps"), ("labelfraction", "label_fraction"), ("pretraind", "pretrained")]
)
def test_a_misspelt_option_is_refused(given: str, meant: str) -> None:
    with pytest.raises(Exception) as error:  # noqa: PT011 MONAI wraps it
        parsed("classification_2d", "train", **{given: 4})
    cause: BaseException | None = error.value
    while cause is not None and not isinstance(cause, ValueError):
        cause = cause.__cause__
    assert str(cause) == f"There is no option {given!r}: did you mean {meant!r}?"


def test_an_option_like_no_other_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parsed("segmentation_3d", "train", colour="red")
    assert "There is no option 'colour' in this bundle: nothing reads it." in caplog.messages


def test_options_that_the_other_configs_have_and_those_that_are_referred_to_pass(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        parsed("segmentation_2d", "inference", num_steps=4, datalist="list.json")
        parsed("segmentation_2d", "train", epochs=3, num_steps="$100 * @epochs")
        parsed("segmentation_2d", "train", run2=["$print('ready')"], optimizer2={"lr": 1})  # of somebody's own config
    assert not [line for line in caplog.messages if "There is no option" in line]


def test_an_option_of_a_protocol_or_of_the_metadata_is_none_of_the_bundles(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        parsed("pretrain", "train", epochs=3, task="mine")
    assert [line for line in caplog.messages if "There is no option" in line] == [
        f"There is no option {name!r} in this bundle: nothing reads it." for name in ("epochs", "task")
    ]
