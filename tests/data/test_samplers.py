# SPDX-License-Identifier: Apache-2.0
"""Which rows a step sees: pure in (seed, step), each source on its own passes, shared among ranks."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest

from monai_unimedi.data.samplers import SourcesBatchSampler

LENGTHS, SIZES = {"2d": 23, "3d": 10}, {"2d": 4, "3d": 2}


def sampler(**options: Any) -> SourcesBatchSampler:
    return SourcesBatchSampler(**{"lengths": LENGTHS, "batch_sizes": SIZES, "seed": 3, **options})


def test_a_step_holds_one_batch_of_each_source() -> None:
    for requests in islice(sampler(), 20):
        assert [source for source, _, _ in requests] == ["2d"] * 4 + ["3d"] * 2


def test_each_source_runs_through_its_own_passes() -> None:
    steps = list(islice(sampler(), 10))
    for source, per_pass in (("2d", 5), ("3d", 5)):
        for start in range(0, 10, per_pass):
            rows = [r for requests in steps[start : start + per_pass] for s, r, _ in requests if s == source]
            assert max(Counter(rows).values()) == 1
            assert len(rows) == per_pass * SIZES[source]
    assert [sampler().visit("2d", t) for t in (0, 4, 5, 9, 10)] == [0, 0, 1, 1, 2]


def test_length_is_the_longest_source_once() -> None:
    assert len(sampler()) == 5
    assert len(sampler(lengths={"2d": 40, "3d": 10})) == 10
    assert len(sampler(steps_per_epoch=7)) == 7


def test_resuming_at_a_step_gives_the_steps_that_were_left() -> None:
    whole = list(islice(sampler(), 30))
    for start in (0, 1, 5, 13):
        resumed = sampler()
        resumed.load_state_dict({"step": start, "seed": 3})
        assert list(islice(resumed, 30 - start)) == whole[start:]
        assert resumed.state_dict() == {"step": start, "seed": 3}
    assert list(islice(sampler(seed=4), 30)) != whole


def test_requests_do_not_depend_on_the_order_of_asking() -> None:
    one = sampler()
    backwards = {t: one.requests(t) for t in reversed(range(12))}
    assert [backwards[t] for t in range(12)] == list(islice(sampler(), 12))


def test_ranks_together_are_the_whole_batch() -> None:
    for step in range(8):
        whole = sampler().requests(step)
        parts = [sampler(rank=r, world_size=2).requests(step) for r in range(2)]
        for source in LENGTHS:
            together = [q for part in parts for q in part if q[0] == source]
            assert together == [q for q in whole if q[0] == source]


@pytest.mark.parametrize("world_size", [2, 3, 4, 6])
def test_no_row_comes_twice_in_a_pass_on_any_rank(world_size: int) -> None:
    options = {"lengths": {"2d": 41, "3d": 26}, "batch_sizes": {"2d": 12, "3d": 12}, "world_size": world_size}
    ranks = [sampler(rank=rank, **options) for rank in range(world_size)]
    assert {len(rank) for rank in ranks} == {3}
    for source, per_pass in (("2d", 3), ("3d", 2)):
        assert {rank.batches_per_pass(source) for rank in ranks} == {per_pass}
        for visit in range(4):
            steps = range(visit * per_pass, (visit + 1) * per_pass)
            rows = [r for rank in ranks for t in steps for s, r, _ in rank.requests(t) if s == source]
            assert max(Counter(rows).values()) == 1
            assert len(rows) == per_pass * 12


def test_rows_that_a_pass_leaves_out_are_others_each_time() -> None:
    options = {"lengths": {"2d": 23}, "batch_sizes": {"2d": 4}, "world_size": 4}
    ranks = [sampler(rank=rank, **options) for rank in range(4)]
    seen = [{r for rank in ranks for t in range(5 * v, 5 * v + 5) for _, r, _ in rank.requests(t)} for v in range(9)]
    assert all(len(rows) == 20 for rows in seen)
    assert len({frozenset(rows) for rows in seen}) > 1
    assert len(set.union(*seen)) == 23


def test_sample_seed_is_stable_and_changes_with_the_visit() -> None:
    seeds: dict[tuple[str, int], set[int]] = {}
    for requests in islice(sampler(), 50):
        for source, row, seed in requests:
            assert 0 <= seed < 2**63
            seeds.setdefault((source, row), set()).add(seed)
    assert min(len(s) for s in seeds.values()) > 4
    assert len(set.union(*seeds.values())) == 50 * 6
    assert sampler().requests(0)[0] == ("2d", 20, 4609027299059555217)


def test_alternating_sources_take_turns_and_see_the_batches_they_would_see_together() -> None:
    turns, together = sampler(alternating=True), sampler()
    assert len(turns) == 2 * len(together)
    for step in range(24):
        source = ("2d", "3d")[step % 2]
        expected = [request for request in together.requests(step // 2) if request[0] == source]
        assert turns.requests(step) == expected  # the same rows in the same passes, with the same seeds
        assert turns.visit(source, step) == together.visit(source, step // 2)


def test_alternating_sources_go_on_where_they_were() -> None:
    whole = list(islice(sampler(alternating=True), 30))
    for start in (1, 2, 7, 20):
        resumed = sampler(alternating=True)
        resumed.load_state_dict({"step": start, "seed": 3})
        assert list(islice(resumed, 30 - start)) == whole[start:]


def test_alternating_ranks_have_the_same_source_in_a_step() -> None:
    for step in range(8):
        whole = sampler(alternating=True).requests(step)
        parts = [sampler(alternating=True, rank=rank, world_size=2).requests(step) for rank in range(2)]
        assert [request for part in parts for request in part] == whole
        assert {request[0] for part in parts for request in part} == {("2d", "3d")[step % 2]}


def test_a_source_alone_has_every_turn() -> None:
    alone = {"batch_sizes": {"2d": 4, "3d": 0}}
    assert list(islice(sampler(**alone, alternating=True), 12)) == list(islice(sampler(**alone), 12))


def test_without_shuffling_rows_come_in_order() -> None:
    rows = [r for requests in islice(sampler(shuffle=False), 2) for s, r, _ in requests if s == "2d"]
    assert rows == list(range(8))


def test_source_of_batch_size_zero_is_left_out() -> None:
    alone = sampler(batch_sizes={"2d": 4, "3d": 0})
    assert {source for source, _, _ in alone.requests(0)} == {"2d"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_sizes": {"2d": 1, "3d": 2}}, "'2d': contrast needs a batch of at least 2 rows, got 1"),
        ({"batch_sizes": {"2d": 4, "3d": 12}}, "'3d' has 10 rows, fewer than its batch of 12"),
        ({"batch_sizes": {"2d": 3, "3d": 2}, "world_size": 2}, "2 ranks must divide the batch of all, got 3; start 1"),
        ({"batch_sizes": {"2d": 16, "3d": 6}, "world_size": 6}, "the 6 ranks .* got 16; start 4 processes"),
        ({"batch_sizes": {}}, "At least one source"),
        ({"rank": 2, "world_size": 2}, r"rank must lie in \[0, 2\)"),
    ],
)
def test_documented_errors(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sampler(**options)


def test_state_of_another_seed_raises() -> None:
    with pytest.raises(ValueError, match="seed 3, its saved state 4"):
        sampler().load_state_dict({"step": 1, "seed": 4})
    with pytest.raises(ValueError, match="must not be negative"):
        sampler().set_step(-1)


def test_groups_are_seen_alike_and_all_rows_of_the_larger_in_turn() -> None:
    groups = [int(row in (5, 17, 29, 38)) for row in range(40)]  # four of forty
    found = sampler(lengths={"2d": 40}, batch_sizes={"2d": 4}, groups={"2d": groups})
    assert len(found) == found.batches_per_pass("2d") == 2
    passes = [[row for t in (2 * p, 2 * p + 1) for _, row, _ in found.requests(t)] for p in range(9)]
    for rows in passes:
        assert {row for row in rows if groups[row]} == {5, 17, 29, 38}
        assert len(set(rows)) == 8
    others = [row for rows in passes for row in rows if not groups[row]]
    assert sorted(others) == [row for row in range(40) if not groups[row]]  # 36 others in nine passes
    again = sampler(lengths={"2d": 40}, batch_sizes={"2d": 4}, groups={"2d": groups})
    assert again.requests(13) == found.requests(13)  # pure in the step
    assert sorted(found.requests(3)) != sorted(found.requests(5))


def test_batch_is_no_larger_than_a_balanced_pass(caplog: pytest.LogCaptureFixture) -> None:
    options: dict[str, Any] = {"lengths": {"2d": 100}, "batch_sizes": {"2d": 32}}
    rare: dict[str, Any] = {**options, "groups": {"2d": [0] * 97 + [1] * 3}}
    for ranks, size in ((1, 6), (4, 4)):
        parts = [sampler(**rare, rank=rank, world_size=ranks) for rank in range(ranks)]
        assert f"2d: batches of {size} rows, not 32: a pass has as many of each of 2 groups as" in caplog.text
        rows = [row for part in parts for _, row, _ in part.requests(3)]
        assert len(set(rows)) == size
    assert sorted(row >= 97 for _, row, _ in sampler(**rare).requests(3)) == [False] * 3 + [True] * 3
    caplog.clear()
    sampler(**options, groups={"2d": [0, 1] * 50})
    assert not caplog.text
    with pytest.raises(ValueError, match="has 6 rows, as many of each of 2 groups as the smallest has, fewer than"):
        sampler(**rare, world_size=8)


def test_groups_of_a_source_that_is_left_out_do_not_matter() -> None:
    alone = sampler(batch_sizes={"2d": 4, "3d": 0}, groups={"3d": [0] * 5 + [1] * 5})
    assert {source for source, _, _ in alone.requests(0)} == {"2d"}


def test_a_single_row_is_a_batch_where_nothing_is_contrasted() -> None:
    one = sampler(lengths={"3d": 3}, batch_sizes={"3d": 1}, min_rows=1)
    assert sorted(row for step in range(3) for _, row, _ in one.requests(step)) == [0, 1, 2]
    with pytest.raises(ValueError, match="'3d': a batch has at least 1 rows, got -1"):
        sampler(lengths={"3d": 3}, batch_sizes={"3d": -1}, min_rows=1)
