# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_unimedi.visualize.embedding_map import MAX_POINTS_PER_SOURCE, SIZE, embedding_maps


def source(count: int, dimension: int = 8) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(count)
    embedding = torch.nn.functional.normalize(torch.randn(count, dimension, generator=generator), dim=1)
    return {"id": [str(row) for row in range(count)], "image_embedding": embedding}


def test_maps_repeat_and_stay_in_the_drawing() -> None:
    test = {"2d": source(20), "3d": source(12)}
    first, second = embedding_maps(test, []), embedding_maps(test, [])
    assert first == second
    assert [found["title"] for found in first] == ["Principal components", "t-SNE"]
    for found in first:
        assert len(found["points"]) == 32
        assert all(0 <= point[axis] <= SIZE for point in found["points"] for axis in ("x", "y"))


def test_principal_components_keep_a_gap_between_dimensions() -> None:
    test = {"2d": source(8), "3d": source(9)}
    test["3d"]["image_embedding"] = test["3d"]["image_embedding"] + 10
    (found,) = embedding_maps(test, [])
    xs = {dim: [point["x"] for point in found["points"] if point["source"] == dim] for dim in test}
    assert max(xs["2d"]) < min(xs["3d"]) or max(xs["3d"]) < min(xs["2d"])


def test_findings_of_a_point_are_positions_in_the_label() -> None:
    test = {"2d": source(4) | {"label": torch.tensor([[0, 1], [1, 1], [0, 0], [1, 0]])}}
    (found,) = embedding_maps(test, ["a", "b"])
    assert [point["findings"] for point in found["points"]] == [[1], [0, 1], [], [0]]


@pytest.mark.parametrize(("count", "maps"), [(2, 0), (3, 1)])
def test_too_few_embeddings_give_no_map(count: int, maps: int) -> None:
    assert len(embedding_maps({"2d": source(count)}, [])) == maps


def test_equal_embeddings_do_not_break_the_map() -> None:
    test = {"2d": {"id": list("abcd"), "image_embedding": torch.ones(4, 8)}}
    assert len(embedding_maps(test, [])[0]["points"]) == 4


def test_many_points_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monai_unimedi.visualize.embedding_map.MIN_POINTS_FOR_TSNE", 10**9)
    (found,) = embedding_maps({"2d": source(MAX_POINTS_PER_SOURCE * 2)}, [])
    assert len(found["points"]) == MAX_POINTS_PER_SOURCE
