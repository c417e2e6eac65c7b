# SPDX-License-Identifier: Apache-2.0
"""The oldest and the newest supported versions of monai, torch, transformers and numpy, at smoke size.

    python tests/acceptance/version_matrix.py [oldest] [newest]

An environment each, with the wheel of this tree: ``oldest`` pins the four to the lower bounds of ``setup.cfg``, on the
oldest Python that it allows where this machine has it; ``newest`` takes the newest that the index has (2 to 6 GB each,
removed at the end). There the pre-training, one classification and one segmentation train a few steps, are evaluated
and used on a folder of images, and `verify_net_in_out`, `ckpt_export` and `load` run. The last line holds the versions.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from _bundle import OUTPUT, REPOSITORY, SHORT, copy_bundles
from _zoo import clean, images, install, new_environment

FOLDER = OUTPUT / "version_matrix"
NAMES = ("monai", "torch", "transformers", "numpy")
FEW = ["--num_steps", "2", "--steps_per_epoch", "2", "--history_interval", "1", "--batch_size", "4"]
VERSIONS = "import json, sys, importlib.metadata as m; print(json.dumps([m.version(n) for n in sys.argv[1:]]))"


def bounds() -> dict[str, str]:
    """The lower bounds of the four."""
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    wanted = dict(line.split(">=") for line in setup["options"]["install_requires"].split())
    return {name: wanted[name] for name in NAMES}


def oldest_python() -> str:
    """The interpreter of the oldest supported Python, else this one."""
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    version = setup["options"]["python_requires"].removeprefix(">=")
    found = shutil.which(f"python{version}")
    works = found and subprocess.run([found, "--version"], capture_output=True, check=False).returncode == 0
    return found if found and works else sys.executable


def environment(kind: str) -> Path:
    """The wheel with the oldest or newest versions."""
    wheels = FOLDER / "wheel"
    source = FOLDER / "source"
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "monai_unimedi", source / "monai_unimedi", dirs_exist_ok=True)
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), str(source)]
    subprocess.run(words, check=True, capture_output=True)
    (wheel,) = wheels.glob("*.whl")
    folder = FOLDER / kind
    shutil.rmtree(folder, ignore_errors=True)
    if kind == "oldest":
        pins = [f"{name}=={version}" for name, version in bounds().items()]
        return new_environment(folder, str(wheel), *pins, python=oldest_python())
    python = new_environment(folder, str(wheel))
    install(python, "--upgrade", *NAMES, str(wheel))
    return python


def smoke(kind: str, python: Path) -> int:
    """Runs the commands; returns how many."""
    root = copy_bundles(FOLDER / f"{kind}_bundles")
    run = ["-m", "monai.bundle", "run", "--config_file"]
    images(root / "2d", False)
    images(root / "3d", True)
    count = 0
    for name, short in (("pretrain", SHORT), ("classification_3d", FEW), ("segmentation_2d", FEW)):
        configs, source = f"bundles/{name}/configs", "2d" if name.endswith("2d") else "3d"
        few = [] if name == "pretrain" else phantoms(source)
        probe = ["--probe_rows", "8"] if name == "pretrain" else []
        meta = ["--meta_file", f"{configs}/metadata.json", "--config_file", f"{configs}/inference.json"]
        models = f"bundles/{name}/models"
        export = ["--filepath", f"{models}/model.ts", "--ckpt_file", f"{models}/model.pt", *meta]
        load = f"import monai.bundle; monai.bundle.load('{name}', bundle_dir='bundles', source='github')"
        steps = {
            "train": [*run, f"{configs}/train.json", *short, *few],
            "evaluate": [*run, f"{configs}/evaluate.json", *probe],
            "inference": [*run, f"{configs}/inference.json", "--dataset_dir", source],
            "verify_net_in_out": ["-m", "monai.bundle", "verify_net_in_out", "network_def", *meta],
            "ckpt_export": ["-m", "monai.bundle", "ckpt_export", "network_def", *export],
            "load": ["-c", load],
        }
        for step, words in steps.items():
            execute([str(python), *words], root, f"{kind}_{name}_{step}")
            count += 1
    return count


def phantoms(source: str) -> list[str]:
    counts = {"training": 48 if source == "3d" else 64, "validation": 8, "test": 8}
    return [word for key, n in counts.items() for word in (f"--phantom#num_{key}", str({source: n}))]


def execute(words: list[str], folder: Path, name: str) -> None:
    """Runs a command; its output goes to a log."""
    log = FOLDER / f"{name}.log"
    with log.open("w") as stream:
        done = subprocess.run(words, cwd=folder, env=clean(), stdout=stream, stderr=stream, check=False)
    if done.returncode:
        print(*log.read_text(errors="replace").splitlines()[-15:], sep="\n")
        raise SystemExit(f"{name} ended with {done.returncode}, see {log}")
    print(f"ok   {name}", flush=True)


def check(kind: str) -> str:
    """Versions and count of one environment."""
    python = environment(kind)
    words = [str(python), "-c", VERSIONS, *NAMES]
    versions = json.loads(subprocess.run(words, capture_output=True, text=True, check=True, env=clean()).stdout)
    words = [str(python), "--version"]
    called = re.sub(r"\s+", " ", subprocess.run(words, capture_output=True, text=True, check=True).stdout).strip()
    shown = ", ".join([called, *(f"{name} {version}" for name, version in zip(NAMES, versions))])
    print(f"{kind}: {shown}", flush=True)
    count = smoke(kind, python)
    shutil.rmtree(FOLDER / kind)
    return f"{kind} ({shown}) {count} commands"


def main(chosen: list[str]) -> int:
    """Runs the matrix; returns 0 where all holds."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    print("version matrix: " + "; ".join(check(kind) for kind in chosen or ("oldest", "newest")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
