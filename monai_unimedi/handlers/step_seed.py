# SPDX-License-Identifier: Apache-2.0
"""Global generators that depend on the iteration alone, so that no generator has to be saved."""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch
from ignite.engine import Events

__all__ = ["StepSeed"]


class StepSeed:
    """Seeds Python's, NumPy's and PyTorch's global generators at the start of every iteration.

    The seed is a hash of (`seed`, iteration) and the same on every rank. Masks and augmentation draw from the
    samples' own seeds; this is for whatever else draws (dropout, random slices), so that a resumed run draws
    the same.

    Args:
        seed: of the run.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def attach(self, engine: Any) -> None:
        """Attaches to any Ignite engine."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Any) -> None:
        hashed = numpy.random.SeedSequence([abs(self.seed), engine.state.iteration])
        word, short = int(hashed.generate_state(1, numpy.uint64)[0]), int(hashed.generate_state(1)[0])
        torch.manual_seed(word >> 1)
        numpy.random.seed(short)
        random.seed(word)
