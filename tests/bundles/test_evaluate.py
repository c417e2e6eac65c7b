# SPDX-License-Identifier: Apache-2.0
"""evaluate.json: the agreed keys, the table, the page; and a user's own lists, without labels."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_unimedi.data.phantom import VERSION
from monai_unimedi.metrics.influence import read_influence
from tests.bundles.conftest import SIZES, TINY, Bundle

FIGURE = {"value", "low", "high", "count"}
RETRIEVAL = {"R@1", "R@5", "exact_R@1", "exact_R@5", "chance@1", "chance@5", "untrained@5"}
SELECTORS = {"attention", "random", "uniform", "centre", "constant", "entropy"}


@pytest.fixture(scope="module")
def metrics(trained: Bundle) -> dict[str, Any]:
    printed = trained.evaluate(influence=True)
    assert "retrieval.2d.image_to_report.R@1 " in printed
    assert "must be" in printed
    return json.loads((trained.output_dir / "metrics.json").read_text())


def test_metrics_file_has_the_agreed_keys(metrics: dict[str, Any]) -> None:
    for source in ("2d", "3d"):
        for direction in ("image_to_report", "report_to_image"):
            assert set(metrics["retrieval"][source][direction]) >= RETRIEVAL
        assert {"auroc", "auroc_positive", "auroc_negative", "by_finding"} <= set(
            metrics["zero_shot"][source]
        )
        for row in ("trained", "untrained"):
            assert set(metrics["linear_probe"][row][source]) == {"1", "10", "100"}
    for name in SELECTORS:
        hits = metrics["slice_selection"]["all"][name]
        assert {"hit@1", "hit@2", "hit@4", "precision@1"} <= set(hits)
        assert set(hits["hit@1"]) == FIGURE
    assert {"by_finding", "lift"} <= set(metrics["slice_selection"])
    assert {"pointing_game", "random", "centre_prior"} <= set(metrics["xray_localization"])
    judged = [metrics["grounding"].get(source, {}) for source in ("2d", "3d")]
    assert any(set(found.get("sentence", {})) == {"hit@1", "hit@2", "hit@4"} for found in judged)
    crossing = {f"{kind}_{way}" for kind in ("map", "control") for way in ("2d_to_3d", "3d_to_2d")}
    assert crossing | {"modality_probe_accuracy", "by_finding"} <= set(metrics["cross_dimension"])
    assert set(metrics["retrieval"]["2d"]["image_to_report"]["R@1"]) == FIGURE


def test_metrics_file_says_what_it_cost_and_on_what_it_stands(
    metrics: dict[str, Any], trained: Bundle
) -> None:
    record = json.loads((trained.output_dir / "training.json").read_text())
    assert metrics["phantom"]["version"] == VERSION
    assert set(metrics["phantom"]["untrained_probe"]) == {"2d", "3d"}
    assert set(metrics["seconds"]) == {"phantom", "train", "evaluate"}
    assert metrics["seconds"]["train"] == round(record["seconds"], 1)
    assert metrics["parameters"] == record["parameters"]
    assert metrics["peak_memory_gb"] >= record["peak_memory_gb"]
    assert metrics["seed"] == 0


def test_influence_of_each_case_is_written_beside(metrics: dict[str, Any], trained: Bundle) -> None:
    found = read_influence(trained.output_dir / "influence.npz")
    for source in ("2d", "3d"):
        figure = metrics["retrieval"][source]["image_to_report"]["R@1"]
        cases = found[f"retrieval.{source}.image_to_report.R@1"]
        assert len(cases) == figure["count"]
        assert float(cases.sum()) == pytest.approx(0.0, abs=1e-2)
    assert f"linear_probe.trained.{source}.100" in found


def test_untrained_tower_keeps_its_first_weights_when_the_trained_ones_are_loaded(trained: Bundle) -> None:
    workflow = trained.workflow("evaluate", kind="infer", **SIZES)
    workflow.evaluator.run()
    network, untrained = (workflow.parser.get_parsed_content(name) for name in ("network", "untrained"))
    stored = torch.load(trained.output_dir / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in network.state_dict().items())
    assert not torch.equal(untrained.projection.weight, stored["projection.weight"])
    towers = [
        workflow.parser.get_parsed_content(name) for name in ("report_encoder", "untrained_report_encoder")
    ]
    assert not torch.equal(*(tower.projection.weight for tower in towers))
    assert not torch.equal(*(next(tower.model.encoder.parameters()) for tower in towers))


def test_report_page_of_phantoms_shows_texts(metrics: dict[str, Any], trained: Bundle) -> None:
    page = (trained.output_dir / "report.html").read_text()
    report = json.loads(_datalist(trained, "2d").read_text())["test"][0]["report"]
    assert "not for clinical use" in page
    assert "Impression:" in page or report[:30] in page


def test_own_prompts_take_the_place_of_the_phantoms(trained: Bundle, tmp_path: Path) -> None:
    prompts = {
        "fracture": {"positive": ["A rib is broken."], "negative": ["No fracture.", "The ribs are whole."]}
    }
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    workflow = trained.workflow("evaluate", kind="infer", **SIZES, prompts=str(tmp_path / "prompts.json"))
    embedded = workflow.parser.get_parsed_content("prompt_embedding")
    assert {finding: set(sides) for finding, sides in embedded.items()} == {
        "fracture": {"positive", "negative"}
    }
    assert embedded["fracture"]["negative"].shape == (16,)


def test_sizes_of_another_model_are_refused_with_the_options(trained: Bundle) -> None:
    with pytest.raises(RuntimeError) as caught:
        trained.evaluate(hidden_size=128, spacing=[4.0, 4.0, 10.0])
    message = str(caught.value.__cause__)
    assert "--hidden_size '32'" in message
    assert "--spacing '[8.0, 8.0, 20.0]'" in message


def _datalist(bundle: Bundle, source: str) -> Path:
    return Path(bundle.places["phantom_dir"]) / f"datalist_{source}.json"


def test_own_xrays_without_labels_or_validation_list_are_trained_and_judged(
    trained: Bundle, new_bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = json.loads(_datalist(trained, "2d").read_text())["training"]
    own = [{"image": row["image"], "report": row["report"], "patient": row["id"]} for row in rows]
    lists = tmp_path / "mine.json"
    lists.write_text(json.dumps({"training": [*own, {**own[0], "id": "short", "report": "x"}]}))
    places = {"datalist_2d": str(lists), "dataset_dir": trained.places["phantom_dir"] + "/."}
    with caplog.at_level(logging.INFO):
        workflow = new_bundle.train(**places, on_bad_report="drop", validation_fraction=0.2)
    assert "left out 1 of 37 rows" in caplog.text
    assert "7 of 36 patients (7 of 36 rows) are split off for validation" in caplog.text
    assert not any(report["report"] in caplog.text for report in own)
    evaluation = new_bundle.workflow("evaluate", kind="infer", **SIZES, **places, on_bad_report="drop")
    assert (
        evaluation.parser.get_parsed_content("test_rows") == workflow.parser.get_parsed_content("rows")["validation"]
    )
    learnt = evaluation.parser.get_parsed_content("training_rows")
    assert learnt == workflow.parser.get_parsed_content("rows")["training"]
    printed = new_bundle.evaluate(**places, on_bad_report="drop")
    found = json.loads((new_bundle.output_dir / "metrics.json").read_text())
    assert set(found) & {"retrieval", "zero_shot", "slice_selection", "linear_probe", "phantom"} == {
        "retrieval"
    }
    assert "no test list" in caplog.text
    assert "slice_selection: no CT" in printed
    page = (new_bundle.output_dir / "report.html").read_text()
    assert not any(row["report"] in page for row in own)


def test_constants_are_chosen_on_training_rows_where_the_validation_rows_are_judged(
    trained: Bundle, tmp_path: Path
) -> None:
    content = json.loads(_datalist(trained, "3d").read_text())
    judged = content.pop("test")
    lists = tmp_path / "mine.json"
    lists.write_text(json.dumps({**content, "training": content["validation"], "validation": judged}))
    places = {"datalist_3d": str(lists), "dataset_dir": trained.places["phantom_dir"] + "/."}
    workflow = trained.workflow("evaluate", kind="infer", **SIZES, **places, probe_rows=6)
    test, chosen_on = (
        workflow.parser.get_parsed_content(name).dataset for name in ("dataloader", "validation_dataloader")
    )
    ids = [{row["id"] for row in dataset.datasets["3d"].rows} for dataset in (test, chosen_on)]
    assert [len(found) for found in ids] == [16, 6] and not ids[0] & ids[1]
    assert all("lesion_mask" in row and "label" not in row for row in chosen_on.datasets["3d"].rows)


def _labelled(bundle: Bundle, path: Path, unknown: Any) -> dict[str, str]:
    """Options for the phantoms' X-rays, of which a quarter of the labels are something else."""
    content = json.loads(_datalist(bundle, "2d").read_text())
    for row in content["test"][::4]:
        row["label"] = unknown
    path.write_text(json.dumps(content))
    return {"datalist_2d": str(path), "dataset_dir": bundle.places["phantom_dir"] + "/."}


