# SPDX-License-Identifier: Apache-2.0
"""Each corpus of X-rays on a tree in its official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.corpora import trees_2d as trees
from tests.data.corpora.prepared import prepare


def test_mimic_keeps_frontal_views_with_reports_in_the_official_splits(tmp_path: Path) -> None:
    root = trees.mimic_cxr(tmp_path / "mimic")
    found = prepare("mimic_cxr", root, tmp_path / "out")
    lists = found.lists("2d")
    splits = {name: [row["id"] for row in lists[name]] for name in ("training", "validation", "test")}
    assert splits == {"training": ["a1", "e2"], "validation": ["b1"], "test": ["c1"]}
    assert found.reasons == {
        "the view is LATERAL": 1,
        "the view is not stated": 1,
        "the report is empty": 1,
        "the report has under 3 words (findings and impression)": 1,
        "the study has no report file": 1,
        "the image file is missing": 1,
    }
    row = lists["training"][0]
    assert row["image"] == "files/p10/p10000001/s50000001/a1.jpg"
    assert row["patient"] == "10000001" and "clear" in row["report"] and "label" not in row
    assert "label_names" not in lists


def test_mimic_labels_and_views_are_options(tmp_path: Path) -> None:
    root = trees.mimic_cxr(tmp_path / "mimic")
    found = prepare("mimic_cxr", root, tmp_path / "out", "--labels", "--views", "LATERAL", "PA")
    rows, names = found.rows("2d"), found.lists("2d")["label_names"]
    assert set(rows) == {"a1", "a2"}
    present = {name for name, value in zip(names, rows["a1"]["label"]) if value}
    assert present == {"Edema"} and len(names) == 14
    assert found.lists("2d")["training_10"] == [next(iter(found.lists("2d")["training_1"]))]


def test_mimic_finds_reports_beside_the_images_or_where_it_is_told(tmp_path: Path) -> None:
    root = trees.mimic_cxr(tmp_path / "mimic")
    elsewhere = tmp_path / "texts"
    (root / "mimic-cxr-reports").rename(elsewhere)
    assert prepare("mimic_cxr", root, tmp_path / "out", "--reports", str(elsewhere)).summary["kept"] == 4


def test_mimic_without_reports_says_where_they_must_lie(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from monai_unimedi.verbs.prepare import main

    root = trees.mimic_cxr(tmp_path / "mimic")
    (root / "mimic-cxr-reports").rename(tmp_path / "elsewhere")
    assert main(["mimic_cxr", "--root", str(root), "--output", str(tmp_path / "out")]) == 1
    assert "unpack mimic-cxr-reports.zip" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_open_i_keeps_frontal_images_where_the_views_are_known(tmp_path: Path) -> None:
    root = trees.open_i(tmp_path / "openi")
    found = prepare("open_i", root, tmp_path / "out", "--test", "0.3", "--validation", "0.3")
    rows = found.rows_of_all("2d")
    assert set(rows) == {"CXR1_1_IM-0001-4001", "CXR6_IM-0006-4001", "CXR7_IM-0007-4001"}
    assert rows["CXR6_IM-0006-4001"]["patient"] == "CXR6"
    assert "Case 6" in rows["CXR6_IM-0006-4001"]["report"]
    assert "TB test" not in rows["CXR6_IM-0006-4001"]["report"]
    assert found.reasons == {
        "the view is Lateral": 5,
        "the report names no image": 1,
        "the report is empty": 1,
        "the XML cannot be read": 1,
        "the image file is missing": 1,
    }


def test_open_i_keeps_all_images_where_the_views_are_not_known_and_says_so(tmp_path: Path) -> None:
    root = trees.open_i(tmp_path / "openi", projections=False)
    found = prepare("open_i", root, tmp_path / "out")
    assert found.summary["kept"] == 7
    assert any("views are not known" in note for note in found.summary["notes"])


@pytest.mark.parametrize(
    ("policy", "label"),
    [("protocol", [1, 0, 0, 1, 0]), ("ones", [1, 1, 0, 1, 0]), ("zeros", [0, 0, 0, 0, 0])],
)
def test_chexpert_uncertain_labels_follow_the_policy(tmp_path: Path, policy: str, label: list[int]) -> None:
    root = trees.chexpert(tmp_path / "chexpert")
    found = prepare("chexpert", root, tmp_path / "out", "--uncertain", policy, "--retrieval", "0")
    names = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
    assert found.lists("2d")["label_names"] == names
    row = found.rows_of_all("2d")["train/patient00011/study1/view1_frontal.jpg"]
    assert row["label"] == label


def test_chexpert_tests_on_valid_csv_and_leaves_laterals_out(tmp_path: Path) -> None:
    root = trees.chexpert(tmp_path / "chexpert")
    found = prepare("chexpert", root, tmp_path / "out", "--retrieval", "0")
    assert found.reasons == {"the view is Lateral": 1, "the image file is missing": 1}
    assert all(name.startswith("valid/patient64") for name in found.rows("2d", "test"))
    patients = [{row["patient"] for row in found.rows("2d", s).values()} for s in ("training", "validation")]
    assert len(patients[0]) == 10 and len(patients[1]) == 1 and not patients[0] & patients[1]


def test_chexpert_in_batch_folders_has_the_rows_of_one_folder(tmp_path: Path) -> None:
    whole = prepare("chexpert", trees.chexpert(tmp_path / "a"), tmp_path / "out_a", "--retrieval", "0")
    root = trees.chexpert_batches(tmp_path / "b")
    apart = prepare("chexpert", root, tmp_path / "out_b", "--retrieval", "0")
    for section in ("training", "validation", "test"):
        rows = apart.rows("2d", section)
        assert rows and list(rows) == list(whole.rows("2d", section))
        assert all((root / row["image"]).is_file() for row in rows.values())


def test_chexpert_uncertain_images_can_be_left_out(tmp_path: Path) -> None:
    root = trees.chexpert(tmp_path / "chexpert")
    found = prepare("chexpert", root, tmp_path / "out", "--uncertain", "leave_out", "--tasks", "14")
    assert found.reasons["a label is uncertain"] == 1
    assert len(found.lists("2d")["label_names"]) == 14


def test_chexpert_retrieval_set_has_its_own_patients(tmp_path: Path) -> None:
    root = trees.chexpert(tmp_path / "chexpert")
    found = prepare("chexpert", root, tmp_path / "out", "--retrieval", "1")
    chosen = found.rows("2d", "retrieval_5x200")
    assert sorted(row["class"] for row in chosen.values()) == sorted(found.lists("2d")["label_names"])
    assert not {row["patient"] for row in chosen.values()} & {r["patient"] for r in found.rows("2d").values()}
    few = prepare("chexpert", root, tmp_path / "few")
    assert "retrieval_5x200" not in few.lists("2d")
    assert any("no retrieval_5x200" in note for note in few.summary["notes"])


def test_rsna_unites_the_boxes_of_an_image_and_splits_by_nih_patient(tmp_path: Path) -> None:
    root = trees.rsna(tmp_path / "rsna")
    found = prepare("rsna", root, tmp_path / "out")
    rows = found.rows_of_all("2d")
    assert rows["00001-aaaa"]["boxes"] == [[2.0, 3.0, 5.0, 4.0], [10.0, 3.0, 6.0, 8.0]]
    assert rows["00001-aaaa"]["label"] == [1] and rows["00000-aaaa"]["label"] == [0]
    assert rows["00000-aaaa"]["patient"] == rows["00001-aaaa"]["patient"] == "00000000"
    mask = np.asarray(Image.open(root / rows["00001-aaaa"]["lesion_mask"]))
    assert mask.shape == (20, 24) and mask.sum() == 5 * 4 + 6 * 8
    assert mask[3, 2] == mask[10, 15] == 1 and mask[7, 2] == mask[3, 16] == 0
    assert not np.asarray(Image.open(root / rows["00000-aaaa"]["lesion_mask"])).any()
    assert found.reasons == {
        "the image file is missing": 1,
        "the image is not in stage_2_train_labels.csv": 1,
    }
    assert all(found.lists("2d")[name] for name in ("training", "validation", "test"))


def test_rsna_second_run_draws_changed_boxes(tmp_path: Path) -> None:
    root = trees.rsna(tmp_path / "rsna")
    prepare("rsna", root, tmp_path / "out")
    labels = root / "stage_2_train_labels.csv"
    labels.write_text(labels.read_text().replace("10.0,3.0,6.0,8.0", "12.0,3.0,2.0,8.0"))
    rows = prepare("rsna", root, tmp_path / "out").rows_of_all("2d")
    assert rows["00001-aaaa"]["boxes"][1] == [12.0, 3.0, 2.0, 8.0]
    assert np.asarray(Image.open(root / rows["00001-aaaa"]["lesion_mask"])).sum() == 5 * 4 + 2 * 8


def test_rsna_without_the_mapping_says_that_patients_may_be_split(tmp_path: Path) -> None:
    found = prepare("rsna", trees.rsna(tmp_path / "rsna", mapping=False), tmp_path / "out")
    assert any("mappings_2018" in note for note in found.summary["notes"])


def test_siim_masks_are_united_and_lie_where_the_code_says(tmp_path: Path) -> None:
    root = trees.siim(tmp_path / "siim")
    found = prepare("siim", root, tmp_path / "out")
    rows = found.rows_of_all("2d")
    masks = {key: np.asarray(Image.open(root / row["lesion_mask"])) for key, row in rows.items()}
    # runs go down the columns of 20 rows: 41 is column 2, row 1; the gap 17 leads to column 3, row 1
    assert np.argwhere(masks["1.2.2"]).tolist() == [[1, 2], [1, 3], [2, 2], [2, 3], [3, 2], [3, 3]]
    assert masks["1.2.3"].sum() == 7 and masks["1.2.4"].sum() == 2 and not masks["1.2.1"].any()
    assert rows["1.2.2"]["label"] == [1] and rows["1.2.1"]["label"] == [0]
    assert found.reasons == {
        "the image file is missing": 1,
        "the image is not in the table of masks": 1,
        "the run-length code does not fit the image": 1,
    }


def test_covidx_reads_names_with_spaces_and_splits_off_a_fifth(tmp_path: Path) -> None:
    root = trees.covidx(tmp_path / "covidx")
    found = prepare("covidx", root, tmp_path / "out", "--list_version", "9B")
    assert found.lists("2d")["label_names"] == ["negative", "positive"]
    assert found.rows_of_all("2d")["train/image 3.png"]["label"] == [0, 1]
    counts = {name: len(found.lists("2d")[name]) for name in ("training", "validation", "test")}
    assert counts == {"training": 8, "validation": 2, "test": 2}
    assert found.reasons == {"the line's class is not known": 1, "the image file is missing": 1}
    assert found.rows("2d", "test")["test/t1.png"]["patient"] == "q1"


def test_covidx_with_lists_of_two_versions_asks_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from monai_unimedi.verbs.prepare import main

    root = trees.covidx(tmp_path / "covidx")
    assert main(["covidx", "--root", str(root), "--output", str(tmp_path / "out")]) == 1
    assert "--list_version must choose one of 'train_COVIDx5.txt'" in capsys.readouterr().err
