# SPDX-License-Identifier: Apache-2.0
"""Around all routes: who may ask, from where, how much at once; and errors as one sentence."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from monailabel.config import settings
from monailabel.interfaces.exception import ImageNotFoundException, LabelNotFoundException, MONAILabelException

from .checks import check_id, one_sentence

__all__ = ["MAX_UPLOAD_MB", "Guard", "answer_errors"]

logger = logging.getLogger(__name__)
MAX_UPLOAD_MB = float(os.environ.get("UNIMEDI_LABEL_MAX_UPLOAD_MB") or 2048)
IDS = ("image", "label", "id", "tag", "session_id")
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


class TooLargeError(Exception):
    """More bytes than allowed."""


class Guard:
    """ASGI middleware.

    Without ``UNIMEDI_LABEL_HOSTS`` only this machine is answered, whatever address the server listens on; with it,
    requests under one of these names. A page of another origin is refused, so that a web site that somebody visits
    cannot use their server; ``MONAI_LABEL_CORS_ORIGINS`` names those that may.

    Args:
        app: what answers.
        max_bytes: of a request's body.
    """

    def __init__(self, app: Any, max_bytes: int | None = None) -> None:
        self.app = app
        self.max_bytes = int(MAX_UPLOAD_MB * 1e6) if max_bytes is None else max_bytes
        self.hosts = [name.strip() for name in os.environ.get("UNIMEDI_LABEL_HOSTS", "").split(",") if name.strip()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_sender(scope, headers)
            self._check_query(scope)
            self._check_length(headers)
        except HTTPException as error:
            await JSONResponse({"detail": error.detail}, error.status_code)(scope, receive, send)
            return
        await self._bounded(scope, receive, send)

    def _check_sender(self, scope: Any, headers: dict[str, str]) -> None:
        asked = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        if not self.hosts and not _is_loopback((scope.get("client") or ["127.0.0.1"])[0]):
            raise HTTPException(403, "This server answers its own machine only: start it with --host to change that.")
        if asked not in (*LOCAL_NAMES, *self.hosts):
            raise HTTPException(403, "This server is not asked under this name: set UNIMEDI_LABEL_HOSTS.")
        origin = headers.get("origin")
        allowed = [str(one).rstrip("/") for one in settings.MONAI_LABEL_CORS_ORIGINS]
        if origin and origin.rstrip("/") not in allowed and urlsplit(origin).netloc != headers.get("host"):
            raise HTTPException(403, "Pages of other origins may not use this server: see MONAI_LABEL_CORS_ORIGINS.")

    def _check_query(self, scope: Any) -> None:
        path = scope["path"]
        if ".." in path.split("/") or "\\" in path or "\0" in path:
            raise HTTPException(400, "The address must not hold '..'.")
        if path.startswith(("/proxy/", "/ohif/", "/static/")):
            return
        for name, value in parse_qsl(scope["query_string"].decode("latin-1")):
            if name in IDS:
                check_id(value, name)

    def _check_length(self, headers: dict[str, str]) -> None:
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise HTTPException(400, "content-length must be a number.")
        if int(length) > self.max_bytes:
            raise HTTPException(413, self._too_large())

    def _too_large(self) -> str:
        return f"A request may hold {self.max_bytes / 1e6:g} MB: see UNIMEDI_LABEL_MAX_UPLOAD_MB."

    async def _bounded(self, scope: Any, receive: Any, send: Any) -> None:
        """Counts what comes in pieces without a length, too; the answer is then 413, whatever a route makes of it."""
        seen, is_over = 0, False

        async def counted() -> Any:
            nonlocal seen, is_over
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                is_over = True
                raise TooLargeError
            return message

        async def noted(message: Any) -> None:
            if not is_over:
                await send(message)

        with contextlib.suppress(TooLargeError):
            await self.app(scope, counted, noted)
        if is_over:
            await JSONResponse({"detail": self._too_large()}, 413)(scope, receive, send)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address in ("localhost", "testclient")


def answer_errors(app: FastAPI) -> None:
    """What a user can cause is 4xx with one sentence; the rest 500 with the error's kind, and the log has it."""

    def answer(status: int, text: str) -> JSONResponse:
        return JSONResponse({"detail": text}, status)

    async def missing(request: Request, error: Exception) -> JSONResponse:
        return answer(404, one_sentence(error))

    async def wrong(request: Request, error: Exception) -> JSONResponse:
        return answer(400, one_sentence(error))

    async def busy(request: Request, error: Exception) -> JSONResponse:
        return answer(504, "It took too long.")

    async def broken(request: Request, call: Callable[[Request], Awaitable[Any]]) -> Any:
        try:
            return await call(request)
        except TooLargeError:
            raise
        except Exception as error:
            logger.exception("%s %s", request.method, request.url.path)
            return answer(500, f"Something went wrong in the server ({type(error).__name__}); its log says more.")

    for kind in (ImageNotFoundException, LabelNotFoundException):
        app.add_exception_handler(kind, missing)
    for kind in (MONAILabelException, ValueError, FileNotFoundError):
        app.add_exception_handler(kind, wrong)
    app.add_exception_handler(TimeoutError, busy)
    app.middleware("http")(broken)
