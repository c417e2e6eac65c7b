# SPDX-License-Identifier: Apache-2.0
"""Own data: a table of images and reports, and a tree of DICOM files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from monai.transforms import LoadImage
from pydicom.uid import DigitalXRayImageStorageForProcessing

from monai_unimedi.transforms import LoadXray
from monai_unimedi.verbs.prepare import main
from tests.data.corpora.files import UID, ct_series, ct_slice, picture, structured_report, table, text, xray
from tests.data.corpora.prepared import Prepared, prepare
from tests.data.corpora.trees_own import own_dicom, own_reports, own_table

COLUMNS = ("--image", "path", "--report", "befund", "--patient", "pid")


def prepare_table(root: Path, output: Path, *options: str) -> Prepared:
    return prepare("csv", root, output, "--csv", str(root / "reports.csv"), *COLUMNS, *options)


def test_table_gives_both_dimensions_and_counts_what_cannot_be_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = prepare_table(own_table(tmp_path / "own"), tmp_path / "out")
    assert set(found.rows_of_all("3d")) == {"cts/a.nii.gz", "cts/b"}
    rows = found.rows_of_all("2d")
    assert set(rows) == {"xrays/année 1.png", *(f"xrays/{n}.png" for n in (2, 5, 6, 7, 8))}
    assert rows["xrays/année 1.png"]["report"].startswith("Kein Erguß")
    assert found.reasons == {
        "the image file is missing": 1,
        "the report is empty": 1,
        "the id occurs twice": 1,
        "the image is of no known kind": 1,
        "the image's cell is empty": 1,
    }
    assert "reports.csv is not UTF-8; read as Windows-1252" in caplog.text
    assert "Kein" not in caplog.text


def test_table_splits_and_labels_come_from_its_columns(tmp_path: Path) -> None:
    root = own_table(tmp_path / "own")
    options = ("--split", "part", "--label", "effusion", "--validation", "0", "--test", "0")
    found = prepare_table(root, tmp_path / "out", *options)
    assert list(found.rows("2d", "test")) == ["xrays/5.png"]
    assert list(found.rows("2d", "validation")) == ["xrays/6.png"]
    assert found.reasons["the split is none of train, val, test"] == 1
    assert found.lists("2d")["label_names"] == ["effusion"]
    assert found.rows("2d")["xrays/2.png"]["label"] == [1]
    classes = prepare_table(root, tmp_path / "classes", "--label", "class")
    assert classes.lists("2d")["label_names"] == ["A", "B"]
    assert classes.rows_of_all("2d")["xrays/2.png"]["label"] == [0, 1]


def test_table_without_the_column_says_which_columns_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = own_table(tmp_path / "own")
    arguments = ["--csv", str(root / "reports.csv"), "--image", "file", "--patient", "pid"]
    assert main(["csv", "--root", str(root), "--output", str(tmp_path / "out"), *arguments]) == 1
    printed = capsys.readouterr().err
    assert "must have the columns 'file'; its columns are 'path', 'befund', 'pid'" in printed


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_dicom(tmp_path_factory.mktemp("hospital") / "files")


@pytest.fixture(scope="module")
def prepared(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    reports = own_reports(folder / "reports.csv")
    return prepare("dicom", tree, folder / "out", "--reports", str(reports))


def test_dicom_keeps_whole_axial_series_and_single_xrays(prepared: Prepared) -> None:
    assert len(prepared.rows_of_all("2d")) == 6 and len(prepared.rows_of_all("3d")) == 3
    assert prepared.status == 0


def test_dicom_left_out_files_have_their_reason(prepared: Prepared) -> None:
    lines = (prepared.output / "left_out.csv").read_text().splitlines()[1:]
    found = dict(line.strip('"').split('","') for line in lines)
    named = {name.split(" (series")[0]: reason for name, reason in found.items()}
    assert named == {
        "cts/coronal": "not axial: coronal, sagittal or oblique",
        "cts/gap": "slices are missing",
        "cts/mixed/copy.dcm": "another file has the same SOPInstanceUID",
        "cts/scout": "localizer",
        "cts/shifted": "slices are shifted sideways",
        "cts/short": "under 20 slices",
        "cts/tilt": "gantry tilt: the slices are sheared",
        "other/another.dcm": "the report is another patient's",
        "other/broken.dcm": "the DICOM header cannot be read",
        "other/mr.dcm": "modality MR: no X-ray or CT",
        "other/readme.txt": "not a DICOM file",
        "other/truncated.dcm": "the file is truncated",
        "xrays/frames.dcm": "several frames",
        "xrays/röntgen 1.dcm": "another file has the same SOPInstanceUID",
        "xrays/without_number.dcm": "no accession number, and no report of the study",
        "xrays/zeros.dcm": "no report for the accession number",
    }


def test_dicom_several_reports_are_joined_and_lost_zeros_are_pointed_out(prepared: Prepared) -> None:
    reports = [row["report"] for row in prepared.rows_of_all("2d").values()]
    assert sum("Small nodule" in report and "case 2" in report for report in reports) == 1
    notes = " ".join(prepared.summary["notes"])
    assert "1 images would find a report without leading zeros" in notes
    assert "1 accession numbers have several reports" in notes


def test_dicom_ids_are_pseudonyms_and_no_header_text_is_kept(prepared: Prepared, tree: Path) -> None:
    content = (prepared.output / "datalist_2d.json").read_text()
    content += (prepared.output / "datalist_3d.json").read_text() + (prepared.output / "summary.json").read_text()
    assert UID not in content and "Secret" not in content and str(tree) not in content
    row = next(iter(prepared.rows("2d").values()))
    assert len(row["id"]) == len(row["patient"]) == 16


def test_dicom_patient_of_two_studies_is_one_patient(prepared: Prepared) -> None:
    rows = [row for row in prepared.rows_of_all("2d").values() if row["report"].endswith(("1.", "6."))]
    assert len({row["patient"] for row in rows}) == 1 and len({row["study"] for row in rows}) == 2


def test_dicom_series_that_share_a_folder_are_linked_apart_and_read_as_volumes(prepared: Prepared, tree: Path) -> None:
    paths = [tree / row["image"] for row in prepared.rows_of_all("3d").values()]
    assert sum(path.parts[-2] == "series" for path in paths) == 2
    assert sum(os.path.normpath(path) == str(tree / "cts" / "alone") for path in paths) == 1
    for path in paths:
        volume = LoadImage(image_only=True, ensure_channel_first=True)(path)
        assert tuple(volume.shape) == (1, 18, 16, 24)
        assert float(volume.pixdim[2]) == pytest.approx(2.0)
        assert float(volume.min()) == -1024


def test_dicom_links_lead_to_the_slices_where_the_output_is_a_link(tmp_path: Path) -> None:
    for index in range(24):
        for number in (2, 3):
            ct_slice(tmp_path / "files" / f"{number}.{index}", number, index, AccessionNumber="B0001", PatientID="C1")
    (tmp_path / "disk" / "far" / "away").mkdir(parents=True)
    (tmp_path / "lists").symlink_to(tmp_path / "disk" / "far" / "away", target_is_directory=True)
    reports = own_reports(tmp_path / "reports.csv")
    found = prepare("dicom", tmp_path / "files", tmp_path / "lists", "--reports", str(reports))
    rows = found.rows_of_all("3d").values()
    links = [link for row in rows for link in (tmp_path / "files" / row["image"]).iterdir()]
    assert len(links) == 48 and all(link.is_file() for link in links)


def test_dicom_xrays_are_read(prepared: Prepared, tree: Path) -> None:
    for row in prepared.rows_of_all("2d").values():
        assert tuple(LoadXray()(tree / row["image"]).shape) == (1, 24, 20)


def test_dicom_reports_come_from_text_files_by_accession_number(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        xray(tmp_path / "files" / f"{number}.dcm", number)
    text(tmp_path / "texts" / "2026" / "A0001.txt", "The lungs are clear.")
    text(tmp_path / "texts" / "A0002.txt", " ")
    found = prepare("dicom", tmp_path / "files", tmp_path / "out", "--reports", str(tmp_path / "texts"))
    assert [row["report"] for row in found.rows("2d").values()] == ["The lungs are clear."]
    assert found.reasons == {"the report is empty": 1, "no report for the accession number": 1}


def test_dicom_reports_come_from_structured_reports_of_the_tree(tmp_path: Path) -> None:
    root = tmp_path / "files"
    ct_series(root / "a", 1)
    ct_series(root / "b", 2, AccessionNumber="")  # found by its study
    for number in (1, 2):
        structured_report(root / "sr" / f"{number}", number, f"Heart of normal size, case {number}.", "Normal.")
    found = prepare("dicom", root, tmp_path / "out", "--keep_uids")
    rows = found.rows("3d")
    assert set(rows) == {f"{UID}5.1", f"{UID}5.2"}
    assert rows[f"{UID}5.2"]["patient"] == "C2" and "case 2" in rows[f"{UID}5.2"]["report"]
    assert "Secret" not in rows[f"{UID}5.1"]["report"]


def test_dicom_options_choose_views_series_and_body_part(tmp_path: Path) -> None:
    root = tmp_path / "files"
    xray(root / "1.dcm", 1)
    xray(root / "2.dcm", 2, ViewPosition="LL")
    xray(root / "3.dcm", 3, BodyPartExamined="HAND")
    for number, count in ((1, 24), (2, 30)):
        ct_series(root / f"ct{number}", number, count, StudyInstanceUID="1.2", BodyPartExamined="CHEST",
                  AccessionNumber="B0001", PatientID="C1")  # fmt: skip
    reports = own_reports(tmp_path / "reports.csv")
    options = ("--views", "frontal", "--series", "largest", "--body_part", "chest", "--keep_uids")
    found = prepare("dicom", root, tmp_path / "out", "--reports", str(reports), *options)
    assert set(found.rows("2d")) == {f"{UID}1.1"} and set(found.rows("3d")) == {f"{UID}5.2"}
    assert found.reasons == {
        "the view is LL": 1,
        "the body part is not CHEST": 1,
        "another series of the study has more slices, or as many": 1,
    }


def test_dicom_raw_image_of_a_detector_is_left_out_beside_the_one_for_viewing(tmp_path: Path) -> None:
    root = tmp_path / "files"
    xray(root / "viewed.dcm", 1, PresentationIntentType="FOR PRESENTATION")
    pair = {"StudyInstanceUID": f"{UID}3.1", "AccessionNumber": "A0001", "PatientID": "P1"}
    xray(root / "raw.dcm", 2, PresentationIntentType="FOR PROCESSING", **pair)
    xray(root / "raw_class.dcm", 3, SOPClassUID=DigitalXRayImageStorageForProcessing, **pair)
    reports = own_reports(tmp_path / "reports.csv")
    found = prepare("dicom", root, tmp_path / "out", "--reports", str(reports), "--keep_uids")
    assert set(found.rows_of_all("2d")) == {f"{UID}1.1"}
    assert found.reasons == {"for processing: the detector's raw image, not the one for viewing": 2}


def test_dicom_mirrored_and_turned_xrays_are_counted_in_a_note(tmp_path: Path) -> None:
    root = tmp_path / "files"
    for number, orientation in enumerate((["L", "F"], ["R", "F"], ["A", "F"], ["L", "H"]), start=1):
        xray(root / f"{number}.dcm", number, PatientOrientation=orientation)
    reports = own_reports(tmp_path / "reports.csv")
    found = prepare("dicom", root, tmp_path / "out", "--reports", str(reports))
    assert len(found.rows_of_all("2d")) == 4
    assert "2 X-rays are stored mirrored or turned (PatientOrientation)" in " ".join(found.summary["notes"])


def test_dicom_largest_series_is_one_that_can_be_used_and_one_alone(tmp_path: Path) -> None:
    study = {"StudyInstanceUID": "1.2", "AccessionNumber": "B0001", "PatientID": "C1"}
    for number, count in ((1, 24), (2, 24), (3, 22)):
        ct_series(tmp_path / "files" / f"ct{number}", number, count, **study)
    coronal = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
    ct_series(tmp_path / "files" / "ct4", 4, 30, ImageOrientationPatient=coronal, **study)
    for index in range(9):  # more files than the others, of fewer slices
        ct_slice(tmp_path / "files" / "ct3" / f"copy{index}.dcm", 3, index, **study)
    reports = own_reports(tmp_path / "reports.csv")
    options = ("--reports", str(reports), "--series", "largest", "--keep_uids")
    found = prepare("dicom", tmp_path / "files", tmp_path / "out", *options)
    assert set(found.rows("3d")) == {f"{UID}5.1"}
    assert found.reasons["another series of the study has more slices, or as many"] == 2
    assert found.reasons["not axial: coronal, sagittal or oblique"] == 1


def test_dicom_slices_that_are_no_even_stack_are_no_volume(tmp_path: Path) -> None:
    for index in range(24):
        ct_slice(tmp_path / "files" / "uid" / f"{index}", 1, index, SOPInstanceUID="1.2.3")
        place = [0.0, 0.0, 2.0 * (index // 2)]
        ct_slice(tmp_path / "files" / "place" / f"{index}", 2, index, ImagePositionPatient=place)
        place = [0.0, 0.0, 2.0 * index + 0.01 * index**2]
        ct_slice(tmp_path / "files" / "uneven" / f"{index}", 3, index, ImagePositionPatient=place)
        pixel = [1.0, 1.0] if index else [2.0, 2.0]
        ct_slice(tmp_path / "files" / "pixel" / f"{index}", 4, index, PixelSpacing=pixel)
        pixel = [0.0, 0.0]
        ct_slice(tmp_path / "files" / "zero" / f"{index}", 5, index, PixelSpacing=pixel)
    reports = own_reports(tmp_path / "reports.csv")
    found = prepare("dicom", tmp_path / "files", tmp_path / "out", "--reports", str(reports))
    assert found.status == 1
    assert found.reasons == {
        "several images at one position": 1,
        "two slices share a SOPInstanceUID": 1,
        "slices are unevenly spaced": 1,
        "slices differ in size or pixel spacing": 1,
        "the pixel spacing is not positive": 1,
    }


def test_dicom_without_any_report_says_where_reports_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xray(tmp_path / "files" / "1.dcm", 1)
    assert main(["dicom", "--root", str(tmp_path / "files"), "--output", str(tmp_path / "out")]) == 1
    assert "--reports (a CSV file or a folder of text files)" in capsys.readouterr().err


def test_dicom_table_whose_columns_are_not_found_is_refused_with_its_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xray(tmp_path / "files" / "1.dcm", 1)
    text(tmp_path / "reports.csv", "nummer,schrift\nA0001,Herz normal groß.\n")
    arguments = ["dicom", "--root", str(tmp_path / "files"), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--reports", str(tmp_path / "reports.csv")]) == 1
    assert "a column for --accession; its columns are 'nummer', 'schrift'" in capsys.readouterr().err
    named = ("--reports", str(tmp_path / "reports.csv"), "--accession", "nummer", "--report", "schrift")
    assert main([*arguments, *named]) == 0


PARTS = {"findings": "FINDINGS: The lungs are clear.", "impression": "Right pneumothorax, case {}."}
BOTH = "Findings: The lungs are clear. Impression: Right pneumothorax, case {}."


def parts(path: Path, **more: str) -> Path:
    rows = [{"acc": f"A000{n}", "image": f"{n}.png", "pid": f"P{n}"} for n in (1, 2)]
    return table(path, [row | {k: v.format(n) for k, v in (PARTS | more).items()} for n, row in enumerate(rows, 1)])


def test_dicom_takes_findings_and_impression_from_two_columns(tmp_path: Path) -> None:
    for number in (1, 2):
        xray(tmp_path / "files" / f"{number}.dcm", number)
    listed = parts(tmp_path / "t.csv")
    found = prepare("dicom", tmp_path / "files", tmp_path / "out", "--reports", str(listed))
    assert {row["report"] for row in found.rows("2d").values()} == {BOTH.format(n) for n in (1, 2)}
    options = ("--reports", str(listed), "--report_text", "impression")
    found = prepare("dicom", tmp_path / "files", tmp_path / "short", *options)
    assert "Right pneumothorax, case 1." in {row["report"] for row in found.rows("2d").values()}


def test_dicom_joins_reports_in_two_columns_section_by_section(tmp_path: Path) -> None:
    xray(tmp_path / "files" / "1.dcm", 1)
    listed = parts(tmp_path / "t.csv")
    listed.write_text(listed.read_text().replace("A0002", "A0001").replace("P2", "P1"))
    found = prepare("dicom", tmp_path / "files", tmp_path / "out", "--reports", str(listed))
    (row,) = found.rows("2d").values()
    assert row["report"].startswith("Findings: The lungs are clear. The lungs are clear. Impression: Right")
    assert row["report"].endswith("case 1. Right pneumothorax, case 2.")


def test_table_takes_several_columns_of_the_report_and_names_those_that_are_not_read(tmp_path: Path) -> None:
    for number in (1, 2):
        picture(tmp_path / f"{number}.png")
    listed = parts(tmp_path / "t.csv")
    columns = ("--csv", str(listed), "--image", "image", "--patient", "pid")
    found = prepare("csv", tmp_path, tmp_path / "out", *columns, "--report", "findings", "impression")
    assert [row["report"] for row in found.rows("2d").values()] == [BOTH.format(n) for n in (1, 2)]
    assert not any("not read" in note for note in found.summary["notes"])
    found = prepare("csv", tmp_path, tmp_path / "out", *columns, "--report", "findings")
    assert any("not read: the text of 'impression'" in note for note in found.summary["notes"])


def test_dicom_column_of_the_whole_report_comes_first_and_the_others_are_named(tmp_path: Path) -> None:
    xray(tmp_path / "files" / "1.dcm", 1)
    listed = parts(tmp_path / "t.csv", report="The whole report, case {}.")
    found = prepare("dicom", tmp_path / "files", tmp_path / "out", "--reports", str(listed))
    assert [row["report"] for row in found.rows("2d").values()] == ["The whole report, case 1."]
    assert any("not read: the text of 'findings', 'impression'" in note for note in found.summary["notes"])
