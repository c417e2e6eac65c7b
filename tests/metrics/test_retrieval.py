# SPDX-License-Identifier: Apache-2.0
"""Retrieval: equal findings, dropped normals, ties, chance, and the metric inside an Ignite engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler
from torch import Tensor
from torch.nn.functional import normalize

from monai_unimedi.metrics import retrieval
from monai_unimedi.metrics.retrieval import (
    RetrievalMetric,
    findings_key,
    group_codes,
    image_text_retrieval,
    normalised_reciprocal_rank,
    report_key,
    retrieval_scores,
)

LEFT = {"finding": "nodule", "side": "left", "zone": "upper", "size": "small", "slice_range": [2, 4]}
RIGHT = LEFT | {"side": "right"}


def embeddings(num_cases: int, seed: int) -> Tensor:
    return normalize(torch.randn(num_cases, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_findings_key_is_a_set_of_finding_side_zone_and_size() -> None:
    assert findings_key([LEFT, RIGHT]) == findings_key([RIGHT, LEFT | {"slice_range": [7, 9]}, RIGHT])
    assert findings_key([LEFT]) != findings_key([RIGHT])
    assert findings_key([]) == ()


def test_report_key_ignores_case_and_white_space() -> None:
    assert report_key(" No  Nodule.\n") == report_key("no nodule.")


def test_group_codes_are_equal_for_equal_keys_only_and_never_negative() -> None:
    codes = group_codes(["a", "b", "a", ("a",)])
    assert codes[0] == codes[2]
    assert len(codes.unique()) == 3
    assert (codes >= 0).all()
    assert int(group_codes(["a"])[0]) == int(codes[0])


def test_hits_by_hand() -> None:
    similarity = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.2, 0.3], [0.7, 0.8, 0.9]])
    scores = retrieval_scores(similarity, torch.tensor([5, 5, 6]), ks=(1, 2))
    assert scores["R@1"].tolist() == [1, 1, 1]  # rows 0 and 1 find each other
    assert scores["exact_R@1"].tolist() == [0, 0, 1]
    assert scores["exact_R@2"].tolist() == [0, 0, 1]
    assert scores["chance@1"].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 3])
    assert scores["chance@2"].tolist() == pytest.approx([1, 1, 2 / 3])


def test_normals_stay_in_the_pool_and_do_not_ask() -> None:
    similarity = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.2, 0.3], [0.7, 0.8, 0.9]])
    scores = retrieval_scores(similarity, torch.tensor([1, 2, 3]), torch.tensor([True, False, True]))
    assert scores["R@1"].tolist() == [0, 1]


def test_collapsed_embeddings_score_exactly_chance() -> None:
    same = torch.ones(6, 4) / 2
    group = torch.tensor([1, 1, 2, 3, 3, 3])
    for scores in image_text_retrieval(same, same, group).values():
        assert scores["R@1"].tolist() == scores["chance@1"].tolist()
        assert scores["R@5"].tolist() == scores["chance@5"].tolist()


def test_chance_is_what_random_embeddings_reach() -> None:
    group = torch.arange(40) % 8
    runs = [image_text_retrieval(embeddings(40, s), embeddings(40, s + 500), group) for s in range(100)]
    reached = torch.stack([run["image_to_report"]["R@5"].mean() for run in runs]).mean()
    assert reached.item() == pytest.approx(runs[0]["image_to_report"]["chance@5"].mean().item(), abs=0.03)


def test_order_of_cases_does_not_matter() -> None:
    image, text, group = embeddings(12, 0), embeddings(12, 1), torch.arange(12) % 5
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    before = image_text_retrieval(image, text, group)
    after = image_text_retrieval(image[order], text[order], group[order])
    for direction, scores in before.items():
        for name, values in scores.items():
            assert torch.equal(values[order], after[direction][name])


def test_directions_are_not_interchangeable() -> None:
    image, text, group = embeddings(12, 0), embeddings(12, 1), torch.arange(12)
    forward, swapped = image_text_retrieval(image, text, group), image_text_retrieval(text, image, group)
    assert torch.equal(forward["image_to_report"]["R@5"], swapped["report_to_image"]["R@5"])
    assert not torch.equal(forward["image_to_report"]["R@5"], forward["report_to_image"]["R@5"])


def test_normalised_reciprocal_rank_by_hand() -> None:
    similarity = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    relevant = torch.tensor(
        [[True, False, False], [False, True, False], [True, False, False], [True, True, True]]
    )
    values = normalised_reciprocal_rank(similarity, relevant)
    assert values[:3].tolist() == pytest.approx([1, 0, 0])  # chance is 1/2: rank 2 of 3 is no better
    assert values[3].isnan()


def batch(num_cases: int, seed: int, is_perfect: bool = False) -> dict[str, Tensor]:
    image = embeddings(num_cases, seed)
    text = image if is_perfect else embeddings(num_cases, seed + 100)
    return {
        "image_embedding": image,
        "text_embedding": text,
        "pair_group": torch.arange(num_cases) + 1000 * seed,
    }


def test_metric_is_one_for_perfect_and_zero_for_collapsed_embeddings() -> None:
    metric = RetrievalMetric()
    metric({"2d": batch(6, 0, is_perfect=True), "3d": batch(4, 1, is_perfect=True)})
    assert metric.aggregate().item() == pytest.approx(1)
    metric.reset()
    same = {key: torch.ones(5, 8) for key in ("image_embedding", "text_embedding")}
    metric({"2d": same | {"pair_group": torch.arange(5)}})
    assert metric.aggregate().item() == pytest.approx(0)


def test_metric_ranks_each_source_in_its_own_whole_pool() -> None:
    metric = RetrievalMetric()
    steps: list[dict[str, Any]] = [
        {"2d": batch(5, 0), "3d": batch(3, 1)},
        {"3d": batch(4, 2)},
        {"2d": batch(2, 3)},
    ]
    for step in steps:
        metric(step)
    means = []
    for source in ("2d", "3d"):
        parts = [step[source] for step in steps if source in step]
        image, text = (
            torch.cat([part[key] for part in parts]) for key in ("image_embedding", "text_embedding")
        )
        similarity = image.double() @ text.double().T
        own = torch.eye(len(image), dtype=torch.bool)
        means += [normalised_reciprocal_rank(s, own).mean().item() for s in (similarity, similarity.T)]
    assert metric.aggregate().item() == pytest.approx(sum(means) / 4)
    assert set(metric.scores()) == {
        f"{s}_{d}" for s in ("2d", "3d") for d in ("image_to_report", "report_to_image")
    }


def test_metric_is_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = RetrievalMetric()
    metric({"2d": batch(7, 0), "3d": batch(4, 1)})
    whole = metric.scores()
    monkeypatch.setattr(retrieval, "QUERIES_AT_ONCE", 3)
    parts = metric.scores()
    assert {name: len(values) for name, values in parts.items()} == {name: len(v) for name, v in whole.items()}
    for name, values in whole.items():
        assert torch.allclose(parts[name], values, atol=1e-12, equal_nan=True), name


def test_metric_works_in_an_ignite_engine() -> None:
    steps = [{"2d": batch(5, 0), "3d": batch(3, 1)}, {"2d": batch(4, 2)}]
    engine = Engine(lambda _, step: step)
    IgniteMetricHandler(RetrievalMetric(), output_transform=lambda output: (output, None)).attach(
        engine, "retrieval"
    )
    engine.run(steps)
    direct = RetrievalMetric()
    for step in steps:
        direct(step)
    assert engine.state.metrics["retrieval"] == pytest.approx(direct.aggregate().item())


def test_metric_without_batches_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        RetrievalMetric().aggregate()
