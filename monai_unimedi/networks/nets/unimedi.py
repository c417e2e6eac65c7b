# SPDX-License-Identifier: Apache-2.0
"""UniMedI (He et al., ECCV 2024): everything that trains, in one module (method, sections 2 to 4).

The student reads an image whole for the contrast with its report and masked for the distillation; the teacher, an
exponential moving average of the student, selects the slices and gives the targets.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from monai_unimedi.networks.blocks.encoder_block import EncoderBlock
from monai_unimedi.networks.blocks.heads import DistillationHead
from monai_unimedi.networks.blocks.running_mean import RunningMean
from monai_unimedi.networks.blocks.token_masking import random_token_mask
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder

__all__ = ["UniMedI"]

MIN_TEMPERATURE = 0.01
REMEMBERED_VOLUMES = 1600  # in the mean attention of volumes; the demo scores about 11 a step


class UniMedI(nn.Module):
    """Student, EMA teacher, report tower and heads.

    Args:
        image_encoder: the student tower (:class:`UniMediImageEncoder`), copied as the teacher.
        report_encoder: maps ``input_ids``, ``attention_mask`` (B, L) to ``text_embedding`` (B, E).
        contrast_view: which student view feeds the contrast: ``whole`` or ``masked``. Open in the paper.
        mask_ratio: share of patch tokens hidden in the masked view. Open; 0.5 to start.
        visible_only: encode only the visible tokens of the masked view and predict the hidden ones by one light
            block, instead of putting mask tokens into the encoder.
        head_dim, bottleneck_dim, num_prototypes: of the shared distillation head.
        temperature: start of the learnable temperature of the contrast.
        activation_checkpointing: keep few activations of both towers and compute the others again in the backward
            pass: equal gradients in less memory, for one more forward pass.

    Raises:
        ValueError: When ``contrast_view``, ``temperature`` or ``mask_ratio`` is out of range.
    """

    def __init__(
        self,
        image_encoder: UniMediImageEncoder,
        report_encoder: nn.Module,
        contrast_view: str = "whole",
        mask_ratio: float = 0.5,
        visible_only: bool = False,
        head_dim: int = 2048,
        bottleneck_dim: int = 256,
        num_prototypes: int = 8192,
        temperature: float = 0.07,
        activation_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if contrast_view not in ("whole", "masked"):
            raise ValueError(f"contrast_view must be 'whole' or 'masked', got {contrast_view!r}.")
        if temperature < MIN_TEMPERATURE:
            raise ValueError(f"temperature must be at least {MIN_TEMPERATURE}, got {temperature}.")
        if not 0.0 < mask_ratio < 1.0:
            raise ValueError(f"mask_ratio must lie between 0 and 1, got {mask_ratio}.")
        self.contrast_view, self.mask_ratio, self.visible_only = contrast_view, mask_ratio, visible_only
        self.student = image_encoder
        self.report_encoder = report_encoder
        hidden_size = image_encoder.vit.norm.normalized_shape[0]
        self.student_head = DistillationHead(hidden_size, head_dim, bottleneck_dim, num_prototypes)
        num_heads = image_encoder.vit.num_heads
        self.predictor = EncoderBlock(hidden_size, 2 * hidden_size, num_heads) if visible_only else None
        if activation_checkpointing:
            for tower in (self.student.vit, report_encoder):
                recompute: Any = tower.recompute_activations
                recompute()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.student_head).requires_grad_(False)
        self.attention_mean = RunningMean(image_encoder.selector.place_mean.shape, REMEMBERED_VOLUMES)

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        """Move the teacher: teacher <- momentum * teacher + (1 - momentum) * student; and both towers' mean attention
        by the volumes scored since the last time."""
        for teacher, student in ((self.teacher, self.student), (self.teacher_head, self.student_head)):
            torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)
        mean, share = self.attention_mean.take()
        for tower in (self.student, self.teacher):
            tower.selector.place_mean.lerp_(mean, share)

    @torch.no_grad()
    def reset_teacher(self) -> None:
        """Make the teacher the student's exact copy, as after loading weights into the student."""
        self.update_teacher(0.0)
        for teacher, student in zip(self.teacher.buffers(), self.student.buffers()):
            teacher.copy_(student)

    def freeze_last_layer(self, is_frozen: bool) -> None:
        """Hold the prototypes of the student's head still (the first steps of the distillation)."""
        self.student_head.prototypes.requires_grad_(not is_frozen)

    @property
    def scores_slices(self) -> bool:
        """Whether the slices of volumes are chosen by the teacher's scores: no other rule needs that pass."""
        return self.student.selector.rule == "attention" and self.student.selector.num_selected_slices > 0

    @property
    def logit_scale(self) -> torch.Tensor:
        """1 / temperature, at most 100: the parameter itself is held there, so that its gradient stays."""
        with torch.no_grad():
            self.log_scale.clamp_(max=-math.log(MIN_TEMPERATURE))
        return self.log_scale.exp()

    def masked_view(
        self, content: torch.Tensor, position: torch.Tensor, is_masked: torch.Tensor, distill: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The student's pass over masked tokens.

        Args:
            content, position: (B, N, C), (1 or B, N, C) patch tokens.
            is_masked: (B, N), bool, True = hidden, the same number in every row.
            distill: whether the hidden patches are asked for.

        Returns:
            [CLS] (B, C) and the hidden patches (B, M, C) or None.
        """
        vit, batch = self.student.vit, content.shape[0]
        if not self.visible_only:
            tokens = torch.where(is_masked[..., None], vit.mask_token.to(content.dtype), content) + position
            encoded = vit.encode_some(tokens, is_masked if distill else None)
            return encoded[:, 0], encoded[:, 1:] if distill else None
        visible = (content + position)[~is_masked].reshape(batch, -1, content.shape[2])
        if not distill:
            return vit.encode_some(visible)[:, 0], None
        encoded = vit.encode(visible)
        hidden = (vit.mask_token + position).expand_as(content)[is_masked].reshape(batch, -1, content.shape[2])
        assert self.predictor is not None
        hidden = hidden.to(encoded.dtype)
        tokens = torch.cat([encoded, hidden], 1)
        return encoded[:, 0], vit.through(self.predictor.of_some, tokens, hidden)

    @torch.no_grad()
    def teacher_view(
        self, image: torch.Tensor, slice_indices: torch.Tensor | None, is_masked: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The teacher's targets from the whole image, detached: ``teacher_class``, ``teacher_patches``."""
        content, position = self.teacher.vit.embed(image, slice_indices)
        tokens = self.teacher.vit.encode_some(content + position, is_masked)
        return {"teacher_class": self.teacher_head(tokens[:, 0]), "teacher_patches": self.teacher_head(tokens[:, 1:])}

    @torch.no_grad()
    def teacher_slice_scores(self, image: torch.Tensor, num_parts: int = 1) -> torch.Tensor:
        """``slice_scores`` (B, S) by the teacher; in training their attention is kept for the mean, if debiased.

        The volumes are read in ``num_parts`` parts, one after the other.
        """
        parts = image.tensor_split(min(num_parts, len(image)))
        attention = torch.cat([self.teacher.volume_attention(part) for part in parts])
        selector = self.teacher.selector
        scores = selector.scores(selector.excess(attention))
        if self.training and selector.debiased:
            self.attention_mean.add(selector.places(attention))
        return scores

    def encode_pair(
        self,
        image: torch.Tensor,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        sample_seed: torch.Tensor,
        slice_scores: torch.Tensor | None = None,
        distill: bool = True,
        targets: bool = True,
    ) -> dict[str, torch.Tensor]:
        """One source's micro-batch.

        Args:
            image: (B, C, X, Y) or (B, C, X, Y, Z), float, intensity in [0, 1].
            input_ids, attention_mask: (B, L), int64.
            sample_seed: (B,), int64; masks and random slices draw from it.
            slice_scores: (B, S), cached scores; computed by the teacher when absent.
            distill: whether the distillation's terms are wanted.
            targets: whether the teacher's part of them is wanted.

        Returns:
            ``image_embedding``, ``text_embedding`` (B, E), L2-normalised; ``logit_scale``; for volumes with attentive
            selection ``slice_scores`` (B, S), and ``slice_indices`` (B, k); with ``distill`` ``student_class``,
            ``teacher_class`` (B, K), ``student_patches``, ``teacher_patches`` (B, M, K) of the M masked tokens, and
            ``is_masked`` (B, N). Everything of the teacher is detached.
        """
        out = {"text_embedding": self.report_encoder(input_ids, attention_mask), "logit_scale": self.logit_scale}
        if image.dim() == 5 and self.scores_slices:
            out["slice_scores"] = self.teacher_slice_scores(image) if slice_scores is None else slice_scores
        indices = self.student.select_slices(image, out.get("slice_scores"), sample_seed)
        if indices is not None:
            out["slice_indices"] = indices
        content, position = self.student.vit.embed(image, indices)
        if self.contrast_view == "whole":
            class_token = self.student.vit.encode_some(content + position)[:, 0]
        if distill or self.contrast_view == "masked":
            is_masked = random_token_mask(sample_seed, content.shape[1], self.mask_ratio)
            masked_class, hidden = self.masked_view(content, position, is_masked, distill)
            if self.contrast_view == "masked":
                class_token = masked_class
        out["image_embedding"] = self.student.project(class_token)
        if distill:
            out |= {"student_class": self.student_head(masked_class), "student_patches": self.student_head(hidden)}
            out["is_masked"] = is_masked
        if distill and targets:
            out |= self.teacher_view(image, indices, is_masked)
        return out

    def forward(
        self,
        sources: Mapping[str, Mapping[str, Any]],
        distill: bool = True,
        slice_scores: Mapping[str, torch.Tensor] | None = None,
        targets: bool = True,
    ) -> dict[str, dict[str, torch.Tensor]]:
        """All sources of a step in one call, as distributed training needs.

        Args:
            sources: source name (``2d``, ``3d``) to its batch with the arguments of :meth:`encode_pair`; further
                keys are left alone, ``pair_group`` is handed on.
            distill: whether the distillation's terms are wanted.
            slice_scores: source name to cached scores (B, S).
            targets: whether the teacher's targets are wanted; they need no gradient.

        Returns:
            source name to the dictionary of :meth:`encode_pair`, with ``pair_group`` (B,) where the batch has it.
        """
        outputs = {}
        for name, batch in sources.items():
            image, ids, mask, seed = (batch[k] for k in ("image", "input_ids", "attention_mask", "sample_seed"))
            cached = None if slice_scores is None else slice_scores.get(name)
            outputs[name] = self.encode_pair(image, ids, mask, seed, cached, distill, targets)
            if "pair_group" in batch:
                outputs[name]["pair_group"] = batch["pair_group"]
        return outputs

    def train(self, mode: bool = True) -> UniMedI:
        """Set the mode; the teacher stays in eval."""
        super().train(mode)
        self.teacher.eval()
        self.teacher_head.eval()
        return self
