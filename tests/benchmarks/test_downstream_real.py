# SPDX-License-Identifier: Apache-2.0
"""Tables of the comparison on real files, from runs whose figures are known."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import downstream_malignancy, downstream_segmentation
from benchmarks.real.arms import Arm, networks_from_scratch, our_arms, steps_of_each
from benchmarks.real.masks import ORGANS

STARTS = ["phantom=a/model.pt", "real=b{fold}/model.pt"]
DICE = {"scratch": 0.5, "phantom encoder": 0.6, "hybrid decoder, scratch": 0.7, "MONAI UNet": 0.75}


def test_each_start_of_a_network_is_compared_with_the_same_network_from_scratch() -> None:
    arms = downstream_segmentation.arms_of(argparse.Namespace(pretrained=STARTS), "nodules")
    assert {arm.name: arm.from_scratch for arm in arms} == {
        "scratch": "scratch",
        "phantom encoder": "scratch",
        "real encoder": "scratch",
        "hybrid decoder, scratch": "hybrid decoder, scratch",
        "hybrid decoder, phantom encoder": "hybrid decoder, scratch",
        "hybrid decoder, real encoder": "hybrid decoder, scratch",
        "MONAI UNet": "MONAI UNet",
        "MONAI UNETR": "MONAI UNETR",
    }
    assert [arm.network for arm in arms[:3]] == [{}] * 3
    assert [arm.network for arm in arms[3:6]] == [{"decoder": "hybrid"}] * 3
    assert len({arm.folder for arm in arms}) == len(arms)


def test_weights_are_those_of_the_split() -> None:
    scratch, phantom, real = our_arms(STARTS)
    assert scratch.weights(1) == "none"
    assert phantom.weights(1) == Path("a/model.pt").resolve()
    assert real.weights(2) == Path("b2/model.pt").resolve()
    with pytest.raises(ValueError, match=r"NAME=PATH, got 'a/model\.pt'"):
        our_arms(["a/model.pt"])


def test_each_arm_trains_for_the_steps_of_its_own_network() -> None:
    measured: list[str] = []

    def pace(arm: Arm) -> int:
        measured.append(arm.name)
        return {"scratch": 800, "hybrid decoder, scratch": 2100, "MONAI UNet": 2400, "MONAI UNETR": 600}[arm.name]

    assert steps_of_each(arms_of_organs(), pace) == {
        "scratch": 800,
        "phantom encoder": 800,
        "real encoder": 800,
        "hybrid decoder, scratch": 2100,
        "hybrid decoder, phantom encoder": 2100,
        "hybrid decoder, real encoder": 2100,
        "MONAI UNet": 2400,
        "MONAI UNETR": 600,
    }
    assert len(measured) == 4


def test_differences_are_paired_with_the_own_scratch_and_with_monais_unet(tmp_path: Path) -> None:
    arms = [arm for arm in arms_of_organs() if arm.name in DICE]
    options = argparse.Namespace(output=tmp_path)
    for arm in arms:
        write_run(downstream_segmentation.folder_of(options, "organs", arm, 0), DICE[arm.name])
    found = downstream_segmentation.figures(options, "organs", arms, [tmp_path / "fold0.json"])
    assert {name: figure["dice"]["value"] for name, figure in found.items()} == pytest.approx(DICE)
    gains = {name: [figure[key]["value"] for key in KEYS if key in figure] for name, figure in found.items()}
    assert gains == {
        "scratch": [pytest.approx(-0.25)],
        "phantom encoder": [pytest.approx(0.1), pytest.approx(-0.15)],
        "hybrid decoder, scratch": [pytest.approx(-0.05)],
        "MONAI UNet": [],
    }
    lines = downstream_segmentation.table("organs", found).splitlines()
    assert lines[0] == "organs, 4 unseen images:"
    cells = "+0.100 (+0.100 to +0.100) | -0.150 (-0.150 to -0.150)"
    assert lines[5] == f"| phantom encoder | 0.600 | 0.525 to 0.675 | {cells} | 2.00 | 100 | 90 |"


def test_monais_network_is_told_to_the_bundle() -> None:
    (resnet,) = networks_from_scratch(downstream_malignancy.PEERS)
    assert resnet == Arm("MONAI ResNet", "MONAI ResNet", "none", {"network_def": downstream_malignancy.RESNET})
    assert downstream_malignancy.shared(resnet, Path("a/b.json"))["network_def"] == downstream_malignancy.RESNET


KEYS = ("difference", "to_unet")


def arms_of_organs() -> list[Arm]:
    return downstream_segmentation.arms_of(argparse.Namespace(pretrained=STARTS), "organs")


def write_run(folder: Path, dice: float) -> None:
    """As a finished training leaves it: four cases round a mean Dice."""
    folder.mkdir(parents=True)
    record: dict[str, Any] = {"steps": 100, "seconds": 90.2, "parameters": 2_000_000}
    (folder / "training.json").write_text(json.dumps(record))
    shifts = (-0.1, 0.1, -0.05, 0.05)
    rows = [f"p{case},{organ},{dice + shift}" for case, shift in enumerate(shifts) for organ in ORGANS]
    (folder / "cases.csv").write_text("\n".join(["id,class,dice", *rows]) + "\n")
