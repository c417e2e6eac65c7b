# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's routes that take files or parameters, with these checked first."""

from __future__ import annotations

import filecmp
from pathlib import Path
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, File, Form, HTTPException, UploadFile
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.endpoints import activelearning, batch_infer, datastore, scoring, session, train
from monailabel.endpoints.user.auth import RBAC, User
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType
from monailabel.interfaces.utils.app import app_instance
from monailabel.utils.others.generic import remove_file

from .checks import IMAGE_FILES, check_guess, check_id, json_object, known_image, only, received_file
from .images import check_image as read_image
from .labels import LABEL_FILES, check_names

__all__ = ["router"]

router = APIRouter()
AS_USER = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))
AS_ANNOTATOR = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))
AS_ADMIN = Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))
OF_BATCHES = ("device", "save_label", "label_tag", "max_workers", "max_batch_size", "client_id")
OF_LABELS = ("label_info", "client_id", "params", "model")
MAX_FILES = 5000  # of a session


def _known(tasks: Any, name: str, kind: str) -> Any:
    if check_id(name, kind) not in tasks:
        raise HTTPException(404, f"There is no {kind} {name}, there are {', '.join(tasks) or 'none'}.")
    return tasks[name]


def _config(task: Any) -> dict[str, Any]:
    return dict(task.info().get("config") or {})


@router.put("/datastore/", include_in_schema=False)
@router.put("/datastore/image", summary="Upload a new image", tags=["Datastore"])
def add_image(
    image: str = "", params: str = Form("{}"), file: UploadFile = File(...), user: User = AS_ANNOTATOR
) -> dict[str, Any]:
    """An image that is there already is not replaced: its labels would be lost."""
    info = json_object(params)
    store = app_instance().datastore()
    if isinstance(store, DICOMWebDatastore):
        raise HTTPException(405, "Images of a DICOMweb server are sent to that server.")
    path = received_file(file, IMAGE_FILES)
    try:
        suffix = next(end for end in IMAGE_FILES if path.name.endswith(end))
        case = check_id(image or Path(file.filename or "").name[: -len(suffix)])
        read_image(path)
        if store.has_image(case):
            if filecmp.cmp(path, store.get_image_uri(case), shallow=False):
                return {"image": case}
            raise HTTPException(409, f"There is another image {case} already: send it under another id.")
        return {"image": store.add_image(case, str(path), only(info, ("client_id",)) | {"user": user.username})}
    finally:
        path.unlink(missing_ok=True)


@router.put("/datastore/label", summary="Submit a label", tags=["Datastore"])
def save_label(
    image: str,
    params: str = Form("{}"),
    tag: str = "final",
    label: UploadFile = File(...),
    user: User = AS_ANNOTATOR,
) -> dict[str, Any]:
    """The label is read before it is kept: a broken one is refused here, not in training."""
    app = app_instance()
    store = app.datastore()
    known_image(store, image)
    info = only(json_object(params), OF_LABELS)
    is_remote = isinstance(store, DICOMWebDatastore)
    path = received_file(label, (*LABEL_FILES, ".bin") if is_remote else LABEL_FILES)
    try:
        if path.suffix != ".bin":
            check_names(path, info)
        if is_remote and not info.get("label_info"):
            raise HTTPException(400, "params.label_info must name the segments, for DICOM SEG.")
        info["user"] = user.username
        saved = store.save_label(image, str(path), check_id(tag or "final", "tag"), info)
        return {**(app.on_save_label(image, saved) or {}), "image": image, "label": saved}
    finally:
        path.unlink(missing_ok=True)


@router.put("/datastore/image/info", summary="Add facts to an image", tags=["Datastore"])
def update_image_info(image: str, info: str = Form("{}"), user: User = AS_ANNOTATOR) -> Any:
    known_image(app_instance().datastore(), image)
    json_object(info, "info")
    return datastore.update_image_info(image, info, user.username)


@router.put("/datastore/label/info", summary="Add facts to a label", tags=["Datastore"])
def update_label_info(label: str, tag: str, info: str = Form("{}"), user: User = AS_ANNOTATOR) -> Any:
    json_object(info, "info")
    return datastore.update_label_info(label, tag, info, user.username)


@router.put("/datastore/updatelabelinfo", include_in_schema=False)
def update_label_info_before(label: str, tag: str, params: str = Form("{}"), user: User = AS_ANNOTATOR) -> Any:
    json_object(params)
    return datastore.update_label_info(label, tag, params, user.username)


@router.get("/datastore/image", summary="Download an image", tags=["Datastore"], dependencies=[AS_USER])
def download_image(image: str) -> Any:
    known_image(app_instance().datastore(), image)
    return datastore.download_image(image)


