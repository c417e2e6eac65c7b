# SPDX-License-Identifier: Apache-2.0
"""Each protocol's command of the READMEs trains on the list that ``prepare`` makes of the official layout.

The files are made up and tiny, and so are network and images; everything else is the overlay's. Evaluation and
inference follow with the same overlay.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from tests.data.corpora import files, trees_2d, trees_3d
from tests.data.corpora.prepared import prepare

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NETWORK: dict[str, Any] = {"hidden_size": 24, "mlp_dim": 24, "num_heads": 2, "num_layers": 4}
STEPS: dict[str, Any] = {
    "num_steps": 2, "steps_per_epoch": 1, "batch_size": 2, "history_interval": 1, "save_interval": 0, "device": "cpu",
}  # fmt: skip
SIZES: dict[str, dict[str, Any]] = {
    "classification_2d": {"xray_size": 32},
    "classification_3d": {"ct_size": [32, 32, 16]},
    "segmentation_2d": {"xray_size": 32, "feature_size": 2},
    "segmentation_3d": {"roi_size": [32, 32, 32], "feature_size": 2},
}


def covidx(root: Path) -> Path:
    """Lists of three classes, as up to COVIDx5."""
    kinds = ("normal", "pneumonia", "COVID-19")
    for split, count in (("train", 15), ("test", 3)):
        lines = [f"{split}{n} {split}{n}.png {kinds[n % 3]}" for n in range(count)]
        files.text(root / f"{split}_COVIDx5.txt", "\n".join(lines))
        for number in range(count):
            files.picture(root / split / f"{split}{number}.png")
    return root


def cc_ccii(root: Path) -> Path:
    """Three patients a class without lists."""
    for kind in ("NCP", "CP", "Normal"):
        for patient in range(1, 5):
            for index in range(12):
                files.picture(root / kind / str(patient) / "10" / f"{index}.png", value=20 * index)
    return root


def msd(root: Path) -> Path:
    """The tree of the tests of ``prepare``, its masks with the numbers of the task."""
    trees_3d.msd(root)
    for path in (root / "Task06_Lung" / "labelsTr").glob("lung_*.nii.gz"):
        image: Any = nibabel.load(path)
        mask = (np.asarray(image.dataobj) % 3 == 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(mask, image.affine), path)
    return root


CORPORA: dict[tuple[str, str], tuple[Callable[[Path], Path], tuple[str, ...]]] = {
    ("classification_2d", "chexpert"): (trees_2d.chexpert, ("--retrieval", "0")),
    ("classification_2d", "rsna"): (trees_2d.rsna, ("--test", "0.5")),
    ("classification_2d", "covidx"): (covidx, ()),
    ("classification_3d", "cc_ccii"): (cc_ccii, ()),
    ("classification_3d", "ricord"): (trees_3d.ricord, ()),
    ("classification_3d", "luna16"): (trees_3d.luna16, ("--validation_subset", "6", "--test_subset", "8")),
    ("segmentation_2d", "rsna"): (trees_2d.rsna, ()),
    ("segmentation_2d", "siim"): (trees_2d.siim, ()),
    ("segmentation_3d", "btcv"): (trees_3d.btcv, ()),
    ("segmentation_3d", "msd"): (msd, ()),
}


def config(bundle: str, name: str) -> dict[str, Any]:
    return json.loads((BUNDLES / bundle / "configs" / f"{name}.json").read_text())


def protocol_commands() -> list[tuple[str, str, str]]:
    """Bundle, protocol and command of each line of the READMEs that names a protocol's overlay."""
    found = []
    for bundle in SIZES:
        text = (BUNDLES / bundle / "docs" / "README.md").read_text()
        for block in re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
            for line in block.splitlines():
                names = re.findall(r"configs/(\w+)\.json", line)
                found += [(bundle, name, line) for name in names if (bundle, name) in CORPORA]
    return found


COMMANDS = protocol_commands()


def test_each_overlay_of_a_protocol_has_its_command_and_its_corpus() -> None:
    assert sorted((bundle, name) for bundle, name, _ in COMMANDS) == sorted(CORPORA)
    others = {"train", "evaluate", "inference", "metadata", "multi_gpu_train", "linear_probe", "frozen"}
    overlays = {(b, path.stem) for b in SIZES for path in (BUNDLES / b / "configs").glob("*.json")}
    assert {(b, name) for b, name in overlays if name not in others} == set(CORPORA)


@pytest.mark.parametrize(("bundle", "protocol"), list(CORPORA))
def test_overlay_takes_the_weights_of_the_full_pretraining(bundle: str, protocol: str) -> None:
    overlay, paper = config(bundle, protocol), config("pretrain", "train") | config("pretrain", "paper")
    tower = {"patch_size", "num_depths", "hidden_size", "mlp_dim", "num_layers", "num_heads", "norm_eps"}
    tower |= {"score_weighting"} | (set() if bundle == "segmentation_3d" else {"patch_depth"})  # UNETR's is 16
    assert {key: overlay[key] for key in tower} == {key: paper[key] for key in tower}


