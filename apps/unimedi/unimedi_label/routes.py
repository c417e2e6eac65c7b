# SPDX-License-Identifier: Apache-2.0
"""``/unimedi``: search in words, similar cases, the slices that a sentence is about, and how the server does."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Query
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

import monai_unimedi

from .checks import known_image
from .findings import find_places

__all__ = ["router"]

router = APIRouter(prefix="/unimedi", tags=["UniMedI"])
USER = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
TEXT = Query(min_length=1, max_length=2000)
TOP = Query(default=10, ge=1, le=1000)


@router.get("/search", summary="Cases nearest to a sentence", dependencies=USER)
def search(text: str = TEXT, topk: int = TOP) -> dict[str, Any]:
    """Best first; the sentence is not repeated."""
    cases = app_instance().cases
    return {"hits": cases.nearest(cases.text(text), topk)}


@router.get("/similar", summary="Cases like a case", dependencies=USER)
def similar(image: str, topk: int = TOP) -> dict[str, Any]:
    """Best first, without the case itself."""
    app = app_instance()
    known_image(app.datastore(), image)
    found = app.cases.embeddings([image])
    if image not in found:
        raise ValueError(f"The image {image} cannot be read.")
    return {"image": image, "hits": app.cases.nearest(np.asarray(found[image]), topk, without=[image])}


@router.get("/slices", summary="Where in a case a sentence leads to", dependencies=USER)
def slices(image: str, text: str = TEXT, topk: int = Query(default=3, ge=1, le=100)) -> dict[str, Any]:
    """Places with their score, LPS position (mm) and, in a CT, slice of the file, from 0."""
    app = app_instance()
    known_image(app.datastore(), image)
    return {"image": image, "places": find_places(app.cases, app.datastore().get_image_uri(image), text, topk)}


@router.get("/health", summary="Whether the server is well")
def health() -> dict[str, Any]:
    """For monitors: without authentication, it says nothing about cases but their number."""
    app = app_instance()
    return {
        "status": "ok",
        "version": monai_unimedi.__version__,
        "models": {name: task.weights.stats().get("weights", "") for name, task in app.segmenters.items()},
        "encoder": app.cases.digest(),
        "embedded": app.cases.count(),
        "hidden": len(app.datastore().hidden),
        "use": "research only",
    }
