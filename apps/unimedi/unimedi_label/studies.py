# SPDX-License-Identifier: Apache-2.0
"""The studies, safe for many threads and for the jobs that run beside the server.

MONAI Label's datastore is written for one thread: a reader may meet a dictionary that changes, and what one thread
added is lost when another has just read the file anew. Here each method has its turn, and a change starts from
what the file holds.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
from filelock import FileLock
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.datastore.local import LocalDatastore
from monailabel.datastore.utils.dicom import dicom_web_download_series
from monailabel.interfaces.datastore import DefaultLabelTag

__all__ = ["RemoteStudies", "Studies"]

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


class RemoteStudies(DICOMWebDatastore, Studies):
    """Series of a DICOMweb server, cached in a folder. What the server has is asked again after half a minute, and
    after each label: MONAI Label asks after two hours, and offers labelled cases until then."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._fetching: dict[str, threading.Lock] = {}
        self._asked: dict[str, tuple[float, list[str]]] = {}
        self._asking = threading.RLock()
        super().__init__(*args, **kwargs)

    def _fresh(self, name: str) -> list[str]:
        ask = getattr(DICOMWebDatastore, name)
        with self._asking:
            when, found = self._asked.get(name, (-FRESH_SECONDS, []))
            if time.monotonic() - when >= FRESH_SECONDS:
                found = list(getattr(ask, "__wrapped__", ask)(self))
                self._asked[name] = (time.monotonic(), found)
        return list(found)

    def list_images(self) -> list[str]:
        return self._fresh("list_images")

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        return self._fresh("get_labeled_images")

    def get_image_uri(self, image_id: str) -> str:
        """The file of a series, downloaded on first use: whole, and by one thread."""
        folder = Path(self._datastore.image_path()).resolve() / image_id
        with self._asking:
            fetch = self._fetching.setdefault(image_id, threading.Lock())
        with fetch:
            if not folder.is_dir():
                aside = folder.with_name(f".{image_id}.part")
                shutil.rmtree(aside, ignore_errors=True)
                dicom_web_download_series(None, image_id, str(aside), self._client, self._fetch_by_frame)
                aside.replace(folder)
            return self._kept(str(super().get_image_uri(image_id)), folder)

    def _kept(self, uri: str, folder: Path) -> str:
        """The file in the cache: at first MONAI Label gives the one that it was copied from, in the temporary folder,
        which is away from its series and stays there."""
        cached = folder.with_name(f"{folder.name}.nii.gz")
        if self._convert_to_nifti and cached.is_file() and Path(uri) != cached:
            Path(uri).unlink(missing_ok=True)
            return str(cached)
        return uri

    def get_label_uri(self, label_id: str, label_tag: str, image_id: str = "") -> str:
        """The file of a label, with the names of its segments as DICOM SEG has them beside it."""
        uri = str(super().get_label_uri(label_id, label_tag, image_id) or "")
        is_final = bool(image_id) and label_tag == DefaultLabelTag.FINAL
        if is_final and "label_info" not in self.get_label_info(image_id, label_tag):
            folder = Path(self._datastore.label_path(label_tag)) / label_id
            names = [segment for path in sorted(folder.glob("*.dcm"))[:1] for segment in _segments(path)]
            if names and uri:
                self.update_label_info(image_id, label_tag, {"label_info": names})
        return uri

    def ask_again(self) -> None:
        """What the server has may have changed."""
        with self._asking:
            self._asked.clear()

    def save_label(self, *args: Any, **kwargs: Any) -> str:
        saved = super().save_label(*args, **kwargs)
        self.ask_again()
        return saved


def _segments(path: Path) -> list[dict[str, Any]]:
    """Names and numbers of the segments of a DICOM SEG."""
    header = pydicom.dcmread(path, stop_before_pixels=True)
    found = header.get("SegmentSequence", [])
    return [{"name": str(one.SegmentLabel), "idx": int(one.SegmentNumber)} for one in found]
