# SPDX-License-Identifier: Apache-2.0
"""A tiny encoder, synthetic studies, and the server in process. Without monailabel these tests skip:
``make test`` and ``make test-label`` run them in the environment of its own that ``make label`` makes too."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

APP = Path(__file__).resolve().parents[2] / "apps" / "unimedi"
NAMES = ["nodule", "consolidation", "ground_glass", "pleural_effusion", "pneumothorax", "cardiomegaly"]
HAS_MONAILABEL = importlib.util.find_spec("monailabel") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says why they do not run."""
    for item in items:
        if not HAS_MONAILABEL and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason="monailabel is not installed here: make test-label"))


if HAS_MONAILABEL:
    sys.path.append(str(APP))
    from unimedi_label import upstream

    upstream.apply()


@pytest.fixture(scope="session")
def encoder_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a pre-training of four steps wrote."""
    from tests.bundles.conftest import Bundle

    folder = tmp_path_factory.mktemp("encoder")
    Bundle(folder / "output", folder / "phantom").train(num_layers=3)
    return folder / "output" / "models"


@pytest.fixture(scope="session")
def phantoms(encoder_dir: Path) -> dict[str, list[dict[str, Path]]]:
    """By source, images with their masks."""
    root = encoder_dir.parents[1] / "phantom"
    found = {}
    for source in ("2d", "3d"):
        rows = json.loads((root / f"datalist_{source}.json").read_text())["test"]
        found[source] = [{name: root / row[name] for name in ("image", "lesion_mask")} for row in rows]
    return found


@pytest.fixture(scope="session")
def client(tmp_path_factory: pytest.TempPathFactory, encoder_dir: Path, phantoms: dict[str, Any]) -> Iterator[Any]:
    """A client of the server on eight CTs and four X-rays; tests that change labels use cases of their own."""
    from fastapi.testclient import TestClient
    from monailabel.config import settings

    folder = tmp_path_factory.mktemp("label")
    studies = folder / "studies"
    studies.mkdir()
    for number in range(8):
        shutil.copyfile(phantoms["3d"][number]["image"], studies / f"ct_{number}.nii")
    for number in range(4):
        shutil.copyfile(phantoms["2d"][number]["image"], studies / f"xray_{number}.png")
    settings.MONAI_LABEL_APP_DIR, settings.MONAI_LABEL_STUDIES = str(APP), str(studies)
    settings.MONAI_LABEL_SESSION_PATH = str(folder / "sessions")
    settings.MONAI_LABEL_APP_CONF = {"encoder": str(encoder_dir), "model_dir": str(folder / "models")}
    from unimedi_label.server import app

    with TestClient(app, base_url="http://127.0.0.1:8000") as found:
        yield found


@pytest.fixture(scope="session")
def instance(client: Any) -> Any:
    """The app behind the client."""
    from monailabel.interfaces.utils.app import app_instance

    return app_instance()


@pytest.fixture
def save_label(client: Any, phantoms: dict[str, Any], tmp_path: Path) -> Callable[..., Any]:
    """Submits the true label of a CT, as 3D Slicer sends it."""

    def save(number: int, image: str | None = None, **query: str) -> Any:
        bits = nibabel.load(phantoms["3d"][number]["lesion_mask"])
        values = np.asarray(bits.dataobj).astype(int)
        numbers = np.zeros(values.shape, np.uint8)
        for bit in range(len(NAMES)):
            numbers[values >> bit & 1 == 1] = bit + 1
        path = tmp_path / "label.nii.gz"
        nibabel.save(nibabel.Nifti1Image(numbers, bits.affine), path)
        info = [{"name": f"{name} (research use)", "idx": i} for i, name in enumerate(NAMES, start=1)]
        return client.put(
            "/datastore/label",
            params={"image": image or f"ct_{number}", "tag": "final", **query},
            files={"label": ("label.nii.gz", path.read_bytes())},
            data={"params": json.dumps({"label_info": info})},
        )

    return save
