# SPDX-License-Identifier: Apache-2.0
"""The datastore under many threads: nothing lost, nothing half."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest


def in_threads(count: int, work: Any) -> list[BaseException]:
    errors: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return errors


def test_many_threads_lose_no_label(tmp_path: Path) -> None:
    from unimedi_label.studies import Studies

    for number in range(12):
        (tmp_path / f"case_{number}.nii").write_bytes(b"x" * 100)
    label = tmp_path / "sent" / "label.nii"
    label.parent.mkdir()
    label.write_bytes(b"y" * 1000)
    store = Studies(str(tmp_path), extensions=["*.nii"], auto_reload=True)
    other = Studies(str(tmp_path), extensions=["*.nii"], auto_reload=False, read_only=True)  # a job beside it

    def work(number: int) -> None:
        info = {"label_info": [{"name": f"of {number}", "idx": 1}]}
        (store if number % 2 else other).save_label(f"case_{number}", str(label), "final", info)
        store.update_image_info(f"case_{number}", {"score": number})
        store.status(), store.datalist(), store.json()

    assert in_threads(12, work) == []
    store._observer.stop()
    found = json.loads((tmp_path / "datastore_v2.json").read_text())["objects"]
    for number in range(12):
        case = found[f"case_{number}"]
        assert case["labels"]["final"]["info"]["label_info"] == [{"name": f"of {number}", "idx": 1}]
        assert case["image"]["info"]["score"] == number
    assert not list(tmp_path.rglob("*.part"))


def test_copy_that_fails_leaves_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unimedi_label import upstream

    source, target = tmp_path / "new", tmp_path / "old"
    source.write_text("new")
    target.write_text("old")

    def broken(source: Any, target: Any) -> None:
        Path(target).write_text("ne")
        raise OSError("disk full")

    monkeypatch.setattr(upstream.shutil, "copyfile", broken)
    with pytest.raises(OSError, match="disk full"):
        upstream.copy_whole(source, target)
    assert target.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]


def test_half_a_series_is_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from unimedi_label import studies
    from unimedi_label.studies import RemoteStudies

    calls: list[str] = []

    def download(study: Any, series: str, folder: str, client: Any, by_frame: bool) -> None:
        calls.append(series)
        Path(folder).mkdir(parents=True)
        (Path(folder) / "1.dcm").write_bytes(b"x")
        if len(calls) == 1:
            raise OSError("connection lost")

    monkeypatch.setattr(studies, "dicom_web_download_series", download)
    store = RemoteStudies(
        SimpleNamespace(base_url="http://127.0.0.1:9"), {}, cache_path=str(tmp_path), convert_to_nifti=False
    )
    store._observer.stop()
    with pytest.raises(OSError, match="connection lost"):
        store.get_image_uri("1.2.3")
    assert [path.name for path in Path(store.get_image_uri("1.2.3")).iterdir()] == ["1.dcm"]
    store.get_image_uri("1.2.3")
    assert calls == ["1.2.3"] * 2


def test_labelled_series_are_known_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from unimedi_label.studies import RemoteStudies

    asked: list[dict[str, str]] = []

    def search(search_filters: dict[str, str]) -> list[Any]:
        asked.append(search_filters)
        return []

    store = RemoteStudies(
        SimpleNamespace(base_url="http://127.0.0.1:9", search_for_series=search), {"Modality": "CT"}, str(tmp_path)
    )
    store._observer.stop()
    store.status(), store.status()
    assert asked == [{"Modality": "CT"}, {"Modality": "SEG"}]
    store._asked.pop("get_labeled_images")
    store.status()
    assert len(asked) == 3


def test_converted_series_lies_beside_its_slices_from_the_first_time_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from monailabel.datastore import dicom
    from unimedi_label import studies
    from unimedi_label.studies import RemoteStudies

    made = tmp_path / "temporary.nii.gz"

    def download(study: Any, series: str, folder: str, client: Any, by_frame: bool) -> None:
        Path(folder).mkdir(parents=True)
        (Path(folder) / "1.dcm").write_bytes(b"x")

    def convert(folder: str, is_seg: bool = False) -> str:
        made.write_bytes(b"nifti")
        return str(made)

    monkeypatch.setattr(studies, "dicom_web_download_series", download)
    monkeypatch.setattr(dicom, "dicom_to_nifti", convert)
    monkeypatch.setattr(RemoteStudies, "_dicom_info", lambda self, series: {})
    store = RemoteStudies(SimpleNamespace(base_url="http://127.0.0.1:9"), {}, cache_path=str(tmp_path / "cache"))
    store._observer.stop()
    first = Path(store.get_image_uri("1.2.3"))
    assert first == Path(store.get_image_uri("1.2.3"))
    assert (first.with_name("1.2.3") / "1.dcm").is_file()
    assert first.read_bytes() == b"nifti" and not made.exists()


def test_one_label_a_case_whatever_its_format(tmp_path: Path) -> None:
    from unimedi_label.studies import Studies

    (tmp_path / "a.nii").write_bytes(b"image")
    studies = Studies(str(tmp_path), extensions=["*.nii", "*.nrrd"], auto_reload=False)
    for suffix in (".nrrd", ".nii"):
        (tmp_path / f"sent{suffix}x").write_bytes(suffix.encode())
        (tmp_path / f"sent{suffix}x").rename(tmp_path.parent / f"sent{suffix}")
        studies.save_label("a", str(tmp_path.parent / f"sent{suffix}"), "final", {})
    assert [path.name for path in (tmp_path / "labels" / "final").iterdir()] == ["a.nii"]
    assert Path(studies.get_label_uri("a", "final")).read_bytes() == b".nii"


def test_images_whose_id_another_has_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from unimedi_label.studies import Studies

    for name in ("a.nii", "a.png", "b.nii", "c.PNG"):
        (tmp_path / name).write_bytes(b"image")
    studies = Studies(str(tmp_path), extensions=["*.nii", "*.png", "*.PNG"], auto_reload=False)
    assert sorted(studies.list_images()) == ["a", "b", "c"]
    assert list(studies.hidden.values()) == ["a"]
    assert caplog.text.count("is not offered") == 1
