# SPDX-License-Identifier: Apache-2.0
"""The objective of pre-training: L = L_vl + lambda (L_icl + L_pcl), averaged over the sources.

He et al., "Unified Medical Image Pre-training in Language-Guided Common Semantic Space", section 3.4.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

__all__ = ["UniMediLoss"]

CONTRASTED = ("image_embedding", "text_embedding", "logit_scale")
DISTILLED = ("student_class", "teacher_class", "student_patches", "teacher_patches")


class UniMediLoss(nn.Module):
    r"""Weighted mean over the sources of :math:`L_{vl} + \lambda (L_{icl} + L_{pcl})`.

    ``distillation_weight`` and ``teacher_temperature`` are plain attributes that a schedule may set. With
    weight 0, or where the outputs hold no ``student_class``, distillation is skipped and its centres rest.

    Args:
        image_text_loss: of ``(image_embedding, text_embedding, logit_scale, pair_group)``.
        distillation_loss: keyword-only callable that returns named terms; None for contrast alone.
        distillation_weight: lambda.
        joint_contrast: one contrast over the rows of all sources, instead of one per source.
        source_weights: weight of each source in the mean, 1 where not named; not for a joint contrast.
        contrast_weight: of :math:`L_{vl}`, 1 in the paper; 0 learns from images alone.
    """

    def __init__(
        self,
        image_text_loss: nn.Module,
        distillation_loss: nn.Module | None = None,
        distillation_weight: float = 0.3,
        joint_contrast: bool = False,
        source_weights: Mapping[str, float] | None = None,
        contrast_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if min(distillation_weight, contrast_weight, *(source_weights or {}).values()) < 0:
            raise ValueError(f"weights must be >= 0, got {distillation_weight}, {contrast_weight} and {source_weights}")
        self.image_text_loss = image_text_loss
        self.distillation_loss = distillation_loss
        self.distillation_weight = distillation_weight
        self.joint_contrast = joint_contrast
        self.source_weights = dict(source_weights or {})
        self.contrast_weight = contrast_weight

    @property
    def teacher_temperature(self) -> float:
        """T_t of the distillation; a schedule may set it also where there is none, and nothing follows."""
        if self.distillation_loss is None:
            raise ValueError("teacher_temperature needs a distillation_loss, got None; give UniMediLoss one")
        return float(self.distillation_loss.teacher_temperature)  # type: ignore[arg-type]

    @teacher_temperature.setter
    def teacher_temperature(self, value: float) -> None:
        if self.distillation_loss is not None:
            self.distillation_loss.teacher_temperature = value  # type: ignore[assignment]

    def forward(self, outputs: Mapping[str, Mapping[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to differentiate, and every term under a flat name.

        Args:
            outputs: by source: ``image_embedding``, ``text_embedding`` (B, E), L2-normalised;
                ``logit_scale``, scalar; optional ``pair_group`` (B,), int64; optional ``student_class``,
                ``teacher_class`` (B, K) and ``student_patches``, ``teacher_patches`` (B, M, K), of the M
                masked tokens. Other keys are ignored.

        Returns:
            The loss, and detached scalars: ``loss``, ``loss_vl``, ``loss_icl``, ``loss_pcl`` and
            ``<source>_<term>`` (with a joint contrast, no ``<source>_loss_vl``).

        Raises:
            ValueError: When there is no source, or a source lacks a tensor.
        """
        if not outputs:
            raise ValueError("outputs must hold at least one source, got none")
        contrasts = self._contrasts(outputs)
        distilled = self._distil(outputs)
        terms = {"loss_vl": contrasts["joint"] if self.joint_contrast else self._mean(contrasts)}
        loss = self.contrast_weight * terms["loss_vl"]
        for name in ("loss_icl", "loss_pcl") if distilled else ():
            terms[name] = self._mean({source: named[name] for source, named in distilled.items()}, of=outputs)
            loss = loss + self.distillation_weight * terms[name]
        flat = {f"{source}_{name}": named[name] for source, named in distilled.items() for name in named}
        if not self.joint_contrast:
            flat.update({f"{source}_loss_vl": term for source, term in contrasts.items()})
        return loss, {name: term.detach() for name, term in {"loss": loss, **terms, **flat}.items()}

    def _contrasts(self, outputs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """L_vl by source, or one under ``joint``."""
        for source, output in outputs.items():
            _check_keys(source, output, CONTRASTED)
        if self.joint_contrast:
            outputs = {"joint": _joined(outputs)}
        return {
            source: self.image_text_loss(*(output[key] for key in CONTRASTED), output.get("pair_group"))
            for source, output in outputs.items()
        }

    def _distil(self, outputs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        """Named distillation terms of the sources that hold student logits."""
        if self.distillation_loss is None or self.distillation_weight == 0:
            return {}
        terms = {}
        for source, output in outputs.items():
            if "student_class" in output:
                _check_keys(source, output, DISTILLED)
                tensors = {key: output[key] for key in DISTILLED}
                terms[source] = self.distillation_loss(source=source, **tensors)
        return terms

    def _mean(self, terms: Mapping[str, Tensor], of: Mapping[str, object] | None = None) -> Tensor:
        """Weighted mean of the terms over the sources in ``of`` (default: those of the terms)."""
        weights = {source: self.source_weights.get(source, 1.0) for source in of or terms}
        total = sum(weights.values())
        if total == 0:
            raise ValueError(f"source_weights must leave a source with a weight > 0, got {weights}")
        return torch.stack([weights[source] / total * term for source, term in terms.items()]).sum()


def _joined(outputs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """All sources' rows as one batch."""
    names = ["image_embedding", "text_embedding"]
    grouped = ["pair_group" in output for output in outputs.values()]
    if any(grouped) and not all(grouped):
        with_group = [source for source in outputs if "pair_group" in outputs[source]]
        raise ValueError(f"pair_group must come with every source or none, got it with {with_group} only")
    if all(grouped):
        names.append("pair_group")
    joined = {name: torch.cat([output[name] for output in outputs.values()]) for name in names}
    return {**joined, "logit_scale": next(iter(outputs.values()))["logit_scale"]}


def _check_keys(source: str, output: Mapping[str, Tensor], keys: tuple[str, ...]) -> None:
    missing = [key for key in keys if key not in output]
    if missing:
        raise ValueError(f"outputs[{source!r}] must hold {', '.join(keys)}; missing: {', '.join(missing)}")
