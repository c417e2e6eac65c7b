# SPDX-License-Identifier: Apache-2.0
"""The segmentation bundles: trained, resumed, judged, loaded, and used on files, in 2D and 3D."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import monai.bundle
import nibabel
import numpy as np
import pytest
import SimpleITK
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow, verify_net_in_out

import monai_unimedi.precision
from monai_unimedi.file_digest import file_digest
from monai_unimedi.networks.checkpoints import with_digest
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from monai_unimedi.networks.nets.segmenter import UniMediSegmenter
from tests.bundles.conftest import SIZES as ENCODER
from tests.bundles.conftest import same

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
TOWER = {key: value for key, value in ENCODER.items() if key != "embed_dim"} | {"num_layers": 3}
SIZES = {**TOWER, "feature_size": 4}
DIMENSIONS = ("2d", "3d")


class SegmentationBundle:
    """Runs one bundle's configs with one output folder."""

    def __init__(self, source: str, output_dir: Path, phantom_dir: Path) -> None:
        self.source = source
        self.root = BUNDLES / f"segmentation_{source}"
        self.output_dir = output_dir
        self.places = {
            "bundle_root": str(self.root),
            "output_dir": str(output_dir),
            "model_dir": str(output_dir / "models"),
            "device": "cpu",
        }
        self.phantom = {"phantom_dir": str(phantom_dir)}
        counts = {"training": 24 if source == "2d" else 60, "validation": 4, "test": 6}
        self.tiny = {
            **SIZES, **self.phantom, "num_steps": 4, "steps_per_epoch": 2, "batch_size": 4, "history_interval": 1,
            "save_interval": 0, **{f"phantom#num_{name}": {source: count} for name, count in counts.items()},
        }  # fmt: skip

    def workflow(self, *names: str, kind: str = "train", **changes: Any) -> ConfigWorkflow:
        files = [str(self.root / "configs" / f"{name}.json") for name in names]
        workflow = ConfigWorkflow(files, logging_file=False, workflow_type=kind, **{**self.places, **changes})
        workflow.initialize()
        return workflow

    def train(self, *overlays: str, **changes: Any) -> ConfigWorkflow:
        workflow = self.workflow("train", *overlays, **{**self.tiny, **changes})
        workflow.run()
        workflow.finalize()
        return workflow

    def evaluate(self, **changes: Any) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.workflow("evaluate", kind="infer", **{**SIZES, **self.phantom, **changes}).run()
        return printed.getvalue()


