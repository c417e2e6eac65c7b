# SPDX-License-Identifier: Apache-2.0
"""Acceptance: shards of all real images, killed five times on the way, are those of one run, and train alike.

    python tests/acceptance/convert_resume.py [--kills 5] [--jobs 2]

Datalists of X-rays and CTs are made from the manifests in ``../shared/data`` (or where UNIMEDI_REAL_DATA
says), with what is no X-ray or CT left among them. ``convert`` runs once to the end and once killed
(SIGKILL to all its processes) after random numbers of new shards; every file must be equal. Every stored
image must lie within half a step of the bundle's own transforms. A few steps of ``train.json`` from files
and from shards must give the same losses within what quantisation moves them. The last line holds the
numbers.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from _bundle import OUTPUT, REPOSITORY, command, copy_bundles, execute
from monai.bundle import ConfigParser

sys.path.insert(0, str(REPOSITORY))

from monai_unimedi.data.datalist import load_datalist
from monai_unimedi.data.dataset import SourcesDataset

FOLDER = OUTPUT / "convert_resume"
XRAY_SIZE, SPACING, VOXELS = 96, [4.0, 4.0, 8.0], [48, 48, 16]
SIZES = {
    "2d": ["--xray_size", str(XRAY_SIZE)],
    "3d": ["--ct_spacing", *map(str, SPACING), "--ct_size", *map(str, VOXELS)],
}
TRAINING = {
    "xray_size": XRAY_SIZE, "ct_size": VOXELS, "spacing": SPACING, "num_steps": 4, "steps_per_epoch": 4,
    "batch_2d": 8, "batch_3d": 8, "history_interval": 1, "val_interval": 1000, "save_interval": 0,
    "amp": "false", "hidden_size": 64, "mlp_dim": 128, "num_layers": 2, "on_bad_report": "drop",
}  # fmt: skip
FIRST_LOSS, LATER_LOSS = 2e-3, 5e-2


def main() -> int:
    """Returns 0 where everything holds, or there are no real images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    data = Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    if not data.is_dir():
        print(f"convert_resume: skipped, no real images at {data}: set UNIMEDI_REAL_DATA")
        return 0
    shutil.rmtree(FOLDER, ignore_errors=True)
    lists = datalists(data)
    facts = [whole_and_parts(source, path, data, arguments) for source, path in lists.items()]
    gaps = {source: largest_gap(source, path, data) for source, path in lists.items()}
    one, other = (losses(name, data, paths) for name, paths in training_lists(lists).items())
    moved = [abs(a - b) for a, b in zip(one, other)]
    kills, wrong = sum(k for k, _ in facts), sum(w for _, w in facts)
    holds = (
        not wrong and max(gaps.values()) <= 0.5 + 1e-3 and moved[0] < FIRST_LOSS and max(moved) < LATER_LOSS
    )
    print(
        f"convert_resume: {kills} kills, {wrong} files differ from one run; images within "
        f"{gaps['2d']:.3f} grey levels and {gaps['3d']:.3f} HU of the files'; losses of {len(moved)} steps "
        f"from shards and files differ by {moved[0]:.1e} at first, at most {max(moved):.1e}"
    )
    return int(not holds)


def datalists(data: Path) -> dict[str, Path]:
    """One list a dimension, of every row of every manifest that names an image, and of the DICOM X-rays."""
    rows: dict[str, list[dict[str, Any]]] = {"2d": [], "3d": []}
    for manifest in sorted(data.glob("*/manifest.csv")):
        folder = manifest.parent.name
        for row in csv.DictReader(manifest.open(encoding="utf-8")):
            if row["path"] and row["dimension"] in rows:
                text = row.get("report_text") or row.get("derived_text") or "No text of this image."
                patient = f"{folder}-{row.get('patient') or row['path']}"
                image = f"{folder}/{row['path']}"
                rows[row["dimension"]].append({"image": image, "report": text, "patient": patient})
    rows["3d"].append({"image": "thorax_organs/cxr.nii.gz", "report": "A whole thorax on CT."})
    FOLDER.mkdir(parents=True)
    for source, found in rows.items():
        print(f"{source}: {len(found)} images", flush=True)
        (FOLDER / f"{source}.json").write_text(json.dumps({"training": found}))
    return {source: FOLDER / f"{source}.json" for source in rows}


