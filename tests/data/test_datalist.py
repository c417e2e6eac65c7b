# SPDX-License-Identifier: Apache-2.0
"""Datalists: what is read, what stops, what is left out and said so."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from monai_unimedi.data.datalist import (
    check_datalist,
    datalist_digest,
    label_names,
    load_datalist,
)


def write(folder: Path, rows: list[Any], section: str = "training", **more: object) -> Path:
    (folder / "images").mkdir(exist_ok=True)
    for name in "abcdef":
        (folder / "images" / f"{name}.png").write_bytes(b"x")
    path = folder / "list.json"
    path.write_text(json.dumps({"name": "test", section: rows, **more}))
    return path


def row(name: str, **more: object) -> dict[str, object]:
    return {"id": name, "image": f"images/{name}.png", "report": "No nodule seen.", **more}


def test_rows_get_full_paths_ids_and_patients(tmp_path: Path) -> None:
    rows = [{"image": "images/a.png", "report": ""}, row("b", patient=7, label=[0, 1], extra={"x": 1})]
    first, second = load_datalist(write(tmp_path, rows))
    assert first["image"] == str(tmp_path / "images" / "a.png")
    assert first["id"] == first["patient"] == "images/a.png"
    assert first["report"] == ""  # not taken for a path
    assert (second["patient"], second["label"], second["extra"]) == ("7", [0, 1], {"x": 1})


def test_base_dir_and_plain_paths(tmp_path: Path) -> None:
    path = write(tmp_path, ["images/a.png"], "test", label_names=["nodule"])
    assert load_datalist(path, "test", "/data")[0]["image"] == "/data/images/a.png"
    assert label_names(path) == ["nodule"]


def test_unreadable_lists_raise(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none"):
        load_datalist(tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"no list 'validation'; its lists are \['training'\]"):
        load_datalist(write(tmp_path, []), "validation")
    with pytest.raises(ValueError, match=r"Row 1 .* must be an object, got a int"):
        load_datalist(write(tmp_path, [row("a"), 3]))
    (tmp_path / "bad.json").write_text('{"training": [')
    with pytest.raises(ValueError, match="must be JSON"):
        load_datalist(tmp_path / "bad.json")


def checked(folder: Path, rows: list[Any], **options: Any) -> list[dict[str, Any]]:
    return check_datalist(load_datalist(write(folder, rows)), "2d", **options)


def test_good_rows_pass_in_order(tmp_path: Path) -> None:
    assert [r["id"] for r in checked(tmp_path, [row("b"), row("a")])] == ["b", "a"]


def test_missing_file_names_row_key_and_path(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"source '2d', row 1, id 'z', key 'image': no such file .*z\.png"):
        checked(tmp_path, [row("a"), row("z")])
    with pytest.raises(ValueError, match=r"row 0, id 'a', key 'lesion_mask': no such file"):
        checked(tmp_path, [row("a", lesion_mask="masks/a.png")])


def test_missing_key_names_row_key_and_path(tmp_path: Path) -> None:
    bad = row("b")
    del bad["report"]
    with pytest.raises(ValueError, match=r"row 1, id 'b': the key 'report' is missing \(path .*b\.png"):
        checked(tmp_path, [row("a"), bad])
    assert len(checked(tmp_path, [row("a"), bad], keys=("id", "image"))) == 2
    with pytest.raises(ValueError, match="row 0, id 'a': the key 'report' must be a string, got float"):
        checked(tmp_path, [row("a", report=0.5)])


@pytest.mark.parametrize("image", [None, ["a.png", "b.png"]])
def test_a_row_without_an_image_is_not_told_to_lack_an_id(tmp_path: Path, image: Any) -> None:
    given = {"report": "the lungs are clear"} | ({} if image is None else {"image": image})
    with pytest.raises(ValueError, match=r"row 0, id None: the key 'image' (is missing|must be a string)"):
        checked(tmp_path, [given])


def test_duplicate_ids_name_all_their_rows(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"occur once, got again: .*row 0, id 'a'; .*row 2, id 'a'"):
        checked(tmp_path, [row("a"), row("b"), row("a")])


def test_empty_list_raises() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        check_datalist([], "3d")


@pytest.mark.parametrize("report", ["", "   \n", "No nodule", "No ___ nodule .", ". . . ."])
def test_short_report_is_refused_or_left_out(tmp_path: Path, report: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = [row("a"), row("b", report=report), row("c")]
    with pytest.raises(ValueError, match=r"1 of 3 reports .* under 3 words: source '2d', row 1, id 'b'"):
        checked(tmp_path, rows)
    with caplog.at_level(logging.WARNING):
        kept = checked(tmp_path, rows, on_bad_report="drop")
    assert [r["id"] for r in kept] == ["a", "c"]
    assert "left out 1 of 3 rows" in caplog.text
    assert ": b" in caplog.text
    with pytest.raises(ValueError, match="Every one of the 1 reports"):
        checked(tmp_path, rows[1:2], on_bad_report="drop")


def test_no_report_text_is_logged_or_raised(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match="reports") as caught:
        checked(tmp_path, [row("a", report="secret words")])
    assert "secret" not in caplog.text + str(caught.value)


def test_unknown_option_raises() -> None:
    with pytest.raises(ValueError, match="on_bad_report must be"):
        check_datalist([row("a")], on_bad_report="skip")


def test_digest_follows_content_and_order_not_the_folder(tmp_path: Path) -> None:
    path = write(tmp_path, [row("a"), row("b")])
    rows, moved = load_datalist(path), load_datalist(path, base_dir="/elsewhere")
    assert datalist_digest(rows) == datalist_digest(moved)
    assert len(datalist_digest(rows)) == 32
    assert datalist_digest(rows) != datalist_digest(rows[::-1])
    rows[0]["report"] += "."
    assert datalist_digest(rows) != datalist_digest(moved)
