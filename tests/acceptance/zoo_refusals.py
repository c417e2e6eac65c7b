# SPDX-License-Identifier: Apache-2.0
"""What was tampered with is refused in one sentence, by ``zoo verify`` and, for weights, at load.

    python tests/acceptance/zoo_refusals.py [ZOO]

ZOO is what ``zoo build`` wrote (default ``output/zoo``). Of each bundle four zips are made: damaged, with another
``model.pt``, with a file outside its folder, with a checkpoint that would run code (and sums inside that fit it, as an
attacker would write them). Each is given to ``zoo verify`` with the published sums and with ``--no_sums``, where its
content alone must give it away. Then the weights are used where they were unpacked: inference, training with
``--pretrained``, ``load_encoder``. Every refusal must be one line, no file may appear outside, no code may run. The
last line holds the count.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from _bundle import OUTPUT, REPOSITORY
from _zoo import clean, images, unpacked, zips

from monai_unimedi.zoo.archive import write_sums, write_zip

FOLDER = OUTPUT / "zoo_refusals"
MARK = FOLDER / "code_ran"
REMEDY = re.compile("download (it|the bundle) again|do not use it|was not loaded")


class Code:
    """What a malicious checkpoint holds."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(MARK),)


def damage(path: Path) -> None:
    """One bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def swap(path: Path) -> None:
    """Other weights of the same names and shapes."""
    weights = bundle_of(path) / "models" / "model.pt"
    tensors = torch.load(weights, weights_only=True)
    torch.save({name: torch.zeros_like(value) for name, value in tensors.items()}, weights)
    write_zip(bundle_of(path), path)


def escape(path: Path) -> None:
    """A file beside the bundle's folder."""
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr(f"{bundle_of(path).name}/../../outside.json", "{}")


def plant(path: Path) -> None:
    """Code in the checkpoint, with sums that fit it."""
    models = bundle_of(path) / "models"
    (models / "model.pt").write_bytes(pickle.dumps(Code()))
    (models / "SHA256SUMS").unlink()
    write_sums(models / "SHA256SUMS", [file for file in models.rglob("*") if file.is_file()])
    write_zip(bundle_of(path), path)


def bundle_of(path: Path) -> Path:
    """Where a zip is unpacked."""
    return path.parent / path.stem.split("_v")[0]


def refused(words: list[str], folder: Path, what: str) -> None:
    """Runs what must be refused: a status, and one line that says why and what to do.

    Of `run` the line is the last one: MONAI's traceback stands above it.
    """
    where = {"cwd": folder, "env": clean(PYTHONPATH=str(REPOSITORY))}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, **where)
    last = (done.stdout + done.stderr).strip().splitlines()[-1]
    lines = done.stdout.strip().splitlines() if "verify" in words else [last]
    holds = done.returncode != 0 and len(lines) == 1 and REMEDY.search(lines[0]) is not None
    if not holds or MARK.exists() or list(FOLDER.rglob("outside.json")):
        raise SystemExit(f"{what} must be refused in one sentence, but: {done.returncode}, {lines or done.stderr}")
    print(f"ok   {what}: {lines[0]}", flush=True)


def loads(name: str, folder: Path, pretrained: str) -> dict[str, list[str]]:
    """Commands that read a bundle's weights."""
    run = ["-m", "monai.bundle", "run", "--config_file"]
    data = images(FOLDER / ("ct" if name.endswith("3d") else "xray"), name.endswith("3d"))
    infer = [*run, f"{name}/configs/inference.json", "--dataset_dir", str(data)]
    if name != pretrained:
        return {"inference": infer}
    load = "from monai_unimedi.encoder import load_encoder; load_encoder('unimedi_pretrain/models')"
    start = ["--pretrained", f"{name}/models/model.pt", "--phantom#num_training", "{'2d': 40}"]
    start += ["--phantom#num_validation", "{'2d': 4}", "--phantom#num_test", "{'2d': 4}"]
    train = [*run, f"{REPOSITORY}/bundles/classification_2d/configs/train.json", "--output_dir", str(folder / "out")]
    return {"inference": infer, "load_encoder": ["-c", load], "--pretrained": [*train, *start]}


def check(archive: Path, kind: Callable[[Path], None], sums: Path) -> int:
    """One zip tampered with in one way; returns the number of refusals."""
    folder = FOLDER / kind.__name__
    folder.mkdir(exist_ok=True)
    path = Path(shutil.copy(archive, folder))
    (bundle,) = unpacked([path], folder)
    kind(path)
    verify = ["-m", "monai_unimedi", "zoo", "verify", path.name]
    ways = {"by published sums": [*verify, "--sums", str(sums)], "by content": [*verify, "--no_sums"]}
    if kind in (swap, plant):
        ways |= loads(bundle.name, folder, "unimedi_pretrain")
    for way, words in ways.items():
        refused(words, folder, f"{bundle.name}, {kind.__doc__.rstrip('.').lower()}, {way}")
    return len(ways)


def main(argv: list[str]) -> int:
    """Runs all checks; returns 0 where all hold."""
    archives = zips(argv)
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    sums = archives[0].with_name("SHA256SUMS")
    count = sum(check(path, kind, sums) for path in archives for kind in (damage, swap, escape, plant))
    print(f"zoo refusals: {count} uses of tampered zips and weights of {len(archives)} bundles refused in one sentence")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
