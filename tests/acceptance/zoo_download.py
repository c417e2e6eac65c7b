# SPDX-License-Identifier: Apache-2.0
"""MONAI's stock commands bring the built zoo from a server on loopback.

    python tests/acceptance/zoo_download.py [ZOO]

ZOO is what ``zoo build`` wrote (default ``output/zoo``, from `make zoo`). Each bundle: ``download --args_file``
(with its URL turned to the loopback server), ``download --url --name``, ``--source huggingface_hub`` and ``--source
monaihosting`` against a stand-in of the hub behind ``HF_ENDPOINT``, all giving the zip's files; ``load``, which must
give every tensor of ``model.pt``; ``run`` of inference from the folder of the download. Then
``get_all_bundles_list`` on ``models/model_info.json``, its code host turned to the loopback server. The last line holds
the count.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import requests
import torch
from _bundle import OUTPUT, execute, load
from _zoo import contents, images, serving, unpacked, zips

FOLDER = OUTPUT / "zoo_download"
SITE = FOLDER / "site"
MONAI = [sys.executable, "-m", "monai.bundle"]
REPO, TAG = "owner/repo", "v0.1.0"


def download(name: str, kind: str, options: list[str]) -> None:
    """Downloads into a new folder, which must then hold the files of the zip."""
    execute([*MONAI, "download", *options, "--bundle_dir", str(FOLDER / kind)], FOLDER, FOLDER / f"{name}_{kind}.log")
    if contents(FOLDER / kind / name) != contents(SITE / "hub" / name):
        raise SystemExit(f"{name}: download by {kind} must give the files of the zip")
    print(f"ok   {name}: download, {kind}", flush=True)


def check_bundle(archive: Path, url: str) -> int:
    """Downloads, loads and runs one bundle; returns the number of checks."""
    name, version = archive.stem.split("_v")
    arguments = json.loads((archive.parent / "zoo" / f"{name}.json").read_text())
    arguments["url"] = f"{url}/{archive.name}"
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps(arguments))
    hub = ["--name", name, "--version", version, "--source"]
    download(name, "args_file", ["--args_file", str(file)])
    download(name, "url", ["--url", arguments["url"], "--name", name])
    download(name, "huggingface_hub", [*hub, "huggingface_hub", "--repo", f"owner/{name}"])
    download(name, "monaihosting", [*hub, "monaihosting"])
    check_load(name)
    config = f"{name}/configs/inference.json"
    data = images(FOLDER / ("ct" if name.endswith("3d") else "xray"), name.endswith("3d"))
    words = ["run", "--config_file", config, "--dataset_dir", str(data)]
    execute([*MONAI, *words], FOLDER / "url", FOLDER / f"{name}_run.log")
    print(f"ok   {name}: load, run", flush=True)
    return 6


def check_load(name: str) -> None:
    """`monai.bundle.load` gives the tensors of the file."""
    from monai.bundle import load as load_bundle

    network: Any = load_bundle(name, bundle_dir=str(FOLDER / "args_file"), source="github", device="cpu")
    stored, found = load(FOLDER / "args_file" / name / "models" / "model.pt"), network.state_dict()
    if found.keys() != stored.keys() or not all(torch.equal(found[key], stored[key]) for key in stored):
        raise SystemExit(f"{name}: load must give every tensor of model.pt")


def check_listing(archives: list[Path], url: str) -> int:
    """The listing by MONAI's own function."""
    from monai.bundle import get_all_bundles_list

    get = requests.get
    raw = f"https://raw.githubusercontent.com/{REPO}/{TAG}/"
    with mock.patch("requests.get", lambda address, **more: get(address.replace(raw, f"{url}/"), **more)):
        found = get_all_bundles_list(repo=REPO, tag=TAG)
    names = sorted(tuple(path.stem.split("_v")) for path in archives)
    if sorted(found) != names:
        raise SystemExit(f"get_all_bundles_list must give {names}, got {found}")
    print("ok   get_all_bundles_list", flush=True)
    return 1


def main(argv: list[str]) -> int:
    """Runs all checks; returns 0 where all hold."""
    archives = zips(argv)
    shutil.rmtree(FOLDER, ignore_errors=True)
    shutil.copytree(archives[0].parent, SITE)
    unpacked(archives, SITE / "hub")
    with serving(SITE) as url:
        os.environ["HF_ENDPOINT"] = url
        count = sum(check_bundle(path, url) for path in archives) + check_listing(archives, url)
    print(f"zoo download: {count} checks hold for {len(archives)} bundles")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
