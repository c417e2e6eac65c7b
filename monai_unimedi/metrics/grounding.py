# SPDX-License-Identifier: Apache-2.0
"""Whether the sentence of one finding leads to that finding's own mask, and not to the other's (method, section 3).

Judged on images with two or more findings, since with one finding whatever is conspicuous would do. A place is a
slice of a CT, or a patch of an X-ray. `hit@k`: one of the k places with the best scores meets the mask of the
finding that the sentence states. Beside the ``sentence`` stand ``random`` places, plain ``attention``, which knows
no sentence, the ``other_sentence`` of the same report, which has to miss, and the sentence's scores on the
``other_image``, which show what its words alone give away ("upper zone"). A case is an image: its value is the mean
over its sentences, so that the interval is over patients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_unimedi.metrics.bootstrap import Figure, bootstrap_interval
from monai_unimedi.metrics.lesion_mask import lesion_slices
from monai_unimedi.metrics.localization import centre_prior, target_patches
from monai_unimedi.metrics.ranking import expected_hit_rate

__all__ = ["grounding", "grounding_hits", "stated_targets"]

KS = (1, 2, 4)
Sentences = Sequence[Mapping[str, Any]]


def grounding(
    test: Mapping[str, Mapping[str, Any]], label_names: Sequence[str], seed: int
) -> Iterator[tuple[tuple[str, ...], Figure | str]]:
    """``grounding`` of findings that share no place; in ``extra`` of all, and by finding.

    Args:
        test: by source, evaluation arrays; what has `grounding` (by row, ``{"finding", "scores", "other_scores"}``
            of each sentence) and `lesion_mask` is judged, with `slice_scores` or `attention` where there are.
        label_names: findings in the order of the bits of `lesion_mask`.
        seed: of the intervals' draws.
    """
    for source, arrays in test.items():
        path = ("grounding", source)
        mask, grounded = arrays.get("lesion_mask"), arrays.get("grounding") or {}
        cases = {row: found for row, found in grounded.items() if _num_findings(found) > 1}
        if mask is None or not cases:
            yield path, "no image whose report has sentences on two or more findings with masks"
            continue
        targets = {row: stated_targets(mask[row], found) for row, found in cases.items()}
        fixed = _wordless(arrays, list(cases))
        for subset, apart in {path: True, ("extra", *path, "all"): False}.items():
            hits = [_case_hits(row, cases, targets, fixed, apart) for row in cases]
            if not any(hits):
                yield subset, "no image with two findings that share no place"
            else:
                yield from _figures(subset, hits, label_names, seed)


def grounding_hits(scores: Tensor, is_target: Tensor, ks: Sequence[int] = KS) -> dict[str, float]:
    """``hit@k`` of one ranking: scores (P,) float against targets (P,) bool, ties in random order."""
    return {
        f"hit@{k}": float(expected_hit_rate(scores.flatten()[None].double(), is_target.flatten()[None], k)) for k in ks
    }


def stated_targets(lesion_mask: Tensor, sentences: Sentences) -> dict[int, Tensor]:
    """By finding that a sentence states, its places (P,) bool, from the image's bitmask (X, Y[, S])."""
    stated = sorted({one["finding"] for one in sentences} - {None})
    if lesion_mask.ndim == 3:
        return {finding: lesion_slices(lesion_mask[None], finding)[0] for finding in stated}
    grid = tuple(sentences[0]["scores"].shape)
    return {finding: target_patches(lesion_mask[None], grid, finding)[0] for finding in stated}


def _num_findings(sentences: Sentences) -> int:
    return len({one["finding"] for one in sentences} - {None})


def _wordless(arrays: Mapping[str, Any], rows: Sequence[int]) -> dict[str, dict[int, Tensor]]:
    """Rankings that know no sentence, by selector and row."""
    scores = arrays.get("slice_scores")
    scores = arrays.get("attention") if scores is None else scores
    known = {} if scores is None else {"attention": {row: scores[row] for row in rows}}
    shape = next(iter(arrays["grounding"].values()))[0]["scores"].shape
    known["random"] = {row: torch.zeros(shape) for row in rows}
    if len(shape) == 2:
        known["centre_prior"] = {row: centre_prior((shape[0], shape[1])) for row in rows}
    return known


def _case_hits(
    row: int,
    cases: Mapping[int, Sentences],
    targets: Mapping[int, Mapping[int, Tensor]],
    fixed: Mapping[str, Mapping[int, Tensor]],
    apart: bool,
) -> dict[tuple[int, str], list[dict[str, float]]]:
    """Hits of one image's sentences, by finding and selector; with `apart`, findings that meet no other's places."""
    hits: dict[tuple[int, str], list[dict[str, float]]] = {}
    own = targets[row]
    for finding, target in own.items():
        others = torch.stack([other for name, other in own.items() if name != finding]).any(0)
        if not target.any() or not others.any() or (apart and (target & others).any()):
            continue
        rankings = {name: [scores[row]] for name, scores in fixed.items()}
        rankings["sentence"] = [one["scores"] for one in cases[row] if one["finding"] == finding]
        rankings["other_sentence"] = [one["scores"] for one in cases[row] if one["finding"] not in (None, finding)]
        rankings["other_image"] = [
            one["other_scores"] for one in cases[row] if one["finding"] == finding and "other_scores" in one
        ]
        for name, ranked in rankings.items():
            hits[finding, name] = [grounding_hits(scores, target) for scores in ranked]
    return hits


def _figures(
    path: tuple[str, ...],
    hits: Sequence[Mapping[tuple[int, str], list[dict[str, float]]]],
    label_names: Sequence[str],
    seed: int,
) -> Iterator[tuple[tuple[str, ...], Figure]]:
    selectors = sorted({name for case in hits for _, name in case}, key=_order)
    for name in selectors:
        for k in KS:
            values = [_mean([case[key] for key in case if key[1] == name], k) for case in hits]
            if not torch.tensor(values).isnan().all():
                yield (*path, name, f"hit@{k}"), bootstrap_interval(torch.tensor(values), seed=seed)
    extra = path if path[0] == "extra" else ("extra", *path)
    for index, finding in enumerate(label_names):
        values = [_mean([case[key] for key in case if key == (index, "sentence")], 1) for case in hits]
        if not torch.tensor(values).isnan().all():
            yield (*extra, "by_finding", finding), bootstrap_interval(torch.tensor(values), seed=seed)


def _mean(sentences: Sequence[Sequence[Mapping[str, float]]], k: int) -> float:
    values = [hit[f"hit@{k}"] for found in sentences for hit in found]
    return sum(values) / len(values) if values else float("nan")


def _order(selector: str) -> int:
    order = ("sentence", "attention", "random", "centre_prior", "other_sentence", "other_image")
    return order.index(selector)
