# SPDX-License-Identifier: Apache-2.0
"""What MONAI Label needs to work with today's packages, one test a fix."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest


def test_pydicom_seg_imports_beside_pydicom_3() -> None:
    import pydicom
    import pydicom_seg

    assert int(pydicom.__version__.split(".")[0]) >= 3
    assert pydicom_seg.MultiClassReader


def test_tracking_and_automatic_scoring_are_off_unless_the_environment_says_otherwise() -> None:
    from monailabel.config import settings

    assert not settings.MONAI_LABEL_TRACKING_ENABLED
    assert not settings.MONAI_LABEL_AUTO_UPDATE_SCORING


def test_what_the_environment_says_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    from monailabel.config import settings
    from unimedi_label import upstream

    monkeypatch.setenv("MONAI_LABEL_AUTO_UPDATE_SCORING", "true")
    monkeypatch.setattr(settings, "MONAI_LABEL_AUTO_UPDATE_SCORING", True)
    upstream._settings()
    assert settings.MONAI_LABEL_AUTO_UPDATE_SCORING


def test_torchvision_is_not_needed(client: Any) -> None:
    assert sys.modules.get("torchvision") is None


def test_apply_does_nothing_twice() -> None:
    from monailabel.endpoints.user import auth
    from monailabel.utils.async_tasks import task
    from unimedi_label import upstream

    before = auth.jwt, task.AsyncTask.run
    for fix in (upstream._one_task_at_a_time, upstream._one_lock_a_file, upstream._whole_copies):
        fix()
    assert task.AsyncTask.run is before[1]


def test_dicomweb_start_downloads_no_tool(monkeypatch: pytest.MonkeyPatch, instance: Any) -> None:
    from monailabel.interfaces import app

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a download")

    monkeypatch.setattr(app, "download_and_extract", refuse)
    instance._download_dcmqi_tools()


def test_dcmqi_of_the_registry_is_found() -> None:
    import shutil

    assert shutil.which("itkimage2segimage")


def test_batch_inference_works_without_a_gpu(client: Any) -> None:
    answer = client.post("/batch/infer/segmentation?run_sync=true", json={"max_batch_size": 1, "multi_gpu": True})
    assert answer.status_code == 200
    assert list(answer.json()) == ["ct_0"]


def test_second_start_is_refused_from_the_first_request_on(monkeypatch: pytest.MonkeyPatch, client: Any) -> None:
    from monailabel.utils.async_tasks import utils

    is_over = threading.Event()

    def slow(task: dict[str, Any], method: str, callback: Any = None) -> None:
        task["status"] = "RUNNING"
        is_over.wait(60)
        task["status"] = "DONE"

    monkeypatch.setattr(utils, "_task_func", slow)
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(client.post("/train/segmentation", json={}).status_code))
        for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [200, 429, 429, 429, 429]
    assert client.get("/train/?check_if_running=true").status_code == 200
    is_over.set()
    ended = time.monotonic() + 60
    while client.get("/train/?check_if_running=true").status_code != 404:
        assert time.monotonic() < ended
        time.sleep(0.05)


def test_a_task_that_cannot_start_does_not_block_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    from unimedi_label import upstream

    task = {"status": "SUBMITTED"}

    def broken(task: Any) -> None:
        raise OSError("no process")

    with pytest.raises(OSError, match="no process"):
        upstream._never_stuck(broken)(task)
    assert task["status"] == "ERROR"


def test_valid_token_is_taken_and_roles_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    import jwt
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
    from monailabel.endpoints.user import auth

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    monkeypatch.setattr(auth, "get_public_key", lambda uri: public.decode())
    monkeypatch.setattr(auth.settings, "MONAI_LABEL_AUTH_ENABLE", True)
    claims = {"preferred_username": "ann", "realm_access": {"roles": ["monailabel-user"]}}
    user = auth.from_token(jwt.encode(claims, key, algorithm="RS256"))
    assert (user.username, user.roles) == ("ann", ["monailabel-user"])
    with pytest.raises(jwt.InvalidTokenError):
        auth.from_token(jwt.encode(claims, "secret" * 8, algorithm="HS256"))
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with pytest.raises(jwt.InvalidTokenError):
        auth.from_token(jwt.encode(claims, other, algorithm="RS256"))


AUTH = """
import sys
sys.path.append(sys.argv[1])
from unimedi_label import server
from monailabel.endpoints.user import auth
from fastapi.testclient import TestClient
import asyncio, jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
auth.get_public_key = lambda uri: pem.decode()
def token(*roles):
    claims = {"preferred_username": "ann", "email": "a@b", "name": "Ann", "realm_access": {"roles": list(roles)}}
    return {"Authorization": "Bearer " + jwt.encode(claims, key, algorithm="RS256")}
client = TestClient(server.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
ask = [("GET", "/datastore/"), ("PUT", "/datastore/label?image=a"), ("POST", "/train/segmentation"),
       ("GET", "/unimedi/search?text=a"), ("POST", "/infer/segmentation?image=a")]
print([client.request(*one).status_code for one in ask])
print([client.request(*one, headers=token("somebody")).status_code for one in ask])
print(client.request(*ask[1], headers=token("monailabel-user")).status_code,
      client.request(*ask[2], headers=token("monailabel-annotator")).status_code,
      client.get("/auth/token/valid", headers=token("monailabel-user")).status_code)
"""


def test_with_authentication_nobody_gets_in_without_a_role(tmp_path: Path) -> None:
    import os

    app = Path(__file__).resolve().parents[2] / "apps" / "unimedi"
    environment = {**os.environ, "MONAI_LABEL_AUTH_ENABLE": "true"}
    done = subprocess.run(
        [sys.executable, "-c", AUTH, str(app)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    lines = done.stdout.splitlines()[-3:]
    assert lines == [str([401] * 5), str([403] * 5), "403 403 200"], done.stderr[-2000:]
