# SPDX-License-Identifier: Apache-2.0
"""Series and labels of a DICOMweb server: the newest label is trained on, and one odd series holds nothing up.

The server is in memory; its series are DICOM files that SimpleITK reads, its labels are as dcmqi writes them and
pydicom_seg reads them.
"""

from __future__ import annotations

import copy
import io
import os
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

STUDY = generate_uid()


class Server:
    """What `DICOMwebClient` offers and the datastore uses, over a list of objects; notes which series it sent."""

    base_url = "http://127.0.0.1:9"

    def __init__(self) -> None:
        self.objects: list[Dataset] = []
        self.sent: list[str] = []

    def series(self, uid: str) -> list[Dataset]:
        return [one for one in self.objects if one.SeriesInstanceUID == uid]

    def search_for_series(self, search_filters: dict[str, str]) -> list[dict[str, Any]]:
        found = {
            str(one.SeriesInstanceUID): header(one)
            for one in self.objects
            if all(one[name].value == value for name, value in search_filters.items())
        }
        return list(found.values())

    def retrieve_series_metadata(self, study: str, series: str) -> list[dict[str, Any]]:
        return [header(one) for one in self.series(series)]

    def retrieve_series(self, study: str, series: str) -> list[Dataset]:
        self.sent.append(series)
        return self.series(series)

    def store_instances(self, objects: list[Dataset]) -> Dataset:
        self.objects += objects
        answer = Dataset()
        answer.RetrieveURL = f"{self.base_url}/studies/{STUDY}/series/{objects[0].SeriesInstanceUID}"
        return answer


def header(one: Dataset) -> dict[str, Any]:
    return {tag: value for tag, value in one.to_json_dict().items() if tag != "7FE00010"}


def slice_of(series: str, number: int, size: int = 8) -> Dataset:
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = CTImageStorage
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = STUDY, series, f"{series}.9"
    one.Modality, one.PatientID, one.PatientName, one.StudyID = "CT", "p", "p", "1"
    one.StudyDate = one.SeriesDate = "20200101"
    one.StudyTime = one.SeriesTime = "100000"
    for name in ("AccessionNumber", "PatientBirthDate", "PatientSex", "ReferringPhysicianName", "Manufacturer"):
        setattr(one, name, "")
    one.SeriesNumber, one.InstanceNumber = 1, number + 1
    one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    one.PixelSpacing, one.SliceThickness, one.Rows, one.Columns = [1, 1], 1, size, size
    one.SamplesPerPixel, one.PhotometricInterpretation, one.PixelRepresentation = 1, "MONOCHROME2", 1
    one.BitsAllocated, one.BitsStored, one.HighBit = 16, 16, 15
    one.RescaleIntercept, one.RescaleSlope = 0, 1
    one.PixelData = np.full((size, size), number, np.int16).tobytes()
    return one


@pytest.fixture
def server() -> Server:
    """Three CTs; ``ODD`` has slices of two sizes."""
    found = Server()
    for series in ("1.2.1", "1.2.2"):
        found.objects += [slice_of(series, number) for number in range(4)]
    return found


ODD = "1.2.0"


@pytest.fixture
def odd(server: Server) -> str:
    """A series with scouts of two sizes, which comes first."""
    server.objects[:0] = [slice_of(ODD, 0), slice_of(ODD, 1, size=16)]
    return ODD


@pytest.fixture
def studies(server: Server, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """Makes datastores of the server, each with an own cache."""
    from unimedi_label.studies import RemoteStudies

    made: list[Any] = []

    def make() -> Any:
        made.append(RemoteStudies(server, {"Modality": "CT"}, str(tmp_path / f"cache{len(made)}")))
        return made[-1]

    yield make
    for one in made:
        one._observer.stop()


def write_label(path: Path, voxels: int) -> None:
    values = np.zeros((4, 8, 8), np.uint8)
    values[1] = (np.arange(64) < voxels).reshape(8, 8)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(path))


def seg_of(folder: Path, label: Path, names: list[dict[str, Any]]) -> Dataset:
    from monailabel.datastore.dicom import nifti_to_dicom_seg

    return pydicom.dcmread(io.BytesIO(Path(nifti_to_dicom_seg(str(folder), str(label), names)).read_bytes()))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A label as dcmqi writes it, of one slice."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "ct").mkdir()
    for number in range(4):
        slice_of("1.2.1", number).save_as(folder / "ct" / f"{number}.dcm", enforce_file_format=True)
    write_label(folder / "label.nii.gz", 1)
    return seg_of(folder / "ct", folder / "label.nii.gz", [{"name": "nodule", "idx": 1}])


