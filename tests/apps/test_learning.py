# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning, its publication, and what to annotate next."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


def test_split_is_stable_and_leaves_both_sides_filled() -> None:
    from unimedi_label.training import split_cases

    ids = [f"case_{number}" for number in range(20)]
    training, validation = split_cases(ids, 0.25)
    assert (len(training), len(validation)) == (15, 5)
    assert split_cases(ids[::-1], 0.25) == (training, validation)
    assert [len(part) for part in split_cases(ids[:2], 0.01)] == [1, 1]
    assert [len(part) for part in split_cases(ids[:2], 0.99)] == [1, 1]


def test_validation_cases_hold_classes_that_training_has_too() -> None:
    from unimedi_label.training import split_cases

    ids = [f"case_{number}" for number in range(8)]
    empty = dict.fromkeys(ids, ())
    order = split_cases(ids, 0.25)[1]
    for place in range(6):
        present = empty | {ids[place]: (1,), ids[place + 1]: (1, 2), ids[place + 2]: (2,)}
        training, validation = split_cases(ids, 0.25, present)
        assert (len(training), len(validation)) == (6, 2)
        assert any(present[case] for case in training)
        assert all(present[case] for case in validation)
    assert split_cases(ids, 0.25, empty)[1] == order
    assert split_cases(ids, 0.25, empty | {ids[0]: (1,)})[0].count(ids[0]) == 1


def test_too_few_labels_are_told(client: Any) -> None:
    answer = client.post("/train/segmentation_xray?run_sync=true", json={})
    assert answer.status_code == 400
    assert "at least 2 labelled images" in answer.json()["detail"]


def test_two_labels_are_enough(client: Any, save_label: Any) -> None:
    for number in (4, 5):
        assert save_label(number).status_code == 200
    answer = client.post("/train/segmentation?run_sync=true", json={"max_epochs": 1, "steps_per_epoch": 1})
    assert answer.status_code == 200, answer.text
    assert answer.json()["history"][-1]["labels"] == {"training": 1, "validation": 1}


@pytest.mark.parametrize("params", [{"max_epochs": 0}, {"val_split": 2}, {"lr": "fast"}])
def test_wrong_options_are_refused(client: Any, save_label: Any, params: dict[str, Any]) -> None:
    for number in (4, 5):
        assert save_label(number).status_code == 200
    assert client.post("/train/segmentation?run_sync=true", json=params).status_code == 400


def test_training_runs_on_submitted_labels(client: Any, save_label: Any, instance: Any) -> None:
    for number in (4, 5, 6):
        assert save_label(number).status_code == 200
    answer = client.post("/train/segmentation?run_sync=true", json={"max_epochs": 1, "steps_per_epoch": 2})
    assert answer.status_code == 200, answer.text
    run = answer.json()["history"][-1]
    assert run["labels"] == {"training": 2, "validation": 1}
    assert run["refused"] == []
    assert client.get("/info/").json()["train_stats"]["segmentation"]["history"][-1] == run
    assert not (instance.weights["segmentation"].folder / "training").exists()


def test_only_better_weights_are_published(client: Any, save_label: Any, instance: Any, monkeypatch: Any) -> None:
    weights = instance.weights["segmentation"]
    task = instance._trainers["segmentation"]
    for number in (4, 5):
        save_label(number)
    state = {name: value + 1 for name, value in torch.load(weights.file, weights_only=True).items()}
    before = weights.file.read_bytes()
    first = client.post("/infer/segmentation?image=ct_4&output=image").content

    def trained(folder: Path, options: Any, score: tuple[float, float]) -> tuple[float, float, int]:
        (folder / "models").mkdir()
        torch.save(state, folder / "models" / "model.pt")
        (folder / "models" / "encoder.json").write_bytes(weights.card.read_bytes())
        return *score, 1

    for score, is_published in (((0.5, 0.4), False), ((0.5, 0.5), False), ((0.4, 0.5), True)):
        monkeypatch.setattr(task, "_run", lambda folder, options, score=score: trained(folder, options, score))
        stats = client.post("/train/segmentation?run_sync=true", json={}).json()
        assert stats["published"] is is_published
        assert stats["best_metric"] == max(score)
        assert (weights.file.read_bytes() != before) is is_published
    assert (weights.folder / "previous" / "model.pt").read_bytes() == before
    assert client.post("/infer/segmentation?image=ct_4&output=image").content != first
    assert "fine-tuned" in client.get("/info/").json()["models"]["segmentation"]["description"]


