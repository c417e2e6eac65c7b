# SPDX-License-Identifier: Apache-2.0
"""Each corpus of CTs on a tree in its official layout."""

from __future__ import annotations

from pathlib import Path

import itk
import numpy as np
import pytest

from monai_unimedi.verbs.prepare import main
from tests.data.corpora import trees_3d as trees
from tests.data.corpora.files import picture
from tests.data.corpora.prepared import prepare


def test_bimcv_keeps_chest_volumes_and_frontal_xrays_with_reports(tmp_path: Path) -> None:
    root = trees.bimcv(tmp_path / "bimcv")
    found = prepare("bimcv", root, tmp_path / "out")
    volumes = found.rows_of_all("3d")
    assert {name[:7] for name in volumes} == {"sub-S01", "sub-S02", "sub-S04", "sub-S05"}
    first = volumes["sub-S01_ses-E01_run-1_bp-chest_ct"]
    assert "Infiltrado intersticial" in first["report"] and "Neumonía" in first["report"]
    assert "Hallazgos" not in first["report"]
    assert volumes["sub-S02_ses-E02_run-1_bp-chest_ct"]["report"] == "neumonía bilateral caso 2"
    assert {row["patient"] for row in found.rows_of_all("2d").values()} == {
        *("sub-S01", "sub-S03", "sub-S04", "sub-S05")
    }
    assert found.reasons == {
        "no report of the session": 2,
        "the report is empty": 2,
        "the body part is not the chest": 1,
        "under 20 slices (a localizer)": 1,
        "the view is ll": 1,
    }


def test_bimcv_can_be_asked_for_volumes_alone(tmp_path: Path) -> None:
    found = prepare("bimcv", trees.bimcv(tmp_path / "bimcv"), tmp_path / "out", "--sources", "3d")
    assert set(found.summary["datalists"]) == {"3d"}


def test_ct_rate_tests_on_valid_and_leaves_heads_out(tmp_path: Path) -> None:
    root = trees.ct_rate(tmp_path / "ct_rate")
    found = prepare("ct_rate", root, tmp_path / "out", "--validation", "0")
    assert list(found.rows("3d")) == ["train_1_a_1", "train_1_a_2", "train_2_a_1"]
    assert set(found.rows("3d", "test")) == {f"valid_{n}_a_{r}" for n in (1, 2) for r in (1, 2)}
    assert found.lists("3d")["label_names"] == trees.CT_RATE_LABELS
    row = found.rows("3d")["train_1_a_1"]
    assert row["label"] == [1, 1, 1] and row["patient"] == "train_1"
    assert "Heart is normal" in row["report"] and "No nodule" in row["report"] and "cough" not in row["report"]
    assert found.reasons == {
        "not a chest (no_chest list)": 2,
        "the report is empty": 2,
        "the image file is missing": 1,
    }
    assert any("do not rescale" in note for note in found.summary["notes"])


def test_ct_rate_can_keep_one_reconstruction_a_scan(tmp_path: Path) -> None:
    root = trees.ct_rate(tmp_path / "ct_rate")
    found = prepare("ct_rate", root, tmp_path / "out", "--reconstructions", "first", "--report_text", "findings")
    assert set(found.rows("3d", "test")) == {"valid_1_a_1", "valid_2_a_1"}
    assert "No nodule" not in found.rows("3d", "test")["valid_1_a_1"]["report"]


def test_ct_rate_first_release_is_refused_for_its_values(tmp_path: Path) -> None:
    found = prepare("ct_rate", trees.ct_rate(tmp_path / "ct_rate", fixed=False), tmp_path / "out")
    assert found.status == 1 and not found.summary["kept"]
    assert any(reason.startswith("first release, not in Hounsfield units") for reason in found.reasons)


