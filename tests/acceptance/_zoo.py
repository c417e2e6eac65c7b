# SPDX-License-Identifier: Apache-2.0
"""What the zoo's acceptance scripts share: the built zoo, a server on loopback, empty environments, test images."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _bundle import REPOSITORY
from PIL import Image

COMMIT = "0" * 40
SPEECH = (" - INFO - ", "any `\"_target_\"` value in it is resolved")  # what MONAI says before anything runs


def zips(argv: Sequence[str]) -> list[Path]:
    """Zips of the zoo named on the command line, or of ``output/zoo``, which `make zoo` writes."""
    folder = Path(argv[0]).resolve() if argv else REPOSITORY / "output" / "zoo"
    found = sorted(folder.glob("*.zip"))
    if not found:
        raise SystemExit(f"there are no zips in {folder}: run make zoo, or name the folder of a built zoo")
    return found


def unpacked(archives: Sequence[Path], folder: Path) -> list[Path]:
    """The bundles' folders."""
    for path in archives:
        with zipfile.ZipFile(path) as opened:
            opened.extractall(folder)
    return [folder / path.stem.split("_v")[0] for path in archives]


def contents(folder: Path) -> dict[str, bytes]:
    """Files below a folder; the hub's cache and compiled files left out."""
    left_out = {".cache", "__pycache__"}
    found = (path for path in folder.rglob("*") if path.is_file() and not left_out & set(path.parts))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def images(folder: Path, is_ct: bool) -> Path:
    """A folder with one picture of noise."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    if is_ct:
        import nibabel

        voxels = generator.integers(-1000, 300, (48, 48, 16)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([8.0, 8.0, 20.0, 1.0])), folder / "a.nii")
    else:
        Image.fromarray(generator.integers(0, 256, (96, 96)).astype(np.uint8)).save(folder / "a.png")
    return folder


def new_environment(folder: Path, *requirements: str, python: str = sys.executable) -> Path:
    """An environment with nothing but these; returns its Python."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True, env=clean())
    made = folder / "bin" / "python"
    install(made, *requirements)
    return made


def install(python: Path, *requirements: str) -> None:
    """Installs what is not there yet."""
    if requirements:
        words = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements]
        done = subprocess.run(words, env=clean(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"pip install {' '.join(requirements)} failed: {done.stderr.strip()[-600:]}")


def clean(**more: str) -> dict[str, str]:
    """This process's variables without those that bring packages of another environment, on the CPU."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return {**kept, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **more}


def said(text: str) -> list[str]:
    """The lines of a command's output that are its own, not MONAI's greeting."""
    return [line for line in text.splitlines() if line.strip() and not any(word in line for word in SPEECH)]


@contextlib.contextmanager
def serving(site: Path) -> Iterator[str]:
    """A static server on loopback that also answers as the hub does; gives its address."""
    handler = functools.partial(Server, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


class Server(http.server.SimpleHTTPRequestHandler):
    """Static files, and of the hub (``hub/<name>/`` in the site) what `snapshot_download` and `list_repo_refs` ask."""

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self.answer(super().do_GET)

    def do_HEAD(self) -> None:
        self.answer(super().do_HEAD)

    def answer(self, static: Callable[[], None]) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.send_json(_refs() if parts[-1] == "refs" else _model(Path(str(self.directory)), parts))
        elif "resolve" in parts:
            self.path = "/hub/" + "/".join([parts[1], *parts[4:]])
            static()
        else:
            static()

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.is_file() and "/hub/" in self.path:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{path.stat().st_size}-{path.name}"')
        super().end_headers()

    def send_json(self, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else body)


def _refs() -> dict[str, Any]:
    named = {"name": "0.1.0", "ref": "refs/tags/0.1.0", "targetCommit": COMMIT}
    return {"tags": [named], "branches": [{**named, "name": "main", "ref": "refs/heads/main"}], "converts": []}


def _model(root: Path, parts: list[str]) -> Any:
    folder = root / "hub" / parts[3]
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if "tree" in parts:
        sizes = {name: (folder / name).stat().st_size for name in files}
        return [{"type": "file", "path": name, "size": size, "oid": COMMIT} for name, size in sizes.items()]
    siblings = [{"rfilename": name} for name in files]
    return {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
