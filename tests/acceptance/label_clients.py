# SPDX-License-Identifier: Apache-2.0
"""The app with real clients: 3D Slicer's own client class and ``monailabel.client``, on phantoms and real images.

Each: info, next sample by every strategy with and without text, inference by id, file and session, labels, training,
its status, inference with the new weights, many images at once, scores.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from _label import (
    INFER,
    LABEL_INFO,
    NAMES,
    OUTPUT,
    REPOSITORY,
    Server,
    Steps,
    phantoms,
    slicer_client,
    studies_of,
    wait_for_training,
    write_label,
)

FOLDER = OUTPUT / "clients"
TEXT = {"text": "Pleural effusion on the right.", "image": "ct_000"}
NEEDS_TEXT = ("text_search",)
REAL = {
    "totalseg.nii.gz": "totalseg/example_ct.nii.gz",
    "lambin.nii.gz": "lung_tumour_ct/lambin_pat1.nii.gz",
    "tcia.nii.gz": "tcia_lung_ct/4DLung_113_HM10395_40pct.nii.gz",
    "covid.jpg": "covid_cxr/images/000001-12.jpg",
    "mono2.dcm": "cxr_format_tests",
}


def main() -> int:
    import requests
    from monailabel.client import MONAILabelClient

    rows = phantoms(10)
    studies = studies_of(FOLDER / "studies", rows)
    real = copy_real(studies)
    steps = Steps()
    shutil.rmtree(FOLDER / "models", ignore_errors=True)
    with Server(studies, FOLDER) as server:
        print(f"server up after {server.seconds:.1f} s; real images: {', '.join(real) or 'none'}")
        for name, kind in (("slicer", slicer_client().MONAILabelClient), ("monailabel", MONAILabelClient)):
            client = kind(server.url, tmpdir=str(FOLDER), client_id="acceptance")
            run(client, name, rows, real, steps, server.url)
        with steps.step("both: nothing half in the studies folder"):
            assert not list(studies.rglob("*.part"))
        requests.get(f"{server.url}/info/", timeout=60).raise_for_status()
    return steps.end("clients")


def copy_real(studies: Path) -> list[str]:
    """Real images beside the phantoms; their ids."""
    data = Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    found = []
    for name, source in REAL.items():
        path = data / source
        if path.is_dir():
            path = next(iter(sorted(path.rglob("*.dcm"))), path)
        if path.is_file():
            shutil.copyfile(path, studies / name)
            found.append(name.split(".")[0])
    return found


def run(client: Any, name: str, rows: dict[str, Any], real: list[str], steps: Steps, url: str) -> None:
    import requests

    info: dict[str, Any] = {}
    with steps.step(f"{name}: info"):
        info = client.info()
        assert {"segmentation", "segmentation_xray", "findings"} <= info["models"].keys()
        assert all("research use" in label for label in info["labels"])
    for strategy in info.get("strategies", {}):
        with steps.step(f"{name}: next sample by {strategy}, with text"):
            assert client.next_sample(strategy, dict(TEXT))["id"]
        with steps.step(f"{name}: next sample by {strategy}, without text"):
            check_without_text(client, strategy)
    infer(client, name, rows, real, steps)
    label_and_train(client, name, rows, steps)
    with steps.step(f"{name}: many images at once"):
        answer = requests.post(f"{url}/batch/infer/segmentation_xray?run_sync=true", json={}, timeout=600)
        assert answer.ok and len(answer.json()) >= 10, answer.text[:200]
    for method in info.get("scoring", {}):
        with steps.step(f"{name}: score by {method}"):
            answer = requests.post(f"{url}/scoring/{method}?run_sync=true", json={}, timeout=600)
            assert answer.ok, answer.text[:200]


def check_without_text(client: Any, strategy: str) -> None:
    refusal, found = "", {}
    try:
        found = client.next_sample(strategy, {})
    except Exception as error:
        refusal = str(getattr(error, "msg", error))
    if refusal:
        assert strategy in (*NEEDS_TEXT, "similar_case") and "400" in refusal, refusal
    else:
        assert strategy not in NEEDS_TEXT and found["id"]


def infer(client: Any, name: str, rows: dict[str, Any], real: list[str], steps: Steps) -> None:
    from monai_unimedi.data.discover import source_of

    path = str(rows["3d"][0]["image"])
    for model, image in (("segmentation", "ct_000"), ("segmentation_xray", "xray_000")):
        with steps.step(f"{name}: {model} by id"):
            check_label(*client.infer(model, image, dict(INFER)))
    with steps.step(f"{name}: segmentation by file"):
        check_label(*client.infer("segmentation", "", dict(INFER), file=path))
    with steps.step(f"{name}: segmentation by session"):
        session = client.create_session(path)["session_id"]
        check_label(*client.infer("segmentation", "", dict(INFER), session_id=session))
        client.remove_session(session)
    for image in ("ct_000", "xray_000"):
        with steps.step(f"{name}: findings in {image}"):
            file, params = client.infer("findings", image, {**INFER, **TEXT, "topk": 2})
            assert "markups" in Path(file).read_text() and len(params["places"]) == 2
    for image in real:
        with steps.step(f"{name}: real image {image}"):
            where = next((FOLDER / "studies").glob(f"{image}.*"))
            model = "segmentation" if source_of(where) == "3d" else "segmentation_xray"
            check_label(*client.infer(model, image, dict(INFER)))
            assert client.infer("findings", image, {**INFER, **TEXT})[1]["places"]


def check_label(file: str, params: dict[str, Any]) -> None:
    import SimpleITK

    image = SimpleITK.ReadImage(file)
    assert image.GetDimension() == 3 and image.GetPixelID() == SimpleITK.sitkUInt8
    assert params["label_names"] == [f"{one} (research use)" for one in NAMES]
    assert int(SimpleITK.GetArrayViewFromImage(image).max()) <= len(NAMES)


def label_and_train(client: Any, name: str, rows: dict[str, Any], steps: Steps) -> None:
    with steps.step(f"{name}: labels submitted"):
        for number in range(8):
            label = write_label(rows["3d"][number], FOLDER / "labels", f"ct_{number:03d}")
            client.save_label(f"ct_{number:03d}", str(label), params={"label_info": LABEL_INFO})
        stored = client.datastore()["objects"]["ct_000"]["labels"]
        assert "final" in stored
        assert client.download_label("ct_000", "final")
    with steps.step(f"{name}: training, status, stats"):
        client.train_start("segmentation", {"max_epochs": 3, "steps_per_epoch": 10})
        assert client.train_status(True)
        status = wait_for_training(client, 1200)
        assert status["status"] == "DONE", list(status.get("details", []))[-3:]
        run = client.info()["train_stats"]["segmentation"]["history"][-1]
        assert run["labels"] == {"training": 6, "validation": 2}
        print(f"  validation Dice {run['before']} before, {run['after']} after, published: {run['published']}")
    with steps.step(f"{name}: inference after training"):
        check_label(*client.infer("segmentation", "ct_009", dict(INFER)))


if __name__ == "__main__":
    sys.exit(main())