def test_cc_ccii_slices_become_a_volume_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    root = trees.cc_ccii(tmp_path / "ccii")
    found = prepare("cc_ccii", root, tmp_path / "out", "--validation", "0")
    assert set(found.rows("3d")) == {"NCP/1/10", "CP/1/10", "Normal/1/10"}
    assert set(found.rows("3d", "test")) == {"NCP/2/20"}
    assert found.rows("3d")["CP/1/10"]["label"] == [0, 1, 0]
    assert found.reasons == {
        "under 10 slices": 1,
        "a slice cannot be read, or slices differ in size": 1,
    }
    volume = trees.hounsfield(root / found.rows("3d")["CP/1/10"]["image"])
    # the first slice (grey 0, -1150 HU) is the head's: the last along the axis that points to the head
    np.testing.assert_allclose(volume[0, 0, ::-1], -1150 + 1500 / 255 * 20 * np.arange(12), atol=0.01)
    assert volume.shape == (24, 20, 12)


def test_cc_ccii_second_run_makes_the_volume_of_replaced_slices_alone(tmp_path: Path) -> None:
    root = trees.cc_ccii(tmp_path / "ccii")
    rows = prepare("cc_ccii", root, tmp_path / "out").rows_of_all("3d")
    changed, same = (root / rows[name]["image"] for name in ("CP/1/10", "NCP/1/10"))
    before = same.stat().st_mtime_ns
    picture(root / "CP" / "1" / "10" / "0.png", value=255)
    assert prepare("cc_ccii", root, tmp_path / "out").rows_of_all("3d") == rows
    assert trees.hounsfield(changed)[0, 0, -1] == pytest.approx(350, abs=0.01)
    assert same.stat().st_mtime_ns == before


def test_cc_ccii_without_lists_is_split_by_patient(tmp_path: Path) -> None:
    found = prepare("cc_ccii", trees.cc_ccii(tmp_path / "ccii", lists=False), tmp_path / "out")
    assert sum(len(found.rows("3d", name)) for name in ("training", "validation", "test")) == 4


def test_ricord_keeps_axial_series_and_links_nothing_that_is_a_folder(tmp_path: Path) -> None:
    root = trees.ricord(tmp_path / "ricord")
    found = prepare("ricord", root, tmp_path / "out")
    rows = found.rows_of_all("3d")
    assert len(rows) == 6 and sum(row["label"][0] for row in rows.values()) == 3
    assert found.lists("3d")["label_names"] == ["COVID-19"]
    assert found.reasons == {"localizer": 2, "no CT": 2, "not axial: coronal, sagittal or oblique": 2}
    assert not (tmp_path / "out" / "series").exists()


def test_ricord_lists_give_the_split_by_patient(tmp_path: Path) -> None:
    root, lists = trees.ricord(tmp_path / "ricord"), tmp_path / "lists"
    lists.mkdir()
    for number, name in enumerate(("train", "val", "test"), start=1):
        line = "data/MIDRC-RICORD-1A/ID419639-{:06d}_date08-02-2002_2.000000-ROUTINE.nii.gz 1\n"
        (lists / f"RICORD_{name}.txt").write_text(line.format(number))
    found = prepare("ricord", root, tmp_path / "out", "--lists", str(lists))
    ends = {name: {r["patient"][-1] for r in found.rows("3d", name).values()} for name in ("training", "test")}
    assert ends == {"training": {"1"}, "test": {"3"}}


def test_luna16_nodules_lie_at_their_world_coordinates(tmp_path: Path) -> None:
    root = trees.luna16(tmp_path / "luna")
    found = prepare("luna16", root, tmp_path / "out")
    row = found.rows("3d", "validation")["1.3.6.8"]
    assert row["fold"] == 8 and row["label"] == [1]
    image = itk.imread(str(root / row["image"]))
    index = image.TransformPhysicalPointToIndex(row["nodules"][0]["centre"])
    assert image.GetPixel(index) == 100 and row["nodules"][0]["diameter"] == 5.5
    assert list(found.rows("3d", "test")) == ["1.3.6.9"]
    assert found.reasons == {
        "the .raw file beside the .mhd is missing": 1,
        "annotated, but the scan is missing": 1,
    }


