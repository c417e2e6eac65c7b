# SPDX-License-Identifier: Apache-2.0
"""Masks as files hold them and as networks learn them: numbers or bits to one channel a class, and back."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence

import torch
from monai.config import KeysCollection
from monai.config.type_definitions import NdarrayOrTensor
from monai.transforms import MapTransform, Randomizable, Transform
from monai.utils import convert_to_dst_type, convert_to_tensor

__all__ = [
    "MaskNumbersd",
    "MaskToChannels",
    "MaskToChannelsd",
    "RandForegroundCropd",
    "ScoresToMask",
    "ScoresToMaskd",
]


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
        return convert_to_dst_type(torch.stack(list(self.one_by_one(mask))), mask, dtype=torch.float32)[0]

    def one_by_one(self, mask: NdarrayOrTensor) -> Iterator[torch.Tensor]:
        """The same channels one after another, (X, Y[, Z]) bool, for volumes of which all at once take gigabytes."""
        if mask.shape[0] != 1:
            raise ValueError(f"A mask must be (1, X, Y) or (1, X, Y, Z), got shape {tuple(mask.shape)}.")
        numbers = convert_to_tensor(mask, track_meta=False)[0].to(torch.int32)
        for value in self.values:
            yield numbers == value if self.is_exclusive else ((numbers >> value) & 1).bool()


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


class RandForegroundCropd(Randomizable, MapTransform):
    """Cuts one window out of images and masks on one grid, often round a voxel of the mask.

    MONAI's ``RandCropByPosNegLabeld`` gives lists; this gives one window, so that a row stays a row. Smaller images
    are padded with 0 at their ends first. Where all is the window's size already, nothing is drawn.

    Args:
        keys: images and masks.
        size: voxels of the window.
        label_key: the mask (1, X, Y[, Z]); anything above 0 is foreground.
        foreground: probability that the window holds a random voxel of the foreground, if there is any.
    """

    def __init__(
        self, keys: KeysCollection, size: Sequence[int], label_key: str = "label", foreground: float = 0.7
    ) -> None:
        MapTransform.__init__(self, keys)
        self.size = tuple(int(side) for side in size)
        self.label_key = label_key
        self.foreground = foreground

    def __call__(self, data: Mapping[Hashable, torch.Tensor]) -> dict[Hashable, torch.Tensor]:
        row = dict(data)
        label = _at_least(row[self.label_key], self.size)
        start = self.draw_start(label)
        window = (slice(None), *(slice(a, a + side) for a, side in zip(start, self.size)))
        for key in self.key_iterator(row):
            row[key] = _at_least(row[key], self.size)[window]
        return row

    def draw_start(self, label: torch.Tensor) -> list[int]:
        """First voxel of the window."""
        room = [side - wanted for side, wanted in zip(label.shape[1:], self.size)]
        if not any(room):
            return [0] * len(room)
        is_positive = self.R.rand() < self.foreground
        places = torch.nonzero(label[0] > 0) if is_positive else torch.zeros(0, len(room))
        if len(places) == 0:
            return [int(self.R.randint(free + 1)) for free in room]
        centre = places[self.R.randint(len(places))].tolist()
        offsets = [int(self.R.randint(side)) for side in self.size]
        return [min(max(c - offset, 0), free) for c, offset, free in zip(centre, offsets, room)]


def _at_least(image: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """(C, X, Y[, Z]), padded with 0 at the ends of its axes where they are shorter than ``size``."""
    missing = [max(0, wanted - side) for side, wanted in zip(image.shape[1:], size)]
    pairs = [number for side in reversed(missing) for number in (0, side)]
    return torch.nn.functional.pad(image, pairs) if any(missing) else image


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
