# SPDX-License-Identifier: Apache-2.0
"""What MONAI Label 0.8.5 needs to work with today's packages, and to work safely. Every fix, in one place.

Each looks at the installed code first and does nothing where it is put right already. ``apply`` runs before
anything of ``monailabel`` is imported, in the server and in each of its jobs.

Fixed elsewhere, because it is a class of ours: batch inference on CPUs and tools downloaded from a code host
(``main.py``), labels on a cropped grid (``labels.py``), results without a file (``findings.py``).
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import logging
import os
import shutil
import sys
import threading
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import RESEARCH_USE

__all__ = ["apply", "copy_whole"]

APP = Path(__file__).resolve().parents[1]
# Importing them takes half of the time to start; nothing here uses them.
UNUSED = ("mlflow", "torchvision", "sam2")
ENDINGS = ("nii.gz", "nii", "nrrd", "mha", "png", "jpg", "jpeg", "dcm")
FILES = [f"*.{form}" for ending in ENDINGS for form in (ending, ending.upper())]
SETTINGS = {
    "MONAI_LABEL_TRACKING_ENABLED": False,  # MLflow refuses the folder that MONAI Label names by default
    "MONAI_LABEL_AUTO_UPDATE_SCORING": False,  # starts a process per method after each sample
    "MONAI_LABEL_DATASTORE_FILE_EXT": FILES,
}
QUIET = ("endpoints", "datastore", "interfaces", "tasks", "utils.sessions", "utils.async_tasks")
RUNNING = ("SUBMITTED", "RUNNING")


@functools.cache
def apply() -> None:
    """Runs every fix, once a process."""
    _leave_out_unused()
    _pydicom_names()
    _paths()
    _settings()
    _one_lock_a_file()
    _whole_copies()
    _names_by_number()
    _token_algorithm()
    _one_task_at_a_time()
    _quiet()


def _leave_out_unused() -> None:
    """As if they were not installed: MONAI and transformers import them where they find them."""
    for name in UNUSED:
        if name not in sys.modules:
            sys.modules[name] = None  # type: ignore[assignment]


def _pydicom_names() -> None:
    """``pydicom_seg`` 0.4.1 imports a module that pydicom 3 has under another name."""
    import pydicom.uid

    name = "pydicom._storage_sopclass_uids"
    if importlib.util.find_spec(name) is None:
        sys.modules.setdefault(name, pydicom.uid)


def _paths() -> None:
    """Jobs are processes of their own: they find the app by ``PYTHONPATH`` and tools by ``PATH``."""
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(APP) not in parts:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(APP), *filter(None, parts)])
    if str(APP) not in sys.path:
        sys.path.append(str(APP))
    scripts = str(Path(sys.executable).parent)
    if scripts not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([scripts, os.environ.get("PATH", "")])


def _settings() -> None:
    """Other defaults than MONAI Label's; what the environment says still holds."""
    from monailabel.config import settings

    for name, value in SETTINGS.items():
        if name not in os.environ:
            setattr(settings, name, value)


def _one_lock_a_file() -> None:
    """A thread that holds the datastore's lock may take it again, which its methods do."""
    from filelock import FileLock
    from monailabel.datastore import local

    if local.FileLock is FileLock:
        local.FileLock = functools.partial(FileLock, is_singleton=True)


def _whole_copies() -> None:
    """Images and labels appear in the studies folder complete or not at all."""
    from monailabel.datastore import local

    if local.shutil is shutil:
        local.shutil = SimpleNamespace(copy=copy_whole)