def copied(template: Dataset, image: str, voxels: int, name: str) -> Dataset:
    """A label of so many voxels, of another series, under new ids."""
    seg = copy.deepcopy(template)
    seg.SeriesInstanceUID = generate_uid()
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    seg.ReferencedSeriesSequence[0].SeriesInstanceUID = image
    seg.SegmentSequence[0].SegmentLabel = name
    seg.PixelData = np.packbits(np.arange(64) < voxels, bitorder="little").tobytes()
    return seg


@pytest.fixture
def viewer(server: Server, template: Dataset) -> Callable[..., str]:
    """Stores labels as OHIF does: as DICOM SEG on the server itself, with their time."""

    def store(image: str, voxels: int, time: str, name: str = "nodule", is_overlapping: bool = False) -> str:
        seg = copied(template, image, voxels, name)
        seg.SeriesDate, seg.SeriesTime = time.split()
        seg.SegmentsOverlap = "YES" if is_overlapping else "NO"
        server.objects.append(seg)
        return str(seg.SeriesInstanceUID)

    return store


@pytest.fixture
def submit(
    template: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Any, str, int, str, str], None]:
    """Submits a label as 3D Slicer does; what dcmqi would write for it is copied from its template."""
    from monailabel.datastore import dicom

    def write(folder: str, label: str, info: list[dict[str, Any]]) -> str:
        voxels = int((SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(label)) > 0).sum())
        copied(template, Path(folder).name, voxels, info[0]["name"]).save_as(tmp_path / "seg.dcm")
        return str(tmp_path / "seg.dcm")

    def send(store: Any, image: str, voxels: int, suffix: str = ".nii.gz", tag: str = "final") -> None:
        write_label(tmp_path / f"label{suffix}", voxels)
        info = {"label_info": [{"name": "effusion", "idx": 1}], "user": "reader"}
        store.save_label(image, str(tmp_path / f"label{suffix}"), tag, info)

    monkeypatch.setattr(dicom, "nifti_to_dicom_seg", write)
    return send


def trained_on(store: Any) -> dict[str, tuple[int, list[str]]]:
    """By image: voxels of its label as training reads it, and the names of its segments."""
    found = {}
    for pair in store.datalist():
        image = Path(pair["image"]).name.removesuffix(".nii.gz")
        values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(pair["label"]))
        names = [one["name"] for one in store.get_label_info(image, "final").get("label_info", [])]
        found[image] = (int((values > 0).sum()), names)
    return found


@pytest.mark.parametrize("is_listed_last", [True, False])
def test_newest_label_is_trained_on(
    server: Server, studies: Any, viewer: Any, caplog: Any, is_listed_last: bool
) -> None:
    viewer("1.2.1", 2, "20300101 090000", "consolidation")
    viewer("1.2.1", 3, "20300101 100000")
    viewer("1.2.2", 1, "20300102 090000")
    if not is_listed_last:
        server.objects.reverse()
    store = studies()
    assert trained_on(store) == {"1.2.1": (3, ["nodule"]), "1.2.2": (1, ["nodule"])}
    assert sorted(store.get_labeled_images()) == ["1.2.1", "1.2.2"]
    assert store.status()["completed"] == 2 and store.status()["total"] == 2
    assert store.refused == []


def test_time_of_the_instance_counts_where_the_series_has_none(server: Server, studies: Any, viewer: Any) -> None:
    segs = [viewer("1.2.1", voxels, "20300101 090000") for voxels in (3, 2)]
    for seg, time in zip(segs, ("100000", "090000")):
        one = server.series(seg)[0]
        del one.SeriesDate, one.SeriesTime
        one.InstanceCreationDate, one.InstanceCreationTime = "20300101", time
    assert trained_on(studies())["1.2.1"][0] == 3


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_correction_in_another_viewer_takes_the_place_of_a_submitted_label(
    studies: Any, viewer: Any, submit: Any, suffix: str
) -> None:
    store = studies()
    submit(store, "1.2.1", 5, suffix)
    assert trained_on(store) == {"1.2.1": (5, ["effusion"])}
    viewer("1.2.1", 2, "20990101 090000")
    assert trained_on(store) == {"1.2.1": (2, ["nodule"])}
    submit(store, "1.2.1", 4, suffix, "original")
    assert trained_on(store) == {"1.2.1": (2, ["nodule"])}


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_submitted_label_stays_as_it_was_sent(
    server: Server, studies: Any, viewer: Any, submit: Any, suffix: str
) -> None:
    viewer("1.2.1", 2, "20000101 090000")
    store = studies()
    submit(store, "1.2.1", 5, suffix)
    server.objects.reverse()
    server.sent.clear()
    assert trained_on(store) == {"1.2.1": (5, ["effusion"])}
    assert store.get_label_info("1.2.1", "final")["user"] == "reader"
    assert store.get_label_uri("1.2.1", "final").endswith(f"1.2.1{suffix}")
    assert server.sent == []


