# SPDX-License-Identifier: Apache-2.0
"""Acceptance 6: every MONAI verb works on the bundle.

    python tests/acceptance/verbs.py [--schema ../shared/schema]

On a copy of the bundle: ``verify_metadata`` against the schema's file, ``run`` (a short training with
``--tracking mlflow``, evaluation, inference), ``verify_net_in_out``, ``ckpt_export``, and ``load`` in Python,
where every tensor of the tower must come from the file and differ from a new network's. The last line holds
the verbs that worked.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from _bundle import OUTPUT, REPOSITORY, SHORT, command, copy_bundles, execute, load
from monai.bundle import ConfigParser
from monai.bundle import load as load_bundle

FOLDER = OUTPUT / "verbs"
ROOT = FOLDER / "repository"
BUNDLE = ROOT / "bundles" / "pretrain"
CONFIGS = "bundles/pretrain/configs"
META = ["--meta_file", f"{CONFIGS}/metadata.json"]
NETWORK = ["--config_file", f"{CONFIGS}/inference.json"]


def main() -> int:
    """Runs the verbs one after the other; returns 0 where all work."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schema", type=Path, default=REPOSITORY.parent / "shared" / "schema")
    schema = parser.parse_args().schema
    copy_bundles(ROOT)
    verbs: dict[str, Callable[[], None]] = {
        "verify_metadata": lambda: verify_metadata(schema),
        "run train.json --tracking mlflow": train,
        "run evaluate.json": evaluate,
        "run inference.json": infer,
        "verify_net_in_out": lambda: verb("verify_net_in_out", "--net_id", "network_def", *META, *NETWORK),
        "ckpt_export": export,
        "load": load_changes_tensors,
    }
    failed = [name for name, check in verbs.items() if not holds(name, check)]
    result = f"; failed: {', '.join(failed)}" if failed else ""
    print(f"verbs: {len(verbs) - len(failed)} of {len(verbs)} work ({', '.join(verbs)}){result}")
    return int(bool(failed))


def holds(name: str, check: Callable[[], None]) -> bool:
    """Whether a check ends without an error; prints the error."""
    try:
        check()
    except (SystemExit, Exception) as error:
        print(f"{name}: {type(error).__name__}: {error}", flush=True)
        return False
    print(f"{name}: ok", flush=True)
    return True


def verb(name: str, *options: str) -> None:
    execute([sys.executable, "-m", "monai.bundle", name, *options], ROOT, FOLDER / f"{name}.log")


def run(config: str, *options: str) -> None:
    execute(command(f"{CONFIGS}/{config}.json", *options), ROOT, FOLDER / f"run_{config}.log")


def verify_metadata(schema: Path) -> None:
    """Against the schema of the version that the metadata names, without a network."""
    url = json.loads((BUNDLE / "configs" / "metadata.json").read_text())["schema"]
    file = schema / url.rsplit("/", 1)[-1] if schema.is_dir() else schema
    if not file.is_file():
        raise FileNotFoundError(f"{file} must hold the schema: name it with --schema")
    verb("verify_metadata", *META, "--filepath", str(file))


def train() -> None:
    """A short training; MLflow must hold its losses."""
    run("train", *SHORT, "--tracking", "mlflow")
    stored = [path for path in ROOT.rglob("*") if path.name == "train_loss" and path.parent.name == "metrics"]
    databases = [path for path in ROOT.rglob("*.db") if {"train_loss", "retrieval"} <= logged_metrics(path)]
    if not stored and not databases:
        raise ValueError(f"MLflow must hold the run's losses, found none below {ROOT}")


def logged_metrics(database: Path) -> set[str]:
    """Names of the metrics in an SQLite store of MLflow."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("SELECT DISTINCT key FROM metrics")}


def evaluate() -> None:
    run("evaluate")
    metrics = json.loads((BUNDLE / "output" / "metrics.json").read_text())
    if "retrieval" not in metrics or not (BUNDLE / "output" / "report.html").is_file():
        raise ValueError(f"evaluate.json must write metrics.json and report.html into {BUNDLE / 'output'}")


def infer() -> None:
    """Embeds an X-ray and a CT."""
    phantom = BUNDLE / "output" / "phantom"
    run("inference", "--images", f"['{phantom}/2d/test/000000.png','{phantom}/3d/test/000000.nii']")
    if not any((BUNDLE / "output" / "inference").rglob("*.*")):
        raise ValueError(f"inference.json must write into {BUNDLE / 'output' / 'inference'}, found nothing")


def export() -> None:
    """To TorchScript, which must give the embedding of the network that was exported."""
    model, script = BUNDLE / "models" / "model.pt", FOLDER / "model.ts"
    options = ["--net_id", "network_def", "--filepath", str(script), "--ckpt_file", str(model)]
    verb("ckpt_export", *options, *META, *NETWORK)
    network = new_network()
    network.load_state_dict(load(model))
    image = torch.rand(1, 1, 48, 48, 16)
    exported = torch.jit.load(str(script)).eval()
    with torch.no_grad():
        gap = float((exported(image) - network.eval()(image)).abs().max())
    if gap > 1e-5:
        raise ValueError(f"the exported network must give the same embedding, it differs by {gap:.1e}")


def load_changes_tensors() -> None:
    """`monai.bundle.load` says nothing where nothing fits, so the tensors are compared."""
    stored, new = load(BUNDLE / "models" / "model.pt"), new_network().state_dict()
    loaded = load_bundle(name="pretrain", bundle_dir=str(BUNDLE.parent), source="github").state_dict()
    if loaded.keys() != stored.keys():
        raise ValueError(f"names must be those of the file, these are not: {loaded.keys() ^ stored.keys()}")
    other = [name for name in stored if not torch.equal(loaded[name], stored[name])]
    changed = [name for name in stored if name in new and not torch.equal(loaded[name], new[name])]
    if other or not changed:
        raise ValueError(f"{len(other)} of {len(stored)} tensors are not the file's, {len(changed)} changed")
    print(f"load: {len(changed)} of {len(stored)} tensors changed, all are the file's")


def new_network() -> torch.nn.Module:
    """`network_def` of inference.json, untrained."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLE / "configs" / "inference.json"))
    network = parser.get_parsed_content("network_def")
    assert isinstance(network, torch.nn.Module)
    return network


if __name__ == "__main__":
    sys.exit(main())