def test_luna16_candidates_are_lists_of_their_own(tmp_path: Path) -> None:
    root = trees.luna16(tmp_path / "luna")
    found = prepare("luna16", root, tmp_path / "out", "--negatives", "2")
    names = ("candidates_training", "candidates_validation", "candidates_test")
    rows = [row for name in names for row in found.lists("3d")[name]]
    assert sum(row["label"][0] for row in rows) == 5 and len(rows) == 15
    assert {row["patient"] for row in found.lists("3d")["candidates_validation"]} == {"1.3.6.8"}
    everything = prepare("luna16", root, tmp_path / "all")
    assert sum(len(everything.lists("3d").get(name, ())) for name in names) == 45  # all of the nine scans'


def test_btcv_names_its_organs_and_keeps_the_common_split(tmp_path: Path) -> None:
    found = prepare("btcv", trees.btcv(tmp_path / "btcv"), tmp_path / "out")
    lists = found.lists("3d")
    assert lists["labels"]["1"] == "spleen" and lists["labels"]["13"] == "left adrenal gland"
    assert list(found.rows("3d")) == ["img0001", "img0002"]
    assert list(found.rows("3d", "validation")) == ["img0035", "img0040"]
    assert list(found.rows("3d", "unlabelled")) == ["img0061", "img0062"]
    assert found.rows("3d")["img0001"]["label"] == "RawData/Training/label/label0001.nii.gz"
    assert found.reasons == {"the mask file is missing": 1, "the image of the mask is missing": 1}


def test_msd_reads_its_own_list_and_not_the_shadow_files(tmp_path: Path) -> None:
    found = prepare("msd", trees.msd(tmp_path / "msd"), tmp_path / "out")
    lists = found.lists("3d")
    assert lists["labels"] == {"0": "background", "1": "cancer"}
    assert len(found.rows_of_all("3d")) == 7 and len(lists["unlabelled"]) == 1
    assert found.reasons == {"the label file is missing": 1, "the task is not CT": 1}
    assert all(lists[name] for name in ("training", "validation", "test", "training_1", "training_10"))


def test_msd_takes_the_folder_of_one_task(tmp_path: Path) -> None:
    root = trees.msd(tmp_path / "msd") / "Task06_Lung"
    assert prepare("msd", root, tmp_path / "out").summary["kept"] == 8


def test_msd_with_two_ct_tasks_asks_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.msd(tmp_path / "msd")
    (root / "Task02_Heart").rename(root / "Task03_Liver")
    path = root / "Task03_Liver" / "dataset.json"
    path.write_text(path.read_text().replace("MRI", "CT"))
    assert main(["msd", "--root", str(root), "--output", str(tmp_path / "out")]) == 1
    assert "--task must choose one of Task03_Liver, Task06_Lung" in capsys.readouterr().err
    assert prepare("msd", root, tmp_path / "out", "--task", "Task06_Lung").summary["kept"] == 8


def test_amos_leaves_mr_out_and_tests_on_its_validation_cases(tmp_path: Path) -> None:
    found = prepare("amos", trees.amos(tmp_path / "amos"), tmp_path / "out", "--validation", "0.3")
    assert set(found.rows("3d", "test")) == {"amos_0008", "amos_0009"}
    assert len(found.rows("3d")) == 3 and len(found.rows("3d", "validation")) == 1
    assert list(found.rows("3d", "unlabelled")) == ["amos_0011"]
    assert found.reasons == {"the case is MR": 3}


def test_flare_pairs_names_with_and_without_channel(tmp_path: Path) -> None:
    found = prepare("flare", trees.flare(tmp_path / "flare"), tmp_path / "out")
    rows = found.rows_of_all("3d")
    name = "Training/FLARE22_LabeledCase50/images/FLARE22_Tr_0001"
    assert len(rows) == 6 and rows[name]["label"].endswith("labels/FLARE22_Tr_0001.nii.gz")
    assert rows[name]["patient"] == "FLARE22_Tr_0001"
    assert len(found.rows("3d", "unlabelled")) == 4
    assert found.lists("3d")["labels"]["13"] == "left kidney"
