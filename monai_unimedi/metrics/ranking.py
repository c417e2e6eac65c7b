# SPDX-License-Identifier: Apache-2.0
"""What a ranking is worth, per query: hit within the first k, reciprocal rank, average precision.

Equal scores are in no order: hits are expectations over a random order of the tied candidates, so that a
network whose embeddings have all collapsed scores exactly chance, wherever the right answer stands in the
list.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["average_precision", "expected_hit_rate", "expected_precision", "expected_rank"]


def expected_hit_rate(scores: Tensor, is_relevant: Tensor, k: int) -> Tensor:
    r"""Probability that one of the first k candidates is relevant, ties in random order.

    With `a` candidates above the best relevant score and `t` candidates at it, `r` of them relevant:
    $1 - \binom{t-r}{k-a} / \binom{t}{k-a}$.

    Args:
        scores: (Q, G), larger = earlier.
        is_relevant: (Q, G) bool.
        k: candidates looked at; more than G is taken as G.

    Returns:
        (Q,) float64 in [0, 1]; NaN where a query has no relevant candidate.
    """
    above, tied, tied_relevant = _best_relevant(scores, is_relevant)
    slots = min(k, scores.shape[1]) - above
    irrelevant = tied - tied_relevant
    miss = torch.exp(_log_binomial(irrelevant, slots) - _log_binomial(tied, slots))
    miss = torch.where(slots > irrelevant, 0.0, miss)
    miss = torch.where(slots <= 0, 1.0, miss)
    return torch.where(is_relevant.any(dim=1), 1.0 - miss, torch.nan)


def expected_precision(scores: Tensor, is_relevant: Tensor, k: int) -> Tensor:
    """Expected share of relevant candidates among the first k, ties in random order.

    Args:
        scores: (Q, G), larger = earlier.
        is_relevant: (Q, G) bool.
        k: candidates looked at; more than G is taken as G.

    Returns:
        (Q,) float64 in [0, 1]; NaN where a query has no relevant candidate.
    """
    k = min(k, scores.shape[1])
    last = scores.topk(k, dim=1).values[:, -1:]
    is_above, is_tied = scores > last, scores == last
    share = (k - is_above.sum(dim=1, keepdim=True)) / is_tied.sum(dim=1, keepdim=True).double()
    found = (is_relevant * (is_above + share * is_tied)).sum(dim=1) / k
    return torch.where(is_relevant.any(dim=1), found, torch.nan)


def expected_rank(scores: Tensor, is_relevant: Tensor) -> Tensor:
    """Expected rank (1 = first) of the first relevant candidate, ties in random order.

    Args:
        scores: (Q, G), larger = earlier.
        is_relevant: (Q, G) bool.

    Returns:
        (Q,) float64 in [1, G]; NaN where a query has no relevant candidate.
    """
    above, tied, tied_relevant = _best_relevant(scores, is_relevant)
    rank = above + (tied + 1) / (tied_relevant + 1)
    return torch.where(is_relevant.any(dim=1), rank, torch.nan)


def average_precision(scores: Tensor, is_relevant: Tensor, is_known: Tensor | None = None) -> Tensor:
    """Average precision of each query's ranking for each finding, scikit-learn's definition.

    Precision is read at the end of each run of equal scores, so a constant ranking gives the prevalence.

    Args:
        scores: (Q, G), larger = earlier.
        is_relevant: (G, F) bool, the candidates that show each finding.
        is_known: (G, F) bool, the candidates that count for each finding; all where None.

    Returns:
        (Q, F) float64 in [0, 1]; NaN for a finding that no candidate shows.
    """
    ranked, order = scores.sort(dim=1, descending=True)
    position = torch.arange(scores.shape[1]).expand_as(order)
    is_end = torch.ones_like(order, dtype=torch.bool)
    is_end[:, :-1] = ranked[:, :-1] != ranked[:, 1:]
    last = torch.where(is_end, position, scores.shape[1])
    last = last.flip(1).cummin(dim=1).values.flip(1)  # (Q, G) where each candidate's run of equal scores ends
    result = []
    counted = torch.ones_like(is_relevant) if is_known is None else is_known
    for relevant, counts in zip(is_relevant.double().unbind(dim=1), counted.double().unbind(dim=1)):
        found = relevant[order].cumsum(dim=1)
        precision = found.gather(1, last) / counts[order].cumsum(dim=1).gather(1, last).clamp(min=1)
        result.append((precision * relevant[order]).sum(dim=1) / relevant.sum())
    return torch.stack(result, dim=1)


def _best_relevant(scores: Tensor, is_relevant: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(Q,) each: candidates above the best relevant score, at it, and the relevant ones among the latter."""
    if scores.isnan().any():
        raise ValueError("Scores must be finite, got NaN: the embeddings that were compared hold NaN.")
    best = scores.masked_fill(~is_relevant, -torch.inf).amax(dim=1, keepdim=True)
    is_tied = scores == best
    counts = (scores > best, is_tied, is_tied & is_relevant)
    above, tied, tied_relevant = (count.sum(dim=1).double() for count in counts)
    return above, tied, tied_relevant


def _log_binomial(n: Tensor, k: Tensor) -> Tensor:
    """log of n choose k where 0 <= k <= n; callers replace what lies outside."""
    k = torch.minimum(k.clamp(min=0), n)
    return torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
