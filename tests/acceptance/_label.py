# SPDX-License-Identifier: Apache-2.0
"""What the scripts of the MONAI Label app share: its environment, a server on loopback, studies, real clients.

A script that imports this runs itself again in ``.venv-label``, which ``make label-install`` makes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
OUTPUT = REPOSITORY / "output" / "acceptance" / "label"
APP = REPOSITORY / "apps" / "unimedi"
ENCODER = REPOSITORY / "output" / "demo" / "models"
TRAINED = REPOSITORY / "output" / "downstream"
NAMES = ["nodule", "consolidation", "ground_glass", "pleural_effusion", "pneumothorax", "cardiomegaly"]
INFER = {"result_extension": ".nrrd", "result_dtype": "uint8"}  # as 3D Slicer asks
START_LIMIT = 600.0  # seconds

if importlib.util.find_spec("monailabel") is None:
    python = REPOSITORY / ".venv-label" / "bin" / "python"
    if not python.is_file():
        raise SystemExit("monailabel is not installed: run `make label-install` first")
    os.execv(python, [str(python), *sys.argv])


def need_encoder() -> None:
    if not (ENCODER / "encoder.json").is_file():
        raise SystemExit("there is no pre-trained encoder: run `make demo` first")


def need_trained(*bundles: str) -> None:
    missing = [name for name in bundles if not (TRAINED / name / "models" / "model.pt").is_file()]
    if missing:
        raise SystemExit(f'there are no weights that segment: run `make downstream BUNDLE="{" ".join(missing)}"` first')


def phantoms(
    count: int, kinds: tuple[str, ...] = ("3d", "2d"), ct_shape: tuple[int, int, int] = (48, 48, 16)
) -> dict[str, list[dict[str, Any]]]:
    """By source, rows of synthetic patients with absolute ``image`` and ``lesion_mask``."""
    from monai_unimedi.data.phantom import ensure_phantom

    sizes = {kind: count if kind in kinds else 0 for kind in ("2d", "3d")}
    few = dict.fromkeys(sizes, 2)
    folder = OUTPUT / f"phantom_{count}_{ct_shape[0]}"
    lists = ensure_phantom(folder, num_training=few, num_validation=few, num_test=sizes, ct_shape=ct_shape)
    found = {}
    for kind in kinds:
        path = Path(lists[kind])
        rows = json.loads(path.read_text())["test"]
        found[kind] = [
            row | {name: path.parent / row[name] for name in ("image", "lesion_mask")} for row in rows
        ]
    return found


def studies_of(folder: Path, rows: dict[str, list[dict[str, Any]]]) -> Path:
    """A new folder with the images: ``ct_000.nii``, ``xray_000.png``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for kind, name in (("3d", "ct"), ("2d", "xray")):
        for number, row in enumerate(rows.get(kind, [])):
            shutil.copyfile(row["image"], folder / f"{name}_{number:03d}{''.join(row['image'].suffixes)}")
    return folder


def true_numbers(row: dict[str, Any]) -> tuple[Any, Any]:
    """A phantom's findings as one number a voxel (where two overlap, the later), and the affine of a CT."""
    import nibabel
    import numpy as np
    from PIL import Image

    path = row["lesion_mask"]
    is_flat = path.suffix == ".png"
    bits = np.asarray(Image.open(path)).T if is_flat else np.asarray(nibabel.load(path).dataobj).astype(int)
    numbers = np.zeros(bits.shape, np.uint8)
    for bit in range(len(NAMES)):
        numbers[bits >> bit & 1 == 1] = bit + 1
    return numbers, None if is_flat else nibabel.load(path).affine


def write_label(row: dict[str, Any], folder: Path, name: str) -> Path:
    """A phantom's label as 3D Slicer saves one."""
    import nibabel
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    numbers, affine = true_numbers(row)
    if affine is None:
        path = folder / f"{name}.png"
        Image.fromarray(numbers.T.copy()).save(path)
    else:
        path = folder / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(numbers, affine), path)
    return path


LABEL_INFO = [{"name": f"{name} (research use)", "idx": number} for number, name in enumerate(NAMES, start=1)]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Server:
    """The app on a loopback port; a context manager.

    Args:
        studies: a folder or the address of a DICOMweb server.
        folder: of the weights and the log.
        environment: added to this process's.
        options: of the command.
        port: to listen on; a free one where None.
    """

    def __init__(
        self,
        studies: Path | str,
        folder: Path,
        environment: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
        port: int | None = None,
    ) -> None:
        self.port, self.folder = port or free_port(), folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "server.log"
        self.words = [sys.executable, str(APP), "--studies", str(studies), "--port", str(self.port)]
        self.words += ["--encoder", str(ENCODER), "--model_dir", str(folder / "models"), *options]
        self.environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        self.environment |= {"CUDA_VISIBLE_DEVICES": "", "MONAI_LABEL_SESSION_PATH": str(folder / "sessions")}
        self.environment |= environment or {}
        self.seconds = 0.0

    def __enter__(self) -> Server:
        import requests

        need_encoder()
        self.folder.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                self.words, cwd=REPOSITORY, env=self.environment, stdout=stream, stderr=stream, start_new_session=True
            )
        while time.monotonic() - started < START_LIMIT:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.url}/unimedi/health", timeout=5).ok:
                    self.seconds = time.monotonic() - started
                    return self
            time.sleep(0.1)
        self.__exit__()
        print(*self.log.read_text(errors="replace").splitlines()[-20:], sep="\n")
        raise SystemExit(f"the server did not start, see {self.log}")

    def __exit__(self, *error: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def memory_mb(self) -> float:
        import psutil

        return float(psutil.Process(self.process.pid).memory_info().rss) / 1e6


def slicer_client() -> ModuleType:
    """The module of 3D Slicer's plugin, as the wheel ships it."""
    path = Path(sys.prefix) / "monailabel" / "plugins" / "slicer" / "MONAILabel" / "MONAILabelLib" / "client.py"
    spec = importlib.util.spec_from_file_location("slicer_client", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wait_for_training(client: Any, limit: float) -> dict[str, Any]:
    """The status at the end of a training.

    Raises:
        SystemExit: When it is not over in time.
    """
    started = time.monotonic()
    while time.monotonic() - started < limit:
        status = dict(client.train_status())
        if status["status"] not in ("SUBMITTED", "RUNNING"):
            return status
        time.sleep(1)
    raise SystemExit(f"training was not over after {limit:.0f} s")


class Steps:
    """Counts what held and prints what did not."""

    def __init__(self) -> None:
        self.done = 0
        self.failed: list[str] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        except Exception as error:
            message = " ".join(str(getattr(error, "msg", error)).split())[:300]
            self.failed.append(name)
            print(f"FAILED {name}: {type(error).__name__} {message}", flush=True)
        else:
            print(f"{name} ({time.monotonic() - started:.1f} s)", flush=True)
        self.done += 1

    def end(self, what: str) -> int:
        print(f"{what}: {self.done - len(self.failed)} of {self.done} hold", *self.failed[:5], sep="; ")
        return int(bool(self.failed) or not self.done)
