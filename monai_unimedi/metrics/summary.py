# SPDX-License-Identifier: Apache-2.0
"""All figures of one evaluation, as the nested dictionary of the metrics file."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from monai_unimedi.metrics import sections
from monai_unimedi.metrics.grounding import grounding
from monai_unimedi.metrics.sections import Arrays, Entry

__all__ = ["summarize"]

logger = logging.getLogger(__name__)


def summarize(
    test: Mapping[str, Arrays],
    label_names: Sequence[str] = (),
    training: Mapping[str, Arrays] | None = None,
    validation: Mapping[str, Arrays] | None = None,
    untrained_test: Mapping[str, Arrays] | None = None,
    untrained_training: Mapping[str, Arrays] | None = None,
    prompt_embedding: Mapping[str, Mapping[str, Tensor]] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure everything that the data allow.

    Args:
        test: by source (``2d``, ``3d``), arrays of the cases to be judged: `image_embedding` (N, E),
            `text_embedding` (N, E), `report`; and, where there are, `findings`, `label` (N, F), `feature` (N,
            C), `attention` (N, gx, gy[, S]), `lesion_mask` (N, X, Y[, S]), `image` (N, 1, X, Y, S) and
            `slice_scores` (N, S), and `grounding`, see `metrics.grounding`.
        label_names: findings in the order of the columns of `label` and of the bits of `lesion_mask`.
        training: by source, `feature` and `label` for the linear probe; with `lesion_mask`, the set on which
            the constant slices are chosen.
        validation: by source, `lesion_mask`: the set for the constant slices where `training` has none.
        untrained_test: as `test`, embedded by an untrained network of the same shape, rows in the same order.
        untrained_training: as `training`, by that untrained network.
        prompt_embedding: by finding, ``positive`` and ``negative``, each (E,), L2-normalised.
        seed: of every draw.

    Returns:
        Nested by `retrieval`, `zero_shot`, `slice_selection`, `xray_localization`, `grounding`, `cross_dimension`,
        `linear_probe`, `calibration`; each leaf a figure ``{"value", "low", "high", "count"}``. ``extra`` nests detail
        in the same form, and ``not_available`` lists what the data do not allow, a sentence each.
    """
    metrics: dict[str, Any] = {}
    absent = [
        f"{source}: {', '.join(ragged)} of several shapes; figures by slice or patch need volumes of one depth"
        for source, arrays in test.items()
        if (ragged := _ragged(arrays))
    ]
    test = _of_one_shape(test)
    training, validation = (given and _of_one_shape(given) for given in (training, validation))
    for path, figure in _entries(
        test, label_names, training, validation, untrained_test, untrained_training, prompt_embedding, seed
    ):
        if not isinstance(figure, str):
            _place(metrics, path, figure)
        elif path[0] != "extra":
            absent.append(f"{'.'.join(path)}: {figure}")
    logger.info("Measured %d sections; %d figures are not available.", len(metrics), len(absent))
    return metrics | {"not_available": absent}


def _entries(
    test: Mapping[str, Arrays],
    label_names: Sequence[str],
    training: Mapping[str, Arrays] | None,
    validation: Mapping[str, Arrays] | None,
    untrained_test: Mapping[str, Arrays] | None,
    untrained_training: Mapping[str, Arrays] | None,
    prompt_embedding: Mapping[str, Mapping[str, Tensor]] | None,
    seed: int,
) -> Iterator[Entry]:
    constant_on = {source: _with_masks(source, training, validation) for source in ("2d", "3d")}
    yield from sections.retrieval(test, untrained_test, seed)
    yield from sections.zero_shot(test, prompt_embedding, label_names, seed)
    yield from sections.slices(test, constant_on["3d"], label_names, seed)
    yield from sections.xray_localization(test, constant_on["2d"], label_names, seed)
    yield from grounding(test, label_names, seed)
    yield from sections.cross_dimension(test, label_names, seed)
    yield from sections.linear_probe(test, training, "trained", seed)
    yield from sections.linear_probe(untrained_test or {}, untrained_training, "untrained", seed)
    if not untrained_test:
        yield ("linear_probe", "untrained"), "no untrained network was embedded"


def _ragged(arrays: Arrays) -> list[str]:
    """Keys whose rows are tensors of several shapes, as volumes of several depths give."""
    lists = {key: values for key, values in arrays.items() if isinstance(values, list) and values}
    return [key for key, values in lists.items() if isinstance(values[0], Tensor)]


def _of_one_shape(given: Mapping[str, Arrays]) -> Mapping[str, Arrays]:
    left_out = {source: {*found, "grounding"} for source, arrays in given.items() if (found := _ragged(arrays))}
    return {
        source: {key: values for key, values in arrays.items() if key not in left_out.get(source, ())}
        for source, arrays in given.items()
    }


def _with_masks(source: str, *sets: Mapping[str, Arrays] | None) -> Arrays | None:
    """The first set with lesion masks of that source."""
    candidates = (given[source] for given in sets if given and source in given)
    return next((arrays for arrays in candidates if arrays.get("lesion_mask") is not None), None)


def _place(metrics: dict[str, Any], path: Sequence[str], figure: Mapping[str, Any]) -> None:
    for key in path[:-1]:
        metrics = metrics.setdefault(key, {})
    metrics[path[-1]] = figure
