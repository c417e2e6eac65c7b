# SPDX-License-Identifier: Apache-2.0
"""How near the top the true text stands for unseen patients, against chance and against the crop's extent.

The normalised rank of row i's text among the n texts of the unseen rows is

    (texts with a higher score + half of the other texts with the same score) / (n - 1),

0 at the top, 1 at the bottom. Equal texts are one text: they share its score. A ranking that is the same for
every image has mean 0.5 exactly, whatever it prefers, so 0.5 is chance and the prior at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.linear_model import RidgeCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

__all__ = ["control_scores", "patient_means", "permutation_test", "rank_table", "sign_flip_test"]

NEIGHBOURS = 15


def rank_table(scores: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Normalised rank of every text for every image.

    Args:
        scores: (N, N), image i with the text of row j, larger = nearer the top.
        texts: N texts; equal ones get the score of the first of them.

    Returns:
        (N, N) in [0, 1]; the diagonal holds the true texts' ranks.
    """
    first = {text: index for index, text in reversed(list(enumerate(texts)))}
    scores = scores[:, [first[text] for text in texts]]
    above = (scores[:, None, :] > scores[:, :, None]).sum(axis=2)
    tied = (scores[:, None, :] == scores[:, :, None]).sum(axis=2) - 1
    return (above + tied / 2) / (len(texts) - 1)


def control_scores(
    seen: np.ndarray, seen_texts: np.ndarray, unseen: np.ndarray, unseen_texts: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores of what sees numbers instead of images.

    Each regression goes from the numbers to the text model's embedding, less its mean over the seen rows; the
    score is the cosine with an unseen row's.

    Args:
        seen, unseen: (M, K) and (N, K), numbers of a row; logarithms are taken beside them.
        seen_texts, unseen_texts: (M, E) and (N, E).

    Returns:
        (N, N) for ``ridge`` and for ``neighbours``.
    """
    centre = seen_texts.mean(axis=0)
    target = unseen_texts - centre
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    models: dict[str, Any] = {
        "ridge": RidgeCV(alphas=np.logspace(-1, 4, 11)),
        "neighbours": KNeighborsRegressor(n_neighbors=NEIGHBOURS, weights="distance"),
    }
    scores = {}
    for name, model in models.items():
        fitted = make_pipeline(StandardScaler(), model).fit(_with_logs(seen), seen_texts - centre)
        scores[name] = fitted.predict(_with_logs(unseen)) @ target.T
    return scores


def _with_logs(numbers: np.ndarray) -> np.ndarray:
    return np.concatenate([numbers, np.log1p(numbers)], axis=1)


def patient_means(values: np.ndarray, patients: Sequence[str]) -> dict[str, float]:
    """Mean over each patient's rows: patients count alike."""
    names = np.asarray(patients)
    return {name: float(values[names == name].mean()) for name in dict.fromkeys(patients)}


def permutation_test(
    tables: Sequence[tuple[np.ndarray, Sequence[str]]], num_permutations: int = 10000, seed: int = 0
) -> float:
    """p-value of the mean rank over patients, one-sided, by exchanging texts between patients.

    Args:
        tables: of each split, the rank table (N, N) and the patient of each row.
        num_permutations: of all splits' patients at once, within each split.
        seed: of the permutations.
    """
    random = np.random.RandomState(seed)
    observed, null, count = 0.0, np.zeros(num_permutations), 0
    for table, patients in tables:
        names = list(dict.fromkeys(patients))
        rows = [np.flatnonzero(np.asarray(patients) == name) for name in names]
        weight = np.concatenate([np.full(len(own), 1 / len(own)) for own in rows])
        images = np.concatenate(rows)
        count += len(names)
        observed += float((table[images, images] * weight).sum())
        for draw in range(num_permutations):
            texts = np.concatenate(
                [
                    _dealt(rows[other], len(own), random)
                    for own, other in zip(rows, random.permutation(len(rows)))
                ]
            )
            null[draw] += (table[images, texts] * weight).sum()
    return float((1 + (null <= observed + 1e-12).sum()) / (1 + num_permutations))


def _dealt(rows: np.ndarray, count: int, random: np.random.RandomState) -> np.ndarray:
    """`count` of a patient's rows, in turn from a random one."""
    return rows[(random.randint(len(rows)) + np.arange(count)) % len(rows)]


def sign_flip_test(differences: Sequence[float], num_flips: int = 100000, seed: int = 0) -> float:
    """p-value of a mean above zero, one-sided, by flipping the signs of patients' differences."""
    values = np.asarray(differences)
    signs = np.random.RandomState(seed).choice([-1.0, 1.0], size=(num_flips, len(values)))
    return float((1 + ((signs @ values) >= values.sum() - 1e-12).sum()) / (1 + num_flips))
