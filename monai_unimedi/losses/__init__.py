# SPDX-License-Identifier: Apache-2.0
"""Losses of pre-training: image-text contrast, cross-dimension self-distillation, and their sum."""

from __future__ import annotations

from monai_unimedi.losses.distillation_loss import SelfDistillationLoss
from monai_unimedi.losses.image_text_loss import ImageTextLoss
from monai_unimedi.losses.known_labels_loss import KnownLabelsLoss
from monai_unimedi.losses.unimedi_loss import UniMediLoss

__all__ = ["ImageTextLoss", "KnownLabelsLoss", "SelfDistillationLoss", "UniMediLoss"]
