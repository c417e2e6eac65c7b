# SPDX-License-Identifier: Apache-2.0
"""MONAI's verbs on the bundle: metadata, network, export, load, MLflow, and the command line itself."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import jsonschema
import monai.bundle
import pytest
import torch
from monai.bundle import ConfigParser, ckpt_export, verify_net_in_out

import monai_unimedi
from tests.bundles.conftest import CONFIGS, SIZES, TINY, Bundle

META = str(CONFIGS / "metadata.json")
INFERENCE = str(CONFIGS / "inference.json")


def metadata() -> dict:
    return json.loads(Path(META).read_text())


def test_metadata_names_the_version_and_fits_the_schema(repository: Path) -> None:
    assert metadata()["version"] == monai_unimedi.__version__
    assert metadata()["version"] in metadata()["changelog"]
    schema = repository.parent / "shared" / "schema" / metadata()["schema"].rsplit("/", 1)[-1]
    if not schema.is_file():
        pytest.skip(f"no schema at {schema}")
    jsonschema.validate(metadata(), json.loads(schema.read_text()))


def test_metadata_has_the_sizes_of_the_configs() -> None:
    inference, formats = json.loads(Path(INFERENCE).read_text()), metadata()
    ct = formats["network_data_format"]["inputs"]["image"]
    assert ct["spatial_shape"] == inference["ct_size"]
    assert ct["spacing_mm"] == inference["spacing"]
    assert ct["hounsfield_window"] == inference["hu_range"]
    xray = formats["xray_data_format"]["inputs"]["image"]
    assert xray["spatial_shape"] == [inference["xray_size"]] * 2
    for name in ("network", "xray", "text_encoder"):
        pred = formats[f"{name}_data_format"]["outputs"]["pred"]
        assert pred["num_channels"] == inference["embed_dim"]


@pytest.mark.parametrize("config", ["train.json", "inference.json"])
@pytest.mark.parametrize("kind", ["network_data_format", "xray_data_format"])
def test_network_takes_and_gives_what_the_metadata_says(kind: str, config: str) -> None:
    block = {"_meta_#network_data_format": metadata()[kind]}
    verify_net_in_out("network_def", META, str(CONFIGS / config), "cpu", **block)


def test_export_gives_the_same_embedding(trained: Bundle, tmp_path: Path) -> None:
    model = trained.output_dir / "models" / "model.pt"
    sizes = {f"{name}": value for name, value in SIZES.items()}
    script = tmp_path / "model.ts"
    ckpt_export("network_def", str(script), str(model), META, INFERENCE, **sizes)
    parser = ConfigParser()
    parser.read_config(INFERENCE)
    parser.update(sizes)
    network = parser.get_parsed_content("network_def").eval()
    network.load_state_dict(torch.load(model, weights_only=True))
    exported = torch.jit.load(str(script)).eval()
    for shape in ((1, 1, 72, 72), (2, 1, 48, 48, 16)):
        image = torch.rand(shape)
        torch.testing.assert_close(exported(image), network(image), atol=1e-5, rtol=1e-5)


def test_load_gives_the_trained_tower(trained: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder that is neither the repository's root nor the bundle, as after a download."""
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "pretrain"
    shutil.copytree(CONFIGS, copy / "configs")
    shutil.copytree(trained.output_dir / "models", copy / "models")
    stored = torch.load(copy / "models" / "model.pt", weights_only=True)
    network = monai.bundle.load(
        "pretrain", bundle_dir=str(tmp_path), source="github", device="cpu", net_override=dict(SIZES)
    )
    assert isinstance(network, torch.nn.Module)
    loaded = network.state_dict()
    assert loaded.keys() == stored.keys()
    assert all(torch.equal(loaded[name], stored[name]) for name in stored)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pretrain"]
    assert sorted(path.name for path in copy.iterdir()) == ["configs", "models"]


def test_command_runs_from_another_folder_with_mlflow(trained: Bundle, tmp_path: Path) -> None:
    """The one test of the command line; it needs `--bundle_root` there, and MLflow's default store."""
    options = {name: value for name, value in TINY.items() if name not in ("num_steps", "steps_per_epoch")}
    options |= {"num_steps": 1, "steps_per_epoch": 1, "phantom_dir": trained.places["phantom_dir"]}
    options |= {"output_dir": "here", "model_dir": "here/models", "tracking": "mlflow"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", str(CONFIGS / "train.json")]
    root = ["--bundle_root", str(CONFIGS.parent)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(
        [*command, *root, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert {"resume.pt", "models", "training.json"} <= {path.name for path in (tmp_path / "here").iterdir()}
    with sqlite3.connect(tmp_path / "here" / "mlruns.db") as database:
        names = {name for (name,) in database.execute("select distinct key from metrics")}
    assert {"train_loss", "retrieval"} <= names
