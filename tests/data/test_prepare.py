# SPDX-License-Identifier: Apache-2.0
"""What all corpora share: tables, splits, label fractions, provenance, the same bytes, the verb."""

from __future__ import annotations

import gzip
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_unimedi.__main__ import main as package_main
from monai_unimedi.data.check_across import check_patients
from monai_unimedi.data.check_rows import read_rows
from monai_unimedi.data.corpora.items import list_files
from monai_unimedi.data.prepare_masks import box_mask, run_length_mask
from monai_unimedi.data.prepare_splits import label_fractions, shared_patients, split_sources
from monai_unimedi.data.prepare_tables import find_column, read_columns, read_table, read_text
from monai_unimedi.verbs.prepare import CORPORA, main
from tests.data.corpora import trees_2d, trees_3d
from tests.data.corpora.files import ct_series, nifti, picture, table, text
from tests.data.corpora.prepared import prepare


def rows_of(patients: int, each: int = 2) -> list[dict[str, Any]]:
    return [{"id": f"{p}.{i}", "patient": str(p)} for p in range(patients) for i in range(each)]


# tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiter_is_the_one_of_the_header(tmp_path: Path, delimiter: str) -> None:
    path = table(tmp_path / "t.csv", [{"a": "1,5; x", "b": "two\nlines"}], delimiter=delimiter)
    assert list(read_table(path)) == [{"a": "1,5; x", "b": "two\nlines"}]


def test_column_names_lose_their_spaces_and_short_rows_are_filled(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "ImageId, EncodedPixels\n1\n\n2,3\n")
    assert list(read_table(path)) == [
        {"ImageId": "1", "EncodedPixels": ""},
        {"ImageId": "2", "EncodedPixels": "3"},
    ]


def test_first_column_without_a_name_stays_a_column(tmp_path: Path) -> None:
    path = text(tmp_path / "t.tsv", "\tPatientID\n0\tp1\n")
    assert read_columns(path) == ["", "PatientID"]
    assert [row["PatientID"] for row in read_table(path)] == ["p1"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_in_its_encoding(tmp_path: Path, encoding: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.txt").write_bytes("Erguß “klein”, neumonía".encode(encoding))
    assert read_text(tmp_path / "t.txt") == "Erguß “klein”, neumonía"
    assert ("Windows-1252" in caplog.text) == (encoding == "cp1252")


def test_packed_tables_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("t.csv", "a,b\n1,2\n")
    for name in ("t.csv.gz", "t.csv.zip"):
        assert list(read_table(tmp_path / name)) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line of column names"),
        (b"PK\x00\x00\xff\xff\x00", "must be text, got a binary file"),
        (b"a;b\n1;2\n", "must have the columns 'c'; its columns are 'a', 'b'"),
    ],
)
def test_unusable_tables_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        list(read_table(tmp_path / "t.csv", ["c"]))


def test_truncated_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 99)[:20])
    with pytest.raises(ValueError, match=r"'t.csv.gz' cannot be read"):
        list(read_table(tmp_path / "t.csv.gz"))


def test_columns_are_found_whatever_their_spelling() -> None:
    assert find_column(["Report Text", "ACCESSION_No."], ("accession_no",)) == "ACCESSION_No."
    assert find_column(["Report Text"], ("report", "report_text")) == "Report Text"
    assert find_column(["x"], ("report",)) is None


# splits


def split_rows(
    sections: dict[str, list[dict[str, Any]]], amounts: dict[str, float], seed: int = 42
) -> tuple[dict[str, list[dict[str, Any]]], list[str]]:
    return split_sources({"2d": sections}, amounts, seed)["2d"]


def test_splits_are_drawn_by_patient_and_by_the_seed() -> None:
    amounts = {"validation": 0.2, "test": 0.3}
    lists, notes = split_rows({"training": rows_of(20)}, amounts, seed=1)
    assert {name: len(rows) for name, rows in lists.items()} == {"training": 22, "validation": 6, "test": 12}
    assert shared_patients(lists) == 0 and len(notes) == 2
    assert lists == split_rows({"training": rows_of(20)}, amounts, seed=1)[0]
    assert lists != split_rows({"training": rows_of(20)}, amounts, seed=2)[0]


