# SPDX-License-Identifier: Apache-2.0
"""``/proxy/dicom``: what the OHIF viewer asks of the DICOMweb server behind this one, and nothing else of it."""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import quote

import anyio.to_thread
import requests
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC
from monailabel.interfaces.utils.app import app_instance

__all__ = ["router"]

router = APIRouter(include_in_schema=False)
AS_USER = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]
AS_ANNOTATOR = [Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]
STORED = re.compile(r"studies(/[0-9.]+)?/?")
PATH = re.compile(r"(studies|series|instances|bulk)(/[A-Za-z0-9._,-]+)*/?")
KEPT = ("content-type", "etag", "last-modified")


def server_address() -> str:
    """Of the DICOMweb server.

    Raises:
        HTTPException: 404 when the studies are in a folder.
    """
    server = str(settings.MONAI_LABEL_STUDIES).rstrip("/")
    if not server.startswith(("http://", "https://")):
        raise HTTPException(404, "The studies are in a folder, there is no DICOMweb server.")
    return server


def parts_of(path: str) -> tuple[str, str]:
    """``wado``, ``qido``, ``stow`` or nothing, and what follows."""
    kind, _, rest = path.partition("/")
    return (kind, rest) if kind in ("wado", "qido", "stow") else ("", path)


@router.post("/proxy/dicom/{path:path}", dependencies=AS_ANNOTATOR)
async def store(request: Request, path: str) -> Response:
    """Stores DICOM objects, the viewer's segmentations among them."""
    server, (kind, rest) = server_address(), parts_of(path)
    content_type = request.headers.get("content-type", "")
    if not STORED.fullmatch(rest) or not content_type.startswith("multipart/related"):
        raise HTTPException(400, "Only DICOM objects are stored, by multipart/related to studies.")
    prefix = settings.MONAI_LABEL_STOW_PREFIX
    address = "/".join([server, *([prefix] if prefix and kind else []), rest])
    headers = {"Content-Type": content_type, "Accept": "application/dicom+json"}
    content = await request.body()
    answer = await anyio.to_thread.run_sync(partial(_send, "POST", address, headers, content))
    app_instance().datastore().ask_again()
    return answer


@router.get("/proxy/dicom/{path:path}", dependencies=AS_USER)
async def ask(request: Request, path: str) -> Response:
    """Reads."""
    server, (kind, rest) = server_address(), parts_of(path)
    if not PATH.fullmatch(rest) or ".." in rest:
        raise HTTPException(400, "The address must be one of DICOMweb: studies, series, instances.")
    is_search = kind == "qido" and not rest.rstrip("/").endswith("metadata")
    prefix = settings.MONAI_LABEL_QIDO_PREFIX if is_search else settings.MONAI_LABEL_WADO_PREFIX
    address = "/".join([server, *([prefix] if prefix and kind else []), quote(rest, safe="/.,-_")])
    if request.url.query:
        address += f"?{request.url.query}"
    headers = {"Accept": request.headers.get("accept", "*/*")}
    return await anyio.to_thread.run_sync(partial(_send, "GET", address, headers))


def _send(method: str, address: str, headers: dict[str, str], content: bytes | None = None) -> Response:
    name, word = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    try:
        found = requests.request(
            method,
            address,
            auth=(name, word) if name and word else None,
            headers=headers,
            data=content,
            timeout=settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT,
        )
    except requests.RequestException as error:
        raise HTTPException(502, "The DICOMweb server does not answer.") from error
    kept = {name: found.headers[name] for name in KEPT if name in found.headers}
    return Response(found.content, found.status_code, kept)
