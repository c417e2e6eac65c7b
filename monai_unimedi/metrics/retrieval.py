# SPDX-License-Identifier: Apache-2.0
"""Retrieval between images and reports: R@k by equal findings, by the own pair, and what chance gives.

A hit is a report with the same set of (finding, side, zone, size). Normals all share the empty set, so that a
constant ranking would find them: they stay in the pool and are dropped from the queries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from monai.metrics import Cumulative
from torch import Tensor

from monai_unimedi.metrics.ranking import expected_hit_rate, expected_rank

__all__ = [
    "RetrievalMetric",
    "findings_key",
    "group_codes",
    "image_text_retrieval",
    "report_key",
    "retrieval_scores",
]

QUERIES_AT_ONCE = 1024

def findings_key(findings: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], ...]:
    """What makes reports equal: the set of (finding, side, zone, size), sorted; empty for a normal."""
    words = ("finding", "side", "zone", "size")
    return tuple(sorted({tuple(str(finding.get(word, "")) for word in words) for finding in findings}))


def report_key(report: str) -> str:
    """Stands in for `findings_key` on data without findings: the text, regardless of case and white space."""
    return " ".join(report.casefold().split())


def group_codes(keys: Sequence[Hashable]) -> Tensor:
    """Codes, equal for equal keys in every process: (N,) int64, 63 bits of a hash of ``repr(key)``."""
    digests = [hashlib.blake2b(repr(key).encode(), digest_size=8).digest() for key in keys]
    return torch.tensor([int.from_bytes(digest, "big") >> 1 for digest in digests], dtype=torch.int64)


def retrieval_scores(
    similarity: Tensor, group: Tensor, is_query: Tensor | None = None, ks: Sequence[int] = (1, 5)
) -> dict[str, Tensor]:
    """Per-query hits in one direction. Row i and column i are a pair; ties count as in `expected_hit_rate`.

    Args:
        similarity: (N, N), queries in rows, the pool in columns.
        group: (N,) int64, equal = right answers for each other.
        is_query: (N,) bool, which rows ask; all where None. The pool is always whole.
        ks: the k of R@k.

    Returns:
        For each k, (Q,) float64: ``R@k`` (a candidate of the same group), ``exact_R@k`` (the own pair),
        ``chance@k`` (the same rule as R@k under a random ranking).
    """
    rows = torch.arange(len(group)) if is_query is None else torch.nonzero(is_query).flatten()
    similarity = similarity[rows]
    is_same = group[rows, None] == group[None]
    is_own = rows[:, None] == torch.arange(len(group))[None]
    constant = torch.zeros_like(similarity)
    scores = {f"R@{k}": expected_hit_rate(similarity, is_same, k) for k in ks}
    scores |= {f"exact_R@{k}": expected_hit_rate(similarity, is_own, k) for k in ks}
    return scores | {f"chance@{k}": expected_hit_rate(constant, is_same, k) for k in ks}


def image_text_retrieval(
    image_embedding: Tensor,
    text_embedding: Tensor,
    group: Tensor,
    is_query: Tensor | None = None,
    ks: Sequence[int] = (1, 5),
) -> dict[str, dict[str, Tensor]]:
    """Both directions of `retrieval_scores`.

    Args:
        image_embedding: (N, E), L2-normalised.
        text_embedding: (N, E), L2-normalised, row by row the reports of the images.
        group: (N,) int64, equal = right answers for each other.
        is_query: (N,) bool, which cases ask.
        ks: the k of R@k.

    Returns:
        ``image_to_report`` and ``report_to_image``, each as `retrieval_scores` gives it.
    """
    similarity = image_embedding.double() @ text_embedding.double().T
    return {
        "image_to_report": retrieval_scores(similarity, group, is_query, ks),
        "report_to_image": retrieval_scores(similarity.T, group, is_query, ks),
    }


class RetrievalMetric(Cumulative):
    r"""Mean normalised reciprocal rank over sources and directions: the key metric that picks the best
    checkpoint.

    For a query with r right answers in a pool of n, the first at rank $\rho$, the value is
    $(1/\rho - c) / (1 - c)$ with $c = (r+1)/(n+1)$, its value under a constant ranking: 0 says nothing was
    learnt, 1 is perfect, whatever the pool. It moves with every rank, where R@1 of a small validation set
    jumps.

    Works in `monai.handlers.IgniteMetricHandler` with an ``output_transform`` that gives ``(output, None)``.

    Args:
        sources: names of the sources that may come, the same on every rank.
    """

    def __init__(self, sources: Sequence[str] = ("2d", "3d")) -> None:
        super().__init__()
        self.sources = tuple(sources)

    def __call__(self, y_pred: Mapping[str, Mapping[str, Tensor]], y: None = None) -> None:
        """Keep one step's embeddings.

        Args:
            y_pred: by source, ``image_embedding`` (B, E), ``text_embedding`` (B, E), both L2-normalised, and
                ``pair_group`` (B,) int64. Sources may differ in B or be absent; other keys are ignored.
            y: not used; Ignite hands it over.

        Raises:
            KeyError: When a source holds none of the three keys.
        """
        for source, values in y_pred.items():
            if source in self.sources:
                group = values["pair_group"].detach().cpu()
                code = torch.full_like(group, self.sources.index(source))
                image, text = (
                    values[key].detach().float().cpu() for key in ("image_embedding", "text_embedding")
                )
                self.extend(image, text, group, code)

    def scores(self) -> dict[str, Tensor]:
        """Per-query values by ``<source>_<direction>``, the directions as in `image_text_retrieval`."""
        buffers = self.get_buffer()
        if buffers is None:
            raise ValueError("RetrievalMetric must see at least one batch before it is read, got none.")
        image, text, group, code = buffers
        result = {}
        for index in code.unique().tolist():
            rows = code == index
            name = self.sources[index]
            result[f"{name}_image_to_report"] = _ranked(image[rows], text[rows], group[rows])
            result[f"{name}_report_to_image"] = _ranked(text[rows], image[rows], group[rows])
        return result

    def aggregate(self) -> Tensor:
        """Mean over sources and directions of the mean over queries: a scalar, 0 if none can be ranked."""
        means = torch.stack([values.nanmean() for values in self.scores().values()])
        return means.nanmean().nan_to_num(0.0)


def _ranked(query: Tensor, pool: Tensor, group: Tensor) -> Tensor:
    """(Q,) of queries and pool (Q, E), group (Q,); never the whole (Q, Q), which each process would hold."""
    parts = zip(query.double().split(QUERIES_AT_ONCE), group.split(QUERIES_AT_ONCE))
    columns = pool.double().T
    return torch.cat([normalised_reciprocal_rank(part @ columns, own[:, None] == group) for part, own in parts])


def normalised_reciprocal_rank(similarity: Tensor, is_relevant: Tensor) -> Tensor:
    """(Q,) of the formula in `RetrievalMetric`; NaN where every candidate is right, or none."""
    chance = (is_relevant.sum(dim=1).double() + 1) / (is_relevant.shape[1] + 1)
    value = (1 / expected_rank(similarity, is_relevant) - chance) / (1 - chance)
    return torch.where(chance < 1, value, torch.nan)
