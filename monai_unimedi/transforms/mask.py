# SPDX-License-Identifier: Apache-2.0
"""Masks as files hold them and as networks learn them: numbers or bits to one channel a class, and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Transform
from monai.utils import convert_to_dst_type, convert_to_tensor

__all__ = ["MaskNumbersd", "MaskToChannels", "MaskToChannelsd", "ScoresToMask", "ScoresToMaskd"]


class MaskToChannels(Transform):
    """A mask of numbers or bits to channels of 0 and 1.

    Args:
        values: the number of each class, or the bit of each finding, in the order of the channels.
        is_exclusive: numbers (one class a voxel) or bits (findings may overlap).
    """

    def __init__(self, values: Sequence[int], is_exclusive: bool) -> None:
        self.values = [int(value) for value in values]
        self.is_exclusive = is_exclusive

    def __call__(self, mask: NdarrayOrTensor) -> NdarrayOrTensor:
        """mask: (1, X, Y[, Z]), whole numbers. Returns (len(values), X, Y[, Z]), float32, 0 or 1.

        Raises:
            ValueError: When the mask has several channels.
        """
        if mask.shape[0] != 1:
            raise ValueError(f"A mask must be (1, X, Y) or (1, X, Y, Z), got shape {tuple(mask.shape)}.")
        numbers = convert_to_tensor(mask, track_meta=False).to(torch.int32)
        shape = (-1, *[1] * (numbers.ndim - 1))
        values = torch.tensor(self.values, dtype=torch.int32).reshape(shape)
        channels = numbers == values if self.is_exclusive else (numbers >> values) & 1
        return convert_to_dst_type(channels.float(), mask, dtype=torch.float32)[0]


class ScoresToMask(Transform):
    """A network's logits or probabilities to a mask as files hold it.

    Args:
        values: as in ``MaskToChannels``.
        is_exclusive: the largest channel's number, or the bits of all channels above ``threshold``.
        threshold: of scores that do not exclude each other; 0.5 of probabilities.
    """

    def __init__(self, values: Sequence[int], is_exclusive: bool, threshold: float = 0.5) -> None:
        self.values = [int(value) for value in values]
        self.is_exclusive = is_exclusive
        self.threshold = threshold

    def __call__(self, scores: NdarrayOrTensor) -> NdarrayOrTensor:
        """scores: (len(values), X, Y[, Z]). Returns (1, X, Y[, Z]), uint8 or, for larger numbers, int32."""
        if scores.shape[0] != len(self.values):
            raise ValueError(f"Scores must have {len(self.values)} channels, got shape {tuple(scores.shape)}.")
        found = convert_to_tensor(scores, track_meta=False)
        kind = torch.uint8 if max(self.values) < 256 else torch.int32
        if self.is_exclusive:
            mask = torch.tensor(self.values, dtype=kind, device=found.device)[found.argmax(0)]
        else:
            mask = torch.zeros(found.shape[1:], dtype=kind, device=found.device)
            for channel, bit in zip(found, self.values):
                mask |= (channel > self.threshold).to(kind) << bit
        return convert_to_dst_type(mask[None], scores, dtype=kind)[0]


class MaskNumbersd(MapTransform):
    """Masks that readers gave as floats back to whole numbers: ``uint8`` where they fit, else ``int32``."""

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        row = dict(data)
        for key in self.key_iterator(row):
            fits = bool(row[key].amax() < 256)
            row[key] = row[key].to(torch.uint8 if fits else torch.int32)
        return row


class MaskToChannelsd(MapTransform):
    """Dictionary form of ``MaskToChannels``."""

    def __init__(
        self, keys: KeysCollection, values: Sequence[int], is_exclusive: bool, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.convert = MaskToChannels(values, is_exclusive)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        for key in self.key_iterator(row):
            row[key] = self.convert(row[key])
        return row


class ScoresToMaskd(MapTransform):
    """Dictionary form of ``ScoresToMask``."""

    def __init__(
        self,
        keys: KeysCollection,
        values: Sequence[int],
        is_exclusive: bool,
        threshold: float = 0.5,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.convert = ScoresToMask(values, is_exclusive, threshold)

    def __call__(self, data: Mapping[Hashable, NdarrayOrTensor]) -> dict[Hashable, NdarrayOrTensor]:
        row = dict(data)
        for key in self.key_iterator(row):
            row[key] = self.convert(row[key])
        return row