def whole_and_parts(source: str, path: Path, data: Path, arguments: argparse.Namespace) -> tuple[int, int]:
    """Kills, and files that differ."""
    words = [sys.executable, "-m", "monai_unimedi", "convert", str(path), "--dataset_dir", str(data)]
    words += [*SIZES[source], "--jobs", str(arguments.jobs), "--output"]
    whole, parts = FOLDER / f"{source}_whole", FOLDER / f"{source}_parts"
    run([*words, str(whole)])
    total = len(list(whole.glob("*/shard.json")))
    share = -(-arguments.kills // 2) if source == "2d" else arguments.kills // 2
    targets = sorted(np.random.RandomState(0).choice(max(total - 1, share), share, replace=False).tolist())
    for target in targets:
        kill_when([*words, str(parts)], parts, target)
    run([*words, str(parts)])
    one, other = tree(whole), tree(parts)
    wrong = [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]
    print(f"{source}: {total} shards, {share} kills, {len(wrong)} files differ {wrong[:5]}", flush=True)
    return share, len(wrong)


def run(words: list[str]) -> None:
    """To the end; rows that are left out (status 1) are part of the result."""
    if start(words).wait() not in (0, 1):
        raise SystemExit(f"convert_resume: {' '.join(words)} failed, see {FOLDER / 'convert.log'}")


def start(words: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    with (FOLDER / "convert.log").open("ab") as log:
        return subprocess.Popen(words, start_new_session=True, stdout=log, stderr=log, env=environment)


def kill_when(words: list[str], folder: Path, target: int) -> None:
    """Kills the conversion and its workers when it has made more shards than `target`."""
    process = start(words)
    while len(list(folder.glob("*/shard.json"))) <= target:
        if process.poll() is not None:
            raise SystemExit("convert_resume: the conversion ended before it could be killed")
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    print(f"killed with {len(list(folder.glob('*/shard.json')))} shards done", flush=True)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def largest_gap(source: str, path: Path, data: Path) -> float:
    """Largest difference between a stored image and the bundle's own, in grey levels or HU."""
    config = json.loads((REPOSITORY / "bundles/pretrain/configs/inference.json").read_text())
    parser = ConfigParser(config | {"xray_size": XRAY_SIZE, "ct_size": VOXELS, "spacing": SPACING})
    chain = parser.get_parsed_content(f"preprocessing#{source}")
    rows = load_datalist(FOLDER / f"{source}_whole")
    dataset = SourcesDataset({source: rows}, {source: chain}, cache_dtype="float32")
    files = {row["id"]: row["image"] for row in load_datalist(path, base_dir=data)}
    unit = 255 if source == "2d" else 1500
    every = max(1, len(rows) // 60)
    numbers = range(0, len(rows), every)
    gaps = [
        float((dataset[i]["image"] - chain({"image": files[rows[i]["id"]]})["image"]).abs().max())
        for i in numbers
    ]
    return max(gaps) * unit


def training_lists(lists: dict[str, Path]) -> dict[str, dict[str, Path]]:
    """The rows that were converted, as files and as shards."""
    files = {}
    for source, path in lists.items():
        kept = {row["id"] for row in load_datalist(FOLDER / f"{source}_whole")}
        rows = [row for row in json.loads(path.read_text())["training"] if row["image"] in kept]
        files[source] = FOLDER / f"{source}_kept.json"
        files[source].write_text(json.dumps({"training": rows}))
    return {"files": files, "shards": {source: FOLDER / f"{source}_whole" for source in lists}}


def losses(name: str, data: Path, paths: dict[str, Path]) -> list[float]:
    """Of each step of a short training."""
    root, output = copy_bundles(FOLDER / f"train_{name}"), FOLDER / f"run_{name}"
    options = {**TRAINING, "output_dir": output, "model_dir": output / "models", "dataset_dir": data}
    options |= {f"datalist_{source}": path for source, path in paths.items()}
    words = [
        w for k, v in options.items() for w in (f"--{k}", json.dumps(v) if isinstance(v, list) else str(v))
    ]
    execute(command("bundles/pretrain/configs/train.json", *words), root, FOLDER / f"train_{name}.log")
    lines = [json.loads(line) for line in (output / "history.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


if __name__ == "__main__":
    sys.exit(main())