def test_unknown_labels_are_left_out_of_the_evaluation(trained: Bundle, tmp_path: Path) -> None:
    names = json.loads(_datalist(trained, "2d").read_text())["label_names"]
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps({name: {"positive": [name], "negative": [f"no {name}"]} for name in names}))
    places = _labelled(trained, tmp_path / "mine.json", {names[0]: None, names[1]: -1})
    trained.evaluate(**places, prompts=str(prompts), output_dir=str(tmp_path / "output"))
    found = json.loads((tmp_path / "output" / "metrics.json").read_text())
    assert found["zero_shot"]["2d"]["auroc"]["count"] == 12
    assert found["linear_probe"]["trained"]["2d"]["100"]["count"] == 12
    assert found["retrieval"]["2d"]["image_to_report"]["R@1"]["count"] > 0


def test_label_that_cannot_be_read_is_refused_before_any_image(trained: Bundle, tmp_path: Path) -> None:
    places = _labelled(trained, tmp_path / "mine.json", "nodule?")
    with pytest.raises(RuntimeError) as caught:
        trained.workflow("evaluate", kind="infer", **SIZES, **places).parser.get_parsed_content("test_rows")
    message = str(caught.value.__cause__)
    assert "4 labels of source '2d', list 'test' do not fit: row 0, id '" in message
    assert "unknown class 'nodule?'" in message


def test_missing_file_names_row_key_and_path(trained: Bundle, new_bundle: Bundle, tmp_path: Path) -> None:
    lists = tmp_path / "mine.json"
    lists.write_text(json.dumps({"training": [{"image": "gone.png", "report": "The lungs are clear."}]}))
    with pytest.raises(RuntimeError) as caught:
        new_bundle.train(datalist_2d=str(lists))
    message = str(caught.value.__cause__)
    assert "source '2d', row 0, id 'gone.png', key 'image'" in message
    assert str(tmp_path / "gone.png") in message


def test_overrides_reach_the_training(new_bundle: Bundle) -> None:
    trainer = new_bundle.workflow("train", **{**TINY, "num_steps": 7, "steps_per_epoch": 100}).trainer
    assert (trainer.state.max_epochs, trainer.state.epoch_length, trainer.total_steps) == (1, 7, 7)