@pytest.mark.parametrize(("bundle", "protocol", "command"), COMMANDS, ids=[f"{b}-{p}" for b, p, _ in COMMANDS])
def test_protocol_trains_is_judged_and_infers_on_the_list_that_prepare_writes(
    bundle: str, protocol: str, command: str, tmp_path: Path
) -> None:
    make, options = CORPORA[bundle, protocol]
    root = make(tmp_path / "root")
    lists = prepare(protocol, root, tmp_path / "lists", *options).output
    places = {
        "LIST.json": str(lists / f"datalist_{bundle[-2:]}.json"),
        "DATA": str(root),
        "MODEL": save_tower(bundle, tmp_path),
    }
    words = [places.get(word, word) for word in shlex.split(command)]
    given = dict(zip((word.removeprefix("--") for word in words[4::2]), words[5::2], strict=True))
    names = re.findall(r"configs/(\w+)\.json", given.pop("config_file"))
    assert names == ["train", protocol]
    run(bundle, names, tmp_path, **given, **STEPS)
    lines = [json.loads(line) for line in (tmp_path / "output" / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert all(math.isfinite(line["loss"]) for line in lines if "loss" in line)
    del given["pretrained"]
    assert "95 % interval" in run(bundle, ["evaluate", protocol], tmp_path, **given, device="cpu")
    if protocol != "luna16":  # candidates need their points, which files do not have
        images = images_of(bundle, json.loads(Path(given["datalist"]).read_text()), root)
        run(bundle, ["inference", protocol], tmp_path, images=images, device="cpu")
        assert list((tmp_path / "output").glob("predictions.csv" if "class" in bundle else "masks/**/*_seg.*"))


def test_luna16_has_no_inference_and_says_so_before_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "ct.nii").write_bytes(b"no image")
    with pytest.raises(SystemExit, match=r"no inference around points.* Run evaluate\.json"):
        run("classification_3d", ["inference", "luna16"], tmp_path, dataset_dir=str(tmp_path), device="cpu")
    with pytest.raises(SystemExit):
        run("classification_3d", ["inference", "luna16"], tmp_path, dataset_dir=str(tmp_path / "none"), device="cpu")


def test_luna16_learns_candidates_in_batches_of_nodules_and_others_alike(tmp_path: Path) -> None:
    root = trees_3d.luna16(tmp_path / "root")
    options = ("--validation_subset", "6", "--test_subset", "8")
    lists = prepare("luna16", root, tmp_path / "lists", *options).output
    given = {"datalist": str(lists / "datalist_3d.json"), "dataset_dir": str(root), "device": "cpu", "batch_size": 2}
    parser = workflow("classification_3d", ["train", "luna16"], tmp_path, **given).parser
    rows = parser.get_parsed_content("rows")["training"]
    assert len(rows) == 35  # five candidates of each of seven scans
    assert {len(row["centre"]) for row in rows} == {3}
    sampler = parser.get_parsed_content("train#sampler")
    seen = [rows[row]["label"][0] for step in range(30) for _, row, _ in sampler.requests(step)]
    assert sum(seen) == 30
    assert parser.get_parsed_content("weights") is None
    assert parser.get_parsed_content("train#dataset")[0]["image"].shape == (1, 32, 32, 16)


def save_tower(bundle: str, folder: Path) -> str:
    """What stands for a ViT-B/16: patches as deep as paper.json's, or, converted from 2D, as UNETR's."""
    torch.manual_seed(0)
    tower = UniMediImageEncoder(
        patch_size=(16, 16),
        patch_depth=16 if bundle == "segmentation_3d" else 8,
        grid_size=(14, 14),
        num_depths=32,
        embed_dim=8,
        **NETWORK,
    )
    torch.save(tower.state_dict(), folder / "model.pt")
    return str(folder / "model.pt")


def workflow(bundle: str, names: list[str], folder: Path, **given: Any) -> ConfigWorkflow:
    """A config with its overlay, at the tiny size."""
    configs = [str(BUNDLES / bundle / "configs" / f"{name}.json") for name in names]
    places = {"bundle_root": str(BUNDLES / bundle), "output_dir": str(folder / "output")}
    places |= {"model_dir": str(folder / "output" / "models")}
    kind = "train" if names[0] == "train" else "infer"
    changes = {**places, **NETWORK, **SIZES[bundle], **given}
    made = ConfigWorkflow(configs, logging_file=False, workflow_type=kind, **changes)
    made.initialize()
    return made


def run(bundle: str, names: list[str], folder: Path, **given: Any) -> str:
    """Runs it; returns what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        made = workflow(bundle, names, folder, **given)
        made.run()
        made.finalize()
    return printed.getvalue()


def images_of(bundle: str, lists: dict[str, Any], root: Path) -> list[str]:
    return [str(root / row["image"]) for row in (lists.get("test") or lists["validation"])[:2]]
