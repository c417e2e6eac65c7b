# SPDX-License-Identifier: Apache-2.0
"""The studies, safe for many threads and for the jobs that run beside the server.

MONAI Label's datastore is written for one thread: a reader may meet a dictionary that changes, and what one thread
added is lost when another has just read the file anew. Here each method has its turn, and a change starts from
what the file holds.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from monailabel.datastore import dicom
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.datastore.utils.dicom import dicom_web_download_series
from monailabel.interfaces.datastore import DefaultLabelTag
from pydicom import Dataset

from . import dicom_seg
from .checks import one_sentence

__all__ = ["RemoteStudies", "Studies", "UnreadableSeriesError"]

logger = logging.getLogger(__name__)
READS = (
    *("get_image_info", "get_labels_by_image_id", "get_label_info", "json"),
    *("get_labeled_images", "get_unlabeled_images", "list_images", "get_image_uri", "get_label_uri", "datalist"),
)
WRITES = ("add_image", "save_label", "remove_image", "remove_label", "update_image_info", "update_label_info")
FRESH_SECONDS = 30.0


def _in_turn(method: Callable[..., Any], is_write: bool) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with self._turn:
            if not is_write:
                return method(self, *args, **kwargs)
            with FileLock(self._lock_file, is_singleton=True):
                self._init_from_datastore_file()
                return method(self, *args, **kwargs)

    return call


class Studies(LocalDatastore):
    """A folder of images with its labels in ``labels/``; arguments as MONAI Label's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._turn = threading.RLock()
        self.hidden: dict[str, str] = {}  # files whose id another image has
        self.refused: list[str] = []  # labels that the last datalist leaves out, and why
        super().__init__(*args, **kwargs)
        if hasattr(self, "_handler"):  # files appear by being renamed
            self._handler.on_moved = self._on_any_event

    def _reconcile_datastore(self) -> None:
        with self._turn, FileLock(self._lock_file, is_singleton=True):
            super()._reconcile_datastore()

    def _update_datastore_file(self, lock: bool = True) -> None:
        """Writes aside, then renames."""
        with self._turn, FileLock(self._lock_file, is_singleton=True):
            path = Path(self._datastore_config_path)
            aside = path.with_name(f".{path.name}.{os.getpid()}.part")
            content = self._datastore.model_dump(exclude={"base_path"})
            aside.write_text(json.dumps(content, indent=2, default=str), encoding="utf-8")
            aside.replace(path)
            self._config_ts = path.stat().st_mtime

    def _on_modify_event(self, event: Any) -> None:
        if event.src_path == self._datastore_config_path:
            with self._turn:
                self._init_from_datastore_file()

    def status(self) -> dict[str, Any]:
        with self._turn:
            return super().status()

    def has_image(self, image_id: str) -> bool:
        """Whether there is an image of this id."""
        return image_id in self.list_images()

    def _add_non_existing_images(self) -> int:
        found = int(super()._add_non_existing_images())
        known = {self._filename(case, one.image.ext) for case, one in self._datastore.objects.items()}
        names = self._list_files(self._datastore.image_path(), self._extensions)
        hidden = {name: self._to_id(name)[0] for name in sorted(names) if name not in known}
        for name in sorted(hidden.keys() - self.hidden.keys()):
            logger.warning("%s is not offered: another image has the id %s. Rename one.", name, hidden[name])
        self.hidden = hidden
        return found

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]) -> str:
        """A label takes the place of that in any other format."""
        saved = str(super().save_label(image_id, label_filename, label_tag, label_info))
        folder = Path(self._datastore.label_path(label_tag))
        kept = Path(self.get_label_uri(saved, label_tag)).name
        for path in folder.iterdir():
            if path.is_file() and path.name != kept and self._to_id(path.name)[0] == saved:
                path.unlink(missing_ok=True)
        return saved


for _name in (*READS, *WRITES):
    setattr(Studies, _name, _in_turn(getattr(Studies, _name), _name in WRITES))


class UnreadableSeriesError(ValueError):
    """A series of a DICOMweb server that is no image or no label."""