def test_split_of_one_source_is_the_one_of_published_lists() -> None:
    lists, _ = split_rows({"training": rows_of(20)}, {"validation": 0.1, "test": 0.2})
    drawn = {name: {row["patient"] for row in lists[name]} for name in ("validation", "test")}
    assert drawn == {"validation": {"10", "14"}, "test": {"11", "12", "13", "16"}}


@pytest.mark.parametrize("seed", range(5))
def test_patient_of_two_sources_is_in_one_split(seed: int) -> None:
    sources = {"2d": {"training": rows_of(40)}, "3d": {"training": rows_of(30)}}
    found = split_sources(sources, {"validation": 0.1, "test": 0.1}, seed)
    assert shared_patients(*(lists for lists, _ in found.values())) == 0
    counts = {s: [len({r["patient"] for r in rows}) for rows in lists.values()] for s, (lists, _) in found.items()}
    assert counts == {"2d": [32, 4, 4], "3d": [24, 3, 3]}


def test_drawn_split_follows_the_official_one_of_the_other_source() -> None:
    official = {"training": rows_of(20), "test": [{"id": "t", "patient": "25"}]}
    found = split_sources({"2d": official, "3d": {"training": rows_of(40)}}, {"validation": 0.1, "test": 0.1})
    assert shared_patients(*(lists for lists, _ in found.values())) == 0
    assert found["2d"][0]["test"] == official["test"]
    assert "25" in {row["patient"] for row in found["3d"][0]["test"]}
    assert len(found["3d"][0]["test"]) == 8 and found["3d"][0]["validation"]


def test_split_that_would_leak_is_a_remark() -> None:
    official = {"training": rows_of(20), "test": [{"id": "t", "patient": "25"}]}
    lists, notes = split_sources({"2d": official, "3d": {"training": rows_of(10)}}, {"test": 0.1})["3d"]
    assert list(lists) == ["training"] and notes == [
        "no test list: the patients are all in other lists of the other source"
    ]


def test_patients_of_both_dimensions_pass_the_check(tmp_path: Path) -> None:
    rows = [{"image": f"{p}.png", "text": f"Clear lungs of case {p}.", "patient": f"P{p}"} for p in range(40)]
    rows += [row | {"image": f"{row['patient']}.nii.gz"} for row in rows[:30]]
    for row in rows:
        (nifti if row["image"].endswith("gz") else picture)(tmp_path / "own" / row["image"])
    columns = ("--image", "image", "--report", "text", "--patient", "patient")
    listed = table(tmp_path / "own" / "t.csv", rows)
    found = prepare("csv", tmp_path / "own", tmp_path / "out", "--csv", str(listed), *columns)
    checked = [
        check_row for source in ("2d", "3d") for check_row in read_rows(found.output / f"datalist_{source}.json")[0]
    ]
    assert check_patients(checked) == [] and len(checked) == 70


def test_official_splits_stay() -> None:
    given = {"training": rows_of(10), "test": [{"id": "t", "patient": "1"}]}
    lists, _ = split_rows(given, {"validation": 0, "test": 0.5})
    assert lists == given and shared_patients(lists) == 1


def test_a_number_of_rows_is_drawn_but_no_more_than_a_tenth() -> None:
    lists, _ = split_rows({"training": rows_of(500, 1)}, {"validation": 20})
    assert len(lists["validation"]) == 20
    lists, _ = split_rows({"training": rows_of(50, 1)}, {"validation": 5000})
    assert len(lists["validation"]) == 5


def test_too_few_patients_are_not_split() -> None:
    lists, notes = split_rows({"training": rows_of(2)}, {"test": 0.5})
    assert list(lists) == ["training"] and "too few" in notes[0]


