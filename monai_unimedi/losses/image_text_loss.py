# SPDX-License-Identifier: Apache-2.0
"""Image-text contrast L_vl: symmetric InfoNCE in which rows with the same report are not negatives.

He et al., "Unified Medical Image Pre-training in Language-Guided Common Semantic Space", section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from monai_unimedi.losses.across_ranks import gather_rows, rank_and_world_size
from monai_unimedi.losses.chunked_contrast import ChunkedContrast

__all__ = ["ImageTextLoss"]


class ImageTextLoss(nn.Module):
    r"""Symmetric InfoNCE with the target shared by rows of one group.

    .. math::
        L_{vl} = \tfrac12\,\big(\mathrm{CE}(v t^\top / \tau,\, q) + \mathrm{CE}(t v^\top / \tau,\, q)\big),
        \qquad q_{ij} = \frac{[g_i = g_j]}{\sum_k [g_i = g_k]}

    The paper has :math:`q = I`; here rows with an equal report share the target, since telling equal texts
    apart is punished otherwise. With all groups distinct both are the same.

    With several processes, the columns are the rows of every rank (with gradient) and the rows are the local
    ones: the mean over ranks is the loss of the whole batch in one process, and so is the gradient that
    ``DistributedDataParallel`` averages. The logits are computed a block of rows at a time, exactly, and never
    stored: memory grows with the rows, not with their square (``chunked_contrast.py``).
    """

    def forward(
        self,
        image_embedding: Tensor,
        text_embedding: Tensor,
        logit_scale: Tensor | float,
        pair_group: Tensor | None = None,
    ) -> Tensor:
        """Contrast of the local rows against the rows of every rank; in float32 also under autocast.

        Args:
            image_embedding: (B, E), float, L2-normalised; B is the same on every rank.
            text_embedding: (B, E), float, L2-normalised; row i describes image i.
            logit_scale: scalar, 1 / temperature, already clamped.
            pair_group: (B,), int64, equal where rows are not negatives of each other; every row its own group
                if None.

        Returns:
            scalar, mean over the local rows.

        Raises:
            ValueError: When the shapes do not fit, or when all ranks together hold fewer than two rows.
        """
        _check(image_embedding, text_embedding, pair_group)
        group = _own_groups(image_embedding) if pair_group is None else pair_group.to(image_embedding.device)
        all_groups = gather_rows(group)
        if len(all_groups) < 2:
            raise ValueError(
                f"contrast needs two rows at least, got a batch of {len(all_groups)} over all ranks; "
                "raise the batch size, or drop the last incomplete batch"
            )
        dtype = torch.promote_types(torch.promote_types(image_embedding.dtype, text_embedding.dtype), torch.float32)
        image, text = image_embedding.to(dtype), text_embedding.to(dtype)
        scale = torch.as_tensor(logit_scale, dtype=dtype, device=image.device)
        return ChunkedContrast.apply(image, gather_rows(text), scale, group, all_groups)


def _own_groups(rows: Tensor) -> Tensor:
    first = rank_and_world_size()[0] * len(rows)
    return torch.arange(first, first + len(rows), device=rows.device)


def _check(image_embedding: Tensor, text_embedding: Tensor, pair_group: Tensor | None) -> None:
    if image_embedding.ndim != 2 or image_embedding.shape != text_embedding.shape:
        raise ValueError(
            "image_embedding and text_embedding must have one shape (B, E), got "
            f"{tuple(image_embedding.shape)} and {tuple(text_embedding.shape)}"
        )
    if pair_group is not None and pair_group.shape != image_embedding.shape[:1]:
        raise ValueError(
            f"pair_group must hold one value per row, shape ({len(image_embedding)},), got "
            f"{tuple(pair_group.shape)}"
        )
