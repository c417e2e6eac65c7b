# SPDX-License-Identifier: Apache-2.0
"""``/proxy/dicom``: what the OHIF viewer asks of the DICOMweb server behind this one, and nothing else of it."""

from __future__ import annotations

import re
from urllib.parse import quote

import anyio.to_thread
import requests
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response
from monailabel.config import settings
from monailabel.endpoints.user.auth import RBAC

__all__ = ["router"]

router = APIRouter(include_in_schema=False, dependencies=[Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))])
PATH = re.compile(r"(studies|series|instances|bulk)(/[A-Za-z0-9._,-]+)*/?")
KEPT = ("content-type", "etag", "last-modified")


@router.get("/proxy/dicom/{path:path}")
async def ask(request: Request, path: str) -> Response:
    """Reads only; labels reach the server by ``/datastore/label``."""
    server = str(settings.MONAI_LABEL_STUDIES).rstrip("/")
    if not server.startswith(("http://", "https://")):
        raise HTTPException(404, "The studies are in a folder, there is no DICOMweb server.")
    kind, _, rest = path.partition("/")
    if kind not in ("wado", "qido", "stow"):
        kind, rest = "", path
    if not PATH.fullmatch(rest) or ".." in rest:
        raise HTTPException(400, "The address must be one of DICOMweb: studies, series, instances.")
    is_search = kind == "qido" and not rest.rstrip("/").endswith("metadata")
    prefix = settings.MONAI_LABEL_QIDO_PREFIX if is_search else settings.MONAI_LABEL_WADO_PREFIX
    address = "/".join([server, *([prefix] if prefix and kind else []), quote(rest, safe="/.,-_")])
    if request.url.query:
        address += f"?{request.url.query}"
    accept = request.headers.get("accept", "*/*")
    return await anyio.to_thread.run_sync(_get, address, accept)


def _get(address: str, accept: str) -> Response:
    name, word = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    try:
        found = requests.get(
            address,
            auth=(name, word) if name and word else None,
            headers={"Accept": accept},
            timeout=settings.MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT,
        )
    except requests.RequestException as error:
        raise HTTPException(502, "The DICOMweb server does not answer.") from error
    headers = {name: found.headers[name] for name in KEPT if name in found.headers}
    return Response(found.content, found.status_code, headers)
