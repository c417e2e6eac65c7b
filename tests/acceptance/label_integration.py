# SPDX-License-Identifier: Apache-2.0
"""MONAI Label's own integration tests for radiology that apply to this app: segmentation, session, training, info.

The wheel ships them as ``tests`` in site-packages. Most return at once without CUDA in the client's process, so the
check is forced there. The images that they name are phantoms.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import requests
from _label import LABEL_INFO, OUTPUT, Server, phantoms, write_label

FOLDER = OUTPUT / "integration"
NAMES = ("spleen_3", "spleen_8")
APPLY = (
    "test_infer.py::EndPointInfer::test_segmentation",
    "test_info.py",
    "test_session.py",
    "test_trainer.py::EndPointSession::test_segmentation_trainer",
)
FORCED = "import torch\ntorch.cuda.is_available = lambda: True\n"


def main() -> int:
    tests = shipped_tests()
    work = FOLDER / "work"
    shutil.rmtree(work, ignore_errors=True)
    data = work / "tests" / "data" / "dataset" / "local" / "spleen"
    data.mkdir(parents=True)
    shutil.copytree(tests / "integration", work / "tests" / "integration")
    (work / "tests" / "__init__.py").touch()
    (work / "conftest.py").write_text(FORCED)
    rows = phantoms(10)["3d"]
    for name, row in zip(NAMES, rows):
        compressed(row["image"], data / f"{name}.nii.gz")
    studies = work / "studies"
    shutil.copytree(data, studies)
    with Server(studies, FOLDER) as server:
        for name, row in zip(NAMES, rows):
            label = write_label(row, work / "labels", name)
            requests.put(
                f"{server.url}/datastore/label",
                params={"image": name},
                files={"label": (label.name, label.read_bytes())},
                data={"params": str({"label_info": LABEL_INFO}).replace("'", '"')},
                timeout=60,
            ).raise_for_status()
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(work)]
        words += [f"tests/integration/radiology/{name}" for name in APPLY]
        environment = {**os.environ, "MONAILABEL_SERVER_PORT": str(server.port), "PYTHONPATH": str(work)}
        done = subprocess.run(words, cwd=work, env=environment, capture_output=True, text=True, check=False)
    print(done.stdout)
    found = re.search(r"(\d+) passed", done.stdout)
    count = int(found.group(1)) if found else 0
    print(f"monailabel's own integration tests: {count} of {len(APPLY)} pass, the check for CUDA forced")
    return int(done.returncode != 0 or count != len(APPLY))


def compressed(source: Path, target: Path) -> None:
    import nibabel

    nibabel.save(nibabel.load(source), target)


def shipped_tests() -> Path:
    """The ``tests`` folder of monailabel in site-packages."""
    folder = Path(sysconfig.get_paths()["purelib"]) / "tests"
    if not (folder / "integration" / "radiology").is_dir():
        raise SystemExit(f"monailabel's tests are not in {folder.parent.name}: install its wheel")
    return folder


if __name__ == "__main__":
    sys.exit(main())
