# SPDX-License-Identifier: Apache-2.0
"""Is the space shared by X-rays and CTs, or merely collapsed?

Cross-dimension mean average precision against the same network's shuffled queries; the distance of the
modalities' means; silhouettes by finding and by modality; how well a linear probe tells the modality.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from monai_unimedi.metrics.bootstrap import Figure, bootstrap_interval, bootstrap_statistic
from monai_unimedi.metrics.ranking import average_precision

__all__ = [
    "class_silhouette",
    "cross_dimension_precision",
    "modality_gap",
    "modality_probe_accuracy",
    "modality_silhouette",
]


def cross_dimension_precision(
    query_embedding: Tensor, query_label: Tensor, pool_embedding: Tensor, pool_label: Tensor
) -> dict[str, Tensor]:
    """Average precision of one dimension's queries in a pool of the other, for each finding a query shows.

    A candidate is relevant if it shows that finding. The control gives every query the ranking of another
    query drawn at random among all that show a finding; its expectation is the mean over all such rankings,
    so no shuffle is drawn.

    Args:
        query_embedding: (Q, E), L2-normalised.
        query_label: (Q, F), 1 = present, NaN = not known.
        pool_embedding: (G, E), L2-normalised.
        pool_label: (G, F), 1 = present, NaN = not known: such a candidate is not in the pool of that finding.

    Returns:
        ``map`` and ``control``, each (Q', F) float64 over the queries with a finding. NaN in ``map`` where
        the query lacks the finding, in both where no query or no candidate shows it.
    """
    is_abnormal = (query_label > 0).any(dim=1)
    shows = query_label[is_abnormal] > 0
    similarity = query_embedding[is_abnormal].double() @ pool_embedding.double().T
    precision = average_precision(similarity, pool_label > 0, ~pool_label.isnan())
    precision[:, ~shows.any(dim=0)] = torch.nan
    return {"map": torch.where(shows, precision, torch.nan), "control": precision}


def modality_gap(embedding: Mapping[str, Tensor], num_resamples: int = 1000, seed: int = 0) -> Figure:
    """Distance between the two modalities' mean embeddings, in [0, 2].

    Args:
        embedding: by source, (N, E), L2-normalised; exactly two sources.
        num_resamples: see `bootstrap_statistic`.
        seed: see `bootstrap_statistic`.
    """
    first, second = (values.double() for values in embedding.values())

    def statistic(weights: Tensor) -> Tensor:
        parts = weights.split([len(first), len(second)], dim=1)
        means = [w @ x / w.sum(dim=1, keepdim=True) for w, x in zip(parts, (first, second))]
        return (means[0] - means[1]).norm(dim=1)

    return bootstrap_statistic(statistic, len(first) + len(second), num_resamples, seed)


def modality_probe_accuracy(
    embedding: Mapping[str, Tensor], num_folds: int = 5, num_resamples: int = 1000, seed: int = 0
) -> Figure:
    """Accuracy of a cross-validated logistic regression that tells the modality; 0.5 = it cannot.

    Both modalities weigh the same, however many images each has.

    Args:
        embedding: by source, (N, E); exactly two sources, each with at least `num_folds` images.
        num_folds: of the cross-validation.
        num_resamples: see `bootstrap_interval`.
        seed: of the folds and of the interval.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, modality = _stack(embedding)
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    is_right = torch.from_numpy(cross_val_predict(probe, x, modality, cv=folds) == modality).double()
    members = torch.from_numpy(np.stack([modality == 0, modality == 1], axis=1))
    return bootstrap_interval(torch.where(members, is_right[:, None], torch.nan), num_resamples, seed)


def modality_silhouette(embedding: Mapping[str, Tensor]) -> Tensor:
    """Per-case silhouette (cosine) of the modalities, (N,) in [-1, 1]; near 0 = mixed, 1 = two clouds."""
    return _silhouette(*_stack(embedding))


def class_silhouette(embedding: Mapping[str, Tensor], label: Mapping[str, Tensor]) -> Tensor:
    """Per-case silhouette (cosine) of the findings, both modalities together.

    Args:
        embedding: by source, (N, E).
        label: by source, (N, F), NaN = not known. Only cases with exactly one finding, all others being known absent,
            have a class and count.

    Returns:
        (N',) in [-1, 1]; larger = findings lie apart. Empty where fewer than two findings occur.
    """
    x, _ = _stack(embedding)
    stacked = torch.cat([label[source] for source in embedding])
    present = stacked > 0
    single = ((present.sum(dim=1) == 1) & ~stacked.isnan().any(dim=1)).numpy()
    return _silhouette(x[single], present[single].int().argmax(dim=1).numpy())


def _stack(embedding: Mapping[str, Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """(N, E) of all sources and the (N,) index of each row's source."""
    x = torch.cat([values.double() for values in embedding.values()]).numpy()
    return x, np.repeat(np.arange(len(embedding)), [len(values) for values in embedding.values()])


def _silhouette(x: np.ndarray, cluster: np.ndarray) -> Tensor:
    from sklearn.metrics import silhouette_samples

    if not 2 <= len(np.unique(cluster)) < len(x):
        return torch.empty(0, dtype=torch.float64)
    return torch.from_numpy(silhouette_samples(x, cluster, metric="cosine"))