@router.head("/datastore/image", summary="Whether there is an image", tags=["Datastore"], dependencies=[AS_USER])
def check_image(image: str, check_sum: str | None = None) -> Any:
    known_image(app_instance().datastore(), image)
    if check_sum and check_sum.split(":")[0] not in ("SHA256", "SHA512", "MD5") and ":" in check_sum:
        raise HTTPException(400, "check_sum must be SHA256:..., SHA512:... or MD5:....")
    return datastore.download_image(image, check_only=True, check_sum=check_sum)


@router.post("/activelearning/{strategy}", summary="The next case", tags=["ActiveLearning"])
def next_sample(strategy: str, params: dict[str, Any] | None = None, user: User = AS_USER) -> Any:
    task = _known(app_instance()._strategies, strategy, "strategy")
    return activelearning.sample(strategy, only(params, (*_config(task), "client_id")), user.username)


@router.post("/train/", include_in_schema=False, dependencies=[AS_ADMIN])
def train_all(params: dict[str, Any] | None = None, run_sync: bool = False) -> Any:
    """Parameters by model."""
    trainers = app_instance()._trainers
    return {name: train_model(name, (params or {}).get(name), run_sync, True) for name in trainers}


@router.post("/train/{model}", summary="Fine-tune a model", tags=["Train"], dependencies=[AS_ADMIN])
def train_model(model: str, params: dict[str, Any] | None = None, run_sync: bool = False, enqueue: bool = False) -> Any:
    task = _known(app_instance()._trainers, model, "model")
    return train.run_model(model, only(params, (*_config(task), "client_id")), run_sync, enqueue)


@router.post("/batch/infer/{model}", summary="First guesses for many images", tags=["Infer"], dependencies=[AS_ADMIN])
def batch(
    model: str,
    images: BatchInferImageType = BatchInferImageType.IMAGES_ALL,
    params: dict[str, Any] | None = None,
    run_sync: bool = False,
) -> Any:
    task = _known(app_instance()._infers, model, "model")
    wanted = only(params, (*OF_BATCHES, *_config(task)))
    check_guess(task, wanted)
    return batch_infer.run(model, images, wanted, run_sync)


@router.post("/scoring/", summary="Score with all methods", tags=["Scoring"], dependencies=[AS_ANNOTATOR])
def score_all(params: dict[str, Any] | None = None, run_sync: bool = False) -> Any:
    return {name: score(name, (params or {}).get(name), run_sync) for name in app_instance()._scoring_methods}


@router.post("/scoring/{method}", summary="Score with one method", tags=["Scoring"], dependencies=[AS_ANNOTATOR])
def score(method: str, params: dict[str, Any] | None = None, run_sync: bool = False) -> Any:
    _known(app_instance()._scoring_methods, method, "method")
    return scoring.run_method(method, only(params, ("client_id", "y", "y_pred")), run_sync)


@router.put("/session/", summary="Open a session with an image", tags=["Session"], dependencies=[AS_USER])
def create_session(
    background_tasks: BackgroundTasks,
    uncompress: bool = False,
    expiry: int = 0,
    files: list[UploadFile] = File(...),
) -> Any:
    """An archive is not unpacked: send its files one by one."""
    if uncompress:
        raise HTTPException(400, "Archives are not unpacked: send the files one by one.")
    if not 1 <= len(files) <= MAX_FILES:
        raise HTTPException(400, f"A session holds 1 to {MAX_FILES} files, got {len(files)}.")
    for file in files:
        name = Path((file.filename or "").replace("\\", "/")).name
        check_id(name, "filename")
        if len(files) == 1 and not name.lower().endswith(IMAGE_FILES):
            raise HTTPException(415, f"The file must be one of {', '.join(IMAGE_FILES)}.")
        file.filename = name
    return session.create_session(background_tasks, False, expiry, files)


@router.get("/session/{session_id}", summary="A session", tags=["Session"], dependencies=[AS_USER])
def get_session(session_id: str, update_ts: bool = False, image: bool = False) -> Any:
    return session.get_session(check_id(session_id, "session_id"), update_ts, image)


@router.delete("/session/{session_id}", summary="End a session", tags=["Session"], dependencies=[AS_USER])
def remove_session(session_id: str) -> Any:
    return session.remove_session(check_id(session_id, "session_id"))


@router.get("/datastore/dataset", summary="Images and labels as an archive", tags=["Datastore"])
def download_dataset(
    background_tasks: BackgroundTasks, limit_cases: int | None = None, user: User = AS_ANNOTATOR
) -> Any:
    """The archive is removed once it is sent."""
    if not app_instance().datastore().get_labeled_images():
        raise HTTPException(404, "No image is labelled yet.")
    answer = datastore.download_dataset(limit_cases)
    background_tasks.add_task(remove_file, str(answer.path))
    return answer
