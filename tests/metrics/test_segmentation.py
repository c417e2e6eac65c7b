# SPDX-License-Identifier: Apache-2.0
"""Dice and HD95 by hand, with classes that are absent in truth, in the prediction, or in both."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.meandice import compute_dice

from monai_unimedi.metrics.segmentation import MaskFigures, summarize_segmentation, write_cases
from monai_unimedi.transforms import MaskToChannels


def case(pred: torch.Tensor, label: torch.Tensor, spacing: tuple[float, ...] = (1.0, 1.0, 1.0)) -> dict[str, Any]:
    affine = torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64))
    return {"id": "a", "pred": pred, "label": MetaTensor(label, affine=affine)}


def masks() -> tuple[torch.Tensor, torch.Tensor]:
    pred, label = torch.zeros(1, 20, 20, 10, dtype=torch.uint8), torch.zeros(1, 20, 20, 10, dtype=torch.uint8)
    return pred, label


def test_dice_of_half_a_box_is_two_thirds_and_distances_are_in_mm() -> None:
    pred, label = masks()
    label[0, 4:8, 4:8, 2:6] = 1
    pred[0, 4:8, 4:8, 4:6] = 1
    record = MaskFigures(MaskToChannels([0], False), False, percentile=100.0)
    found = record(case(pred, label, (1.0, 1.0, 5.0)))
    assert found["dice"].tolist() == pytest.approx([2 / 3])
    assert found["hd95"].tolist() == pytest.approx([10.0])  # two slices of 5 mm
    assert found["voxels"].tolist() == [64]


def test_absent_classes_count_in_dice_over_all_alone() -> None:
    pred, label = masks()
    label[0, 4:8, 4:8, 4:8] = 1  # bit 0 in truth alone
    pred[0, 0, 0, 0] = 2  # bit 1 in the prediction alone; bit 2 in neither
    found = MaskFigures(MaskToChannels([0, 1, 2], False), False)(case(pred, label))
    assert found["dice"][0] == 0
    assert found["dice"][1:].isnan().all()
    assert found["dice_all"].tolist() == [0, 0, 1]
    assert found["hd95"].isnan().all()


def test_background_of_exclusive_classes_gets_no_figure() -> None:
    pred, label = masks()
    label[0, 2:6], pred[0, 2:6] = 7, 7
    found = MaskFigures(MaskToChannels([0, 7], True), True)(case(pred, label))
    assert found["dice"].tolist() == [1.0]
    assert found["hd95"].tolist() == [0.0]


class OneByOne(MaskToChannels):
    def __call__(self, mask: Any) -> Any:
        raise MemoryError("All channels at once.")


@pytest.mark.parametrize("is_exclusive", [True, False])
def test_one_channel_at_a_time_gives_the_figures_of_all_at_once(is_exclusive: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    pred, label = (torch.randint(0, 4, (1, 9, 8, 7), generator=generator, dtype=torch.uint8) for _ in range(2))
    values = [0, 1, 3] if is_exclusive else [0, 1, 2]
    found = MaskFigures(OneByOne(values, is_exclusive), is_exclusive)(case(pred, label, (1.0, 2.0, 3.0)))
    first, convert = int(is_exclusive), MaskToChannels(values, is_exclusive)
    p, t = (torch.as_tensor(convert(mask))[first:] for mask in (pred, label))
    for key, is_ignored in (("dice", True), ("dice_all", False)):
        plain = compute_dice(p[None], t[None], ignore_empty=is_ignored)[0].double()
        assert torch.equal(found[key].nan_to_num(-1.0), plain.nan_to_num(-1.0))
    both = p.flatten(1).any(1) & t.flatten(1).any(1)
    spacing = [1.0, 2.0, 3.0]
    distance = compute_hausdorff_distance(p[None, both], t[None, both], True, percentile=95.0, spacing=spacing)[0]
    assert torch.equal(found["hd95"][both], distance.double())
    assert found["hd95"][~both].isnan().all()
    assert torch.equal(found["voxels"], t.flatten(1).sum(1).double())
    assert torch.equal(found["predicted_voxels"], p.flatten(1).sum(1).double())


def test_summary_keeps_positives_and_all_apart_and_counts() -> None:
    record = MaskFigures(MaskToChannels([0, 1], False), False)
    cases = []
    for index in range(4):
        pred, label = masks()
        if index < 2:
            label[0, 4:8, 4:8, 4:8] = 1
        if index == 0:
            pred[0, 4:8, 4:8, 4:8] = 1
        if index == 3:
            pred[0, 0, 0, 0] = 1
        cases.append(record(case(pred, label)))
    summary = summarize_segmentation(cases, ["a", "b"])
    figures = summary["by_class"]["a"]
    assert figures["dice_positives"]["value"] == 0.5
    assert figures["dice_positives"]["count"] == 2
    assert figures["dice_all"]["value"] == 0.5
    assert figures["dice_pooled"]["value"] == pytest.approx(2 * 64 / (128 + 64 + 1))
    assert figures["hd95_mm"]["count"] == 1
    assert summary["counts"]["a"] == {"cases": 4, "positives": 2, "missed": 1, "false_alarms": 1}
    assert summary["segmentation"]["dice_positives"]["value"] == 0.5
    assert summary["segmentation"]["dice_pooled"] == figures["dice_pooled"]  # b has no voxel anywhere
    assert "by_class.b.dice_positives: no case has it" in summary["not_available"]


def test_other_shapes_are_refused() -> None:
    pred, label = masks()
    with pytest.raises(ValueError, match="must have one shape"):
        MaskFigures(MaskToChannels([0], False), False)(case(pred[:, 1:], label))


def test_cases_are_written_by_class_and_empty_where_a_figure_does_not_exist(tmp_path: Path) -> None:
    pred, label = masks()
    label[0, 4:8, 4:8, 2:6] = 1
    pred[0, 4:8, 4:8, 4:6] = 1
    record = MaskFigures(MaskToChannels([0, 1], False), False)
    write_cases([record(case(pred, label))], tmp_path / "new" / "cases.csv", ["first", "second"])
    with (tmp_path / "new" / "cases.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["id"], first["class"], first["voxels"], first["predicted_voxels"]) == ("a", "first", "64", "32")
    assert float(first["dice"]) == pytest.approx(2 / 3, abs=1e-5)
    assert (second["dice"], second["dice_all"], second["hd95_mm"], second["voxels"]) == ("", "1", "", "0")
