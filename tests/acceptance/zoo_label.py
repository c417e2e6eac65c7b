# SPDX-License-Identifier: Apache-2.0
"""The MONAI Label app on downloaded bundles: started with their weights, it segments by its HTTP API.

    python tests/acceptance/zoo_label.py [ZOO]

ZOO is what ``zoo build`` wrote (default ``output/zoo``). In the app's environment (`make label-install`) MONAI's stock
command downloads the pre-training and both segmentation bundles from loopback. The app must publish the downloaded
weights, tensor by tensor, and answer for phantoms with masks on their grids that find something. The last line holds
the counts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import _label
import numpy as np
import requests
import torch
from _label import INFER, Server, Steps, phantoms, studies_of, true_numbers
from _zoo import clean, serving, zips

FOLDER = _label.OUTPUT / "zoo"
MODELS = {"segmentation": ("segmentation_3d", "ct", "3d"), "segmentation_xray": ("segmentation_2d", "xray", "2d")}
COUNT = 4  # images of a kind


def download(archives: list[Path], folder: Path) -> None:
    """By MONAI's stock command."""
    folder.mkdir(parents=True)
    with serving(archives[0].parent) as url:
        for path in archives:
            name = path.stem.split("_v")[0]
            arguments = ["--name", name, "--url", f"{url}/{path.name}", "--bundle_dir", str(folder)]
            words = [sys.executable, "-m", "monai.bundle", "download", *arguments]
            subprocess.run(words, check=True, env=clean(), capture_output=True)


def check_weights(server: Server, name: str) -> None:
    """What the app answers with is what was downloaded."""
    bundle = FOLDER / f"unimedi_{MODELS[name][0]}" / "models" / "model.pt"
    paths = (bundle, server.folder / "models" / name / "model.pt")
    one, other = (torch.load(path, weights_only=True) for path in paths)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def dice_of(server: Server, name: str, number: int, row: dict) -> float:
    """Of any finding of one phantom, by the mask that the app sends."""
    import SimpleITK

    image = f"{MODELS[name][1]}_{number:03d}"
    body = {"params": json.dumps(INFER)}
    answer = requests.post(f"{server.url}/infer/{name}?image={image}&output=image", data=body, timeout=600)
    assert answer.ok, answer.text[:300]
    path = FOLDER / f"{image}_seg.nrrd"
    path.write_bytes(answer.content)
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))).T
    truth, _ = true_numbers(row)
    found, truth = found.reshape(truth.shape) > 0, truth > 0
    assert found.any()
    return float(2 * np.sum(found & truth) / (found.sum() + truth.sum()))


def main(argv: list[str]) -> int:
    """Runs all checks; returns 0 where all hold."""
    wanted = {"unimedi_pretrain", *(f"unimedi_{bundle}" for bundle, _, _ in MODELS.values())}
    archives = [path for path in zips(argv) if path.stem.split("_v")[0] in wanted]
    shutil.rmtree(FOLDER, ignore_errors=True)
    download(archives, FOLDER)
    _label.ENCODER = FOLDER / "unimedi_pretrain" / "models"
    rows = phantoms(COUNT)
    studies = studies_of(FOLDER / "studies", rows)
    steps, found = Steps(), {}
    with Server(studies, FOLDER / "app", options=("--conf", "bundles", str(FOLDER))) as server:
        for name, (_, _, kind) in MODELS.items():
            with steps.step(f"{name}: weights of the download"):
                check_weights(server, name)
            with steps.step(f"{name}: masks of {COUNT} phantoms"):
                found[name] = np.mean([dice_of(server, name, n, row) for n, row in enumerate(rows[kind])])
    shown = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    return steps.end(f"MONAI Label on downloaded bundles, Dice of any finding {shown}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
