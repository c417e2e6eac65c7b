# SPDX-License-Identifier: Apache-2.0
"""What a stranger might try, and what they get: 4xx with one sentence, and nothing read or written."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

WRONG_IDS = ["../../etc/passwd", "/etc/passwd", "..", ".lock", "a/b", "a\\b", "", "a" * 300, "%2e%2e", "a\0b"]
NAMES = ["image", "label", "id", "tag", "session_id"]


def one_sentence(answer: Any) -> bool:
    text = answer.json()["detail"]
    return isinstance(text, str) and 0 < len(text) <= 500 and "Traceback" not in text and "\n" not in text


@pytest.mark.parametrize("image", WRONG_IDS[:5])
def test_uploaded_image_cannot_leave_the_studies(client: Any, instance: Any, image: str) -> None:
    before = sorted(Path(instance.studies).parent.rglob("*.nii*"))
    answer = client.put("/datastore/image", params={"image": image}, files={"file": ("a.nii.gz", b"x")})
    assert answer.status_code == 400
    assert one_sentence(answer)
    assert sorted(Path(instance.studies).parent.rglob("*.nii*")) == before


@pytest.mark.parametrize("name", ["../../a.nii.gz", "..nii.gz", ".nii.gz", "a b.nii.gz"])
def test_file_names_are_checked_too(client: Any, name: str) -> None:
    assert client.put("/datastore/image", files={"file": (name, b"x")}).status_code == 400


@pytest.mark.parametrize("tag", ["../..", "../../../tmp", "/tmp", "a/b", ".."])
def test_label_tag_cannot_leave_the_studies(save_label: Any, tag: str) -> None:
    answer = save_label(0, tag=tag)
    assert answer.status_code == 400
    assert one_sentence(answer)


@pytest.mark.parametrize("image", [*WRONG_IDS[:5], __file__, "README.md", "setup.cfg"])
def test_inference_reads_no_file_by_its_path(client: Any, image: str) -> None:
    answer = client.post("/infer/segmentation", params={"image": image})
    assert answer.status_code in (400, 404)
    assert one_sentence(answer)


def test_parameters_override_neither_image_nor_model_nor_paths(client: Any, instance: Any, monkeypatch: Any) -> None:
    seen: list[dict[str, Any]] = []
    real = instance.infer
    monkeypatch.setattr(instance, "infer", lambda request: seen.append(dict(request)) or real(request))
    wanted: dict[str, Any] = {"image": "/etc/passwd", "label": "/etc/passwd", "bundle_path": "/tmp"}
    wanted |= {"model": "x", "session": {}}
    wanted |= {"model_filename": "/tmp/a.pt", "result_write_to_file": False, "result_dtype": "uint16"}
    answer = client.post("/infer/segmentation?image=ct_0", data={"params": json.dumps(wanted)})
    assert answer.status_code == 200
    assert seen == [{"image": "ct_0", "model": "segmentation", "result_dtype": "uint16"}]


def test_training_strategy_and_batch_take_no_strange_parameters(client: Any, monkeypatch: Any) -> None:
    from monailabel.utils.async_tasks.task import AsyncTask

    seen: list[Any] = []
    monkeypatch.setattr(AsyncTask, "run", lambda method, **kwargs: (seen.append(kwargs["params"]) or {}, None))
    wanted = {"model": "x", "bundle_path": "/tmp", "gpus": "all;ls", "images": ["/etc/passwd"], "max_epochs": 1}
    client.post("/train/segmentation", json=wanted)
    client.post("/batch/infer/segmentation", json=wanted)
    assert seen == [{"max_epochs": 1}, {}]


def test_a_guess_takes_no_submitted_label_s_place(client: Any, save_label: Any, instance: Any) -> None:
    assert save_label(4).status_code == 200
    before = Path(instance.datastore().get_label_uri("ct_4", "final")).read_bytes()
    for model, wanted in (("segmentation", {"label_tag": "final"}), ("findings", {"text": "Nodule."})):
        data = {"params": json.dumps({"save_label": True, **wanted})}
        assert client.post(f"/infer/{model}?image=ct_4&output=json", data=data).status_code == 400
        assert client.post(f"/batch/infer/{model}?run_sync=true", json=wanted).status_code == 400
    assert Path(instance.datastore().get_label_uri("ct_4", "final")).read_bytes() == before


@pytest.mark.parametrize("params", ["[]", "{", "1", "[" * 5000, '"a"'])
def test_parameters_that_are_no_object_are_refused(client: Any, params: str) -> None:
    answer = client.post("/infer/segmentation?image=ct_0", data={"params": params})
    assert answer.status_code == 400
    assert one_sentence(answer)


@pytest.mark.parametrize("name", ["a.exe", "a.pt", "a.json", "a.zip", "a.xml", "a", ""])
def test_files_of_other_types_are_refused(client: Any, name: str) -> None:
    for path, key in (("/infer/segmentation", "file"), ("/datastore/image?image=new", "file")):
        method = client.post if "infer" in path else client.put
        assert method(path, files={key: (name or None, b"x")}).status_code in (400, 415, 422)
    answer = client.put("/datastore/label?image=ct_0", files={"label": (name or None, b"x")})
    assert answer.status_code in (400, 415, 422)


def test_broken_files_are_refused_before_they_are_kept(client: Any, instance: Any) -> None:
    answer = client.put("/datastore/label?image=ct_0", files={"label": ("a.nii.gz", b"no image")})
    assert answer.status_code == 400
    assert one_sentence(answer)
    answer = client.post("/infer/segmentation", files={"file": ("a.nii.gz", b"no image")})
    assert answer.status_code == 400
    assert one_sentence(answer)
    assert "/tmp" not in answer.json()["detail"]
    assert not list(Path(instance.studies).rglob("*.part"))


def test_an_image_is_not_replaced_by_another(client: Any, instance: Any) -> None:
    path = Path(instance.datastore().get_image_uri("ct_1"))
    before = path.read_bytes()
    same = client.put("/datastore/image?image=ct_1", files={"file": ("a.nii", before)})
    other = client.put("/datastore/image?image=ct_1", files={"file": ("a.nii", before[:-1] + b"x")})
    assert (same.status_code, other.status_code) == (200, 409)
    assert path.read_bytes() == before


def test_uploads_are_bounded_with_and_without_a_length(client: Any, monkeypatch: Any) -> None:
    from unimedi_label.guard import Guard

    layer = client.app.middleware_stack
    while not isinstance(layer, Guard):
        layer = layer.app
    monkeypatch.setattr(layer, "max_bytes", 1000)
    big = {"file": ("a.nii.gz", b"0" * 2000)}
    assert client.post("/infer/segmentation", files=big).status_code == 413
    pieces = (b"0" * 400 for _ in range(5))
    answer = client.post("/activelearning/random", content=pieces, headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_archives_are_not_unpacked(client: Any, tmp_path: Path) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("../../out.nii", "x")
    answer = client.put("/session/?uncompress=true", files={"files": ("a.zip", content.getvalue())})
    assert answer.status_code == 400


@pytest.mark.parametrize("session", ["../../etc", "a%2Fb", "%2e%2e%2f"])
def test_sessions_are_ids(client: Any, session: str) -> None:
    assert client.get(f"/session/{session}").status_code in (400, 404)
    assert client.delete(f"/session/{session}").status_code in (400, 404, 405)
    assert client.post("/infer/segmentation", params={"session_id": session}).status_code in (400, 404)


def test_other_machines_are_refused_by_default(client: Any) -> None:
    from fastapi.testclient import TestClient

    far = TestClient(client.app, base_url="http://127.0.0.1:8000", client=("192.0.2.7", 5000))
    assert far.get("/info/").status_code == 403


def test_other_names_of_this_machine_are_refused(client: Any) -> None:
    assert client.get("/info/", headers={"host": "attacker.example"}).status_code == 403


def test_other_origins_get_nothing(client: Any) -> None:
    answer = client.get("/info/", headers={"origin": "https://attacker.example"})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert client.get("/info/", headers={"origin": "http://127.0.0.1:8000"}).status_code == 200
    answer = client.options(
        "/train/segmentation",
        headers={"origin": "https://attacker.example", "access-control-request-method": "POST"},
    )
    assert answer.status_code == 403


def test_left_out_routes_do_not_answer(client: Any) -> None:
    assert client.put("/model/segmentation", files={"file": ("a.pt", b"x")}).status_code == 405
    assert client.delete("/model/segmentation").status_code == 405
    assert client.post("/reload").status_code in (404, 405)
    assert client.post("/infer/wsi/segmentation?image=ct_0").status_code == 404


@pytest.mark.parametrize("path", ["../system", "studies/../../system", "system", "tools/execute-script"])
def test_proxy_leads_to_dicomweb_only(client: Any, monkeypatch: Any, path: str) -> None:
    from monailabel.config import settings

    monkeypatch.setattr(settings, "MONAI_LABEL_STUDIES", "http://127.0.0.1:9/dicom-web")
    assert client.get(f"/proxy/dicom/{path}").status_code in (400, 404)
    assert client.get(f"/proxy/dicom/wado/{path.replace('/', '%2f').replace('.', '%2e')}").status_code in (400, 404)
    assert client.post(f"/proxy/dicom/{path}", content=b"x").status_code in (400, 404)
    assert client.post("/proxy/dicom/stow/studies", content=b"x").status_code == 400, "no DICOM"
    related = {"content-type": "multipart/related; type=application/dicom; boundary=a"}
    assert client.post(f"/proxy/dicom/stow/{path}", content=b"x", headers=related).status_code in (400, 404)


def test_unknown_things_are_404(client: Any) -> None:
    for method, path in (
        ("POST", "/infer/other?image=ct_0"),
        ("POST", "/infer/segmentation?image=other"),
        ("POST", "/activelearning/other"),
        ("POST", "/train/other"),
        ("POST", "/batch/infer/other"),
        ("POST", "/scoring/other"),
        ("PUT", "/datastore/image/info?image=other"),
        ("GET", "/datastore/image?image=other"),
        ("GET", "/datastore/label?label=other&tag=final"),
        ("GET", "/unimedi/similar?image=other"),
        ("GET", "/unimedi/slices?image=other&text=a"),
        ("DELETE", "/datastore/image?id=other"),
    ):
        answer = client.request(method, path)
        assert answer.status_code == 404, (method, path, answer.text)
        assert one_sentence(answer)


def test_errors_of_the_server_are_json_without_details(client: Any, instance: Any, monkeypatch: Any) -> None:
    def broken(request: Any) -> None:
        raise KeyError("/secret/path")

    monkeypatch.setattr(instance, "infer", broken)
    answer = client.post("/infer/segmentation?image=ct_0")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert one_sentence(answer)


def test_sentences_are_not_logged(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="unimedi_label"):
        client.post("/activelearning/text_search", json={"text": "zebra effusion"})
        client.post("/infer/findings?image=ct_0", data={"params": json.dumps({"text": "zebra effusion"})})
        client.get("/unimedi/search?text=zebra")
    assert "zebra" not in "".join(record.getMessage() for record in caplog.records if record.name != "httpx")