def test_label_fractions_are_nested_and_fixed_by_the_seed() -> None:
    rows = rows_of(300, 1)
    lists = label_fractions(rows, [42, 43])
    assert {name: len(found) for name, found in lists.items()} == {
        "training_1": 3,
        "training_10": 30,
        "training_1_seed43": 3,
        "training_10_seed43": 30,
    }
    ids = {name: {row["id"] for row in found} for name, found in lists.items()}
    assert ids["training_1"] < ids["training_10"] and ids["training_1"] != ids["training_1_seed43"]
    assert lists["training_10"] == [row for row in rows if row["id"] in ids["training_10"]]
    assert len(label_fractions(rows[:5], [42])["training_1"]) == 1


# masks


def test_run_lengths_go_down_the_columns_from_the_end_of_the_run_before() -> None:
    mask = run_length_mask("1 2 2 1", rows=3, columns=2)
    assert mask.astype(int).tolist() == [[0, 0], [1, 0], [1, 1]]


def test_run_lengths_equal_a_slow_reading() -> None:
    rng = np.random.RandomState(0)
    numbers = rng.randint(1, 9, size=30)
    slow, place = np.zeros(20 * 30, dtype=bool), 0
    for gap, length in numbers.reshape(-1, 2):
        for step in range(length):
            slow[place + gap + step] = True
        place += gap + length
    expected = np.array([[slow[column * 20 + row] for column in range(30)] for row in range(20)])
    np.testing.assert_array_equal(run_length_mask(" ".join(map(str, numbers)), 20, 30), expected)


@pytest.mark.parametrize("code", ["1", "a b", "0 7", "-2 3"])
def test_run_lengths_that_do_not_fit_are_refused(code: str) -> None:
    with pytest.raises(ValueError, match="A run-length code must"):
        run_length_mask(code, 3, 2)


def test_boxes_beyond_the_image_are_cut() -> None:
    assert box_mask([[-2, 1, 4, 9]], 3, 5).astype(int).tolist() == [[0] * 5, [1, 1, 0, 0, 0], [1, 1, 0, 0, 0]]


# files


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    text(tmp_path / "a" / "1.txt", "")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "dead.txt").symlink_to(tmp_path / "nowhere")
    assert [path.name for path in list_files(tmp_path)] == ["1.txt", "dead.txt"]


# what is written


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    root = trees_2d.rsna(tmp_path / "rsna")
    for name in ("one", "two"):
        prepare("rsna", root, tmp_path / name)
    for name in ("datalist_2d.json", "summary.json", "left_out.csv"):
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one.replace(b"../one/", b"../two/") == two
        assert str(tmp_path).encode() not in one


def test_provenance_says_where_a_list_comes_from(tmp_path: Path) -> None:
    root = trees_2d.mimic_cxr(tmp_path / "mimic")
    found = prepare("mimic_cxr", root, tmp_path / "out", "--report_text", "impression")
    provenance = found.lists("2d")["provenance"]
    assert provenance["corpus"] == "mimic_cxr" and provenance["version"]
    assert "--report_text impression --root ROOT" in provenance["command"]
    assert provenance["lists"]["training"] == {"rows": 2, "patients": 2}
    assert provenance["found"] == 10 and provenance["kept"] == 4
    assert len(provenance["hash"]) == 32
    other = prepare("mimic_cxr", root, tmp_path / "other", "--views", "PA")
    assert other.lists("2d")["provenance"]["hash"] != provenance["hash"]


def test_paths_start_from_the_folder_above_several_corpora(tmp_path: Path) -> None:
    root = trees_2d.mimic_cxr(tmp_path / "all" / "mimic")
    found = prepare("mimic_cxr", root, tmp_path / "out", "--dataset_dir", str(tmp_path / "all"))
    assert all(row["image"].startswith("mimic/files/") for row in found.rows("2d").values())


def test_summary_is_printed_with_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare("mimic_cxr", trees_2d.mimic_cxr(tmp_path / "mimic"), tmp_path / "out")
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split() == ["found", "10"] and printed[1].split() == ["kept", "4"]
    assert any(line.startswith("left out: the view is LATERAL") for line in printed)
    assert not any("FINDINGS" in line or "clear" in line for line in printed)


