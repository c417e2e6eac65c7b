# SPDX-License-Identifier: Apache-2.0
"""The figures of one evaluation, section by section.

Each section reads evaluation arrays and yields `(path, figure)`, the path being the figure's place in the
metrics file. Intervals are over cases; of rankings, over queries, the pool staying as it is. Where data lack
what a figure needs, a sentence stands in the figure's place. A path that starts with ``extra`` holds detail
beyond the agreed keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from monai_unimedi.metrics import alignment, localization, slice_selection
from monai_unimedi.metrics.bootstrap import Figure, bootstrap_interval
from monai_unimedi.metrics.calibration import brier_figure, calibration_figure
from monai_unimedi.metrics.lesion_mask import lesion_slices
from monai_unimedi.metrics.linear_probe import linear_probe_scores
from monai_unimedi.metrics.retrieval import findings_key, group_codes, image_text_retrieval, report_key
from monai_unimedi.metrics.zero_shot import auroc_figure, negation_gap, zero_shot_scores

__all__ = [
    "Arrays",
    "Entry",
    "cross_dimension",
    "linear_probe",
    "retrieval",
    "slices",
    "xray_localization",
    "zero_shot",
]

Arrays = Mapping[str, Any]  # of one source
Sources = Mapping[str, Arrays]
Entry = tuple[tuple[str, ...], Figure | str]


def retrieval(test: Sources, untrained: Sources | None, seed: int) -> Iterator[Entry]:
    """``retrieval``: hits by equal findings (by equal text where there are none) and by the own pair."""
    for source, arrays in test.items():
        group, is_query = _groups(arrays)
        path = ("retrieval", source)
        if not is_query.any():
            yield path, "no case has a finding"
            continue
        trained = image_text_retrieval(arrays["image_embedding"], arrays["text_embedding"], group, is_query)
        base = None if untrained is None or source not in untrained else untrained[source]
        before = base and image_text_retrieval(
            base["image_embedding"], base["text_embedding"], group, is_query
        )
        for direction, scores in trained.items():
            for name, values in scores.items():
                yield (*path, direction, name), bootstrap_interval(values, seed=seed)
            if before:
                yield (
                    (*path, direction, "untrained@5"),
                    bootstrap_interval(before[direction]["R@5"], seed=seed),
                )
            else:
                yield (*path, direction, "untrained@5"), "no untrained network was embedded"


def zero_shot(
    test: Sources,
    prompt_embedding: Mapping[str, Mapping[str, Tensor]] | None,
    label_names: Sequence[str],
    seed: int,
) -> Iterator[Entry]:
    """``zero_shot``: both polarities and each alone; ``by_finding`` holds `auroc`."""
    for source, arrays in test.items():
        label, path = arrays.get("label"), ("zero_shot", source)
        if label is None or not prompt_embedding:
            yield path, "no label" if label is None else "no prompts"
            continue
        scores = zero_shot_scores(arrays["image_embedding"], prompt_embedding, label_names)
        varies = _varies(label)
        if not varies.any():
            yield path, "no finding is present in some cases and absent in others"
            continue
        for name, values in scores.items():
            yield (*path, name), auroc_figure(values, label, seed=seed)
            for index, finding in enumerate(label_names):
                place = (*path, "by_finding", finding) if name == "auroc" else ("extra", *path, name, finding)
                one = slice(index, index + 1)
                figure = auroc_figure(values[:, one], label[:, one], seed=seed) if varies[index] else None
                yield place, figure or "present in all cases or in none"
        yield (*path, "negation_gap"), negation_gap(scores, label, seed=seed)


def slices(
    test: Sources, constant_on: Arrays | None, label_names: Sequence[str], seed: int
) -> Iterator[Entry]:
    """``slice_selection`` of the CTs; ``by_finding`` holds the network's hit@1, ``extra`` all selectors."""
    arrays, path = test.get("3d"), ("slice_selection",)
    if arrays is None or arrays.get("lesion_mask") is None or not (arrays["lesion_mask"] != 0).any():
        yield path, "no CT" if arrays is None else "no lesion mask"
        return
    mask, image = arrays["lesion_mask"], arrays.get("image")
    scores, entropy = (
        arrays.get("slice_scores"),
        None if image is None else slice_selection.slice_entropy(image),
    )
    other = None if constant_on is None else lesion_slices(constant_on["lesion_mask"])
    union = lesion_slices(mask)
    absent = {"constant": "no lesion masks of cases that are not judged"}
    if other is not None and other.shape[1] != union.shape[1]:
        absent["constant"] = f"chosen on CTs of {other.shape[1]} slices, those that are judged have {union.shape[1]}"
        other = None
    hits = slice_selection.selector_hits(union, scores, entropy, other)
    absent |= dict.fromkeys(("attention", "entropy"), "not given")
    yield from (
        ((*path, subset, name), reason)
        for subset in ("all", "small")
        for name, reason in absent.items()
        if name not in hits
    )
    small = slice_selection.is_small(union)
    for subset, rows in {"all": union.any(dim=1), "small": small}.items():
        yield from _selectors((*path, subset), hits, rows, seed)
    for index, finding in enumerate(label_names):
        own = lesion_slices(mask, index)
        hits = slice_selection.selector_hits(own, scores, entropy, other)
        yield from _selectors(("extra", *path, "by_finding", finding), hits, own.any(dim=1), seed)
        if scores is not None:
            yield (*path, "by_finding", finding), _mean(hits["attention"]["hit@1"], seed)
    if arrays.get("attention") is None:
        yield (*path, "lift"), "no attention map"
    else:
        lift = slice_selection.attention_lift(arrays["attention"], mask)
        yield (*path, "lift"), _mean(lift, seed)
        yield (*path, "lift_small"), _mean(lift[small], seed)