class RemoteStudies(DICOMWebDatastore, Studies):
    """Series of a DICOMweb server, cached in a folder. What the server has is asked again after half a minute, and
    after each label: MONAI Label asks after two hours, and offers labelled cases until then.

    The label of an image is its newest DICOM SEG that can be read. What a series' conversion raises is remembered until
    the next start: the series is left out, and is not downloaded at each request.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._fetching: dict[str, threading.Lock] = {}
        self._unreadable: dict[str, str] = {}  # series: why
        self._asked: dict[str, tuple[float, list[str]]] = {}
        self._asking = threading.RLock()
        super().__init__(*args, **kwargs)

    def _fresh(self, name: str, ask: Callable[[], Iterable[str]]) -> list[str]:
        with self._asking:
            when, found = self._asked.get(name, (-FRESH_SECONDS, []))
            if time.monotonic() - when >= FRESH_SECONDS:
                found = list(ask())
                self._asked[name] = (time.monotonic(), found)
        return list(found)

    def list_images(self) -> list[str]:
        ask = inspect.unwrap(DICOMWebDatastore.list_images)
        return self._fresh("list_images", lambda: ask(self))

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        return self._fresh("get_labeled_images", self._segs)

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Without those that could not be read."""
        return [image for image in super().get_unlabeled_images() if image not in self._unreadable]

    def get_image_uri(self, image_id: str) -> str:
        """The file of a series, downloaded on first use: whole, and by one thread.

        Raises:
            UnreadableSeriesError: When it is no image; without another download from then on.
        """
        folder = Path(self._datastore.image_path()).resolve() / image_id
        with self._reading(image_id):
            self._download(image_id, folder)
            return self._kept(str(super().get_image_uri(image_id)), folder)

    @contextmanager
    def _reading(self, series: str) -> Iterator[None]:
        """By one thread. An ``OSError`` is of the server or the disk: the series may be read the next time."""
        with self._asking:
            fetch = self._fetching.setdefault(series, threading.Lock())
        with fetch:
            if series in self._unreadable:
                raise UnreadableSeriesError(self._unreadable[series])
            try:
                yield
            except OSError:
                raise
            except Exception as error:
                self._unreadable[series] = f"The series {series} cannot be read: {one_sentence(error)}"
                logger.warning("%s It is left out.", self._unreadable[series])
                raise UnreadableSeriesError(self._unreadable[series]) from error

    def _download(self, series: str, folder: Path) -> None:
        """The whole series, or nothing."""
        if folder.is_dir() and any(folder.iterdir()):
            return
        aside = folder.with_name(f".{series}.part")
        shutil.rmtree(aside, ignore_errors=True)
        dicom_web_download_series(None, series, str(aside), self._client, self._fetch_by_frame)
        aside.replace(folder)

    def _kept(self, uri: str, folder: Path) -> str:
        """The file in the cache: at first MONAI Label gives the one that it was copied from, in the temporary folder,
        which is away from its series and stays there."""
        cached = folder.with_name(f"{folder.name}.nii.gz")
        if self._convert_to_nifti and cached.is_file() and Path(uri) != cached:
            Path(uri).unlink(missing_ok=True)
            return str(cached)
        return uri

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """The file of a label here, by its id, which is that of its image."""
        return str(Studies.get_label_uri(self, image_id or label_id, label_tag))

    def _segs(self) -> dict[str, list[str]]:
        """The DICOM SEGs on the server of each image, newest first."""
        images = set(self.list_images())
        found: dict[str, list[tuple[str, str, str]]] = {}
        for one in self._client.search_for_series(search_filters={"Modality": "SEG"}):
            study, seg = (str(Dataset.from_json(one)[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID"))
            header = Dataset.from_json(next(iter(self._client.retrieve_series_metadata(study, seg)), {}))
            image = dicom_seg.image_of(header)
            if image in images:
                found.setdefault(image, []).append((*dicom_seg.made_at(header), seg))
            else:
                logger.info("The DICOM SEG %s is left out: it is of no image that is listed.", seg)
        return {image: [seg for *_, seg in sorted(segs, reverse=True)] for image, segs in found.items()}

    def _download_labeled_data(self) -> None:
        """Brings the labels here up to those on the server; ``refused`` says what cannot be read."""
        before = {image: self._source(image) for image in Studies.get_labeled_images(self)}
        segs, self.refused = self._segs(), []
        for image in before.keys() - segs.keys():
            self.remove_label(image, DefaultLabelTag.FINAL)
        self._reconcile_datastore()
        for image, newest_first in segs.items():
            try:
                self.get_image_uri(image)
            except (ValueError, OSError) as error:
                self.refused.append(f"{image}: {one_sentence(error)}")
            else:
                self._choose_label(image, newest_first, before.get(image, ""))

    def _source(self, image: str) -> str:
        """The DICOM SEG that the label here came from, or that was stored for it."""
        return str(self.get_label_info(image, DefaultLabelTag.FINAL).get("SeriesInstanceUID", ""))

    def _choose_label(self, image: str, segs: Sequence[str], before: str) -> None:
        """The first DICOM SEG that can be read. A label that is of it, or that was submitted since the server was
        asked, stays as it was sent."""
        for seg in segs:
            source = self._source(image)
            if source == seg or source != before:
                return
            try:
                return self._import_label(image, seg)
            except (ValueError, OSError) as error:
                self.refused.append(f"{image}: {one_sentence(error)}")

    def _import_label(self, image: str, seg: str) -> None:
        """Takes a DICOM SEG with the names of its segments for the label of its image."""
        folder = Path(self._datastore.label_path(DefaultLabelTag.FINAL)).resolve() / seg
        with self._reading(seg):
            self._download(seg, folder)
            stored = min(folder.iterdir())
            made = Path(dicom.dicom_to_nifti(str(stored), is_seg=True))
            info = {**self._dicom_info(seg), "label_info": dicom_seg.segments_of(stored)}
            Studies.save_label(self, image, str(made), DefaultLabelTag.FINAL, info)
            made.unlink()

    def ask_again(self) -> None:
        """What the server has may have changed."""
        with self._asking:
            self._asked.clear()

    def save_label(self, *args: Any, **kwargs: Any) -> str:
        saved = super().save_label(*args, **kwargs)
        self.ask_again()
        return saved
