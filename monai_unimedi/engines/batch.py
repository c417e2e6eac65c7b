# SPDX-License-Identifier: Apache-2.0
"""A batch on its way to the network: `{source: {"image": (B, C, X, Y[, Z]), "id": list of str, ...}}`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .distributed import gather_lists, world_size

__all__ = ["check_finite", "check_sources", "move_sources", "network_inputs", "plain", "row_names"]


def check_sources(batch: dict[str, Any]) -> None:
    """Checks that there is something to learn from.

    Raises:
        ValueError: When the batch has no source, images of several shapes, or a source with fewer than two rows, so
            that there is no contrast.
    """
    if not batch:
        raise ValueError(
            "A batch must hold at least one source, got none; check the datalists and the sampler."
        )
    for source, inputs in batch.items():
        if not isinstance(inputs["image"], Tensor):
            raise ValueError(
                f"The images of a training batch of source '{source}' must have one shape, got "
                f"{sorted({tuple(image.shape) for image in inputs['image']})}: end their transforms with one size, or "
                "tell the sampler their shapes (ct_depths of train.json)."
            )
        rows = inputs["image"].shape[0] * world_size()
        if rows < 2:
            raise ValueError(
                f"A batch must hold at least two rows of source '{source}', since each is contrasted with "
                f"the others, got {rows} ({', '.join(inputs.get('id', ()))}); set its batch size to 2 or "
                "more."
            )


def check_finite(values: dict[str, float], where: str, batch: dict[str, Any]) -> None:
    """Checks a step's scalars, which must be the same on all ranks.

    Raises:
        RuntimeError: When a value is not finite; names the values, the step and the batch's rows.
    """
    wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
    if wrong:
        raise RuntimeError(
            f"Training stopped at optimizer {where}: every term must be finite, got "
            f"{', '.join(f'{name} = {value}' for name, value in wrong.items())} in the batch of "
            f"{row_names(batch)}; the optimizer did not take this step and no checkpoint holds it: "
            "check these rows, or lower the learning rate."
        )


def move_sources(batch: dict[str, Any], device: torch.device, non_blocking: bool = False) -> dict[str, Any]:
    """The batch with every tensor on `device`, plain (see :func:`plain`); lists stay as they are."""
    return {
        source: {
            name: plain(value).to(device, non_blocking=non_blocking) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }
        for source, inputs in batch.items()
    }


def plain(tensor: Tensor) -> Tensor:
    """The tensor without the metadata that MONAI's transforms leave, which every operation would carry along."""
    return tensor.as_subclass(Tensor)


def network_inputs(sources: dict[str, Any]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each source, without ids and texts."""
    return {
        source: {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        for source, inputs in sources.items()
    }


def row_names(batch: dict[str, Any]) -> str:
    """The batch's row ids on all ranks, for messages: `2d: a, b; 3d: c, d`."""
    names = []
    for source, inputs in batch.items():
        ids = inputs.get("id", [str(row) for row in inputs.get("row", ())])
        names.append(f"{source}: {', '.join(gather_lists(ids))}")
    return "; ".join(names)
