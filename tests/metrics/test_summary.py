# SPDX-License-Identifier: Apache-2.0
"""Summary: the agreed keys, what is missing and why, the table and the floors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from monai_unimedi.metrics import compare_to_floors, format_floors, format_table, summarize

LABEL_NAMES = ["nodule", "consolidation", "effusion"]
DIRECTIONS = ("image_to_report", "report_to_image")
RETRIEVAL = ("R@1", "R@5", "exact_R@1", "exact_R@5", "chance@1", "chance@5", "untrained@5")
SELECTORS = ("attention", "random", "uniform", "centre", "constant", "entropy")
CROSS = ("map_2d_to_3d", "map_3d_to_2d", "control_2d_to_3d", "control_3d_to_2d", "modality_probe_accuracy")


def arrays(source: str, num_cases: int, seed: int) -> dict[str, Any]:
    """Evaluation arrays of a network that sees the findings well."""
    generator = torch.Generator().manual_seed(seed)
    label = (torch.rand(num_cases, 3, generator=generator) < 0.4).long()
    seen = normalize(torch.cat([2.0 * label, torch.randn(num_cases, 5, generator=generator)], dim=1), dim=1)
    size = (8, 8) if source == "2d" else (8, 8, 8)
    mask = torch.zeros(num_cases, *size, dtype=torch.uint8)
    for case in range(num_cases):
        for finding in label[case].nonzero().flatten().tolist():
            at = torch.randint(0, 8, (len(size),), generator=generator)
            mask[case][tuple(at.tolist())] |= 1 << finding
    names = [[LABEL_NAMES[i] for i in row.nonzero().flatten().tolist()] for row in label]
    result = {
        "id": [f"{source}-{i}" for i in range(num_cases)],
        "image": torch.rand(num_cases, 1, *size, generator=generator),
        "image_embedding": seen,
        "text_embedding": seen,
        "feature": seen,
        "report": [" ".join(row) or "normal" for row in names],
        "findings": [[{"finding": name, "side": "left"} for name in row] for row in names],
        "label": label,
        "lesion_mask": mask,
        "attention": torch.rand(num_cases, *[2, 2, 8][: len(size)], generator=generator),
    }
    places = (2, 2) if source == "2d" else (8,)
    result["grounding"] = {
        case: [
            {"sentence": name, "finding": LABEL_NAMES.index(name)}
            | {key: torch.rand(places, generator=generator) for key in ("scores", "other_scores")}
            for name in row
        ]
        for case, row in enumerate(names)
        if len(row) > 1
    }
    if source == "3d":
        result["slice_scores"] = (mask != 0).flatten(1, 2).any(dim=1).float()
    return result


@pytest.fixture(scope="module")
def everything() -> dict[str, Any]:
    sets = [{source: arrays(source, 40, seed) for source in ("2d", "3d")} for seed in range(4)]
    axes = torch.eye(8)
    prompts = {name: {"positive": axes[i], "negative": -axes[i]} for i, name in enumerate(LABEL_NAMES)}
    names = ("test", "training", "untrained_test", "untrained_training")
    return dict(zip(names, sets)) | {"prompt_embedding": prompts, "label_names": LABEL_NAMES}


@pytest.fixture(scope="module")
def metrics(everything: dict[str, Any]) -> dict[str, Any]:
    return summarize(**everything)


def leaves(values: Any, path: str = "") -> Iterator[tuple[str, dict[str, float]]]:
    if "value" in values:
        yield path, values
    else:
        for key, inner in values.items():
            yield from leaves(inner, f"{path}/{key}" if path else key)


def agreed_keys() -> set[str]:
    keys = {f"retrieval/{s}/{d}/{k}" for s in ("2d", "3d") for d in DIRECTIONS for k in RETRIEVAL}
    polarities = ("auroc", "auroc_positive", "auroc_negative", "negation_gap")
    keys |= {f"zero_shot/{s}/{k}" for s in ("2d", "3d") for k in polarities}
    keys |= {f"zero_shot/{s}/by_finding/{f}" for s in ("2d", "3d") for f in LABEL_NAMES}
    hits = ("hit@1", "hit@2", "hit@4", "precision@1", "precision@2", "precision@4")
    keys |= {f"slice_selection/{s}/{m}/{k}" for s in ("all", "small") for m in SELECTORS for k in hits}
    keys |= {f"slice_selection/by_finding/{f}" for f in LABEL_NAMES} | {"slice_selection/lift"}
    keys |= {"slice_selection/lift_small"}
    keys |= {f"xray_localization/{k}" for k in ("pointing_game", "random", "centre_prior")}
    sentences = ("sentence", "attention", "random", "other_sentence", "other_image")
    keys |= {f"grounding/{s}/{m}/{k}" for s in ("2d", "3d") for m in sentences for k in hits[:3]}
    keys |= {f"grounding/2d/centre_prior/{k}" for k in hits[:3]}
    keys |= {f"cross_dimension/{k}" for k in CROSS} | {f"cross_dimension/by_finding/{f}" for f in LABEL_NAMES}
    networks = ("trained", "untrained")
    probes = {f"{n}/{s}/{p}" for n in networks for s in ("2d", "3d") for p in (1, 10, 100)}
    keys |= {f"calibration/{probe}/{k}" for probe in probes for k in ("ece", "brier")}
    return keys | {f"linear_probe/{probe}" for probe in probes}


def test_keys_are_exactly_the_agreed_ones(metrics: dict[str, Any]) -> None:
    assert metrics["not_available"] == []
    measured = {key: value for key, value in metrics.items() if key not in ("extra", "not_available")}
    assert {path for path, _ in leaves(measured)} == agreed_keys()


def test_every_figure_is_finite_and_inside_its_interval(metrics: dict[str, Any]) -> None:
    for path, figure in leaves({key: value for key, value in metrics.items() if key != "not_available"}):
        assert set(figure) == {"value", "low", "high", "count"}, path
        assert figure["low"] <= figure["high"], path
        assert figure["count"] > 0, path
    json.dumps(metrics, allow_nan=False)


def test_a_network_that_sees_the_findings_scores_high(metrics: dict[str, Any]) -> None:
    assert metrics["retrieval"]["2d"]["image_to_report"]["exact_R@1"]["value"] == 1
    assert metrics["zero_shot"]["3d"]["auroc"]["value"] == pytest.approx(1, abs=0.02)
    assert metrics["slice_selection"]["all"]["attention"]["hit@1"]["value"] == 1
    cross = metrics["cross_dimension"]
    assert cross["map_2d_to_3d"]["value"] > cross["control_2d_to_3d"]["value"]


def test_normals_do_not_ask(metrics: dict[str, Any], everything: dict[str, Any]) -> None:
    num_abnormal = int(everything["test"]["2d"]["label"].any(dim=1).sum())
    assert num_abnormal < 40
    assert metrics["retrieval"]["2d"]["image_to_report"]["R@1"]["count"] == num_abnormal


def test_small_lesions_are_counted_apart(metrics: dict[str, Any], everything: dict[str, Any]) -> None:
    num_slices = (everything["test"]["3d"]["lesion_mask"] != 0).flatten(1, 2).any(dim=1).sum(dim=1)
    expected = {
        "all": int((num_slices > 0).sum()),
        "small": int(((num_slices > 0) & (num_slices <= 2)).sum()),
    }
    assert expected["small"] < expected["all"]
    for subset, count in expected.items():
        assert metrics["slice_selection"][subset]["attention"]["hit@1"]["count"] == count


def test_own_data_without_labels_and_masks_gives_retrieval_and_lists_the_rest() -> None:
    bare = {
        key: arrays("3d", 12, 0)[key]
        for key in ("id", "image", "image_embedding", "text_embedding", "report")
    }
    metrics = summarize({"3d": bare})
    assert set(metrics) == {"retrieval", "not_available"}
    assert metrics["retrieval"]["3d"]["image_to_report"]["R@1"]["count"] == 12
    told = "\n".join(metrics["not_available"])
    for name in (
        "zero_shot",
        "slice_selection",
        "xray_localization",
        "cross_dimension",
        "linear_probe",
        "untrained@5",
    ):
        assert name in told
    assert "not available" in format_table(metrics)


def test_constant_slices_come_from_the_validation_set_where_training_has_no_masks(
    everything: dict[str, Any],
) -> None:
    training = {source: {"feature": values["feature"]} for source, values in everything["training"].items()}
    given = everything | {"training": training, "validation": everything["training"]}
    metrics = summarize(**given)
    assert "constant" in metrics["slice_selection"]["all"]
    del given["validation"]
    metrics = summarize(**given)
    assert "constant" not in metrics["slice_selection"]["all"]
    told = "slice_selection.all.constant: no lesion masks of cases that are not judged"
    assert told in metrics["not_available"]


def test_constant_slices_of_cts_of_another_depth_are_left_out(everything: dict[str, Any]) -> None:
    shallow = {"3d": {"lesion_mask": everything["training"]["3d"]["lesion_mask"][..., :4]}}
    metrics = summarize(**(everything | {"training": shallow}))
    assert set(metrics["slice_selection"]["all"]) == set(SELECTORS) - {"constant"}
    told = "slice_selection.small.constant: chosen on CTs of 4 slices, those that are judged have 8"
    assert told in metrics["not_available"]


def test_finding_that_never_occurs_is_listed(everything: dict[str, Any]) -> None:
    silent = dict(everything["test"]["2d"])
    silent["label"] = silent["label"] * torch.tensor([1, 1, 0])
    metrics = summarize(**(everything | {"test": {"2d": silent}}))
    assert "zero_shot.2d.by_finding.effusion: present in all cases or in none" in metrics["not_available"]
    assert set(metrics["zero_shot"]["2d"]["by_finding"]) == {"nodule", "consolidation"}


def test_same_seed_gives_the_same_figures(everything: dict[str, Any], metrics: dict[str, Any]) -> None:
    assert summarize(**everything) == metrics


def test_table_has_a_line_for_every_agreed_figure(metrics: dict[str, Any]) -> None:
    table = format_table(metrics)
    assert len(table.splitlines()) == len(agreed_keys()) + 8
    assert max(len(line) for line in table.splitlines()) < 110


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value, "high": value, "count": 10}


def test_floors_that_rest_on_other_figures() -> None:
    hits = {"random": 0.2, "uniform": 0.3, "centre": 0.5, "constant": 0.58, "entropy": 0.1, "attention": 0.62}
    metrics = {
        "slice_selection": {"all": {name: {"hit@1": figure(value)} for name, value in hits.items()}},
        "linear_probe": {"trained": {"2d": {"1": figure(0.8)}}, "untrained": {"2d": {"1": figure(0.6)}}},
        "seconds": {"train": 361.0},
        "peak_memory_gb": 3.5,
    }
    rows = {row["figure"]: row for row in compare_to_floors(metrics)}
    hit = rows["slice_selection.all.attention.hit@1"]
    assert hit["floor"] == pytest.approx(0.63)  # the best rival + 0.05 is above random + 0.25
    assert not hit["met"]
    assert rows["linear_probe.trained.2d.1"]["met"]
    assert rows["retrieval.2d.image_to_report.R@1"] == {
        "figure": "retrieval.2d.image_to_report.R@1",
        "floor": 0.45,
        "value": None,
        "met": False,
        "is_limit": False,
    }
    assert not rows["seconds.train"]["met"]
    assert rows["peak_memory_gb"]["met"]
    assert "seconds.evaluate" not in rows
    assert "NO" in format_floors(list(rows.values()))


def test_all_floors_have_a_row(metrics: dict[str, Any]) -> None:
    rows = compare_to_floors(metrics)
    assert len(rows) == 8 + 2 + 2 + 2 + 2 + 1
    assert all(row["value"] is not None and row["floor"] is not None for row in rows)


def test_unknown_labels_are_left_out_by_finding(everything: dict[str, Any], metrics: dict[str, Any]) -> None:
    sets = {}
    for name in ("test", "training"):
        sets[name] = {source: dict(values) for source, values in everything[name].items()}
        for values in sets[name].values():
            values["label"] = values["label"].float()
            values["label"][:10, 0], values["label"][:, 2] = torch.nan, torch.nan
    found = summarize(**(everything | sets))
    by_finding = found["zero_shot"]["2d"]["by_finding"]
    assert set(by_finding) == {"nodule", "consolidation"}
    assert [by_finding[name]["count"] for name in by_finding] == [30, 40]
    assert by_finding["consolidation"] == metrics["zero_shot"]["2d"]["by_finding"]["consolidation"]
    assert set(found["linear_probe"]["trained"]["3d"]) == {"1", "10", "100"}
    json.dumps(found, allow_nan=False)
