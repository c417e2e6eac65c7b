# SPDX-License-Identifier: Apache-2.0
"""Transforms that MONAI lacks: readers, reports, X-ray grey values, CT geometry, masks, checks, an augmentation."""

from __future__ import annotations

from .augment import RandChestAugment, RandChestAugmentd
from .checks import CheckImage, CheckImaged, RowError, row_location
from .crop_around import CropAroundd
from .load_volume import LoadVolume, LoadVolumed
from .load_xray import LoadXray, LoadXrayd
from .mask import (
    MaskNumbersd,
    MaskToChannels,
    MaskToChannelsd,
    RandForegroundCropd,
    ScoresToMask,
    ScoresToMaskd,
)
from .report import RandReportSentences, RandReportSentencesd, ReportText, ReportTextd
from .small_components import SuppressSmallComponents, SuppressSmallComponentsd
from .volume import CropOrPadBody, CropOrPadBodyd, ResampleVolume, ResampleVolumed
from .xray import ScaleXray, ScaleXrayd, XrayToGray, XrayToGrayd

__all__ = [
    "CheckImage",
    "CheckImaged",
    "CropAroundd",
    "CropOrPadBody",
    "CropOrPadBodyd",
    "LoadVolume",
    "LoadVolumed",
    "LoadXray",
    "LoadXrayd",
    "MaskNumbersd",
    "MaskToChannels",
    "MaskToChannelsd",
    "RandChestAugment",
    "RandChestAugmentd",
    "RandForegroundCropd",
    "RandReportSentences",
    "RandReportSentencesd",
    "ReportText",
    "ReportTextd",
    "ResampleVolume",
    "ResampleVolumed",
    "RowError",
    "ScaleXray",
    "ScaleXrayd",
    "ScoresToMask",
    "ScoresToMaskd",
    "SuppressSmallComponents",
    "SuppressSmallComponentsd",
    "XrayToGray",
    "XrayToGrayd",
    "row_location",
]