def xray_localization(
    test: Sources, constant_on: Arrays | None, label_names: Sequence[str], seed: int
) -> Iterator[Entry]:
    """``xray_localization``; ``extra`` adds IoU, the best constant patch of another set, and each finding."""
    arrays, path = test.get("2d"), ("xray_localization",)
    needed = ("lesion_mask", "attention")
    if (
        arrays is None
        or any(arrays.get(key) is None for key in needed)
        or not (arrays["lesion_mask"] != 0).any()
    ):
        yield path, "no X-ray" if arrays is None else "no lesion mask or no attention map"
        return
    mask, attention = arrays["lesion_mask"], arrays["attention"]
    grid = tuple(attention.shape[1:])
    centre = localization.centre_prior(grid).expand(attention.shape)
    pointers = {"pointing_game": attention, "random": torch.ones(attention.shape), "centre_prior": centre}
    target = localization.target_patches(mask, grid)
    for name, heat in pointers.items():
        yield (*path, name), _mean(localization.pointing_game(heat, target), seed)
    yield ("extra", *path, "iou"), _mean(localization.matched_iou(attention, target), seed)
    yield ("extra", *path, "iou_centre_prior"), _mean(localization.matched_iou(centre, target), seed)
    if constant_on is not None:
        often = localization.target_patches(constant_on["lesion_mask"], grid).double().mean(dim=0)
        constant = localization.pointing_game(often.expand(target.shape), target)
        yield ("extra", *path, "constant"), _mean(constant, seed)
    for index, finding in enumerate(label_names):
        own = localization.target_patches(mask, grid, index)
        for name, heat in pointers.items():
            yield (
                ("extra", *path, "by_finding", finding, name),
                _mean(localization.pointing_game(heat, own), seed),
            )


