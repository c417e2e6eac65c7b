# SPDX-License-Identifier: Apache-2.0
"""Acceptance: the commands of the four downstream READMEs, as typed, in a copy of the bundles.

    python tests/acceptance/downstream_readme.py [BUNDLE ...]

Each README's commands run from the copy's root with their own defaults, network included; only the run is made
short (two steps, few phantoms). The demo's weights are a random tower of the demo's size. Here run those that need a
process of their own: training, evaluation, inference, ``torchrun`` with two gloo processes in place of GPUs,
``verify_net_in_out``, ``ckpt_export``. The others (own images, overlays, protocols) run in the fast tier, on made-up
files in the corpora's official layouts. After the training ``monai.bundle.load`` must give every tensor of
``model.pt``. Two processes with half the batch each must have the classification's losses of one process with
the whole batch; Dice over a batch is no mean over its halves, so the segmentation's are shown only. The last line
holds the counts and the differences.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import monai.bundle
import torch
from _bundle import OUTPUT, copy_bundles, execute, load
from monai.bundle import ConfigParser

from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder

FOLDER = OUTPUT / "downstream_readme"
BUNDLES = ("classification_2d", "classification_3d", "segmentation_2d", "segmentation_3d")
TOLERANCE = 1e-5
IN_THE_FAST_TIER = ("LIST.json", "linear_probe.json", "frozen.json", "--label_fraction")
EXACT = ["--amp", "false", "--augment_prob", "0.0"]


def short(bundle: str) -> list[str]:
    """Options that make a training short."""
    source = bundle[-2:]
    counts = {"training": 48 if bundle.startswith("c") else 64, "validation": 8, "test": 8}
    options = ["--num_steps", "2", "--steps_per_epoch", "2", "--history_interval", "1", "--batch_size", "4"]
    for name, count in counts.items():
        options += [f"--phantom#num_{name}", str({source: count})]
    return options


def commands(root: Path, bundle: str) -> list[str]:
    """Lines of the README's blocks for the shell that do not run in the fast tier."""
    text = (root / "bundles" / bundle / "docs" / "README.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if not any(word in line for word in IN_THE_FAST_TIER)]


def words_of(line: str) -> list[str]:
    """The command for this interpreter; torchrun with two processes."""
    words = shlex.split(line)
    if words[0] == "torchrun":
        words[words.index("--nproc_per_node") + 1] = "2"
        return [sys.executable, "-m", "torch.distributed.run", "--standalone", *words[1:]]
    assert words[0] == "python", line
    return [sys.executable, *words[1:]]


def save_demo(root: Path) -> None:
    """What `make demo` leaves, untrained."""
    parser = ConfigParser()
    parser.read_config(str(root / "bundles" / "pretrain" / "configs" / "inference.json"))
    torch.manual_seed(0)
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, UniMediImageEncoder)
    target = root / "output" / "demo" / "models" / "model.pt"
    target.parent.mkdir(parents=True)
    torch.save(network.state_dict(), target)


def options_for(line: str, bundle: str, number: int) -> list[str]:
    """What is added to a command: its shortness, and folders of its own for a further training."""
    if is_training(line):
        exact = EXACT if "--pretrained" not in line else []  # compared with each other
        folder = f"bundles/{bundle}/output/{number}"
        folders = ["--output_dir", folder, "--model_dir", f"{folder}/models"] if number else []
        return [*short(bundle), *exact, *folders]
    return []


def is_training(line: str) -> bool:
    return "configs/train.json" in line


def run_bundle(root: Path, bundle: str) -> tuple[int, float]:
    """Runs one README; returns how many commands ran and how far two processes were from one."""
    lines = commands(root, bundle)
    phantoms = ["--phantom_dir", f"bundles/{bundle}/output/phantom"]
    trainings: dict[str, Path] = {}
    plain = f"python -m monai.bundle run --config_file bundles/{bundle}/configs/train.json"
    lines += [] if plain in lines else [plain]  # what two processes are compared with
    for number, line in enumerate(sorted(lines, key=lambda line: not is_training(line))):
        words = [*words_of(line), *options_for(line, bundle, number)]
        words += phantoms if is_training(line) or "evaluate.json" in line else []
        if "inference.json" in line:
            phantom = root / "bundles" / bundle / "output" / "phantom"
            copy_images(phantom / bundle[-2:] / "test", root / f"images_{bundle}")
        words = [f"images_{bundle}" if word in ("DATA", "IMAGES") else word for word in words]
        execute(words, root, FOLDER / bundle / f"{number}.log")
        print(f"{bundle}: {line}", flush=True)
        if is_training(line):
            kind = "two" if "torchrun" in line else "one" if "--pretrained" not in line else "pretrained"
            trainings[kind] = root / "bundles" / bundle / "output" / (str(number) if number else ".")
    check_written(root / "bundles" / bundle)
    check_load(root / "bundles", bundle)
    return len(lines), gap(trainings["one"], trainings["two"])


def copy_images(phantoms: Path, folder: Path) -> None:
    """Two of the test's images, without their masks."""
    folder.mkdir(exist_ok=True)
    for path in sorted(path for path in phantoms.iterdir() if "mask" not in path.name)[:2]:
        shutil.copy(path, folder)


def check_written(folder: Path) -> None:
    """What the commands say they write."""
    output = folder / "output"
    predicted = ["inference/predictions.csv"] if "class" in folder.name else ["inference/segments.csv"]
    models = ["../models/model.pt", "../models/model.ts"]
    for name in ("metrics.json", "report.html", "history.jsonl", *predicted, *models):
        if not (output / name).is_file():
            raise SystemExit(f"{folder.name}: its commands must write {name}, did not")


def check_load(bundles: Path, bundle: str) -> None:
    """`monai.bundle.load` gives the trained tensors, which are not a fresh network's."""
    trained = load(bundles / bundle / "models" / "model.pt")
    network: Any = monai.bundle.load(bundle, bundle_dir=str(bundles), source="github", device="cpu")
    found = network.state_dict()
    if found.keys() != trained.keys() or not all(torch.equal(found[key], trained[key]) for key in trained):
        raise SystemExit(f"{bundle}: monai.bundle.load must give every tensor of model.pt")


def gap(one: Path, two: Path) -> float:
    """The largest difference of a step's loss."""
    curves = [[json.loads(line) for line in (f / "history.jsonl").read_text().splitlines()] for f in (one, two)]
    losses = [[line["loss"] for line in curve if "loss" in line] for curve in curves]
    assert len(losses[0]) == len(losses[1]) == 2, losses
    return max(abs(a - b) for a, b in zip(*losses))


def main(chosen: list[str]) -> int:
    """Runs the READMEs; returns 0 where all hold."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    root = copy_bundles(FOLDER / "repository")
    save_demo(root)
    found = {bundle: run_bundle(root, bundle) for bundle in chosen or BUNDLES}
    gaps = {bundle: apart for bundle, (_, apart) in found.items()}
    holds = all(apart <= TOLERANCE for bundle, apart in gaps.items() if bundle.startswith("classification"))
    shown = ", ".join(f"{bundle} {apart:.1e}" for bundle, apart in gaps.items())
    count = sum(number for number, _ in found.values())
    print(f"downstream READMEs: {count} commands ran in {len(found)} bundles; two processes differ from one by {shown}")
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