def test_names_in_the_summary_are_few_and_in_left_out_all(tmp_path: Path) -> None:
    rows = [{"image": f"{n}.png", "text": "Clear lungs here.", "patient": n} for n in range(40)]
    table(tmp_path / "own" / "t.csv", rows)
    picture(tmp_path / "own" / "0.png")
    columns = ("--image", "image", "--report", "text", "--patient", "patient")
    found = prepare("csv", tmp_path / "own", tmp_path / "out", "--csv", str(tmp_path / "own" / "t.csv"), *columns)
    assert len(found.summary["examples"]["the image file is missing"]) == 20
    assert len((tmp_path / "out" / "left_out.csv").read_text().splitlines()) == 40


def test_second_run_replaces_the_first_and_another_corpus_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = trees_3d.bimcv(tmp_path / "bimcv")
    prepare("bimcv", root, tmp_path / "out")
    prepare("bimcv", root, tmp_path / "out", "--sources", "3d")
    assert not (tmp_path / "out" / "datalist_2d.json").exists()
    rsna = trees_2d.rsna(tmp_path / "rsna")
    assert main(["rsna", "--root", str(rsna), "--output", str(tmp_path / "out")]) == 1
    assert "holds 'bimcv'" in capsys.readouterr().err


def test_nothing_kept_is_status_one(tmp_path: Path) -> None:
    ct_series(tmp_path / "files", 1, 3)
    (tmp_path / "r.csv").write_text("accession,report\nB0001,Clear lungs here.\n")
    found = prepare("dicom", tmp_path / "files", tmp_path / "out", "--reports", str(tmp_path / "r.csv"))
    assert found.status == 1 and found.reasons == {"under 20 slices": 1}
    assert not (tmp_path / "out" / "datalist_3d.json").exists()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_folder_that_may_not_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    errors: list[OSError] = []
    assert list(list_files(tmp_path, errors.append)) == [] and len(errors) == 1


# the verb


def test_every_corpus_has_a_module_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    for corpus in CORPORA:
        with pytest.raises(SystemExit) as caught:
            main([corpus, "--help"])
        assert caught.value.code == 0
        assert f"prepare {corpus}" in capsys.readouterr().out


def test_unknown_corpus_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert package_main(["prepare", "mimic"]) == 2
    assert "did you mean 'mimic_cxr'?" in capsys.readouterr().err
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"\n  {name} " in printed for name in CORPORA)


def test_wrong_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for corpus in sorted(set(CORPORA) - {"csv", "dicom"}):
        (tmp_path / "empty").mkdir(exist_ok=True)
        status = main([corpus, "--root", str(tmp_path / "empty"), "--output", str(tmp_path / corpus)])
        printed = capsys.readouterr().err
        assert status == 1 and "below --root" in printed, corpus
        assert not (tmp_path / corpus).exists()
    assert main(["rsna", "--root", str(tmp_path / "no"), "--output", str(tmp_path / "out")]) == 1
    assert "--root must be a folder" in capsys.readouterr().err


def test_documentation_names_every_corpus_with_its_command(repository: Path) -> None:
    text = (repository / "docs" / "corpora.md").read_text()
    named = set(re.findall(r"python -m monai_unimedi prepare (\w+)", text))
    assert named - {"CORPUS"} <= set(CORPORA)
    headed = {name for line in re.findall(r"^### (.+)$", text, flags=re.MULTILINE) for name in line.split(", ")}
    assert headed | {"csv", "dicom"} == set(CORPORA)


@pytest.mark.parametrize("corpus", sorted(CORPORA))
def test_documented_options_exist(corpus: str, repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([corpus, "--help"])
    known = set(re.findall(r"--\w+", capsys.readouterr().out))
    text = (repository / "docs" / "corpora.md").read_text()
    commands = re.findall(rf"python -m monai_unimedi prepare {corpus}\b([^`\n]*)", text)
    assert all(option in known for command in commands for option in re.findall(r"--\w+", command))
