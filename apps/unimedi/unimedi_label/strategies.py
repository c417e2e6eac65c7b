# SPDX-License-Identifier: Apache-2.0
"""What to annotate next: what a sentence says, what is like another case, what is unlike all, what is unsure.

A strategy's ``config`` becomes fields in the Options of 3D Slicer, whose values come back with Next Sample. What was
offered and not labelled is offered again after the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monailabel.interfaces.tasks.strategy import Strategy

from .cases import Cases

__all__ = ["EmbeddingDiversity", "SimilarCase", "TextSearch", "Uncertainty", "farthest_first"]

TOP = 3


def positive_number(request: Mapping[str, Any], name: str, default: int) -> int:
    """A count that a viewer's field gave.

    Raises:
        ValueError: When it is no whole number from 1 to 1,000.
    """
    try:
        value = int(request.get(name) or default)
    except (TypeError, ValueError):
        value = 0
    if not 1 <= value <= 1000:
        raise ValueError(f"{name} must be a whole number from 1 to 1000, got {request.get(name)!r}.")
    return value


def last_offered(datastore: Any, case: str, strategy: str) -> float:
    """When a strategy offered a case, in seconds; 0 if it never did."""
    return float(datastore.get_image_info(case).get("strategy", {}).get(strategy, {}).get("ts", 0))


def offered_least(datastore: Any, ranked: Sequence[Mapping[str, Any]], strategy: str) -> dict[str, Any]:
    """Of the best, the one that was offered longest ago; the better one where both never were."""
    order = sorted(range(len(ranked)), key=lambda i: (last_offered(datastore, ranked[i]["id"], strategy), i))
    return {**ranked[order[0]], "candidates": [dict(one) for one in ranked]} if ranked else {}


class _OfCases(Strategy):
    """A strategy with fields, that looks at embeddings."""

    name = ""
    fields: Mapping[str, Any] = {}

    def __init__(self, description: str, cases: Cases) -> None:
        super().__init__(description)
        self.cases = cases

    def info(self) -> dict[str, Any]:
        return {"description": self.description, "config": dict(self.fields)}


class TextSearch(_OfCases):
    """The unlabelled case most like a sentence."""

    name = "text_search"
    fields: Mapping[str, Any] = {"text": "", "topk": TOP}

    def __init__(self, cases: Cases) -> None:
        super().__init__("Next case by a sentence: what the text field of the options says", cases)

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        query = self.cases.text(str(request.get("text") or ""))
        top = positive_number(request, "topk", TOP)
        return offered_least(datastore, self.cases.nearest(query, top, datastore.get_unlabeled_images()), self.name)


class SimilarCase(_OfCases):
    """The unlabelled case most like another one."""

    name = "similar_case"
    fields: Mapping[str, Any] = {"image": "", "topk": TOP}

    def __init__(self, cases: Cases) -> None:
        super().__init__("Next case like the one named in the options, else like the one labelled last", cases)

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        like = str(request.get("image") or "") or self._labelled_last(datastore)
        found = self.cases.embeddings([like]) if like in datastore.list_images() else {}
        if like not in found:
            raise ValueError(f"image must be the id of a case that can be read, got {like!r}.")
        top = positive_number(request, "topk", TOP)
        ids = datastore.get_unlabeled_images()
        return {**offered_least(datastore, self.cases.nearest(found[like], top, ids, [like]), self.name), "like": like}

    def _labelled_last(self, datastore: Any) -> str:
        labelled = datastore.get_labeled_images()
        if not labelled:
            raise ValueError("No case is labelled yet: name one in the field image of the options.")
        return str(max(labelled, key=lambda case: float(datastore.get_label_info(case, "final").get("ts", 0))))


def farthest_first(vectors: np.ndarray, chosen: Sequence[int], count: int = 1) -> list[int]:
    """Rows that cover the others best, greedily (k-center, Sener and Savarese 2018): each the one farthest from all
    chosen so far; the first the one nearest to the mean.

    Args:
        vectors: (N, E), L2-normalised.
        chosen: rows chosen already.
        count: how many to choose.
    """
    taken = list(chosen)
    if not taken:
        taken = [int((vectors @ vectors.mean(0)).argmax())]
    nearest = (vectors @ vectors[taken].T).max(1)
    picked = [] if chosen else list(taken)
    while len(picked) < min(count, len(vectors) - len(chosen)):
        nearest[[*chosen, *picked]] = np.inf
        picked.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, vectors @ vectors[picked[-1]])
    return picked[:count]


class EmbeddingDiversity(_OfCases):
    """The unlabelled case least like all that are labelled: a cold start needs no label and no trained decoder."""

    name = "embedding_diversity"

    def __init__(self, cases: Cases) -> None:
        super().__init__("Next case unlike those labelled or offered before (core-set over embeddings)", cases)

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        open_cases = datastore.get_unlabeled_images()
        found = self.cases.embeddings()
        waiting = [case for case in open_cases if case in found]
        offered = [case for case in waiting if last_offered(datastore, case, self.name)]
        if not waiting:
            return {}
        if len(offered) == len(waiting):
            return {"id": min(waiting, key=lambda case: last_offered(datastore, case, self.name))}
        names = list(found)
        done = set(datastore.get_labeled_images()) | set(offered)
        chosen = [row for row, case in enumerate(names) if case in done]
        return {"id": names[farthest_first(np.stack(list(found.values())), chosen)[0]]}


class Uncertainty(Strategy):
    """The unlabelled case on which a model is least sure; scores come from the scoring method of this name.

    Args:
        score: gives the score of a case, from the datastore where it is up to date; None where it cannot.
        budget: cases without a score that are scored at a request.
    """

    name = "uncertainty"

    def __init__(self, score: Any, budget: int = 16) -> None:
        super().__init__("Next case on which the model is least sure; run the scoring method first on large folders")
        self.score, self.budget = score, budget

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        ids = sorted(datastore.get_unlabeled_images())
        ids.sort(key=lambda case: last_offered(datastore, case, self.name))
        scored, budget = {}, self.budget
        for case in ids:
            value, is_new = self.score(datastore, case, budget > 0)
            budget -= is_new
            if value is not None:
                scored[case] = value
        never = [case for case in scored if not last_offered(datastore, case, self.name)]
        if not scored:
            return {"id": ids[0]} if ids else {}
        best = max(never, key=scored.__getitem__) if never else next(iter(scored))
        return {"id": best, "uncertainty": scored[best]}