def cross_dimension(test: Sources, label_names: Sequence[str], seed: int) -> Iterator[Entry]:
    """``cross_dimension``; ``by_finding`` is the mean of both directions, each alone is in ``extra``."""
    path = ("cross_dimension",)
    if not {"2d", "3d"} <= set(test):
        yield path, "needs X-rays and CTs"
        return
    embedding = {source: test[source]["image_embedding"] for source in ("2d", "3d")}
    if min(len(values) for values in embedding.values()) < 5:
        yield (*path, "modality_probe_accuracy"), "fewer than 5 cases of a dimension"
    else:
        yield (*path, "modality_probe_accuracy"), alignment.modality_probe_accuracy(embedding, seed=seed)
    yield ("extra", *path, "modality_gap"), alignment.modality_gap(embedding, seed=seed)
    yield ("extra", *path, "silhouette_modality"), _mean(alignment.modality_silhouette(embedding), seed)
    label = {source: test[source]["label"] for source in embedding if test[source].get("label") is not None}
    if len(label) < 2:
        yield path, "average precisions need labels in both dimensions"
        return
    yield ("extra", *path, "silhouette_class"), _mean(alignment.class_silhouette(embedding, label), seed)
    by_finding: list[Tensor] = []
    for query, pool in (("2d", "3d"), ("3d", "2d")):
        scores = alignment.cross_dimension_precision(
            embedding[query], label[query], embedding[pool], label[pool]
        )
        for name, values in scores.items():
            key = f"{name}_{query}_to_{pool}"
            yield (*path, key), _mean(values, seed)
            for index, finding in enumerate(label_names):
                yield ("extra", *path, "by_finding", finding, key), _mean(values[:, index], seed)
        by_finding.append(scores["map"])
    for index, finding in enumerate(label_names):
        yield (
            (*path, "by_finding", finding),
            _mean(_side_by_side([values[:, index] for values in by_finding]), seed),
        )


def linear_probe(
    test: Sources, training: Sources | None, row: str, seed: int, percents: Sequence[int] = (1, 10, 100)
) -> Iterator[Entry]:
    """``linear_probe.<row>``: mean AUROC over findings at each percentage of the training labels; and the same probes'
    ``calibration``."""
    for source, arrays in test.items():
        path, taught = ("linear_probe", row, source), (training or {}).get(source)
        if taught is None or any(
            part.get(key) is None for part in (arrays, taught) for key in ("feature", "label")
        ):
            yield path, "no features and labels of a training and of a test set"
            continue
        if not (_varies(arrays["label"]) & _varies(taught["label"])).any():
            yield path, "no finding is present in some cases and absent in others"
            continue
        for percent in percents:
            scores = linear_probe_scores(
                taught["feature"], taught["label"], arrays["feature"], percent, seed=seed
            )
            known = ~scores.isnan().any(dim=(0, 1))
            logits, label = scores[..., known], arrays["label"][:, known]
            yield (*path, str(percent)), auroc_figure(logits, label, seed=seed)
            place = ("calibration", row, source, str(percent))
            yield (*place, "ece"), calibration_figure(logits, label, seed=seed)
            yield (*place, "brier"), brier_figure(logits, label, seed=seed)


def _groups(arrays: Arrays) -> tuple[Tensor, Tensor]:
    """(N,) int64 groups of equal reports, and (N,) bool, which cases ask."""
    if arrays.get("findings") is not None:
        keys = [findings_key(findings) for findings in arrays["findings"]]
        return group_codes(keys), torch.tensor([len(key) > 0 for key in keys])
    texts = [report_key(report) for report in arrays["report"]]
    return group_codes(texts), torch.ones(len(texts), dtype=torch.bool)


def _selectors(
    path: tuple[str, ...], hits: Mapping[str, Mapping[str, Tensor]], rows: Tensor, seed: int
) -> Iterator[Entry]:
    if not rows.any():
        yield path, "no such case"
        return
    for selector, values in hits.items():
        for name, per_case in values.items():
            yield (*path, selector, name), _mean(per_case[rows], seed)


def _mean(values: Tensor, seed: int) -> Figure | str:
    return "no such case" if bool(values.isnan().all()) else bootstrap_interval(values, seed=seed)


def _varies(label: Tensor) -> Tensor:
    return (label > 0).any(dim=0) & (label <= 0).any(dim=0)


def _side_by_side(columns: Sequence[Tensor]) -> Tensor:
    """(N1 + N2, 2) of two sets of cases, NaN where a case is of the other set: their means are averaged."""
    first, second = columns
    values = torch.full((len(first) + len(second), 2), torch.nan, dtype=first.dtype)
    values[: len(first), 0], values[len(first) :, 1] = first, second
    return values