def copy_whole(source: str | os.PathLike, target: str | os.PathLike) -> str:
    """``shutil.copy`` that writes aside, then renames."""
    path = Path(target)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        shutil.copyfile(source, aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return str(path)


def _names_by_number() -> None:
    """Segments of a DICOM SEG get the names of their numbers: MONAI Label names those that hold something first,
    second, and so on, whatever their numbers are."""
    from monailabel.datastore import dicom

    write = dicom.nifti_to_dicom_seg
    if "label_info[i]" not in inspect.getsource(inspect.unwrap(write)) or hasattr(write, "__wrapped__"):
        return

    @functools.wraps(write)
    def named(series_dir: str, label: str, label_info: Any, *args: Any, **kwargs: Any) -> str:
        from .labels import present_numbers, segment_names

        names = segment_names(label_info or [], present := present_numbers(Path(label)))
        entries = {one.get("name"): one for one in label_info or []}
        chosen = [{**entries.get(names.get(number), {}), "name": names.get(number, "unknown")} for number in present]
        for one in chosen[:1]:
            one.setdefault("model_name", f"UniMedI ({RESEARCH_USE})")  # the series' description
        if not present:
            raise ValueError("A label without a segment cannot be stored as DICOM SEG: draw one first.")
        path = str(write(series_dir, label, chosen, *args, **kwargs) or "")
        if not Path(path).is_file():
            raise RuntimeError("itkimage2segimage wrote no DICOM SEG")
        _in_utc(path)
        return path

    dicom.nifti_to_dicom_seg = named


def _in_utc(path: str) -> None:
    """OHIF writes UTC into its DICOM SEG, dcmqi the time of this machine; training takes the newest of both."""
    import pydicom

    seg, now = pydicom.dcmread(path), datetime.now(timezone.utc)
    seg.SeriesDate = seg.ContentDate = now.strftime("%Y%m%d")
    seg.SeriesTime = seg.ContentTime = now.strftime("%H%M%S.%f")
    seg.save_as(path)


def _token_algorithm() -> None:
    """PyJWT 2 decodes nothing unless it is told which signatures to accept."""
    from monailabel.endpoints.user import auth

    if "algorithms" not in inspect.getsource(auth.from_token):
        decode = functools.partial(auth.jwt.decode, algorithms=["RS256"])
        auth.jwt = SimpleNamespace(decode=decode)


def _one_task_at_a_time() -> None:
    """A second start is refused from the first one's request on, not from its process on."""
    from monailabel.utils.async_tasks import task, utils

    if getattr(task.AsyncTask.run, "is_guarded", False):
        return
    lock, synchronous, run = threading.Lock(), set[str](), task.AsyncTask.run

    def start(
        method: str, request: Any = None, params: Any = None, force_sync: bool = False, enqueue: bool = False
    ) -> tuple[Any, str | None]:
        with lock:
            is_running = any(one["status"] in RUNNING for one in utils.tasks(method))
            if method in synchronous or (is_running and (force_sync or not enqueue)):
                return None, f"{method} is running already: wait for it or stop it."
            if not force_sync:
                return run(method, request, params, False, True)
            synchronous.add(method)
        try:
            return run(method, request, params, True, True)
        finally:
            synchronous.discard(method)

    status = task.AsyncTask.status

    def tell(method: str, all: bool = False, check_if_running: bool = False) -> tuple[Any, str | None]:
        running = [one for one in utils.tasks(method) if one["status"] in RUNNING]
        if check_if_running:
            return (running[-1], None) if running else (None, f"{method} is not running.")
        return status(method, all, False)

    start.is_guarded = True  # type: ignore[attr-defined]
    task.AsyncTask.run, task.AsyncTask.status = staticmethod(start), staticmethod(tell)
    utils._task_func = _never_stuck(utils._task_func)


def _never_stuck(run: Any) -> Any:
    """A task whose process could not be started or watched ends as an error."""

    def watched(task: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        try:
            run(task, *args, **kwargs)
        finally:
            if task["status"] in RUNNING:
                task["status"] = "ERROR"

    return watched


def _quiet() -> None:
    """MONAI Label logs requests with their parameters, which may be sentences of a report."""
    for name in QUIET:
        logging.getLogger(f"monailabel.{name}").setLevel(logging.WARNING)
    logging.getLogger("dicomweb_client").setLevel(logging.WARNING)  # logs the addresses of studies
