# SPDX-License-Identifier: Apache-2.0
"""Evaluation engine: every image (and report) of the loaders becomes arrays in the common space."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from ignite.metrics import Metric
from monai.engines import Evaluator
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer, SimpleInferer
from torch import nn

from monai_unimedi.precision import autocast_dtype

from .batch import plain

__all__ = ["EmbeddingEvaluator"]

CARRIED = ("id", "report", "findings", "label", "lesion_mask", "image", "pair_group")


class EmbeddingEvaluator(Evaluator):
    """Embeds batches ``{source: {"image", "input_ids"?, ...}}`` and collects what was found, by source.

    ``state.output`` of an iteration is ``{source: {...}}`` with ``image_embedding`` (B, E) and, where the
    batch has text and a report tower is given, ``text_embedding`` (B, E), both L2-normalised; ``feature``
    (B, C); with ``with_attention`` also ``attention`` (B, gx, gy[, S]), and for volumes ``slice_scores``
    (B, S) and ``slice_indices`` (B, k). :attr:`arrays` holds all of them after a run, on the CPU, with what
    the batches carried (ids, reports, findings, labels, lesion masks, images). A batch whose ``image`` is a list of
    several shapes is embedded shape by shape, and what then differs in shape from row to row is a list of rows.

    Args:
        device: where to compute.
        val_data_loader: batches by source.
        image_encoder: the image tower (:class:`UniMediImageEncoder`, or its like).
        report_encoder: the report tower; None embeds images alone.
        inferer: from images and the tower's ``features`` to features.
        with_attention: whether attention and slice scores are wanted.
        carried: keys of the batch to keep.
        key_val_metric, val_handlers: as in MONAI's ``Evaluator``; metrics read ``state.output``.
        amp: autocast on the device's type.
        amp_dtype: of autocast, where ``amp`` is on: ``bfloat16`` or ``float16``.
    """

    def __init__(
        self,
        device: torch.device | str,
        val_data_loader: Iterable,
        image_encoder: nn.Module,
        report_encoder: nn.Module | None = None,
        inferer: Inferer | None = None,
        with_attention: bool = False,
        carried: Sequence[str] = CARRIED,
        key_val_metric: dict[str, Metric] | None = None,
        val_handlers: Sequence | None = None,
        metric_cmp_fn: Callable[[Any, Any], bool] = lambda current, best: current > best,
        amp: bool = False,
        amp_dtype: str = "bfloat16",
    ) -> None:
        super().__init__(
            device=device,
            val_data_loader=val_data_loader,
            key_val_metric=key_val_metric,
            val_handlers=val_handlers,
            metric_cmp_fn=metric_cmp_fn,
            amp=amp,
            decollate=False,
        )
        self.image_encoder = image_encoder
        self.report_encoder = report_encoder
        self.inferer = SimpleInferer() if inferer is None else inferer
        self.with_attention = with_attention
        self.carried = tuple(carried)
        self.amp_dtype = autocast_dtype(amp_dtype)
        self._parts: dict[str, dict[str, list]] = {}

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]
        """Embed everything once; towers are in eval meanwhile and get their modes back. An empty loader gives
        no arrays."""
        self._parts = {}
        if self.state.epoch_length == 0:
            return
        towers = [tower for tower in (self.image_encoder, self.report_encoder) if tower is not None]
        modes = [tower.training for tower in towers]
        for tower in towers:
            tower.eval()
        try:
            super().run(global_epoch)
        finally:
            for tower, mode in zip(towers, modes):
                tower.train(mode)

    @property
    def arrays(self) -> dict[str, dict[str, Any]]:
        """Everything of the last run: tensors (N, ...) on the CPU, lists of N for the rest and for what has several
        shapes; lesion masks are (N, X, Y[, S]). What only a part of the rows brought is left out."""
        found: dict[str, dict[str, Any]] = {}
        for source, keyed in self._parts.items():
            joined = {key: _joined(key, parts) for key, parts in keyed.items()}
            count = len(joined["image_embedding"])
            found[source] = {key: values for key, values in joined.items() if len(values) == count}
        return found

    def _iteration(  # type: ignore[override]
        self, engine: Any, batchdata: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        device_type = engine.state.device.type
        output = {}
        with torch.inference_mode(), torch.autocast(device_type, self.amp_dtype, enabled=self.amp):
            for source, batch in batchdata.items():
                output[source] = self._embed(batch)
        for source, embedded in output.items():
            parts = self._parts.setdefault(source, defaultdict(list))
            for key, value in embedded.items():
                parts[key].append(_on_cpu(value))
            for key in self.carried:
                if key in batchdata[source]:
                    value = batchdata[source][key]
                    parts[key].append(
                        torch.as_tensor(value).cpu() if isinstance(value, torch.Tensor) else list(value)
                    )
            if "pair_group" in batchdata[source]:
                embedded["pair_group"] = batchdata[source]["pair_group"]
        engine.state.output = output
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return engine.state.output

    def _embed(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        images, device = batch["image"], self.state.device
        found = self._embed_shapes(images) if isinstance(images, list) else self._embed_images(images)
        if self.report_encoder is not None and "input_ids" in batch:
            text = self.report_encoder(batch["input_ids"].to(device), batch["attention_mask"].to(device))
            found["text_embedding"] = text
        return found

    def _embed_shapes(self, images: Sequence[torch.Tensor]) -> dict[str, Any]:
        """Images of several shapes, those of one shape together; row by row in their order."""
        rows_of: dict[torch.Size, list[int]] = defaultdict(list)
        for row, image in enumerate(images):
            rows_of[image.shape].append(row)
        found: dict[str, list[Any]] = {}
        for rows in rows_of.values():
            for key, values in self._embed_images(torch.stack([images[row] for row in rows])).items():
                into = found.setdefault(key, [None] * len(images))
                for row, value in zip(rows, values):
                    into[row] = value
        return {key: _together(values) for key, values in found.items()}

    def _embed_images(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        tower: Any = self.image_encoder
        image = plain(torch.as_tensor(images)).to(self.state.device)
        found = {}
        if self.with_attention:
            found["attention"] = tower.attention_map(image)
            if image.dim() == 5:
                found["slice_scores"] = tower.selector.scores(found["attention"])
            indices = tower.select_slices(image, found.get("slice_scores"), None)
            if indices is not None:
                found["slice_indices"] = indices
            features = functools.partial(_features, tower, indices)
        else:
            features = tower.features
        found["feature"] = self.inferer(image, features)
        found["image_embedding"] = tower.project(found["feature"])
        return found


def _features(tower: Any, slice_indices: torch.Tensor | None, image: torch.Tensor) -> torch.Tensor:
    """(B, C) with the slices already selected; ``tower.features`` would look for them again."""
    return tower.vit(image, slice_indices)[:, 0]


def _joined(key: str, parts: list[Any]) -> Any:
    if len({part.shape[1:] for part in parts if isinstance(part, torch.Tensor)}) == 1 == len(set(map(type, parts))):
        values = torch.cat(parts)
        return values[:, 0] if key == "lesion_mask" else values
    rows = [row for part in parts for row in part]
    return [row[0] for row in rows] if key == "lesion_mask" else rows


def _together(rows: list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
    return torch.stack(rows) if len({row.shape for row in rows}) == 1 else rows


def _on_cpu(value: Any) -> Any:
    if isinstance(value, list):
        return [_on_cpu(row) for row in value]
    return value.float().cpu() if value.is_floating_point() else value.cpu()