@pytest.fixture(scope="session", params=DIMENSIONS)
def segmented(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SegmentationBundle:
    """A finished training; do not train it on."""
    folder = tmp_path_factory.mktemp(f"segmentation_{request.param}")
    bundle = SegmentationBundle(request.param, folder / "output", folder / "phantom")
    bundle.train()
    return bundle


def causes(error: BaseException | None) -> str:
    lines = []
    while error is not None:
        lines.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(lines)


def another(segmented: SegmentationBundle, tmp_path: Path) -> SegmentationBundle:
    return SegmentationBundle(segmented.source, tmp_path / "output", Path(segmented.phantom["phantom_dir"]))


def test_training_writes_what_others_load_and_all_properties_are_there(segmented: SegmentationBundle) -> None:
    written = {str(path.relative_to(segmented.output_dir)) for path in segmented.output_dir.rglob("*")}
    assert {"resume.pt", "history.jsonl", "training.json", "models/model.pt", "models/encoder.json"} <= written
    lines = [json.loads(line) for line in (segmented.output_dir / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_val_dice" in line] == [2, 4]
    options = json.loads((segmented.output_dir / "training.json").read_text())["options"]
    assert {"hidden_size": 32, "num_steps": 4, f"phantom#num_test#{segmented.source}": 6}.items() <= options.items()
    assert {"amp"} <= options.keys() <= segmented.tiny.keys() | {"amp"} | {
        f"phantom#num_{part}#{segmented.source}" for part in ("training", "validation", "test")
    }
    assert segmented.workflow("train", **segmented.tiny).check_properties() == []
    assert segmented.workflow("inference", kind="infer", **SIZES).check_properties() == []


@pytest.mark.parametrize("step", [1, 2])
def test_stopped_run_ends_with_the_same_weights(segmented: SegmentationBundle, tmp_path: Path, step: int) -> None:
    bundle = another(segmented, tmp_path)

    def stop(engine: Any) -> None:
        if engine.state.iteration == step + 1:
            raise KeyboardInterrupt

    workflow = bundle.workflow("train", **bundle.tiny)
    workflow.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        workflow.run()
    bundle.train()
    whole, parts = (
        torch.load(each.output_dir / "resume.pt", weights_only=True)["objects"] for each in (segmented, bundle)
    )
    assert [name for name in whole if not same(whole[name], parts[name])] == []


def test_evaluation_prints_a_table_and_writes_metrics_and_one_page(segmented: SegmentationBundle) -> None:
    printed = segmented.evaluate()
    distance = "hd95_file_pixels" if segmented.source == "2d" else "hd95_mm"
    assert "dice_positives" in printed and (distance in printed or f"{distance}: no case has it" in printed)
    metrics = json.loads((segmented.output_dir / "metrics.json").read_text())
    assert {"segmentation", "by_class", "counts", "seconds", "phantom"} <= set(metrics)
    assert metrics["weights"] == {"model.pt": file_digest(segmented.output_dir / "models" / "model.pt")}
    figure = metrics["segmentation"]["dice_all"]
    assert figure["count"] == 6
    assert figure["low"] <= figure["value"] <= figure["high"]
    page = (segmented.output_dir / "report.html").read_text()
    assert 'class="f' in page
    assert not re.search(r"(?:src|href)=\"?https?:", page)


def test_rows_of_a_list_without_validation_and_test_are_judged_where_they_were_not_learnt_from(
    segmented: SegmentationBundle, tmp_path: Path
) -> None:
    bundle, phantom = another(segmented, tmp_path), Path(segmented.phantom["phantom_dir"])
    content = json.loads((phantom / f"datalist_{bundle.source}.json").read_text())
    path = tmp_path / "list.json"
    path.write_text(json.dumps({key: content[key] for key in ("label_names", "training")}))
    places = {"datalist": str(path), "dataset_dir": f"{phantom}/."}
    workflow = bundle.train(**places, seed=1, validation_fraction=0.2, num_steps=2)
    learnt = {row["id"] for row in workflow.parser.get_parsed_content("rows")["training"]}
    parser = bundle.workflow("evaluate", kind="infer", **SIZES, **places).parser
    judged = {row["id"] for row in parser.get_parsed_content("rows")["test"]}
    assert judged and not judged & learnt


def test_evaluation_makes_its_test_set_where_there_is_none(segmented: SegmentationBundle, tmp_path: Path) -> None:
    models = shutil.copytree(segmented.output_dir / "models", tmp_path / "models")
    before = (models / "model.pt").read_bytes()
    counts = {"datalists#phantom_if_none#num_test": {segmented.source: 3}}
    bundle = another(segmented, tmp_path)
    bundle.phantom = {}  # its own folder, as in a download
    assert "dice_all" in bundle.evaluate(model_dir=str(models), **counts)
    metrics = json.loads((bundle.output_dir / "metrics.json").read_text())
    assert metrics["segmentation"]["dice_all"]["count"] == 3
    assert (models / "model.pt").read_bytes() == before


def test_the_test_set_of_evaluation_is_that_of_training() -> None:
    for folder in BUNDLES.iterdir():
        made = json.loads((folder / "configs" / "evaluate.json").read_text())["datalists"]["phantom_if_none"]
        trained = json.loads((folder / "configs" / "train.json").read_text())["phantom"]
        probed = ("num_training", "num_validation") if folder.name == "pretrain" else ()
        for key in ("seed", "num_test", "ct_shape", "xray_shape", *probed):
            assert made[key] == trained[key], (folder.name, key)


def test_predicted_masks_lie_on_the_grid_of_their_files(segmented: SegmentationBundle, tmp_path: Path) -> None:
    folder = Path(segmented.phantom["phantom_dir"]) / segmented.source / "test"
    images = sorted(str(path) for path in folder.iterdir() if "mask" not in path.name)[:2]
    changes = {"images": images, "output_dir": str(tmp_path)} | (
        {"extension": ".nrrd"} if segmented.source == "3d" else {}
    )
    segmented.workflow("inference", kind="infer", **{**SIZES, **changes}).run()
    with (tmp_path / "segments.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 6
    for path, row in zip(images, rows[::6]):
        image, mask = SimpleITK.ReadImage(path), SimpleITK.ReadImage(str(tmp_path / row["file"]))
        assert mask.GetSize() == image.GetSize()
        if segmented.source == "3d":
            assert mask.GetSpacing() == pytest.approx(image.GetSpacing())
            assert mask.GetDirection() == pytest.approx(image.GetDirection())


def test_second_run_does_not_segment_the_masks_of_the_first(segmented: SegmentationBundle, tmp_path: Path) -> None:
    folder = Path(segmented.phantom["phantom_dir"]) / segmented.source / "test"
    shutil.copy(sorted(path for path in folder.iterdir() if "mask" not in path.name)[0], tmp_path)
    for output_dir in (tmp_path / "results", tmp_path):
        for _ in range(2):
            places = {"dataset_dir": str(tmp_path), "output_dir": str(output_dir)}
            segmented.workflow("inference", kind="infer", **SIZES, **places).run()
        assert len(json.loads((output_dir / "segments.json").read_text())) == 6
        shutil.rmtree(output_dir / "masks")


def test_folder_of_the_other_dimension_is_said_to_be_for_the_other_bundle(
    segmented: SegmentationBundle, tmp_path: Path
) -> None:
    other = tmp_path / ("ct.nii" if segmented.source == "2d" else "xray.png")
    other.touch()
    options = {"dataset_dir": str(tmp_path), "output_dir": str(tmp_path / "out")}
    with pytest.raises(RuntimeError) as caught:
        segmented.workflow("inference", kind="infer", **SIZES, **options).run()
    bundles = "_3d" if segmented.source == "2d" else "_2d"
    assert f"('{other.name}') are for the bundles named {bundles}" in causes(caught.value)


@pytest.mark.parametrize("is_skipping", [False, True])
def test_file_that_cannot_be_read_is_named_or_left_out(
    segmented: SegmentationBundle, tmp_path: Path, is_skipping: bool, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(segmented.phantom["phantom_dir"]) / segmented.source / "test"
    good = sorted(path for path in folder.iterdir() if "mask" not in path.name)[0]
    bad = tmp_path / f"bad{good.suffix}"
    bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    options = {"images": [str(bad), str(good)], "output_dir": str(tmp_path / "out"), "skip_unreadable": is_skipping}
    inference = segmented.workflow("inference", kind="infer", **SIZES, **options)
    if not is_skipping:
        with pytest.raises(RuntimeError) as caught:
            inference.run()
        assert f"path '{bad}': " in causes(caught.value)
    else:
        inference.run()
        assert str(bad) in caplog.text
        rows = json.loads((tmp_path / "out" / "segments.json").read_text())
        assert [row["id"] for row in rows[::6]] == [str(good)]
    assert "labels" in json.loads((tmp_path / "out" / "labels.json").read_text())


def test_images_of_several_sizes_and_other_classes_train_and_are_judged(tmp_path: Path) -> None:
    bundle = SegmentationBundle("3d", tmp_path / "output", tmp_path / "none")
    rows = []
    for index, shape in enumerate([(30, 30, 10), (34, 28, 12), (50, 48, 17), (28, 40, 9)]):
        row = {"id": str(index), "patient": str(index), "image": f"ct{index}.nii", "label": f"mask{index}.nii"}
        mask = np.zeros(shape, np.uint8)
        mask[5:20, 5:20, 3:7] = 1
        for name, array in (("image", mask * 500.0 - 700), ("label", mask)):
            affine = np.diag([8.0, 8.0, 20.0, 1.0])
            nibabel.save(nibabel.Nifti1Image(array.astype(np.int16), affine), tmp_path / row[name])
        rows.append(row)
    lists = {"labels": {"0": "background", "1": "lung"}, "training": rows[:3], "validation": rows[2:], "test": rows[2:]}
    (tmp_path / "list.json").write_text(json.dumps(lists))
    options = {
        "datalist": str(tmp_path / "list.json"), "dataset_dir": str(tmp_path), "class_names": ["background", "lung"],
        "class_values": [0, 1], "exclusive": True,
    }  # fmt: skip
    bundle.train(batch_size=1, **options)
    assert "lung" in bundle.evaluate(**options)


def test_pretrained_encoder_is_loaded_and_wrong_sizes_are_refused(
    segmented: SegmentationBundle, tmp_path: Path
) -> None:
    torch.manual_seed(5)
    tower = UniMediImageEncoder(
        patch_size=(12, 12), patch_depth=8, grid_size=(6, 6), num_depths=16, embed_dim=8, **TOWER
    )
    torch.save(tower.state_dict(), tmp_path / "model.pt")
    bundle = another(segmented, tmp_path)
    workflow = bundle.workflow("train", **{**bundle.tiny, "pretrained": str(tmp_path / "model.pt")})
    workflow.parser.get_parsed_content("train#trainer")
    network = workflow.parser.get_parsed_content("network")
    assert torch.equal(network.encoder.vit.mask_token, tower.vit.mask_token)
    settings = workflow.parser.get_parsed_content("settings")
    assert settings["pretrained"] == with_digest(tmp_path / "model.pt") != str(tmp_path / "model.pt")
    with pytest.raises(RuntimeError) as caught:
        bundle.train(pretrained=str(tmp_path / "model.pt"), hidden_size=48)
    assert "must match the network's image tower" in causes(caught.value)
    assert not (bundle.output_dir / "models").exists()


def test_another_network_trains_and_is_judged(segmented: SegmentationBundle, tmp_path: Path) -> None:
    bundle, dims = another(segmented, tmp_path), int(segmented.source[0])
    channels = bundle.workflow("train", **bundle.tiny).parser.get_parsed_content("out_channels")
    unet = {"spatial_dims": dims, "in_channels": 1, "out_channels": channels, "channels": [4, 8], "strides": [2]}
    network = {"_target_": "monai.networks.nets.UNet", **unet}
    bundle.train(network_def=network)
    assert "dice" in bundle.evaluate(network_def=network)


def test_frozen_overlay_trains_what_follows_the_encoder_alone(segmented: SegmentationBundle, tmp_path: Path) -> None:
    bundle = another(segmented, tmp_path)
    workflow = bundle.workflow("train", "frozen", **bundle.tiny)
    before = {k: v.clone() for k, v in workflow.parser.get_parsed_content("network_def").state_dict().items()}
    workflow.run()
    after = workflow.parser.get_parsed_content("network").state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "presence"}


def test_network_is_built_without_data_and_loaded_with_the_trained_weights(
    segmented: SegmentationBundle, tmp_path: Path
) -> None:
    bundle = SegmentationBundle(segmented.source, tmp_path / "output", tmp_path / "phantom")
    assert isinstance(bundle.workflow("train").network_def, UniMediSegmenter)
    assert not (tmp_path / "phantom").exists()
    folder = tmp_path / f"segmentation_{segmented.source}"
    shutil.copytree(bundle.root / "configs", folder / "configs")
    shutil.copytree(segmented.output_dir / "models", folder / "models")
    trained = torch.load(folder / "models" / "model.pt", weights_only=True)
    network = monai.bundle.load(folder.name, bundle_dir=str(tmp_path), source="github")
    assert network.state_dict().keys() == trained.keys()
    assert all(torch.equal(value, trained[key]) for key, value in network.state_dict().items())
    fresh = segmented.workflow("inference", kind="infer", **SIZES).network_def.state_dict()
    assert not all(torch.equal(value, trained[key]) for key, value in fresh.items())


@pytest.mark.parametrize("source", DIMENSIONS)
def test_metadata_fits_the_schema_and_the_network(source: str, repository: Path) -> None:
    configs = BUNDLES / f"segmentation_{source}" / "configs"
    metadata = json.loads((configs / "metadata.json").read_text())
    assert metadata["version"] == monai_unimedi.__version__
    assert metadata["version"] in metadata["changelog"]
    verify_net_in_out(
        "network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
    )
    schema = repository.parent / "shared" / "schema" / metadata["schema"].rsplit("/", 1)[-1]
    if not schema.is_file():
        pytest.skip(f"no schema at {schema}")
    jsonschema.validate(metadata, json.loads(schema.read_text()))


@pytest.mark.parametrize("source", DIMENSIONS)
def test_configs_agree_on_sizes_and_network(source: str) -> None:
    configs = BUNDLES / f"segmentation_{source}" / "configs"
    train, evaluate, inference = (
        json.loads((configs / f"{name}.json").read_text()) for name in ("train", "evaluate", "inference")
    )
    for name in ("sizes", "classes", *train["sizes"]):
        assert train[name] == evaluate[name] == inference[name], name
    own = {"frozen", "prior"}  # of training alone
    assert {key: value for key, value in train["network_def"].items() if key not in own} == inference["network_def"]
    assert evaluate["network_def"] == inference["network_def"]


@pytest.mark.parametrize(
    ("overlay", "source"),
    [("rsna", "2d"), ("siim", "2d"), ("btcv", "3d"), ("msd", "3d"), ("frozen", "2d"), ("frozen", "3d")],
)
def test_overlays_name_keys_that_are_there_and_build_their_network(overlay: str, source: str, tmp_path: Path) -> None:
    configs = BUNDLES / f"segmentation_{source}" / "configs"
    content = json.loads((configs / f"{overlay}.json").read_text())
    assert set(content) <= set(json.loads((configs / "train.json").read_text()))
    bundle = SegmentationBundle(source, tmp_path / "output", tmp_path / "phantom")
    changes = {"hidden_size": 24, "num_heads": 2, "mlp_dim": 24, "feature_size": 2}
    network = bundle.workflow("train", overlay, **changes).network_def
    names = bundle.workflow("train", overlay, **changes).parser.get_parsed_content("class_names")
    assert network.decoder.get_submodule("out.conv.conv").out_channels == len(names)


@pytest.mark.parametrize(("has_units", "steps"), [(True, 500), (False, 160)])
def test_steps_on_a_cpu_follow_its_units(has_units: bool, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monai_unimedi.precision, "has_bfloat16_units", lambda device: has_units)
    parser = monai.bundle.ConfigParser()
    parser.read_config(BUNDLES / "segmentation_3d" / "configs" / "train.json")
    parser["device"] = "cpu"  # as the command line gives it
    assert parser.get_parsed_content("num_steps") == steps


def test_batch_is_no_larger_than_the_training_list(segmented: SegmentationBundle, tmp_path: Path) -> None:
    workflow = another(segmented, tmp_path).workflow("train", **{**segmented.tiny, "batch_size": 90})
    sampler = workflow.parser.get_parsed_content("train#sampler")
    assert list(sampler.batch_sizes.values()) == list(sampler.lengths.values())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrained": "nowhere.pt"}, "nowhere.pt"),
        ({"datalist": "nowhere.json"}, "nowhere.json"),
        ({"label_fraction": 0}, "label_fraction"),
        ({"class_names": ["a"], "class_values": [0], "out_channels": 1}, "The classes must be those of the datalist"),
        ({"num_layers": 2}, "a layer for each of the decoder's 3 stages"),
    ],
)
def test_bad_settings_stop_with_a_sentence(
    segmented: SegmentationBundle, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    bundle = another(segmented, tmp_path)
    with pytest.raises((RuntimeError, ValueError, OSError)) as caught:
        bundle.train(**changes)
    assert message in causes(caught.value)


def test_model_of_other_sizes_names_the_options(segmented: SegmentationBundle) -> None:
    with pytest.raises(RuntimeError) as caught:
        segmented.evaluate(feature_size=8)
    assert "--feature_size '4'" in causes(caught.value)


def test_hybrid_decoder_trains_and_its_model_names_it(segmented: SegmentationBundle, tmp_path: Path) -> None:
    bundle = another(segmented, tmp_path)
    bundle.train(decoder="hybrid", num_layers=1)
    assert json.loads((bundle.output_dir / "models" / "encoder.json").read_text())["sizes"]["decoder"] == "hybrid"
    assert "dice" in bundle.evaluate(decoder="hybrid", num_layers=1).lower()
    with pytest.raises(RuntimeError) as caught:
        bundle.evaluate(num_layers=1)
    assert "--decoder" in causes(caught.value)


def test_what_is_smaller_than_the_training_s_lesions_is_left_out(segmented: SegmentationBundle, tmp_path: Path) -> None:
    bundle = another(segmented, tmp_path)
    shutil.copytree(segmented.output_dir / "models", bundle.output_dir / "models")
    card = bundle.output_dir / "models" / "encoder.json"
    content = json.loads(card.read_text())
    assert len(content["min_voxels"]) == 6
    assert max(content["min_voxels"]) > 1
    assert predicted_voxels(bundle, threshold=0.001) > 0
    card.write_text(json.dumps(content | {"min_voxels": [10**6] * 6}))
    assert predicted_voxels(bundle, threshold=0.001) == 0
    assert predicted_voxels(bundle, threshold=0.001, min_voxels=0) > 0
    folder = Path(bundle.phantom["phantom_dir"]) / bundle.source / "test"
    images = [str(path) for path in sorted(folder.iterdir()) if "mask" not in path.name][:1]
    changes = {"images": images, "output_dir": str(tmp_path / "found"), "threshold": 0.001}
    bundle.workflow("inference", kind="infer", **{**SIZES, **changes}).run()
    with (tmp_path / "found" / "segments.csv").open(newline="") as file:
        masks = {row["file"] for row in csv.DictReader(file)}
    assert len(masks) == 1
    assert SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "found" / masks.pop()))).max() == 0