def test_farthest_first_covers_best_by_loops() -> None:
    from unimedi_label.strategies import farthest_first

    vectors = np.random.default_rng(0).normal(size=(20, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = [3]
    for _ in range(5):
        best, place = 2.0, -1
        for row in range(20):
            if row not in chosen:
                nearest = max(float(vectors[row] @ vectors[one]) for one in chosen)
                if nearest < best:
                    best, place = nearest, row
        chosen.append(place)
    assert farthest_first(vectors, [3], 5) == chosen[1:]
    first = farthest_first(vectors, [], 1)
    assert first == [int((vectors @ vectors.mean(0)).argmax())]


def test_entropy_is_one_where_nothing_is_known_and_zero_where_all_is() -> None:
    from unimedi_label.scoring import mean_entropy

    assert mean_entropy(np.full((3, 2, 2), 0.5), False) == pytest.approx(1)
    assert mean_entropy(np.full((4, 2, 2), 0.25), True) == pytest.approx(1)
    assert mean_entropy(np.ones((3, 2, 2)), False) == pytest.approx(0, abs=1e-4)
    assert mean_entropy(np.zeros((3, 2, 2)), False) == 0


def next_case(client: Any, strategy: str, **params: Any) -> dict[str, Any]:
    answer = client.post(f"/activelearning/{strategy}", json={"client_id": "test", **params})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_every_strategy_gives_an_unlabelled_case(client: Any, save_label: Any) -> None:
    save_label(4)
    labelled = {"ct_4"}
    for strategy in client.get("/info/").json()["strategies"]:
        found = next_case(client, strategy, text="Nodule.", image="ct_0")
        assert found["id"] not in labelled
        assert Path(found["path"]).exists()


def test_text_search_gives_the_nearest_first_and_then_the_others(client: Any) -> None:
    hits = client.get("/unimedi/search", params={"text": "Pneumothorax.", "topk": 100}).json()["hits"]
    assert [hit["similarity"] for hit in hits] == sorted((hit["similarity"] for hit in hits), reverse=True)
    labelled = {
        image for image, row in client.get("/datastore/?output=all").json()["objects"].items()
        if "final" in row["labels"]
    }  # fmt: skip
    open_hits = [hit["id"] for hit in hits if hit["id"] not in labelled]
    found = [next_case(client, "text_search", text="Pneumothorax.", topk=2)["id"] for _ in range(2)]
    assert sorted(found) == sorted(open_hits[:2])


def test_text_search_needs_a_text(client: Any) -> None:
    assert client.post("/activelearning/text_search", json={}).status_code == 400
    assert client.post("/activelearning/text_search", json={"text": "a", "topk": "many"}).status_code == 400


def test_fields_for_the_options_are_offered(client: Any) -> None:
    strategies = client.get("/info/").json()["strategies"]
    assert strategies["text_search"]["config"] == {"text": "", "topk": 3}
    assert strategies["similar_case"]["config"] == {"image": "", "topk": 3}


def test_similar_case_leaves_itself_out(client: Any) -> None:
    hits = client.get("/unimedi/similar", params={"image": "ct_1"}).json()["hits"]
    assert "ct_1" not in [hit["id"] for hit in hits]
    assert next_case(client, "similar_case", image="ct_1")["like"] == "ct_1"


def test_embeddings_are_kept_and_a_changed_file_is_embedded_anew(
    client: Any, instance: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    from unimedi_label.cases import Cases

    first = Cases(instance.cases.model_dir, instance.datastore(), tmp_path)
    before = first.embeddings(["ct_0", "ct_1"])
    again = Cases(instance.cases.model_dir, instance.datastore(), tmp_path)
    calls: list[Any] = []
    real = again.encoder.embed
    monkeypatch.setattr(again.encoder, "embed", lambda images: calls.append(1) or real(images))
    after = again.embeddings(["ct_0", "ct_1"])
    assert calls == []
    assert all(np.array_equal(before[case], after[case]) for case in before)
    signs = json.loads((tmp_path / "files.json").read_text())
    signs["ct_0"] = "0:0"
    (tmp_path / "files.json").write_text(json.dumps(signs))
    third = Cases(instance.cases.model_dir, instance.datastore(), tmp_path)
    third._encoder = again.encoder
    third.embeddings()
    assert len(calls) == len(instance.datastore().list_images()) - 1


def test_scores_are_kept_in_the_datastore(client: Any, save_label: Any) -> None:
    save_label(4)
    scores = client.post("/scoring/novelty?run_sync=true").json()
    assert scores["ct_4"] == pytest.approx(0, abs=1e-3)
    assert client.get("/datastore/image/info?image=ct_1").json()["novelty"] == scores["ct_1"]
    scores = client.post("/scoring/uncertainty?run_sync=true").json()
    assert client.get("/datastore/image/info?image=ct_1").json()["uncertainty"]["score"] == scores["ct_1"]


def test_own_labels_start_a_fresh_decoder(encoder_dir: Path, tmp_path: Path) -> None:
    from unimedi_label.segmentation import load_network
    from unimedi_label.weights import BundleWeights

    bundle = Path(__file__).resolve().parents[2] / "bundles" / "segmentation_3d"
    weights = BundleWeights(tmp_path / "w", bundle, encoder_dir, ["lung", "tumour"])
    weights.ensure()
    assert weights.classes() == (["lung", "tumour"], True)
    network, _ = load_network(weights, "cpu")
    given = torch.load(encoder_dir / "model.pt", weights_only=True)
    name = "vit.blocks.0.mlp.linear1.weight"
    known = network.state_dict()
    shared = [key for key in given if f"encoder.{key}" in known]
    assert shared
    assert all(torch.equal(given[key], known[f"encoder.{key}"]) for key in shared), name
    with pytest.raises(ValueError, match="are of the labels"):
        BundleWeights(tmp_path / "w", bundle, encoder_dir, ["heart"]).ensure()


def test_without_any_weights_the_remedy_is_told(tmp_path: Path) -> None:
    from unimedi_label.weights import BundleWeights

    with pytest.raises(FileNotFoundError, match="make demo"):
        BundleWeights(tmp_path / "w", tmp_path, None).ensure()


def test_bundles_are_found_by_their_names_here_and_in_the_zoo(tmp_path: Path) -> None:
    from unimedi_label.weights import bundle_folder

    assert bundle_folder(tmp_path, "segmentation_3d") == tmp_path / "segmentation_3d"
    (tmp_path / "unimedi_segmentation_3d").mkdir()
    assert bundle_folder(tmp_path, "segmentation_3d") == tmp_path / "unimedi_segmentation_3d"
    (tmp_path / "segmentation_3d").mkdir()
    assert bundle_folder(tmp_path, "segmentation_3d") == tmp_path / "segmentation_3d"


def test_trained_weights_take_the_place_of_untrained_ones(encoder_dir: Path, tmp_path: Path) -> None:
    from unimedi_label.weights import BundleWeights

    bundle = Path(__file__).resolve().parents[2] / "bundles" / "segmentation_3d"
    fresh = BundleWeights(tmp_path / "w", bundle, encoder_dir, trained=tmp_path / "trained")
    fresh.ensure()
    assert "fresh decoder" in fresh.stats()["weights"]
    shutil.copytree(tmp_path / "w", tmp_path / "trained")
    state = {name: value + 1 for name, value in torch.load(fresh.file, weights_only=True).items()}
    torch.save(state, tmp_path / "trained" / "model.pt")
    fresh.ensure()
    assert fresh.file.read_bytes() == (tmp_path / "trained" / "model.pt").read_bytes()
    assert fresh.stats()["weights"] == "trained bundle segmentation_3d"


def saved(folder: Path, template: Path, value: float) -> Path:
    """Weights of one value, with the card of a template."""
    shutil.copytree(template, folder)
    state = torch.load(folder / "model.pt", weights_only=True)
    torch.save({name: torch.full_like(tensor, value) for name, tensor in state.items()}, folder / "model.pt")
    return folder


def value_of(weights: Any) -> float:
    return float(next(iter(torch.load(weights.file, weights_only=True).values())).flatten()[0])


def test_weights_of_another_start_replace_ones_that_were_not_fine_tuned(
    encoder_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from unimedi_label.weights import BundleWeights

    bundle = Path(__file__).resolve().parents[2] / "bundles" / "segmentation_3d"
    first = BundleWeights(tmp_path / "w", bundle, encoder_dir)
    first.ensure()
    before = first.file.read_bytes()
    first.ensure()
    assert first.file.read_bytes() == before and not (first.folder / "previous").exists()
    other = saved(tmp_path / "other", encoder_dir, 0.25)
    BundleWeights(tmp_path / "w", bundle, other).ensure()
    state = torch.load(first.file, weights_only=True)
    assert (state["encoder.vit.blocks.0.mlp.linear1.weight"] == 0.25).all()
    folders = [saved(tmp_path / f"t{value}", tmp_path / "w", value) for value in (1, 2)]
    for folder in (*folders, folders[0]):
        weights = BundleWeights(tmp_path / "w", bundle, encoder_dir, trained=folder)
        weights.ensure()
        assert value_of(weights) == float(folder.name[1])
    weights.remember_split(["a"], ["b"], True)
    weights.publish(saved(tmp_path / "t3", tmp_path / "w", 3), {"weights": "fine-tuned on 1 labels"})
    BundleWeights(tmp_path / "w", bundle, encoder_dir, trained=folders[0]).ensure()
    assert value_of(weights) == 3 and not caplog.records
    BundleWeights(tmp_path / "w", bundle, encoder_dir, trained=folders[1]).ensure()
    assert value_of(weights) == 3 and "keeps its weights" in caplog.text
    assert weights.split() == {"trained": ["a"], "judged": ["b"]}


def test_what_the_weights_have_learnt_is_not_judged_on() -> None:
    from unimedi_label.training import split_cases

    rng = np.random.default_rng(0)
    for _ in range(50):
        trained: set[str] = set()
        judged: list[str] = []
        ids: list[str] = []
        for _ in range(5):
            ids += [str(rng.integers(1 << 40)) for _ in range(4)]
            present = {case: {int(case) % 3} for case in ids}
            training, validation = split_cases(ids, 0.25, present, trained, judged)
            assert sorted(training + validation) == sorted(ids) and training and validation
            assert not trained & set(validation)
            trained, judged = trained | set(training), validation
    assert split_cases(["a", "b"], 0.25, None, ["a", "b"]) == split_cases(["a", "b"], 0.25)


def test_published_weights_remember_what_they_learnt(tmp_path: Path) -> None:
    from unimedi_label.weights import BundleWeights

    weights = BundleWeights(tmp_path, tmp_path)
    weights.remember_split(["a", "b"], ["c"], False)
    assert weights.split() == {"trained": [], "judged": ["c"]}
    weights.remember_split(["a"], ["c", "b"], True)
    weights.remember_split(["d"], ["c"], True)
    assert weights.split() == {"trained": ["a", "d"], "judged": ["c"]}


def test_training_reads_the_numbers_that_its_masks_have(encoder_dir: Path, monkeypatch: Any, tmp_path: Path) -> None:
    """The network's owner may have 0 and 255."""
    from unimedi_label import training
    from unimedi_label.weights import BundleWeights

    bundle = Path(__file__).resolve().parents[2] / "bundles" / "segmentation_3d"
    weights = BundleWeights(tmp_path / "w", bundle, encoder_dir, ["opacity"])
    weights.ensure()
    card = json.loads(weights.card.read_text())
    card["sizes"]["class_values"] = [0, 255]
    weights.card.write_text(json.dumps(card))
    found: dict[str, Any] = {}

    def stop(*args: Any, **changes: Any) -> None:
        found.update(changes)
        raise InterruptedError

    monkeypatch.setattr(training, "ConfigWorkflow", stop)
    task = training.FineTuneTask(weights, 3)
    with pytest.raises(InterruptedError):
        task._run(tmp_path, {**task.config(), "device": "cpu"})
    assert found["class_values"] == [0, 1]


def test_new_weights_keep_the_numbers_of_the_masks_and_lesions_known_to_be_small(
    encoder_dir: Path, tmp_path: Path
) -> None:
    from unimedi_label import training
    from unimedi_label.weights import BundleWeights

    bundle = Path(__file__).resolve().parents[2] / "bundles" / "segmentation_3d"
    weights = BundleWeights(tmp_path / "w", bundle, encoder_dir, ["opacity", "nodule", "effusion"])
    weights.ensure()
    before = json.loads(weights.card.read_text())
    before["sizes"]["class_values"] = [0, 255, 7, 8]
    new = tmp_path / "card.json"
    for known, found, kept in (
        ([0, 20, 5, 9], [0, 300, 0, 4], [0, 20, 5, 4]),
        (0, [0, 300, 0, 4], [0, 300, 0, 4]),
    ):
        weights.card.write_text(json.dumps({**before, "min_voxels": known}))
        new.write_text(json.dumps({"sizes": {**before["sizes"], "class_values": [0, 1, 2, 3]}, "min_voxels": found}))
        training._carry_over(new, weights)
        card = json.loads(new.read_text())
        assert card["sizes"]["class_values"] == [0, 255, 7, 8]
        assert card["min_voxels"] == kept


def test_cases_behind_links_keep_their_ids(tmp_path: Path) -> None:
    from unimedi_label.studies import Studies
    from unimedi_label.training import labelled_files

    (tmp_path / "studies").mkdir()
    for name in ("p1", "p2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ct.nii").write_bytes(name.encode())
        (tmp_path / "studies" / f"{name}.nii").symlink_to(tmp_path / name / "ct.nii")
    (tmp_path / "label.nrrd").write_bytes(b"label")
    studies = Studies(str(tmp_path / "studies"), extensions=["*.nii", "*.nrrd"], auto_reload=False)
    for name in ("p1", "p2"):
        studies.save_label(name, str(tmp_path / "label.nrrd"), "final", {})
    assert [(case, image.read_text(), label.name) for case, image, label in sorted(labelled_files(studies))] == [
        ("p1", "p1", "p1.nrrd"),
        ("p2", "p2", "p2.nrrd"),
    ]


def test_dice_is_the_mean_over_the_classes() -> None:
    from unimedi_label.guess_dice import mean_dice

    guess, label = np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8)
    assert mean_dice(guess, label) is None
    guess[0], label[0] = 6, 6
    assert mean_dice(guess, label) == 1
    guess[1, :2], label[1, 1:4] = 2, 2
    assert mean_dice(guess, label) == pytest.approx((1 + 2 / 5) / 2)
    guess[2] = 5
    assert mean_dice(guess, label) == pytest.approx((1 + 2 / 5 + 0) / 3)


def test_dice_scores_the_kept_guess_of_each_labelled_case(client: Any, save_label: Any, instance: Any) -> None:
    """Another case's broken guess does not stop it."""
    for number in (4, 5):
        assert save_label(number).status_code == 200
        assert save_label(number, tag="guess").status_code == 200
    uri = Path(instance.datastore().get_label_uri("ct_5", "guess"))
    uri.write_bytes(b"broken")
    scores = client.post("/scoring/dice?run_sync=true", json={"y_pred": "guess"}).json()
    assert scores == {"ct_4": 1.0}
    assert client.get("/datastore/image/info?image=ct_4").json()["dice"] == 1.0
