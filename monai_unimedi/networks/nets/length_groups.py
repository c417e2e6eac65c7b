# SPDX-License-Identifier: Apache-2.0
"""Which reports are read together, so that short ones are not padded to the longest of the batch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["length_groups"]


def length_groups(lengths: Sequence[int], call_cost: int) -> list[list[int]]:
    r"""Groups of sequences, each to be padded to its own longest, at the least cost.

    Over sequences sorted by length the cheapest cut into runs is found exactly, by dynamic programming:
    :math:`c_j = \min_{i<j} c_i + (j - i) \, l_j + \mathrm{call\_cost}`, with :math:`l_j` the longest of the run.

    Args:
        lengths: tokens of each sequence.
        call_cost: tokens that one further call is worth; 0 pads nothing, a large one gives a single group.

    Returns:
        Indices of ``lengths``, a list a group, shortest group first; equal lengths keep their order.

    Raises:
        ValueError: When ``call_cost`` is negative.
    """
    if call_cost < 0:
        raise ValueError(f"call_cost must be 0 tokens or more, got {call_cost}.")
    order = np.argsort(np.asarray(lengths, dtype=np.int64), kind="stable")
    longest = np.asarray(lengths, dtype=np.int64)[order]
    count = len(order)
    cost, cut = np.zeros(count + 1, dtype=np.int64), np.zeros(count + 1, dtype=np.int64)
    starts = np.arange(count + 1)
    for end in range(1, count + 1):
        candidates = cost[:end] + (end - starts[:end]) * longest[end - 1] + call_cost
        cut[end] = int(np.argmin(candidates))  # the first of equals: the fewest calls
        cost[end] = candidates[cut[end]]
    groups: list[list[int]] = []
    end = count
    while end > 0:
        groups.append(order[cut[end] : end].tolist())
        end = int(cut[end])
    return groups[::-1]
