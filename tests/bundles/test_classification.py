# SPDX-License-Identifier: Apache-2.0
"""The classification bundles: trained, resumed, judged, loaded, and used on files, in 2D and 3D."""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import monai.bundle
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out

import monai_unimedi
from monai_unimedi.networks.nets.classifier import UniMediClassifier
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from tests.bundles.conftest import SIZES as ENCODER
from tests.bundles.conftest import same

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
SIZES = {key: value for key, value in ENCODER.items() if key != "embed_dim"}
DIMENSIONS = ("2d", "3d")
PROTOCOLS = [
    *(("2d", "chexpert"), ("2d", "rsna"), ("2d", "covidx")),
    *(("3d", "cc_ccii"), ("3d", "ricord"), ("3d", "luna16")),
]
COUNTS = {"training": 40, "validation": 12, "test": 16}


class ClassificationBundle:
    """Runs one bundle's configs with one output folder."""

    def __init__(self, source: str, output_dir: Path, phantom_dir: Path) -> None:
        self.source = source
        self.root = BUNDLES / f"classification_{source}"
        self.output_dir = output_dir
        self.places = {
            "bundle_root": str(self.root),
            "output_dir": str(output_dir),
            "model_dir": str(output_dir / "models"),
            "device": "cpu",
        }
        self.phantom = {"phantom_dir": str(phantom_dir)}
        self.tiny = {
            **SIZES, **self.phantom, "num_steps": 4, "steps_per_epoch": 2, "batch_size": 4, "history_interval": 1,
            "save_interval": 0, **{f"phantom#num_{name}": {source: count} for name, count in COUNTS.items()},
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

    def evaluate(self, *overlays: str, **changes: Any) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            self.workflow("evaluate", *overlays, kind="infer", **{**SIZES, **self.phantom, **changes}).run()
        return printed.getvalue()

    def infer(self, **changes: Any) -> Path:
        folder = Path(changes.pop("output_dir", self.output_dir / "inference"))
        self.workflow("inference", kind="infer", **{**SIZES, "output_dir": str(folder), **changes}).run()
        return folder


@pytest.fixture(scope="session", params=DIMENSIONS)
def classified(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ClassificationBundle:
    """A finished training; do not train it on."""
    folder = tmp_path_factory.mktemp(f"classification_{request.param}")
    bundle = ClassificationBundle(request.param, folder / "output", folder / "phantom")
    bundle.train()
    return bundle


@pytest.fixture
def another(classified: ClassificationBundle, tmp_path: Path) -> ClassificationBundle:
    """An empty output folder with the phantoms of the finished training."""
    return ClassificationBundle(classified.source, tmp_path / "output", Path(classified.phantom["phantom_dir"]))


def causes(error: BaseException | None) -> str:
    lines = []
    while error is not None:
        lines.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(lines)


def config(source: str, name: str) -> dict[str, Any]:
    return json.loads((BUNDLES / f"classification_{source}" / "configs" / f"{name}.json").read_text())


def save_tower(path: Path, **changes: Any) -> UniMediImageEncoder:
    torch.manual_seed(5)
    sizes = {"patch_size": (12, 12), "patch_depth": 8, "grid_size": (6, 6), "num_depths": 16, "embed_dim": 8, **SIZES}
    tower = UniMediImageEncoder(**{**sizes, **changes})
    torch.save(tower.state_dict(), path)
    return tower


def test_training_writes_what_others_load_and_all_properties_are_there(classified: ClassificationBundle) -> None:
    written = {str(path.relative_to(classified.output_dir)) for path in classified.output_dir.rglob("*")}
    assert {"resume.pt", "history.jsonl", "training.json", "models/model.pt", "models/encoder.json"} <= written
    lines = [json.loads(line) for line in (classified.output_dir / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_auroc" in line] == [2, 4]
    assert json.loads((classified.output_dir / "training.json").read_text())["label_fraction"] == 100
    assert classified.workflow("train", **classified.tiny).check_properties() == []
    assert classified.workflow("inference", kind="infer", **SIZES).check_properties() == []


@pytest.mark.parametrize("step", [1, 2, 3])
def test_stopped_run_ends_with_the_same_weights(
    classified: ClassificationBundle, another: ClassificationBundle, step: int
) -> None:
    def stop(engine: Any) -> None:
        if engine.state.iteration == step + 1:
            raise KeyboardInterrupt

    workflow = another.workflow("train", **another.tiny)
    workflow.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        workflow.run()
    another.train()
    whole, parts = (
        torch.load(each.output_dir / "resume.pt", weights_only=True)["objects"] for each in (classified, another)
    )
    assert [name for name in whole if not same(whole[name], parts[name])] == []


def test_evaluation_prints_a_table_and_writes_figures_probabilities_and_one_page(
    classified: ClassificationBundle,
) -> None:
    assert "  auroc " in classified.evaluate()
    metrics = json.loads((classified.output_dir / "metrics.json").read_text())
    assert {"classification", "by_class", "counts", "seconds", "parameters", "phantom"} <= set(metrics)
    assert set(metrics["classification"]) == {"auroc", "average_precision", "accuracy", "sensitivity", "specificity"}
    figure = metrics["classification"]["auroc"]
    assert figure["count"] == COUNTS["test"]
    assert figure["low"] <= figure["value"] <= figure["high"]
    page = (classified.output_dir / "report.html").read_text()
    assert page.count("ROC curve of") == len(metrics["by_class"])
    assert "data:image/" in page
    assert not re.search(r"(?:src|href)=\"?https?:", page)
    with (classified.output_dir / "predictions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    content = json.loads((classified.output_dir / "predictions.json").read_text())
    assert len(table) == len(content) == COUNTS["test"]
    assert all(0 <= value <= 1 for row in content.values() for value in row.values())
    assert {name: float(table[0][name]) for name in content[table[0]["id"]]} == content[table[0]["id"]]


def test_rows_of_a_list_without_validation_and_test_are_judged_where_they_were_not_learnt_from(
    classified: ClassificationBundle, another: ClassificationBundle, tmp_path: Path
) -> None:
    phantom = Path(classified.phantom["phantom_dir"])
    content = json.loads((phantom / f"datalist_{another.source}.json").read_text())
    path = tmp_path / "list.json"
    path.write_text(json.dumps({key: content[key] for key in ("label_names", "training")}))
    places = {"datalist": str(path), "dataset_dir": f"{phantom}/."}
    workflow = another.train(**places, seed=1, validation_fraction=0.2)
    learnt = {row["id"] for row in workflow.parser.get_parsed_content("rows")["training"]}
    another.evaluate(**places)
    judged = set(json.loads((another.output_dir / "predictions.json").read_text()))
    assert (len(judged), judged & learnt) == (8, set())
    with pytest.raises(RuntimeError) as caught:
        another.evaluate(**places, validation_fraction=0.5)
    assert "validation_fraction must be the training's 0.2, got 0.5" in causes(caught.value)


def test_inference_gives_the_probabilities_of_the_evaluation(classified: ClassificationBundle, tmp_path: Path) -> None:
    classified.evaluate(output_dir=str(tmp_path / "evaluation"))
    judged = json.loads((tmp_path / "evaluation" / "predictions.json").read_text())
    folder = Path(classified.phantom["phantom_dir"]) / classified.source / "test"
    suffix = "png" if classified.source == "2d" else "nii"
    images = [str(folder / f"{index:06d}.{suffix}") for index in (0, 3)]
    written = classified.infer(images=images, output_dir=str(tmp_path / "inference"))
    found = list(json.loads((written / "predictions.json").read_text()).values())
    for index, row in zip((0, 3), found, strict=True):
        expected = judged[f"{classified.source}-test-{index:06d}"]
        assert row == {name: pytest.approx(value, abs=0.02) for name, value in expected.items()}


@pytest.mark.parametrize("broken", ["0", "b"])  # before the file that can be read, and behind it
def test_unreadable_file_stops_or_is_left_out(classified: ClassificationBundle, tmp_path: Path, broken: str) -> None:
    suffix = "png" if classified.source == "2d" else "nii"
    folder = tmp_path / "images"
    folder.mkdir()
    images = Path(classified.phantom["phantom_dir"]) / classified.source / "test"
    shutil.copy(images / f"000000.{suffix}", folder / f"a.{suffix}")
    (folder / f"{broken}.{suffix}").write_bytes(b"nothing")
    with pytest.raises(RuntimeError) as caught:
        classified.infer(dataset_dir=str(folder), output_dir=str(tmp_path / "one"))
    assert f"{broken}.{suffix}" in causes(caught.value)
    written = classified.infer(dataset_dir=str(folder), output_dir=str(tmp_path / "two"), skip_unreadable="true")
    assert list(json.loads((written / "predictions.json").read_text())) == [f"a.{suffix}"]
    (folder / f"a.{suffix}").unlink()
    with pytest.raises(RuntimeError) as caught:
        classified.infer(dataset_dir=str(folder), output_dir=str(tmp_path / "three"), skip_unreadable="true")
    assert "At least one of the 1 images must be readable" in causes(caught.value)


def test_folder_of_the_other_dimension_is_said_to_be_for_the_other_bundle(
    classified: ClassificationBundle, tmp_path: Path
) -> None:
    other = tmp_path / ("ct.nii" if classified.source == "2d" else "xray.png")
    other.touch()
    with pytest.raises(RuntimeError) as caught:
        classified.infer(dataset_dir=str(tmp_path), output_dir=str(tmp_path / "out"))
    bundles = "_3d" if classified.source == "2d" else "_2d"
    assert f"('{other.name}') are for the bundles named {bundles}" in causes(caught.value)


def test_pretrained_tower_is_loaded_and_wrong_sizes_are_refused(another: ClassificationBundle, tmp_path: Path) -> None:
    tower = save_tower(tmp_path / "model.pt")
    workflow = another.workflow("train", **{**another.tiny, "pretrained": str(tmp_path / "model.pt")})
    workflow.parser.get_parsed_content("train#trainer")
    network = workflow.parser.get_parsed_content("network")
    assert torch.equal(network.encoder.vit.mask_token, tower.vit.mask_token)
    assert workflow.parser.get_parsed_content("layer_decay") == (0.05 if another.source == "2d" else 0.2)
    assert another.workflow("train", **another.tiny).parser.get_parsed_content("layer_decay") == 1.0
    with pytest.raises(RuntimeError) as caught:
        another.train(pretrained=str(tmp_path / "model.pt"), hidden_size=48)
    assert "must match the network's image tower" in causes(caught.value)
    assert not (another.output_dir / "models").exists()


def test_new_weights_at_the_same_place_stop_a_finished_run_and_the_same_elsewhere_do_not(
    another: ClassificationBundle, tmp_path: Path
) -> None:
    place, elsewhere = tmp_path / "model.pt", tmp_path / "moved.pt"
    save_tower(place)
    another.train(pretrained=str(place))
    shutil.copy(place, elsewhere)
    another.train(pretrained=str(elsewhere))
    torch.save({key: value + 0.1 for key, value in torch.load(place, weights_only=True).items()}, place)
    with pytest.raises(RuntimeError) as caught:
        another.train(pretrained=str(place))
    said = causes(caught.value)
    weights = r"'\S+model.pt \(SHA-256 \w{16}\)'"
    assert re.search(rf"pretrained \(was {weights}, is {weights}\) changed", said)


def test_another_network_trains_and_is_judged(another: ClassificationBundle) -> None:
    classes = len(another.workflow("train", **another.tiny).parser.get_parsed_content("class_names"))
    resnet = {"block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [2, 2, 2, 2], "n_input_channels": 1}
    dims = {"spatial_dims": int(another.source[0]), "num_classes": classes}
    network = {"_target_": "monai.networks.nets.ResNet", **resnet, **dims}
    another.train(network_def=network)
    assert "auroc" in another.evaluate(network_def=network)


def test_start_from_scratch_is_said(another: ClassificationBundle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        another.train(pretrained="none", num_steps=1)
    assert "starts from random weights; --pretrained PATH" in caplog.text


def test_linear_probe_trains_the_head_alone_and_is_judged(another: ClassificationBundle) -> None:
    workflow = another.workflow("train", "linear_probe", **another.tiny)
    before = {k: v.clone() for k, v in workflow.parser.get_parsed_content("network_def").state_dict().items()}
    workflow.run()
    after = workflow.parser.get_parsed_content("network").state_dict()
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == {"head"}
    assert "  auroc " in another.evaluate("linear_probe")


def test_network_is_built_without_data_and_loaded_with_the_trained_weights(
    classified: ClassificationBundle, tmp_path: Path
) -> None:
    bundle = ClassificationBundle(classified.source, tmp_path / "output", tmp_path / "phantom")
    assert isinstance(bundle.workflow("train").network_def, UniMediClassifier)
    assert not (tmp_path / "phantom").exists()
    folder = tmp_path / f"classification_{classified.source}"
    shutil.copytree(bundle.root / "configs", folder / "configs")
    shutil.copytree(classified.output_dir / "models", folder / "models")
    network = monai.bundle.load(folder.name, bundle_dir=str(tmp_path), source="github")
    trained = torch.load(folder / "models" / "model.pt", weights_only=True)
    assert network.state_dict().keys() == trained.keys()
    assert all(torch.equal(value, trained[key]) for key, value in network.state_dict().items())
    fresh = classified.workflow("inference", kind="infer", **SIZES).network_def.state_dict()
    assert not all(torch.equal(value, trained[key]) for key, value in fresh.items())


def test_a_model_of_own_classes_is_loaded_whole(classified: ClassificationBundle, tmp_path: Path) -> None:
    names = {"class_names": ["normal", "COVID-19", "other pneumonia"], "exclusive": True}
    network = classified.workflow("train", **SIZES, **names).network_def
    folder = tmp_path / f"classification_{classified.source}"
    shutil.copytree(classified.root / "configs", folder / "configs")
    (folder / "models").mkdir()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    (folder / "models" / "encoder.json").write_text(json.dumps({"sizes": SIZES | names}))
    for kind in ("train", "inference"):
        loaded = monai.bundle.load(
            folder.name, bundle_dir=str(tmp_path), source="github", workflow_type=kind
        ).state_dict()
        assert loaded["head.weight"].shape[0] == 3
        assert all(torch.equal(value, loaded[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("source", DIMENSIONS)
def test_metadata_fits_the_schema_the_network_and_the_configs(source: str, repository: Path) -> None:
    configs, metadata = BUNDLES / f"classification_{source}" / "configs", config(source, "metadata")
    assert metadata["version"] == monai_unimedi.__version__
    assert metadata["version"] in metadata["changelog"]
    for name in ("train", "inference"):
        verify_net_in_out("network_def", str(configs / "metadata.json"), str(configs / f"{name}.json"), "cpu")
    pred = metadata["network_data_format"]["outputs"]["pred"]
    assert list(pred["channel_def"].values()) == config(source, "inference")["class_names"]
    schema = repository.parent / "shared" / "schema" / metadata["schema"].rsplit("/", 1)[-1]
    if not schema.is_file():
        pytest.skip(f"no schema at {schema}")
    jsonschema.validate(metadata, json.loads(schema.read_text()))


def test_export_gives_the_same_logits(classified: ClassificationBundle, tmp_path: Path) -> None:
    configs, model = classified.root / "configs", classified.output_dir / "models" / "model.pt"
    script = tmp_path / "model.ts"
    ckpt_export(
        "network_def", str(script), str(model), str(configs / "metadata.json"), str(configs / "inference.json"), **SIZES
    )
    network = classified.workflow("inference", kind="infer", **SIZES).network_def.eval()
    network.load_state_dict(torch.load(model, weights_only=True))
    image = torch.rand((2, 1, 72, 72) if classified.source == "2d" else (2, 1, 48, 48, 16))
    torch.testing.assert_close(torch.jit.load(str(script)).eval()(image), network(image), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("source", DIMENSIONS)
def test_configs_agree_on_sizes_network_and_preprocessing(source: str) -> None:
    train, evaluate, inference = (config(source, name) for name in ("train", "evaluate", "inference"))
    for name in ("sizes", *train["sizes"], *(["crop"] if source == "3d" else [])):
        assert train[name] == evaluate[name] == inference[name], name
    own = {"frozen", "dropout"}  # of training alone
    assert {key: value for key, value in train["network_def"].items() if key not in own} == inference["network_def"]
    assert evaluate["network_def"] == inference["network_def"]
    assert train["steady_transforms"] == inference["preprocessing"]["transforms"]
    assert evaluate["preprocessing"] == inference["preprocessing"]


def test_both_dimensions_differ_in_images_sizes_and_layer_decay_alone() -> None:
    one, other = (config(source, "train") for source in DIMENSIONS)
    images = {"bundle_root", "xray_size", "ct_size", "spacing", "hu_range", "ct_padding", "crop", "steady_transforms"}
    may = images | {"sizes", "phantom", "datalists", "rows", "validate", "train", "num_steps", "steps_per_epoch"}
    may |= {"layer_decay"}  # measured apart, docs/decisions.md
    assert [key for key in {**one, **other} if key not in may and one.get(key) != other.get(key)] == []


@pytest.mark.parametrize(("source", "name"), [*PROTOCOLS, ("2d", "linear_probe"), ("3d", "linear_probe")])
def test_overlays_name_keys_that_are_there_and_build_their_network(source: str, name: str, tmp_path: Path) -> None:
    overlay = config(source, name)
    assert set(overlay) <= set(config(source, "train"))
    bundle = ClassificationBundle(source, tmp_path / "output", tmp_path / "phantom")
    small = {"hidden_size": 24, "num_heads": 2, "mlp_dim": 24, "num_layers": 1}
    for kind in ("train", "evaluate", "inference"):
        workflow = bundle.workflow(kind, name, **small)
        names = workflow.parser.get_parsed_content("class_names")
        assert workflow.parser.get_parsed_content("network_def").head.out_features == len(names)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pretrained": "nowhere.pt"}, "nowhere.pt"),
        ({"datalist": "nowhere.json"}, "nowhere.json"),
        ({"label_fraction": 0}, "label_fraction must be percent"),
        ({"class_names": ["nodule", "fracture"]}, "got 'fracture'"),
        ({"exclusive": True}, "exactly one must be 1"),
        ({"uncertain": "perhaps"}, "uncertain must be one of ignore, ones, zeros, got 'perhaps'"),
        ({"list_prefix": "candidates_"}, "must have rows with labels under candidates_training"),
        ({"pooling": "max"}, "pooling must be one of"),
        ({"layer_decay": 2}, "layer_decay must"),
    ],
)
def test_bad_settings_stop_with_a_sentence(
    another: ClassificationBundle, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises((RuntimeError, ValueError, OSError)) as caught:
        another.train(**changes)
    assert message in causes(caught.value)
    assert not (another.output_dir / "models").exists()


def test_model_of_other_sizes_names_the_options(classified: ClassificationBundle) -> None:
    with pytest.raises(RuntimeError) as caught:
        classified.evaluate(class_names=["nodule"])
    assert '--class_names \'["nodule", "consolidation"' in causes(caught.value)


def test_fraction_of_the_labels_changes_the_run(another: ClassificationBundle) -> None:
    workflow = another.train(label_fraction=50)
    assert 20 <= len(workflow.train_dataset_data["2d" if another.source == "2d" else "3d"]) <= 22
    with pytest.raises(RuntimeError) as caught:
        another.train(label_fraction=100)
    assert "label_fraction (was 50, is 100)" in causes(caught.value)


@pytest.mark.usefixtures("one_rank")
def test_several_processes_overlay_trains_as_one_process_does(
    classified: ClassificationBundle, another: ClassificationBundle, equal: Callable[[Any, Any], bool]
) -> None:
    another.train("multi_gpu_train")
    assert not torch.distributed.is_initialized()
    models = [each.output_dir / "models" / "model.pt" for each in (classified, another)]
    assert equal(*(torch.load(file, weights_only=True) for file in models))


def own_data(folder: Path, phantom: Path, source: str) -> dict[str, Path]:
    """What the README calls LIST.json, DATA and model.pt."""
    return {
        "LIST.json": phantom / f"datalist_{source}.json",
        "DATA": phantom / ".",
        "IMAGES": phantom / source / "training",
        "output/demo/models/model.pt": folder / "model.pt",
    }


@pytest.mark.parametrize("source", DIMENSIONS)
def test_commands_and_keys_of_the_readme(source: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = ClassificationBundle(source, tmp_path / "output", tmp_path / "phantom")
    save_tower(tmp_path / "model.pt")
    text = (bundle.root / "docs" / "README.md").read_text()
    named = {key for path in (bundle.root / "configs").glob("*.json") for key in json.loads(path.read_text())}
    named |= {"key", "block", "config_file", "nproc_per_node", "meta_file", "filepath", "ckpt_file", "root"}
    assert set(re.findall(r"--(\w+)", text)) - named == set()
    rows = re.findall(r"^\| (`.*?`) \|", text, flags=re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} - named == set()
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines() if "torchrun" not in line]
    assert len(lines) >= 6
    stand_ins = own_data(tmp_path, tmp_path / "phantom", source)
    for line in lines:
        words = [str(stand_ins.get(word, word)) for word in shlex.split(line)]
        given = {name.removeprefix("--"): literal(value) for name, value in zip(words[4::2], words[5::2])}
        if words[3] == "run":
            run(bundle, given)
        else:
            verb = words[3]
            paths = {key: str(BUNDLES.parent / value) for key, value in zip([w[2:] for w in words[5::2]], words[6::2])}
            model = {"ckpt_file": str(bundle.output_dir / "models/model.pt"), "filepath": str(tmp_path / "model.ts")}
            paths |= {key: value for key, value in model.items() if key in paths}
            {"verify_net_in_out": verify_net_in_out, "ckpt_export": ckpt_export}[verb](words[4], **paths, **SIZES)


def literal(word: str) -> Any:
    """A word of the command line as MONAI takes it."""
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError):
        return word


def run(bundle: ClassificationBundle, given: dict[str, Any]) -> None:
    files = re.findall(r"configs/(\w+)\.json", str(given.pop("config_file")))
    protocol = any(name in dict.fromkeys(n for _, n in PROTOCOLS) for name in files)
    if files[0] == "train" and protocol:
        bundle.workflow(*files, hidden_size=24, num_heads=2, mlp_dim=24, num_layers=1)
    elif files[0] == "train":
        first = not (bundle.output_dir / "models").exists()
        own = {} if first else {name: str(bundle.output_dir / "further") for name in ("output_dir", "model_dir")}
        bundle.train(*files[1:], **{"resume": "false", **given, **own})
    elif files[0] == "evaluate":
        bundle.evaluate(*files[1:], **given)
    else:
        bundle.infer(**given)
