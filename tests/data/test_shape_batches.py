# SPDX-License-Identifier: Apache-2.0
"""Batches of one shape: by rows or by tokens, pure in (seed, step), equal in number on all ranks."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest

from monai_unimedi.data.samplers import SourcesBatchSampler

FLAT, DEEP, DEEPEST = (1, 48, 48, 8), (1, 48, 48, 16), (1, 48, 48, 32)
SHAPES = [FLAT] * 13 + [DEEP] * 9 + [DEEPEST] * 5
XRAY = (1, 72, 72)


def tokens(shape: tuple[int, ...]) -> int:
    return 1 + 16 * (shape[3] // 8) if len(shape) == 4 else 37


def sampler(**options: Any) -> SourcesBatchSampler:
    given = {
        "lengths": {"2d": 23, "3d": len(SHAPES)},
        "batch_sizes": {"2d": 4, "3d": 0},
        "seed": 3,
        "shapes": {"2d": [XRAY] * 23, "3d": SHAPES},
        "token_budgets": {"2d": None, "3d": 140},
        "count_tokens": tokens,
    }
    return SourcesBatchSampler(**(given | options))


def volumes(requests: list[tuple[str, int, int]]) -> list[int]:
    return [row for source, row, _ in requests if source == "3d"]


def test_a_batch_has_one_shape_and_as_many_rows_as_the_budget_holds() -> None:
    for requests in islice(sampler(), 40):
        rows = volumes(requests)
        shape = {SHAPES[row] for row in rows}
        assert len(shape) == 1
        assert len(rows) == {FLAT: 8, DEEP: 4, DEEPEST: 2}[shape.pop()]  # 17, 33 and 65 tokens each
        assert [source for source, _, _ in requests].count("2d") == 4


def test_every_pass_has_the_same_number_of_batches_and_no_row_twice() -> None:
    found = sampler()
    per_pass = found.batches_per_pass("3d")
    assert per_pass == 13 // 8 + 9 // 4 + 5 // 2
    seen: set[int] = set()
    for visit in range(12):
        rows = [row for step in range(per_pass) for row in volumes(found.requests(visit * per_pass + step))]
        assert max(Counter(rows).values()) == 1
        seen |= set(rows)
    assert seen == set(range(len(SHAPES)))  # others are left over each time


def test_shapes_are_mixed_within_a_pass_and_the_order_changes() -> None:
    found = sampler()
    per_pass = found.batches_per_pass("3d")
    orders = {
        tuple(SHAPES[volumes(found.requests(visit * per_pass + step))[0]][3] for step in range(per_pass))
        for visit in range(12)
    }
    assert len(orders) > 4


def test_resuming_at_a_step_gives_the_steps_that_were_left() -> None:
    whole = list(islice(sampler(), 30))
    for start in (0, 1, 4, 13):
        resumed = sampler()
        resumed.set_step(start)
        assert list(islice(resumed, 30 - start)) == whole[start:]
    assert list(islice(sampler(seed=4), 30)) != whole


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_take_equal_parts_of_the_same_batch(world_size: int) -> None:
    one = sampler(row_multiple=4, token_budgets={"3d": 300})
    ranks = [
        sampler(row_multiple=4, token_budgets={"3d": 300}, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert len({len(part) for part in ranks}) == 1
    for step in range(20):
        parts = [volumes(part.requests(step)) for part in ranks]
        assert len({len(part) for part in parts}) == 1
        assert [row for part in parts for row in part] == volumes(one.requests(step))


def test_shapes_alone_group_batches_of_the_given_size() -> None:
    found = sampler(batch_sizes={"2d": 4, "3d": 6}, token_budgets=None)
    sizes = {(SHAPES[rows[0]], len(rows)) for rows in (volumes(found.requests(step)) for step in range(40))}
    assert sizes == {(FLAT, 6), (DEEP, 6), (DEEPEST, 5)}  # a rare shape makes one batch of all its rows


def test_one_shape_gives_the_batches_of_a_sampler_without_shapes() -> None:
    shapes = {"2d": [XRAY] * 23}
    by_tokens = sampler(lengths={"2d": 23}, shapes=shapes, token_budgets={"2d": 37 * 4 + 36})
    plain = SourcesBatchSampler({"2d": 23}, {"2d": 4}, seed=3)
    assert list(islice(by_tokens, 25)) == list(islice(plain, 25))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token_budgets": {"3d": 100}}, r"at least 2 images of shape \(1, 48, 48, 32\).*65 tokens.*at least 130"),
        ({"shapes": {"3d": [*SHAPES[:-5], DEEPEST, *SHAPES[:4]]}}, r"has 1 images of shape .*fewer than the 2"),
        ({"count_tokens": None}, "'3d': a budget of tokens needs shapes and count_tokens"),
        ({"shapes": None}, "'3d': a budget of tokens needs shapes"),
        ({"groups": {"3d": [0] * 27}}, "by shapes or balance groups, got both"),
        ({"row_multiple": 0}, "row_multiple must be 1 or more, got 0"),
    ],
)
def test_documented_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampler(**options)


def test_rows_by_shape_tell_what_another_number_of_ranks_would_change() -> None:
    large = {"token_budgets": {"2d": None, "3d": 325}}
    assert sampler(**large, world_size=4).rows_by_shape != sampler(**large).rows_by_shape
    assert sampler(**large, world_size=2, row_multiple=4).rows_by_shape == sampler(**large, world_size=4).rows_by_shape
