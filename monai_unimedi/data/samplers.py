# SPDX-License-Identifier: Apache-2.0
"""Which rows a training step sees: one micro-batch of each source, or of each in turn (``method.md`` section 5).

The requests of step t are a pure function of (seed, t, lengths, batch sizes), so that a run resumed at any
step, with any number of loader workers or ranks, sees what the uninterrupted run saw.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Sampler

from monai_unimedi.data.hashing import stable_hash
from monai_unimedi.data.shape_batches import Shape, ShapeBatches, rows_in_budget

__all__ = ["SourcesBatchSampler"]

logger = logging.getLogger(__name__)
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
            as many rows as the smallest has, of larger groups others each time until all were seen. A batch larger
            than such a pass becomes as large as it, with a warning.
        shapes: for a source (C, X, Y[, Z]) of each row's image, where they differ or tokens count: a batch then holds
            images of one shape, on all ranks.
        token_budgets: for a source of ``shapes``, tokens of a batch over all ranks, instead of its batch size: a
            batch of small images has more rows than one of large ones. None leaves the batch size.
        count_tokens: tokens of an image of a shape.
        alternating: a step holds a batch of one source; the sources take turns, in their order. Each runs through its
            passes as it does otherwise, one batch every so many steps as there are sources.
        row_multiple: batches by tokens, and those of shapes too rare for a batch size, have a multiple of it and of
            ``world_size`` rows. The largest number of processes that the run will have lets it go on with fewer, in
            the same batches.
        min_rows: that a batch must have: contrast needs a negative, a loss of single rows does not.

    Raises:
        ValueError: When a batch has fewer rows than ``min_rows``, more rows than its
            source, or a size that ``world_size`` does not divide; when too few rows have a shape; when a budget
            comes without shapes and tokens, or shapes with groups.
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
        shapes: Mapping[str, Sequence[Shape]] | None = None,
        token_budgets: Mapping[str, int | None] | None = None,
        count_tokens: Callable[[Shape], int] | None = None,
        row_multiple: int = 1,
        alternating: bool = False,
        min_rows: int = 2,
    ) -> None:
        budgets = {name: int(tokens) for name, tokens in (token_budgets or {}).items() if tokens is not None}
        wanted = {**batch_sizes, **budgets}
        self.lengths = {name: int(n) for name, n in lengths.items() if wanted.get(name, 0) != 0}
        self.batch_sizes = {name: int(batch_sizes.get(name, 0)) for name in self.lengths}
        self.seed, self.rank, self.world_size, self.shuffle = int(seed), int(rank), int(world_size), shuffle
        self.groups = {name: _members(of_rows) for name, of_rows in (groups or {}).items()}
        self.lengths |= {n: len(of) * min(map(len, of)) for n, of in self.groups.items() if n in self.lengths}
        self.batch_sizes |= {name: self._balanced_size(name) for name in self.groups if name in self.lengths}
        self._check(budgets, min_rows)
        if row_multiple < 1:
            raise ValueError(f"row_multiple must be 1 or more, got {row_multiple}.")
        self._shaped = self._shape_batches(shapes or {}, budgets, count_tokens, int(row_multiple))
        self.alternating = alternating
        longest = max(self.batches_per_pass(name) for name in self.lengths) * self.turns
        self.steps_per_epoch = longest if steps_per_epoch is None else int(steps_per_epoch)
        self.start_step = 0
        self._passes: dict[str, tuple[int, Sequence[np.ndarray]]] = {}

    def _shape_batches(
        self,
        shapes: Mapping[str, Sequence[Shape]],
        budgets: Mapping[str, int],
        count_tokens: Callable[[Shape], int] | None,
        row_multiple: int,
    ) -> dict[str, ShapeBatches]:
        multiple = math.lcm(row_multiple, self.world_size)
        found = {}
        for name in self.lengths:
            if name in budgets and (name not in shapes or count_tokens is None):
                raise ValueError(f"Source {name!r}: a budget of tokens needs shapes and count_tokens, got one or none.")
            if name in shapes and name in self.groups:
                raise ValueError(f"Source {name!r}: batches are by shapes or balance groups, got both.")
            if name in shapes:

                def rows_of(shape: Shape, name: str = name) -> int:
                    if name not in budgets or count_tokens is None:
                        return self.batch_sizes[name]
                    return rows_in_budget(name, shape, count_tokens(shape), budgets[name], multiple)

                found[name] = ShapeBatches(name, shapes[name], rows_of, multiple)
        return found

    def _balanced_size(self, source: str) -> int:
        """Rows of a batch of a source with groups: at most those of a pass, shared evenly by the processes."""
        size, rows = self.batch_sizes[source], self.lengths[source]
        if size <= rows:
            return size
        fitting = max(1, rows // self.world_size) * self.world_size
        logger.warning(
            "%s: batches of %d rows, not %d: a pass has as many of each of %d groups as the smallest, %d.",
            *(source, fitting, size, len(self.groups[source]), min(map(len, self.groups[source]))),
        )
        return fitting

    def _check(self, budgets: Mapping[str, int], min_rows: int) -> None:
        if not self.lengths:
            raise ValueError("At least one source must have rows and a batch size, got none.")
        if not 0 <= self.rank < self.world_size:
            raise ValueError(f"rank must lie in [0, {self.world_size}), got {self.rank}.")
        for name, size in self.batch_sizes.items():
            if name in budgets:
                continue
            if size < min_rows:
                why = "contrast needs a batch of" if min_rows > 1 else "a batch has"
                raise ValueError(f"Source {name!r}: {why} at least {min_rows} rows, got {size}.")
            if size > self.lengths[name]:
                groups = self.groups.get(name, ())
                why = f", as many of each of {len(groups)} groups as the smallest has" if groups else ""
                raise ValueError(
                    f"Source {name!r} has {self.lengths[name]} rows{why}, fewer than its batch of {size}."
                )
            if size % self.world_size:
                raise ValueError(
                    f"Source {name!r}: the {self.world_size} ranks must divide the batch of all, got {size}; start "
                    f"{_nearest_divisor(size, self.world_size)} processes, which a run that has begun can go on "
                    "with, or begin a run with another batch."
                )

    def batches_per_pass(self, source: str) -> int:
        """Whole batches in one pass through a source."""
        if source in self._shaped:
            return self._shaped[source].num_batches
        return self.lengths[source] // self.batch_sizes[source]

    @property
    def rows_by_shape(self) -> dict[str, list[int]]:
        """For each source of ``shapes`` the rows of a batch of each, from the smallest shape: they depend on
        ``world_size`` unless ``row_multiple`` is one of its multiples."""
        return {name: list(found.rows) for name, found in self._shaped.items()}

    @property
    def turns(self) -> int:
        """Steps in which every source comes once."""
        return len(self.lengths) if self.alternating else 1

    def visit(self, source: str, step: int) -> int:
        """The pass through ``source`` that step ``step`` belongs to, from 0."""
        return step // self.turns // self.batches_per_pass(source)

    def requests(self, step: int) -> list[Request]:
        """This rank's requests of one step, source after source; the source whose turn it is, if they alternate."""
        names = list(self.lengths)
        sources = [names[step % self.turns]] if self.alternating else names
        return [request for source in sources for request in self._source_requests(source, step)]

    def _source_requests(self, source: str, step: int) -> list[Request]:
        visit = self.visit(source, step)
        batch = self._pass(source, visit)[step // self.turns % self.batches_per_pass(source)]
        share = len(batch) // self.world_size
        rows = batch[self.rank * share : (self.rank + 1) * share]
        return [(source, int(row), stable_hash("sample", self.seed, source, visit, int(row))) for row in rows]

    def _pass(self, source: str, visit: int) -> Sequence[np.ndarray]:
        """The batches of one pass through a source."""
        if self._passes.get(source, (-1, ()))[0] != visit:
            order = self._order(source, visit)
            if source in self._shaped:
                batches: Sequence[np.ndarray] = self._shaped[source].batches(order)
            else:
                count, size = self.batches_per_pass(source), self.batch_sizes[source]
                batches = list(order[: count * size].reshape(count, size))
            self._passes[source] = (visit, batches)
        return self._passes[source][1]

    def _order(self, source: str, visit: int) -> np.ndarray:
        if not self.shuffle:
            return self._balanced(source, visit) if source in self.groups else np.arange(self.lengths[source])
        rows = self._balanced(source, visit) if source in self.groups else self.lengths[source]
        return self._random("order", source, visit).permutation(rows)

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
