# SPDX-License-Identifier: Apache-2.0
"""The server: MONAI Label's routes, safe and off the event loop, and ours.

    monailabel start_server --app apps/unimedi --studies FOLDER --host 127.0.0.1 --uvicorn_app unimedi_label.server:app

with ``apps/unimedi`` on ``PYTHONPATH``; ``python apps/unimedi --studies FOLDER`` says all that itself.

MONAI Label computes inside ``async def``, so that one inference holds up every other answer. Here its routes run in
threads, inference in a few of its own, one at a time on a device. Left out: routes for whole slides, uploads of model
files, and ``/reload``.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from . import upstream

upstream.apply()

import monailabel.endpoints  # noqa: E402
from fastapi import FastAPI  # noqa: E402
from fastapi.middleware.cors import CORSMiddleware  # noqa: E402
from fastapi.responses import RedirectResponse  # noqa: E402
from fastapi.routing import APIRoute  # noqa: E402
from fastapi.staticfiles import StaticFiles  # noqa: E402
from monailabel.config import settings  # noqa: E402
from monailabel.endpoints import (  # noqa: E402  # noqa: E402, F401
    activelearning,
    batch_infer,
    datastore,
    info,
    login,
    logs,
    model,
    ohif,
    scoring,
    session,
    train,
)
from monailabel.interfaces.utils.app import app_instance  # noqa: E402
from monailabel.utils.async_tasks.utils import background_processes, stop_background_task  # noqa: E402

from . import inferences, requests_in, routes  # noqa: E402
from .dicomweb import router as dicomweb_router  # noqa: E402
from .guard import Guard, answer_errors  # noqa: E402

__all__ = ["app", "build"]

logger = logging.getLogger(__name__)
TAKEN_OVER = (info, model, batch_infer, train, activelearning, scoring, datastore, logs, session, ohif)
LEFT_OUT = {("PUT", "/model/{model}"), ("DELETE", "/model/{model}")}
OWN = (routes.router, inferences.router, requests_in.router, dicomweb_router)


def in_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """A coroutine that never waits as a plain function, which FastAPI runs in a thread."""
    if not inspect.iscoroutinefunction(endpoint):
        return endpoint

    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            endpoint(*args, **kwargs).send(None)
        except StopIteration as done:
            return done.value
        raise RuntimeError(f"{endpoint.__name__} waits: it must stay on the event loop")

    run.__signature__ = inspect.signature(endpoint, eval_str=True)  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = endpoint.__name__, endpoint.__doc__
    return run


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Builds the app before the first answer; ends its jobs with it."""
    instance = app_instance()
    instance.server_mode(True)
    instance.on_init_complete()
    yield
    for method in list(background_processes):
        while background_processes.get(method):
            stop_background_task(method)


def build() -> FastAPI:
    """The application with all routes; ours come first where both have one."""
    app = FastAPI(title="UniMedI in MONAI Label (research use)", lifespan=lifespan, redoc_url=None)
    for router in OWN:
        app.include_router(router)
    taken = {(method, route.path) for router in OWN for route in router.routes for method in route.methods}
    modules = (*TAKEN_OVER, login) if settings.MONAI_LABEL_AUTH_ENABLE else TAKEN_OVER
    for module in modules:
        for route in module.router.routes:
            if isinstance(route, APIRoute):
                _take_over(app, route, taken)
    static = Path(monailabel.endpoints.__file__).parent / "static"
    app.mount("/static", StaticFiles(directory=static), name="static")
    app.add_api_route("/", lambda: RedirectResponse("docs"), include_in_schema=False)
    answer_errors(app)
    origins = [str(origin).rstrip("/") for origin in settings.MONAI_LABEL_CORS_ORIGINS]
    if origins:
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["*"], allow_headers=["*"])
    app.add_middleware(Guard)
    return app


def _take_over(app: FastAPI, route: APIRoute, taken: set[tuple[str, str]]) -> None:
    methods = {method for method in route.methods if (method, route.path) not in taken | LEFT_OUT}
    if methods:
        app.add_api_route(
            route.path,
            in_thread(route.endpoint),
            methods=sorted(methods),
            summary=route.summary,
            tags=list(route.tags),
            include_in_schema=route.include_in_schema,
            response_model=route.response_model,
        )


os.environ.setdefault("MONAI_LABEL_RELOAD_APP_LIB", "false")
app = build()
