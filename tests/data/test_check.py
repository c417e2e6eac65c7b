# SPDX-License-Identifier: Apache-2.0
"""What a check finds, and what it keeps to itself."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import DigitalXRayImageStorageForProcessing

from monai_unimedi.data import check
from monai_unimedi.data.check import check_datalists, write_findings
from monai_unimedi.data.check_image import inspect_image
from monai_unimedi.data.check_rows import Finding
from monai_unimedi.data.check_values import hounsfield_faults
from monai_unimedi.data.ct_slice import looks_like_ct_slice
from monai_unimedi.data.perceptual_hash import near_pairs, perceptual_hash
from monai_unimedi.verbs.check import main
from tests.acceptance import broken_inputs as acceptance
from tests.data.broken_inputs import body, dicom_xray, good_png, nifti, picture, series


def listed(folder: Path, rows: list[dict[str, Any]], name: str = "datalist_2d.json", **more: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps({"training": rows, **more}), encoding="utf-8")
    return path


def of(findings: list[Finding], check: str) -> list[Finding]:
    return [finding for finding in findings if finding.check == check]


def test_every_broken_input_has_one_row_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    wrong, count = acceptance.run()
    assert wrong == []
    assert count >= 40


def test_patient_in_two_splits_is_an_error_across_lists(tmp_path: Path) -> None:
    rows = [good_png(tmp_path, name, patient="p") for name in ("a", "b")]
    other = [good_png(tmp_path, name) for name in ("c", "d")]
    first = listed(tmp_path, [rows[0], *other])
    second = listed(tmp_path, [], "other.json", test=[rows[1]])
    assert of(check_datalists([first]).findings, "patients") == []
    result = check_datalists([first, second])
    (found,) = of(result.findings, "patients")
    assert (found.severity, found.id) == ("error", "a")
    assert "1 in training, 1 in test (a, b)" in found.message
    assert not result.may_start


def test_same_picture_is_found_resaved_and_in_another_split_it_is_an_error(tmp_path: Path) -> None:
    rows = [good_png(tmp_path, name) for name in ("a", "b")]
    detailed = Image.fromarray(picture("a", cells=16))
    for name in ("a.png", "again.png"):
        detailed.save(tmp_path / name)
    small = detailed.resize((150, 130)).point(lambda level: level * 0.8 + 10)
    small.save(tmp_path / "small.jpg", quality=50)
    again = {**rows[0], "id": "again", "image": "again.png"}
    path = listed(tmp_path, [*rows, {**rows[1], "id": "small", "image": "small.jpg"}], test=[again])
    findings = check_datalists([path]).findings
    (same,), (near,) = of(findings, "same image"), of(findings, "near image")
    assert (same.severity, same.id) == ("error", "again")
    assert (near.severity, near.id) == ("warning", "small")
    assert "another patient" in near.message


def test_file_of_many_rows_is_opened_once_and_is_no_copy_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def counted(path: str) -> dict[str, Any]:
        opened.append(path)
        return inspect_image(path)

    monkeypatch.setattr(check, "inspect_image", counted)
    scans = [nifti(tmp_path, name) | {"label": [0]} for name in ("a", "b")]
    places = [scan | {"id": f"{scan['id']}{n}", "centre": [n, 0, 0]} for scan in scans for n in range(3)]
    result = check_datalists([listed(tmp_path, scans, "datalist_3d.json", candidates_training=places)])
    assert [Path(path).name for path in opened] == ["a.nii.gz", "b.nii.gz"]
    assert of(result.findings, "same image") == []
    assert result.summary["datalist_3d.json"]["images opened"] == "2 of 2"
    places.append(places[0] | {"id": "again"})
    (found,) = of(check_datalists([listed(tmp_path, scans, candidates_training=places)]).findings, "same image")
    assert (found.severity, found.id) == ("warning", "again")


def test_file_in_two_splits_is_one_error(tmp_path: Path) -> None:
    scans = [nifti(tmp_path, name) | {"label": [0]} for name in ("a", "b")]
    places = [scans[0] | {"id": f"a{n}", "centre": [n, 0, 0]} for n in range(3)]
    findings = check_datalists([listed(tmp_path, scans, candidates_test=places)]).findings
    (found,) = of(findings, "same image")
    assert (found.severity, found.id) == ("error", "a0")
    assert "this one is that of id 'a' of 'training'" in found.message


def test_copy_of_a_file_in_another_split_is_found_among_all_its_rows(tmp_path: Path) -> None:
    rows = [good_png(tmp_path, name) for name in ("a", "b")]
    (tmp_path / "copy.png").write_bytes((tmp_path / "a.png").read_bytes())
    copy = rows[0] | {"id": "copy", "image": "copy.png"}
    path = listed(tmp_path, rows, retrieval=[copy], test=[copy | {"id": "tested"}])
    (found,) = [f for f in of(check_datalists([path]).findings, "same image") if f.severity == "error"]
    assert found.id == "tested" and "has the pixels of id 'a' of 'training'" in found.message


def test_equal_and_long_reports_and_languages_are_counted_without_their_text(tmp_path: Path) -> None:
    rows = [good_png(tmp_path, name) for name in "abc"]
    rows[1]["report"] = rows[0]["report"].upper()
    rows[2]["report"] = "pulmones claros " * 20

    class Words:
        model_max_length = 12

        def __call__(self, texts: list[str], **options: object) -> dict[str, list[list[str]]]:
            return {"input_ids": [text.split() for text in texts]}

    result = check_datalists([listed(tmp_path, rows)], None, Words(), lambda text: "es" if "pulmones" in text else "en")
    (equal,), (long,), (language,) = (
        of(result.findings, name) for name in ("equal reports", "long reports", "language")
    )
    assert "2 different texts among 3 reports: 2 rows share 1 texts, 1 of them across patients" in equal.message
    assert "1 of 3 reports have more than the tokenizer's 12 tokens (the longest 40)" in long.message
    assert "1 of 3 reports are in 'es'" in language.message
    assert result.summary["datalist_2d.json"]["languages"] == {"en": 2, "es": 1}
    assert "claros" not in str(result)


def test_volume_among_x_rays_and_repeated_ids_are_errors(tmp_path: Path) -> None:
    rows = [good_png(tmp_path, name) for name in "abc"]
    findings = check_datalists([listed(tmp_path, [*rows, nifti(tmp_path, "ct"), rows[0]])]).findings
    assert [f.id for f in of(findings, "dimension")] == ["ct"]
    assert [(f.row, f.id) for f in of(findings, "ids")] == [(4, "a")]


def test_label_fractions_repeat_training_rows_and_are_read(tmp_path: Path) -> None:
    rows = [good_png(tmp_path, name, label=[n % 2]) for n, name in enumerate("abcd")]
    more = {"training_1": rows[:1], "training_10": rows[:2], "candidates_training": [good_png(tmp_path, "e")]}
    result = check_datalists([listed(tmp_path, rows, **more)])
    assert of(result.findings, "same image") == [] and of(result.findings, "equal reports") == []
    assert of(result.findings, "datalist") == []
    assert result.summary["datalist_2d.json"]["rows"]["training_10"] == 2
    path = listed(tmp_path, rows[:3], training_1=[rows[0] | {"id": "x"}], retrieval=[good_png(tmp_path, "f")])
    findings = check_datalists([path]).findings
    assert [found.section for found in of(findings, "same image")] == ["training_1"]
    assert "The lists ['retrieval'] are checked here" in of(findings, "datalist")[0].message


@pytest.mark.parametrize("learnt", [{"label": [1]}, {"lesion_mask": "a.png"}])
def test_list_of_labels_or_masks_needs_no_reports(tmp_path: Path, learnt: dict[str, Any]) -> None:
    rows = [{key: value for key, value in good_png(tmp_path, name).items() if key != "report"} for name in "abc"]
    path = listed(tmp_path, [*(row | learnt for row in rows[:2]), rows[2]])
    result = check_datalists([path], language_of=lambda text: "en")
    assert [(f.severity, f.check) for f in result.findings] == [("note", "datalist")]
    assert "pre-training cannot" in result.findings[0].message
    assert result.summary[path.name].keys().isdisjoint({"different texts", "languages"})


def test_report_is_missing_where_others_have_one_or_nothing_else_is_there(tmp_path: Path) -> None:
    rows = [{key: value for key, value in good_png(tmp_path, name).items() if key != "report"} for name in "abc"]
    some = listed(tmp_path, [good_png(tmp_path, "d", label=[1]), *(row | {"label": [0]} for row in rows)])
    assert [f.id for f in of(check_datalists([some]).findings, "keys")] == ["a", "b", "c"]
    none = listed(tmp_path, rows)
    assert len(of(check_datalists([none]).findings, "keys")) == 3


def test_missing_mask_is_an_error(tmp_path: Path) -> None:
    rows = [good_png(tmp_path, name) for name in "ab"]
    findings = check_datalists([listed(tmp_path, [rows[0], {**rows[1], "lesion_mask": "no.png"}])]).findings
    assert [(f.check, f.id) for f in findings] == [("mask", "b")]


def test_one_patient_cannot_be_split(tmp_path: Path) -> None:
    rows = [good_png(tmp_path, name, patient="p") for name in "ab"]
    assert "two patients" in of(check_datalists([listed(tmp_path, rows)]).findings, "datalist")[0].message
    path = listed(tmp_path, rows[:1], validation=[{**rows[1], "patient": "q"}])
    assert check_datalists([path]).may_start


def test_summary_counts_what_is_there(tmp_path: Path) -> None:
    rows = [series(tmp_path, "one"), nifti(tmp_path, "two")]
    facts = check_datalists([listed(tmp_path, rows)]).summary["datalist_2d.json"]
    assert facts["orientations"] == {"LPS": 2}
    assert facts["spacing (mm) (least, median, most)"] == ["2 x 2 x 5"] * 3
    assert facts["images opened"] == "2 of 2"


@pytest.mark.parametrize(("shift", "reason"), [(-1024, "rescaled twice"), (1024, "not rescaled"), (5000, "hardly a")])
def test_shifted_hounsfield_units_are_recognised(shift: int, reason: str) -> None:
    volume = body("ct").astype(np.int32)
    assert hounsfield_faults(volume) == []
    ((severity, check, message),) = hounsfield_faults(volume + shift)
    assert (severity, check) == ("error", "HU")
    assert reason in message


def test_real_volumes_are_in_hounsfield_units(real_data: Path) -> None:
    from monai_unimedi.transforms import LoadVolume

    names = ("elastix_lung/3DCT_lung.mha", "lung_tumour_ct/lambin_pat3.nii.gz", "cip_chest/ct-64.nrrd")
    volumes = [LoadVolume(None)(real_data / name)[0].numpy() for name in names]
    assert [hounsfield_faults(volume) for volume in volumes] == [[], [], []]
    assert all("rescaled twice" in hounsfield_faults(volume - 1024)[0][2] for volume in volumes)


def test_hash_moves_little_under_brightness_and_much_between_pictures() -> None:
    first, second = perceptual_hash(picture("a").T), perceptual_hash(picture("b").T)
    bright = perceptual_hash(picture("a").T * 0.5 + 30)
    assert list(near_pairs([first, second, bright])) == [(0, 2, 0)]
    assert list(near_pairs([first])) == []


def test_a_sharp_border_looks_like_a_slice_and_a_slope_does_not() -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 200), np.linspace(-1, 1, 200))
    lungs = np.minimum((x - 0.4) ** 2, (x + 0.4) ** 2) * 6 + y**2
    assert looks_like_ct_slice(np.where(lungs < 0.5, 0.2, 0.9))
    assert not looks_like_ct_slice(np.clip(lungs, 0, 1))


def test_verb_prints_writes_and_tells_by_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [good_png(tmp_path, name) for name in ("a", "b")]
    page, table = tmp_path / "out" / "check.html", tmp_path / "findings.csv"
    good = listed(tmp_path, rows)
    assert main([str(good), "--output", str(page)]) == 0
    bad = listed(tmp_path, [*rows, {**rows[0], "id": "c", "image": "no.png"}], "bad.json")
    assert main([str(bad), "--output", str(page), "--findings", str(table)]) == 1
    assert "training must not start" in capsys.readouterr().out
    with table.open() as stream:
        assert [line["check"] for line in csv.DictReader(stream)][:1] == ["opens"]
    assert "zone" not in page.read_text()
    assert main([str(good), "--tokenizer", str(tmp_path / "nothing")]) == 2


def test_findings_are_one_a_line(tmp_path: Path) -> None:
    write_findings([Finding("note", "x", "l.json", "", -1, "", "of two\nlines")], tmp_path / "f.csv")
    with (tmp_path / "f.csv").open(newline="") as stream:
        assert len(list(csv.reader(stream))) == 2


@pytest.mark.parametrize(
    ("orientation", "said"),
    [(["R", "F"], "R\\F"), (["L", "H"], "L\\H"), (["F", "L"], "F\\L"), (["R", "H"], "R\\H")],
)
def test_x_ray_stored_mirrored_or_turned_by_its_header_is_a_warning(
    tmp_path: Path, orientation: list[str], said: str
) -> None:
    dicom_xray(tmp_path, "x", PatientOrientation=orientation)
    [(severity, check, message)] = inspect_image(str(tmp_path / "x.dcm"))["faults"]
    assert (severity, check) == ("warning", "orientation")
    assert f"its PatientOrientation is {said}" in message


@pytest.mark.parametrize("orientation", [None, "", ["L", "F"], ["A", "F"], ["P", "FL"], ["L", ""]])
def test_x_ray_that_lies_as_it_is_viewed_has_no_warning(tmp_path: Path, orientation: Any) -> None:
    dicom_xray(tmp_path, "x", PatientOrientation=orientation)
    assert inspect_image(str(tmp_path / "x.dcm"))["faults"] == []


@pytest.mark.parametrize("tag", ["PresentationIntentType", "SOPClassUID"])
def test_raw_image_of_a_detector_is_a_warning(tmp_path: Path, tag: str) -> None:
    values = {"PresentationIntentType": "FOR PROCESSING", "SOPClassUID": DigitalXRayImageStorageForProcessing}
    dicom_xray(tmp_path, "x", **{tag: values[tag]})
    [(severity, check, _)] = inspect_image(str(tmp_path / "x.dcm"))["faults"]
    assert (severity, check) == ("warning", "raw image")
