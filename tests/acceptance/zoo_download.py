# SPDX-License-Identifier: Apache-2.0
"""Issue 8, acceptance 1 and 2: MONAI's stock commands bring the built zoo from a server on loopback.

    python tests/acceptance/zoo_download.py [ZOO]

ZOO is what ``zoo build`` wrote (default ``output/zoo``, from `make zoo`). Each bundle: ``download --args_file``
(with its URL turned to the loopback server), ``download --url --name``, both giving the zip's files; ``load``, which
must give every tensor of ``model.pt``; one ``run`` of inference from the folder of the download. Then
``--source huggingface_hub`` and ``--source monaihosting`` against a stand-in of the hub behind ``HF_ENDPOINT``, and
``get_all_bundles_list`` on ``models/model_info.json``. The last line holds the count.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from _bundle import OUTPUT, REPOSITORY, execute, load
from PIL import Image

FOLDER = OUTPUT / "zoo_download"
COMMIT = "0" * 40
MONAI = [sys.executable, "-m", "monai.bundle"]


class Server(http.server.SimpleHTTPRequestHandler):
    """Static files, and of the hub what `snapshot_download` and `list_repo_refs` ask for."""

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self.answer(super().do_GET)

    def do_HEAD(self) -> None:
        self.answer(super().do_HEAD)

    def answer(self, static: Callable[[], None]) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.send_json(refs() if parts[-1] == "refs" else model(Path(str(self.directory)), parts))
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


def refs() -> dict[str, Any]:
    named = {"name": "0.1.0", "ref": "refs/tags/0.1.0", "targetCommit": COMMIT}
    return {"tags": [named], "branches": [{**named, "name": "main", "ref": "refs/heads/main"}], "converts": []}


def model(root: Path, parts: list[str]) -> Any:
    folder = root / "hub" / parts[3]
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    if "tree" in parts:
        sizes = {name: (folder / name).stat().st_size for name in files}
        return [{"type": "file", "path": name, "size": size, "oid": COMMIT} for name, size in sizes.items()]
    siblings = [{"rfilename": name} for name in files]
    return {"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def download(name: str, kind: str, target: Path, options: list[str], expected: dict[str, bytes]) -> None:
    execute([*MONAI, "download", *options, "--bundle_dir", str(target)], FOLDER, FOLDER / f"{name}_{kind}.log")
    if contents(target / name) != expected:
        raise SystemExit(f"{name}: download by {kind} must give the files of the zip")
    print(f"ok   {name}: download, {kind}", flush=True)


def check_bundle(archive: Path, url: str) -> int:
    """Downloads, loads and runs one bundle; returns the number of checks."""
    from monai.bundle import load as load_bundle

    name, version = archive.stem.split("_v")
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(FOLDER / "site" / "hub")
    expected = contents(FOLDER / "site" / "hub" / name)
    arguments = json.loads((archive.parent / "zoo" / f"{name}.json").read_text())
    arguments["url"] = f"{url}/{archive.name}"
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps(arguments))
    download(name, "args_file", FOLDER / "args", ["--args_file", str(file)], expected)
    download(name, "url", FOLDER / "url", ["--url", arguments["url"], "--name", name], expected)
    os.environ["HF_ENDPOINT"] = url
    hub = ["--name", name, "--version", version, "--source"]
    download(name, "hub", FOLDER / "hub", [*hub, "huggingface_hub", "--repo", f"owner/{name}"], expected)
    download(name, "monaihosting", FOLDER / "hosting", [*hub, "monaihosting"], expected)
    network: Any = load_bundle(name, bundle_dir=str(FOLDER / "args"), source="github", device="cpu")
    stored, found = load(FOLDER / "args" / name / "models" / "model.pt"), network.state_dict()
    if found.keys() != stored.keys() or not all(torch.equal(found[key], stored[key]) for key in stored):
        raise SystemExit(f"{name}: load must give every tensor of model.pt")
    config = f"{name}/configs/inference.json"
    words = ["run", "--config_file", config, "--dataset_dir", str(images(name.endswith("3d")))]
    execute([*MONAI, *words], FOLDER / "url", FOLDER / f"{name}_run.log")
    print(f"ok   {name}: load, run", flush=True)
    return 6


def images(is_ct: bool) -> Path:
    """A folder with one picture of noise."""
    folder = FOLDER / ("ct" if is_ct else "xray")
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    if is_ct:
        import nibabel

        voxels = generator.integers(-1000, 300, (48, 48, 16)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([8.0, 8.0, 20.0, 1.0])), folder / "a.nii")
    else:
        Image.fromarray(generator.integers(0, 256, (96, 96)).astype(np.uint8)).save(folder / "a.png")
    return folder


def check_listing(zoo: Path) -> int:
    """The listing by MONAI's own function, the file in place of the network's answer."""
    from monai.bundle import get_all_bundles_list

    answer = mock.Mock(text=(zoo / "models" / "model_info.json").read_text())
    with mock.patch("monai.bundle.scripts.requests.get", return_value=answer):
        found = get_all_bundles_list(repo="owner/repo", tag="v0.1.0")
    names = sorted(tuple(path.stem.split("_v")) for path in zoo.glob("*.zip"))
    if sorted(found) != names:
        raise SystemExit(f"get_all_bundles_list must give {names}, got {found}")
    return 1


def main(zoo: Path) -> int:
    """Runs all checks; returns 0 where all hold."""
    archives = sorted(zoo.glob("*.zip"))
    if not archives:
        raise SystemExit(f"there are no zips in {zoo}: run make zoo, or name the folder of a built zoo")
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "site").mkdir(parents=True)
    for path in archives:
        shutil.copy(path, FOLDER / "site")
    handler = functools.partial(Server, directory=str(FOLDER / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        count = sum(check_bundle(path, url) for path in archives) + check_listing(zoo)
        server.shutdown()
    print(f"zoo download: {count} checks hold for {len(archives)} bundles")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else REPOSITORY / "output" / "zoo"))