def test_labels_are_read_once(server: Server, studies: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from monailabel.datastore import dicom

    seg = viewer("1.2.1", 2, "20300101 090000")
    store = studies()
    store.datalist()
    monkeypatch.setattr(dicom, "dicom_to_nifti", None)
    assert trained_on(store) == {"1.2.1": (2, ["nodule"])}
    assert server.sent == ["1.2.1", seg]


def test_label_that_was_submitted_meanwhile_is_kept(
    studies: Any, viewer: Any, submit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer("1.2.1", 2, "20300101 090000")
    store = studies()
    ask = store._segs

    def slow() -> Any:
        found = ask()
        submit(store, "1.2.1", 5)
        submit(store, "1.2.2", 4)
        return found

    monkeypatch.setattr(store, "_segs", slow)
    assert trained_on(store) == {"1.2.1": (5, ["effusion"]), "1.2.2": (4, ["effusion"])}


def test_label_that_is_gone_from_the_server_is_gone_here(server: Server, studies: Any, viewer: Any) -> None:
    viewer("1.2.1", 2, "20300101 090000")
    seg = viewer("1.2.2", 3, "20300101 090000")
    store = studies()
    assert len(trained_on(store)) == 2
    server.objects = [one for one in server.objects if one.SeriesInstanceUID != seg]
    assert trained_on(store) == {"1.2.1": (2, ["nodule"])}


def test_label_that_cannot_be_read_is_refused_and_the_one_before_stays(
    server: Server, studies: Any, viewer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    viewer("1.2.1", 2, "20300101 090000")
    seg = viewer("1.2.1", 3, "20300101 100000", is_overlapping=True)
    other = viewer("1.2.2", 3, "20300101 100000", is_overlapping=True)
    store = studies()
    for _ in range(2):
        assert trained_on(store) == {"1.2.1": (2, ["nodule"])}
        assert [f"{one[:5]} {seg in one} {other in one}" for one in store.refused] == [
            "1.2.1 True False",
            "1.2.2 False True",
        ]
        assert all("overlapping segments" in one for one in store.refused)
    assert server.sent.count(seg) == 1 and caplog.text.count(f"{seg} cannot be read") == 1


def test_label_without_a_listed_image_is_left_out(server: Server, studies: Any, viewer: Any) -> None:
    seg = viewer("1.2.1", 2, "20300101 090000")
    del server.series(seg)[0].ReferencedSeriesSequence
    other = viewer("1.2.2", 2, "20300101 090000")
    server.series(other)[0].ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.77"
    store = studies()
    assert store.datalist() == [] and store.get_labeled_images() == []


def test_label_is_found_by_its_image(server: Server, studies: Any, viewer: Any) -> None:
    viewer("1.2.1", 2, "20300101 090000")
    store = studies()
    store.datalist()
    assert Path(store.get_label_uri(store.get_label_by_image_id("1.2.1", "final"), "final")).is_file()
    assert store.get_label_uri("1.2.2", "final") == ""


def test_odd_series_is_named_and_not_tried_again(
    server: Server, studies: Any, odd: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = studies()
    for _ in range(2):
        with pytest.raises(ValueError, match=f"The series {odd} cannot be read: .*[Ss]ize"):
            store.get_image_uri(odd)
    assert server.sent == [odd]
    assert caplog.text.count(f"{odd} cannot be read") == 1
    assert sorted(store.get_unlabeled_images()) == ["1.2.1", "1.2.2"]


def test_server_that_fails_is_asked_again(server: Server, studies: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    store = studies()
    with monkeypatch.context() as patch:
        patch.setattr(server, "retrieve_series", lambda *_: (_ for _ in ()).throw(OSError("connection lost")))
        with pytest.raises(OSError, match="connection lost"):
            store.get_image_uri("1.2.1")
    assert Path(store.get_image_uri("1.2.1")).is_file()


def test_odd_series_stops_no_training(server: Server, studies: Any, odd: str, viewer: Any, tmp_path: Path) -> None:
    from unimedi_label.training import FineTuneTask

    viewer("1.2.1", 2, "20300101 090000")
    seg = viewer("1.2.2", 2, "20300101 090000")
    server.series(seg)[0].ReferencedSeriesSequence[0].SeriesInstanceUID = odd
    weights = SimpleNamespace(classes=lambda: (["nodule"], True))
    cases, _, refused = FineTuneTask(weights, 3)._masks(studies(), tmp_path / "masks")
    assert list(cases) == ["1.2.1"]
    assert len(refused) == 1 and refused[0].startswith(f"{odd}: The series {odd} cannot be read")


def test_odd_series_stops_no_search(studies: Any, odd: str, tmp_path: Path) -> None:
    from unimedi_label.cases import Cases

    cases = Cases(tmp_path, studies(), tmp_path / "table")
    cases._digest = "0" * 16
    cases._encoder = SimpleNamespace(read=lambda path: path, embed=lambda paths: (torch.ones(1, 4) / 2, None))
    assert sorted(cases.embeddings()) == ["1.2.1", "1.2.2"]


def scorer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    from unimedi_label.scoring import UncertaintyScore

    tasks = {}
    for dimension in (2, 3):
        file = tmp_path / f"model_{dimension}.pt"
        file.write_bytes(b"weights")
        tasks[dimension] = SimpleNamespace(weights=SimpleNamespace(file=file))
    found = UncertaintyScore(tasks)
    monkeypatch.setattr(found, "_compute", lambda task, path: 0.5)
    return found


def test_uncertainty_downloads_only_what_it_may_compute(
    server: Server, studies: Any, odd: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from unimedi_label.strategies import Uncertainty

    store, score = studies(), scorer(monkeypatch, tmp_path)
    assert score.score(store, "1.2.1", may_compute=False) == (None, False)
    assert server.sent == []
    assert Uncertainty(score.score, 1)({}, store) == {"id": "1.2.1", "uncertainty": 0.5}
    assert server.sent == [odd, "1.2.1"]
    assert score({}, store) == {odd: None, "1.2.1": 0.5, "1.2.2": 0.5}


def test_score_holds_until_the_weights_change(
    server: Server, studies: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store, score = studies(), scorer(monkeypatch, tmp_path)
    assert score.score(store, "1.2.1") == (0.5, True)
    assert score.score(store, "1.2.1") == (0.5, False)
    monkeypatch.setattr(store, "get_image_uri", None)
    assert score.score(store, "1.2.1", may_compute=False) == (0.5, False)
    monkeypatch.undo()
    monkeypatch.setattr(score, "_compute", lambda task, path: 0.25)
    os.utime(score.models[2].weights.file, ns=(1, 1))
    assert score.score(store, "1.2.1") == (0.5, False)
    os.utime(score.models[3].weights.file, ns=(2, 2))
    assert score.score(store, "1.2.1") == (0.25, True)


def test_odd_series_stops_no_batch(studies: Any, odd: str) -> None:
    from main import OfItsKind

    assert sorted(OfItsKind({"segmentation": 3}).get_images({"model": "segmentation"}, studies())) == ["1.2.1", "1.2.2"]


def test_next_sample_is_one_that_can_be_read(studies: Any, odd: str) -> None:
    from main import UniMediLabel
    from unimedi_label.strategies import Uncertainty

    app = object.__new__(UniMediLabel)
    app._datastore, app._auto_update_scoring = studies(), False
    app._strategies = {"first": lambda request, store: {"id": min(store.get_unlabeled_images())}}
    app._strategies["uncertainty"] = Uncertainty(lambda *_: (None, False))
    assert app.next_sample({"strategy": "first"})["id"] == "1.2.1"
    assert app.next_sample({"strategy": "uncertainty"})["id"] == "1.2.1"


def test_labels_are_stored_with_the_clock_of_the_viewers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OHIF writes UTC, dcmqi the time of this machine."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    (tmp_path / "ct").mkdir()
    slice_of("1.2.1", 1).save_as(tmp_path / "ct" / "1.dcm", enforce_file_format=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((1, 8, 8), np.uint8)), str(tmp_path / "label.nrrd"))
    seg = seg_of(tmp_path / "ct", tmp_path / "label.nrrd", [{"name": "nodule", "idx": 1}])
    for kind in ("Series", "Content"):
        stored = datetime.strptime(f"{seg[f'{kind}Date'].value}{seg[f'{kind}Time'].value}", "%Y%m%d%H%M%S.%f")
        assert abs((datetime.now(timezone.utc).replace(tzinfo=None) - stored).total_seconds()) < 60
    assert seg.pixel_array.sum() == 64
