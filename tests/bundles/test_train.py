# SPDX-License-Identifier: Apache-2.0
"""train.json: what it writes, that it goes on exactly, what it refuses, and how it is laid out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigWorkflow

from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from tests.bundles.conftest import CONFIGS, SIZES, TINY, Bundle

MAY_CHANGE = {  # between two starts of one run
    *("imports", "bundle_root", "output_dir", "model_dir", "phantom_dir", "dataset_dir", "device"),
    *("num_workers", "cache_gb", "resume", "save_interval", "keep_last", "dry_run", "profile"),
    *("activation_checkpointing", "val_batch_size"),
}
SEEN_ELSEWHERE = {  # in the lists' hashes, or on the network, the loss and the optimizer
    *("datalist_2d", "datalist_3d", "on_bad_report", "validation_fraction", "max_tokens", "vocab_size"),
    *("text_pooling", "text_hidden_size", "text_num_layers", "text_num_heads", "text_call_cost", "contrast_view"),
    *("mask_ratio", "visible_only", "head_dim", "bottleneck_dim", "num_prototypes", "temperature"),
    *("joint_contrast", "contrast_weight", "centring", "student_temperature", "lr", "betas", "weight_decay"),
}


def config(name: str) -> dict[str, Any]:
    return json.loads((CONFIGS / f"{name}.json").read_text())


def test_training_writes_what_others_load_and_what_a_resume_needs(trained: Bundle) -> None:
    written = {str(path.relative_to(trained.output_dir)) for path in trained.output_dir.rglob("*")}
    assert {"resume.pt", "history.jsonl", "training.json", "tensorboard", "vocabulary"} <= written
    assert {"models/model.pt", "models/encoder.json", "models/text/unimedi_text.json"} <= written
    record = json.loads((trained.output_dir / "training.json").read_text())
    assert record["steps"] == 4
    assert record["seed"] == 0
    assert record["parameters"] < record["parameters_in_training"]
    assert 0 < record["peak_memory_gb"] < 4
    lines = [json.loads(line) for line in (trained.output_dir / "history.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val_retrieval" in line] == [2, 4]
    assert all("loss_pcl" in line for line in lines if line["step"] > 2 and "loss" in line)


def test_all_properties_are_there(trained: Bundle) -> None:
    workflow = trained.workflow("train", **TINY)
    assert workflow.check_properties() == []
    assert workflow.train_dataset_data == workflow.parser.get_parsed_content("rows")["training"]
    assert workflow.max_epochs == 2


def test_validation_has_a_batch_size_of_its_own_and_the_loaders_processes(trained: Bundle) -> None:
    large = {**TINY, "batch_2d": 2048, "batch_3d": 512, "gradient_cache_chunks": 64, "num_workers": 1}
    loaders = [
        trained.workflow("train", **large, **own).parser.get_parsed_content("validate::dataloader")
        for own in ({}, {"val_batch_size": 8})
    ]
    assert [(loader.batch_size, loader.num_workers) for loader in loaders] == [(64, 1), (8, 1)]


def test_network_is_built_without_data(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path / "output", tmp_path / "phantom")
    assert isinstance(bundle.workflow("train").network_def, UniMediImageEncoder)
    assert list(tmp_path.iterdir()) == []


def test_start_from_another_folder_names_the_option_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    workflow = ConfigWorkflow(str(CONFIGS / "train.json"), logging_file=False, workflow_type="train", **TINY)
    workflow.initialize()  # what `monai.bundle.load` does, which needs no place
    with pytest.raises(RuntimeError) as caught:
        workflow.run()
    assert "give --bundle_root path/to/bundles/pretrain" in _causes(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_finished_run_is_left_as_it_is(trained: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    before = (trained.output_dir / "resume.pt").read_bytes()
    with caplog.at_level(logging.INFO):
        trained.train()
    assert "the run is finished" in caplog.text
    assert (trained.output_dir / "resume.pt").read_bytes() == before


@pytest.mark.parametrize("step", [1, 2, 3])
def test_stopped_run_ends_with_the_same_weights(
    trained: Bundle, new_bundle: Bundle, equal: Callable[[Any, Any], bool], step: int
) -> None:
    def stop(engine: Any) -> None:
        if engine.state.iteration == step + 1:
            raise KeyboardInterrupt

    workflow = new_bundle.workflow("train", **TINY)
    workflow.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        workflow.run()
    new_bundle.train()
    files = [bundle.output_dir / "resume.pt" for bundle in (trained, new_bundle)]
    whole, parts = (torch.load(file, weights_only=True) for file in files)
    assert [
        name for name in whole["objects"] if not equal(whole["objects"][name], parts["objects"][name])
    ] == []
    models = [bundle.output_dir / "models" / "model.pt" for bundle in (trained, new_bundle)]
    assert equal(*(torch.load(file, weights_only=True) for file in models))


def test_alternating_sources_take_turns_and_a_stopped_run_goes_on_exactly(
    trained: Bundle, new_bundle: Bundle, tmp_path: Path, equal: Callable[[Any, Any], bool]
) -> None:
    options = {**TINY, "alternating_sources": "true", "num_steps": 8, "steps_per_epoch": 4, "selection_refresh": 2}
    whole = Bundle(tmp_path / "whole", Path(new_bundle.places["phantom_dir"]))
    whole.train(**options)
    lines = [json.loads(line) for line in (whole.output_dir / "history.jsonl").read_text().splitlines()]
    seen = [{name[:2] for name in line if name.endswith("d_loss_vl")} for line in lines if "loss" in line]
    assert seen == [{"2d"}, {"3d"}] * 4

    def stop(engine: Any) -> None:
        if engine.state.iteration == 6:
            raise KeyboardInterrupt

    workflow = new_bundle.workflow("train", **options)
    workflow.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        workflow.run()
    new_bundle.train(**options)
    files = [bundle.output_dir / "resume.pt" for bundle in (whole, new_bundle)]
    one, other = (torch.load(file, weights_only=True) for file in files)
    assert equal(one["objects"], other["objects"])
    assert equal(one["trainer"]["selection_cache"], other["trainer"]["selection_cache"])
    uses = one["trainer"]["selection_cache"]["uses"]
    assert list(uses) == ["3d"]  # four visits of six rows each: scored at a first visit and at every second after it
    assert int((uses["3d"] > 0).sum()) == 24
    with pytest.raises(RuntimeError) as caught:
        new_bundle.train(**{**options, "alternating_sources": "false"})
    assert "alternating_sources (was True, is None)" in str(caught.value.__cause__)
    settings = torch.load(trained.output_dir / "resume.pt", weights_only=True)["fingerprint"]
    assert settings["alternating_sources"] is None  # as absent in checkpoints from before the option


def test_changed_settings_are_named_with_the_two_ways_on(trained: Bundle) -> None:
    with pytest.raises(RuntimeError) as caught:
        trained.train(batch_2d=8, mask_ratio=0.4)
    message = str(caught.value.__cause__)
    assert "batch_2d (was 6, is 8)" in message
    assert "network.mask_ratio (was 0.5, is 0.4)" in message
    assert "--resume false" in message
    assert "--output_dir" in message


def test_new_image_weights_at_the_same_place_are_another_run(new_bundle: Bundle, trained: Bundle) -> None:
    place = new_bundle.output_dir / "start.pt"
    place.parent.mkdir()
    weights = torch.load(trained.output_dir / "models" / "model.pt", weights_only=True)
    torch.save(weights, place)
    new_bundle.train(image_checkpoint=str(place))
    torch.save({name: value + 0.1 for name, value in weights.items()}, place)
    with pytest.raises(RuntimeError) as caught:
        new_bundle.train(image_checkpoint=str(place))
    assert "image_checkpoint (was " in str(caught.value.__cause__)


def test_every_value_at_the_top_is_compared_at_a_resume_or_may_change() -> None:
    train = config("train")
    objects = {name for name, value in train.items() if isinstance(value, dict) and name != "phantom"}
    objects |= {name for name, value in train.items() if isinstance(value, list) and "_target_" in str(value)}
    derived = {
        "total_steps",
        "network",
        "loss",
        "initialize",
        "run",
        "phantom",
        "num_steps",
        "steps_per_epoch",
        "epochs_and_steps",
    }
    compared = json.dumps(train["settings"]) + json.dumps(train["sizes"])
    others = set(train) - objects - derived - MAY_CHANGE - SEEN_ELSEWHERE
    assert [name for name in sorted(others) if f"@{name}" not in compared] == []


def test_configs_agree_on_sizes_tower_and_preprocessing() -> None:
    train, evaluate, inference = config("train"), config("evaluate"), config("inference")
    assert train["network_def"].pop("explored_share") == "@explored_share"  # of training alone
    for name in ("sizes", "network_def", *train["sizes"]):
        assert train[name] == evaluate[name] == inference[name], name
    for source, chain in (("2d", "xray_transforms"), ("3d", "ct_transforms")):
        transforms = inference["preprocessing"][source]["transforms"]
        assert transforms == train[chain]
        judged = [
            {key: "image" if key == "keys" else value for key, value in step.items() if key in plain}
            for step, plain in _paired(evaluate["preprocessing"][source]["transforms"], transforms)
        ]
        assert judged == transforms


def _paired(longer: list[dict[str, Any]], chain: list[dict[str, Any]]) -> list[tuple[dict, dict]]:
    """The steps of a chain that images go through, each beside its counterpart."""
    steps = [step for step in longer if "image" in step["keys"]]
    return list(zip(steps, chain, strict=True))


def test_dry_run_says_what_a_run_takes_and_writes_no_checkpoint(
    new_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    new_bundle.train(dry_run="true")
    printed = capsys.readouterr().out
    for word in ("steps    4", "time ", "memory ", "disk ", "nothing was trained"):
        assert word in printed
    assert [path.name for path in new_bundle.output_dir.iterdir()] == ["vocabulary"]


def test_a_source_that_is_left_out_has_no_say_in_a_dry_run(
    new_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    new_bundle.train(dry_run="true", batch_2d=0)
    assert "steps    4" in capsys.readouterr().out


def test_other_lists_are_named_and_resume_false_or_a_dry_run_takes_them(
    trained: Bundle, new_bundle: Bundle, tmp_path: Path, equal: Callable[[Any, Any], bool]
) -> None:
    folder = Path(trained.places["phantom_dir"])
    content = json.loads((folder / "datalist_2d.json").read_text())
    rows = [{**row, "image": str(folder / row["image"])} for row in content["training"][:30]]
    (tmp_path / "fewer.json").write_text(json.dumps({"training": rows}))
    others = {"datalist_2d": str(tmp_path / "fewer.json")}
    new_bundle.train(**others, dry_run="true")  # of another run, in the same place
    new_bundle.train()
    with pytest.raises(RuntimeError) as caught:
        new_bundle.train(**others)
    assert "datalist.2d.training (was " in _causes(caught.value) and "--resume false" in _causes(caught.value)
    new_bundle.train()  # goes on
    models = [bundle.output_dir / "models" / "model.pt" for bundle in (trained, new_bundle)]
    assert equal(*(torch.load(file, weights_only=True) for file in models))
    new_bundle.train(**others, resume="false")
    new_bundle.train(**others)


def test_memory_for_images_is_that_of_a_machine(trained: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    parser = trained.workflow("train", **{**TINY, "cache_gb": 2 * 500_000 / 2**30}).parser
    datasets = [parser.get_parsed_content(f"{part}::dataset").datasets for part in ("train", "validate")]
    caches = [dataset.cache_bytes for found in datasets for dataset in found.values()]
    assert 400_000 < sum(caches) <= 500_000 < 2 * sum(caches[:2])


def test_tower_of_each_epoch_is_kept_by_the_overlay_of_the_evidence_and_nothing_else_changes(
    trained: Bundle, new_bundle: Bundle, equal: Callable[[Any, Any], bool]
) -> None:
    new_bundle.train("../../../benchmarks/phantom/each_epoch")
    kept = {int(path.stem.split("epoch=")[1]): path for path in (new_bundle.output_dir / "epochs").iterdir()}
    assert sorted(kept) == [1, 2]
    files = [bundle.output_dir / "resume.pt" for bundle in (trained, new_bundle)]
    one, other = (torch.load(file, weights_only=True) for file in files)
    assert equal(one["objects"], other["objects"])
    towers = [torch.load(kept[epoch], weights_only=True) for epoch in (1, 2)]
    student = {name[8:]: value for name, value in other["objects"]["network"].items() if name.startswith("student.")}
    assert equal(towers[1], student)
    assert not equal(towers[0], student)


def test_profile_is_written_by_one_flag(new_bundle: Bundle) -> None:
    new_bundle.train(profile="true", num_steps=6, steps_per_epoch=6, distillation_start=6)
    events = json.loads((new_bundle.output_dir / "profile" / "contrast.pt.trace.json").read_text())["traceEvents"]
    assert sum(event.get("name", "").startswith("Optimizer.step") for event in events) >= 3
    table = (new_bundle.output_dir / "profile" / "contrast.txt").read_text()
    assert "Self CPU" in table and "aten::" in table


def test_paper_overlay_has_the_paper_sizes_and_needs_lists(new_bundle: Bundle) -> None:
    workflow = new_bundle.workflow("train", "paper", phantom_dir="$None")
    sizes = workflow.parser.get_parsed_content("sizes")
    assert (sizes["hidden_size"], sizes["num_layers"], sizes["xray_size"]) == (768, 12, 224)
    assert (sizes["ct_size"], sizes["spacing"]) == ([128, 128, 32], [3.0, 3.0, 10.0])
    with pytest.raises(RuntimeError) as caught:
        workflow.run()
    assert "give --datalist_2d, --datalist_3d or both" in _causes(caught.value)


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({}, 10),
        ({"accumulation_steps": 2}, 5),
        ({"batch_2d": 0, "batch_3d": 8}, 20),
        ({"alternating_sources": "true"}, 20),
        ({"ct_depths": [16, 32]}, 11),  # of 166 CTs six have the rare depth: one batch more
        ({"ct_depths": [16, 32], "tokens_3d": 6400}, 41),  # four of the deep ones in a batch
        ({"ct_depths": [16, 32], "tokens_3d": 6400, "batch_3d": 0, "alternating_sources": "true"}, 82),
    ],
)
def test_paper_overlay_has_as_many_passes_however_its_batches_are_made(
    new_bundle: Bundle, options: dict[str, Any], steps: int
) -> None:
    parser = new_bundle.workflow("train", "paper", phantom_dir="$None", **options).parser
    parser["train::sampler::lengths"] = {"2d": 1280, "3d": 166}
    parser["train::sampler::count_tokens"] = "$lambda shape: shape[3] * 50 if len(shape) == 4 else 196"
    shapes = {"2d": [(1, 224, 224)] * 1280, "3d": [(1, 128, 128, 16)] * 6 + [(1, 128, 128, 32)] * 160}
    parser["train::shapes"] = shapes if "ct_depths" in options else None
    assert parser.get_parsed_content("steps_per_epoch") == steps
    micro_batches = parser.get_parsed_content("max_epochs") * parser.get_parsed_content("epoch_length")
    assert micro_batches == 50 * steps * options.get("accumulation_steps", 1)


def test_paper_overlay_counts_the_batches_of_its_lists(trained: Bundle, new_bundle: Bundle) -> None:
    folder = Path(trained.places["phantom_dir"])
    lists = {f"datalist_{source}": str(folder / f"datalist_{source}.json") for source in ("2d", "3d")}
    options = {**SIZES, **lists, "num_workers": 0, "batch_2d": 6, "batch_3d": 9, "alternating_sources": "true"}
    parser = new_bundle.workflow("train", "paper", **options).parser
    assert parser.get_parsed_content("epoch_length") == 2 * 36 // 6
    assert parser.get_parsed_content("max_epochs") == 50


@pytest.mark.usefixtures("one_rank")
def test_several_processes_overlay_trains_as_one_process_does(
    trained: Bundle, new_bundle: Bundle, equal: Callable[[Any, Any], bool]
) -> None:
    workflow = new_bundle.train("multi_gpu_train")
    assert isinstance(
        workflow.parser.get_parsed_content("network"), torch.nn.parallel.DistributedDataParallel
    )
    assert not torch.distributed.is_initialized()
    models = [bundle.output_dir / "models" / "model.pt" for bundle in (trained, new_bundle)]
    assert equal(*(torch.load(file, weights_only=True) for file in models))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_2d": 1}, "contrast needs a batch of at least 2"),
        ({"batch_3d": 60}, "fewer than its batch of 60"),
        ({"xray_size": 70, "phantom#xray_shape": [72, 72]}, "must divide the image"),
        ({"num_selected_slices": 17}, "at least 17 slices"),
        ({"image_checkpoint": "nowhere.pt"}, "nowhere.pt"),
        ({"text_model": str(CONFIGS)}, "must hold its tokenizer"),
        ({"datalist_2d": "nowhere.json"}, "nowhere.json"),
        ({"resume": "perhaps"}, "a switch must be true or false"),
    ],
)
def test_bad_settings_stop_with_a_sentence(new_bundle: Bundle, changes: dict[str, Any], message: str) -> None:
    with pytest.raises((RuntimeError, ValueError, OSError)) as caught:
        new_bundle.train(**changes)
    assert message in _causes(caught.value)


def _causes(error: BaseException | None) -> str:
    lines = []
    while error is not None:
        lines.append(str(error))
        error = error.__cause__ or error.__context__
    return "\n".join(lines)
