# SPDX-License-Identifier: Apache-2.0
"""The steps that the ratios compare can be called as the engine calls this package's own."""

from __future__ import annotations

import inspect

from benchmarks.training_steps import NaiveUniMedI
from monai_unimedi.networks.nets.unimedi import UniMedI


def test_naive_recipe_takes_all_that_a_pair_is_given() -> None:
    given = [None] * len(inspect.signature(UniMedI.encode_pair).parameters)
    inspect.signature(NaiveUniMedI.encode_pair).bind(*given)