def predicted_voxels(bundle: SegmentationBundle, **changes: Any) -> int:
    """Of all masks together."""
    bundle.evaluate(**changes)
    with (bundle.output_dir / "cases.csv").open(newline="") as file:
        return sum(int(float(row["predicted_voxels"])) for row in csv.DictReader(file))


@pytest.mark.parametrize(("batch", "processes", "expected"), [(4, 3, 3), (2, 4, 4), (8, 4, 8)])
def test_several_processes_share_the_batch_whatever_their_number(
    segmented: SegmentationBundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    processes: int,
    expected: int,
) -> None:
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: processes)
    parser = monai.bundle.ConfigParser()
    parser.read_config([str(segmented.root / "configs" / f"{name}.json") for name in ("train", "multi_gpu_train")])
    for key, value in {**segmented.places, **segmented.tiny, "batch_size": batch}.items():
        parser[key] = value
    sampler = parser.get_parsed_content("train#sampler")
    assert list(sampler.batch_sizes.values()) == [expected]
    assert len(sampler.requests(0)) == expected // processes


@pytest.mark.usefixtures("one_rank")
def test_several_processes_overlay_trains_as_one_process_does(
    segmented: SegmentationBundle, tmp_path: Path, equal: Callable[[Any, Any], bool]
) -> None:
    bundle = another(segmented, tmp_path)
    bundle.train("multi_gpu_train")
    assert not torch.distributed.is_initialized()
    models = [each.output_dir / "models" / "model.pt" for each in (segmented, bundle)]
    assert equal(*(torch.load(file, weights_only=True) for file in models))
