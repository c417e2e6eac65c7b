# SPDX-License-Identifier: Apache-2.0
"""``POST /infer/{model}``: by id, by file or by session, in threads of its own, the queue bounded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, BackgroundTasks, Depends, File, Form, HTTPException, UploadFile
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore, nifti_to_dicom_seg
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import remove_file

from .checks import IMAGE_FILES, check_guess, check_id, json_object, known_image, only, received_file

__all__ = ["router"]

router = APIRouter(tags=["Infer"])
AS_USER = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
THREADS = 4  # they take turns on a device; one may read its file while another computes
MAX_WAITING = 64
OF_EVERY_MODEL = ("result_extension", "result_dtype", "result_compress", "label_info", "label_tag", "save_label")
_threads: list[anyio.CapacityLimiter] = []


def limiter() -> anyio.CapacityLimiter:
    """Made on the event loop that uses it."""
    if not _threads:
        _threads.append(anyio.CapacityLimiter(THREADS))
    return _threads[0]


async def in_turn(work: Callable[[], Any]) -> Any:
    """Runs it in one of the threads for inference.

    Raises:
        HTTPException: 503 when too many wait already.
    """
    turns = limiter()
    if turns.statistics().tasks_waiting >= MAX_WAITING:
        raise HTTPException(503, f"{MAX_WAITING} inferences wait already: try again later.", {"Retry-After": "10"})
    return await anyio.to_thread.run_sync(work, limiter=turns)


@router.post("/infer/{model}", summary="Run inference")
async def run_inference(
    background_tasks: BackgroundTasks,
    model: str,
    image: str = "",
    session_id: str = "",
    params: str = Form("{}"),
    file: UploadFile = File(None),
    label: UploadFile = File(None),
    output: ResultType | None = None,
    user: User = AS_USER,
) -> Any:
    """One of `image` (an id), `file` and `session_id` names the image; `params` holds what the model's config names.
    A result that is kept (`save_label`) is a first guess, never a submitted label, and needs an annotator."""
    work = partial(_infer, background_tasks, model, image, session_id, params, file, output, user)
    return await in_turn(work)


def _infer(
    background_tasks: BackgroundTasks, model: str, image: str, session_id: str, params: str,
    file: UploadFile | None, output: ResultType | None, user: User,
) -> Any:  # fmt: skip
    app = app_instance()
    task = app._infers.get(check_id(model, "model"))
    if task is None:
        raise HTTPException(404, f"There is no model {model}, there are {', '.join(app._infers)}.")
    wanted = only(json_object(params), (*task.config(), *OF_EVERY_MODEL))
    if wanted.get("save_label"):
        check_guess(task, wanted)
        if settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR not in user.roles:
            raise HTTPException(403, "save_label needs the role of an annotator.")
    request = {**wanted, "model": model, "image": _image(app, background_tasks, image, session_id, file)}
    result = app.infer(request)
    if output == ResultType.dicom_seg:
        result["dicom_seg"] = _dicom_seg(app, background_tasks, request["image"], result, wanted)
    return send_response(app.datastore(), result, output, background_tasks)


def _image(
    app: Any, background_tasks: BackgroundTasks, image: str, session_id: str, file: UploadFile | None
) -> str:  # fmt: skip
    if session_id:
        session = app.sessions().get_session(check_id(session_id, "session_id")) if app.sessions() else None
        if session is None:
            raise HTTPException(404, "There is no such session, or it has expired.")
        return str(session.image)
    if file is not None:
        path = received_file(file, IMAGE_FILES)
        background_tasks.add_task(remove_file, str(path))
        return str(path)
    if not image:
        raise HTTPException(400, "There must be an image, a file or a session_id.")
    return known_image(app.datastore(), image)


def _dicom_seg(
    app: Any, background_tasks: BackgroundTasks, image: str, result: dict[str, Any], wanted: dict[str, Any]
) -> str:
    store = app.datastore()
    if not isinstance(store, DICOMWebDatastore) or not store.has_image(image):
        raise HTTPException(400, "DICOM SEG is written for a series of a DICOMweb server only.")
    names = [{"name": name, "idx": number} for number, name in enumerate(result["params"]["label_names"], start=1)]
    folder = store.get_image_uri(image).removesuffix(".nii.gz")
    path = nifti_to_dicom_seg(folder, result["file"], wanted.get("label_info") or names)
    background_tasks.add_task(remove_file, path)
    return str(path)
