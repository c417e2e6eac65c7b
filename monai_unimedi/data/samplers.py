# SPDX-License-Identifier: Apache-2.0
"""Which rows a training step sees: one micro-batch of each source (``method.md`` section 5).

The requests of step t are a pure function of (seed, t, lengths, batch sizes), so that a run resumed at any
step, with any number of loader workers or ranks, sees what the uninterrupted run saw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Sampler

from monai_unimedi.data.hashing import stable_hash

__all__ = ["SourcesBatchSampler"]

Request = tuple[str, int, int]


def _members(groups: Sequence[int]) -> list[np.ndarray]:
    """Rows of each group."""
    of_rows = np.asarray(groups)
    return [np.flatnonzero(of_rows == group) for group in np.unique(of_rows)]


def _nearest_divisor(size: int, ranks: int) -> int:
    """The largest number of at most ``ranks`` processes that share ``size`` rows evenly."""
    return next(count for count in range(ranks, 0, -1) if size % count == 0)


class SourcesBatchSampler(Sampler[list[Request]]):
    """Endless batches of requests ``(source, row, sample_seed)`` for a ``SourcesDataset``.

    Each source runs through permutations of its own rows; the rows that do not fill a batch are left out of
    that pass, others in the next: every rank makes the same steps and no row comes twice in a pass.
    ``sample_seed`` is a 63-bit hash of (seed, source, pass, row), so that one row is augmented and masked
    differently at each visit, the same on any rank.

    Iteration starts at ``start_step`` and never ends; the trainer counts. Loader workers read ahead, so what
    goes into a checkpoint is the number of steps trained (``set_step``), not the sampler's own position.

    Args:
        lengths: rows of each source; sources come in this order within a step.
        batch_sizes: rows of each source in one step over all ranks. Sources of size 0 are left out.
        steps_per_epoch: ``len(self)``; when None the steps in which the longest source is seen once.
        rank: this process.
        world_size: processes; each takes its contiguous share of the batch.
        shuffle: False takes the rows in order, pass after pass.
        groups: for a source the group of each of its rows, such as its class: each pass then takes of every group
            as many rows as the smallest has, of larger groups others each time until all were seen.

    Raises:
        ValueError: When a batch has fewer than two rows (contrast needs a negative), more rows than its
            source, or a size that ``world_size`` does not divide.
    """

    def __init__(
        self,
        lengths: Mapping[str, int],
        batch_sizes: Mapping[str, int],
        seed: int = 0,
        steps_per_epoch: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        groups: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.lengths = {name: int(n) for name, n in lengths.items() if batch_sizes.get(name, 0) != 0}
        self.batch_sizes = {name: int(batch_sizes[name]) for name in self.lengths}
        self.seed, self.rank, self.world_size, self.shuffle = int(seed), int(rank), int(world_size), shuffle
        self.groups = {name: _members(of_rows) for name, of_rows in (groups or {}).items()}
        self.lengths |= {name: len(found) * min(map(len, found)) for name, found in self.groups.items()}
        self._check()
        longest = max(self.batches_per_pass(name) for name in self.lengths)
        self.steps_per_epoch = longest if steps_per_epoch is None else int(steps_per_epoch)
        self.start_step = 0
        self._orders: dict[str, tuple[int, np.ndarray]] = {}

    def _check(self) -> None:
        if not self.lengths:
            raise ValueError("At least one source must have rows and a batch size, got none.")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must lie in [0, {self.world_size}), got {self.rank}.")
        for name, size in self.batch_sizes.items():
            if size < 2:
                raise ValueError(f"Source {name!r}: contrast needs a batch of at least 2 rows, got {size}.")
            if size > self.lengths[name]:
                raise ValueError(
                    f"Source {name!r} has {self.lengths[name]} rows, fewer than its batch of {size}."
                )
            if size % self.world_size:
                raise ValueError(
                    f"Source {name!r}: the {self.world_size} ranks must divide the batch of all, got {size}; start "
                    f"{_nearest_divisor(size, self.world_size)} processes, which a run that has begun can go on "
                    "with, or begin a run with another batch."
                )

    def batches_per_pass(self, source: str) -> int:
        """Whole batches in one pass through a source."""
        return self.lengths[source] // self.batch_sizes[source]

    def visit(self, source: str, step: int) -> int:
        """The pass through ``source`` that step ``step`` belongs to, from 0."""
        return step // self.batches_per_pass(source)

    def requests(self, step: int) -> list[Request]:
        """This rank's requests of one step, source after source."""
        return [request for source in self.lengths for request in self._source_requests(source, step)]

    def _source_requests(self, source: str, step: int) -> list[Request]:
        size, visit = self.batch_sizes[source], self.visit(source, step)
        share = size // self.world_size
        first = (step % self.batches_per_pass(source)) * size + self.rank * share
        rows = self._order(source, visit)[first : first + share]
        return [(source, int(row), stable_hash("sample", self.seed, source, visit, int(row))) for row in rows]

    def _order(self, source: str, visit: int) -> np.ndarray:
        if not self.shuffle:
            return self._balanced(source, visit) if source in self.groups else np.arange(self.lengths[source])
        if self._orders.get(source, (-1, None))[0] != visit:
            rows = self._balanced(source, visit) if source in self.groups else self.lengths[source]
            self._orders[source] = (visit, self._random("order", source, visit).permutation(rows))
        return self._orders[source][1]

    def _balanced(self, source: str, visit: int) -> np.ndarray:
        """Rows of one pass, the same number of each group: a stretch of the group's endless permutations."""
        count = min(map(len, self.groups[source]))
        taken = []
        for number, members in enumerate(self.groups[source]):
            rounds, places = np.divmod(np.arange(visit * count, (visit + 1) * count), len(members))
            for each in np.unique(rounds):
                order = self._random("group", source, number, int(each)).permutation(members)
                taken.append(order[places[rounds == each]])
        return np.concatenate(taken)

    def _random(self, *what: str | int) -> np.random.RandomState:
        return np.random.RandomState(stable_hash(what[0], self.seed, *what[1:]) % 2**32)

    def __iter__(self) -> Iterator[list[Request]]:
        step = self.start_step
        while True:
            yield self.requests(step)
            step += 1

    def __len__(self) -> int:
        return self.steps_per_epoch

    def set_step(self, step: int) -> None:
        """Let the next iteration start at ``step``, counted from the beginning of the run."""
        if step < 0:
            raise ValueError(f"step must not be negative, got {step}.")
        self.start_step = int(step)

    def state_dict(self) -> dict[str, int]:
        return {"step": self.start_step, "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at ``state["step"]``.

        Raises:
            ValueError: When the state is of another seed.
        """
        if int(state.get("seed", self.seed)) != self.seed:
            raise ValueError(f"The sampler has seed {self.seed}, its saved state {state['seed']}.")
        self.set_step(int(state["step"]))
