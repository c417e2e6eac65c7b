# SPDX-License-Identifier: Apache-2.0
r"""What a sentence is about: which slices of a CT, which patches of an X-ray (method, section 3).

Nothing is trained for it, and no mask is needed. An image is embedded many times, with and without one of its places;
what place i adds to the embedding is its effect e_i. With the text tower's embedding t, the score of place i for a
sentence s is

.. math:: e_i^T \, (t(s) - t(\text{""}))

A CT's place is a slice: the volume's tokens and the tokens of slice i, a sequence as the tower was trained on, against
the mean of the same over all slices. An X-ray's place is a patch: the whole image against the image without it. The
empty text holds what all texts share; taking it away leaves what the sentence says. The candidates that were measured,
and their figures, are in ``docs/decisions.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from monai_unimedi.inferers.zero_shot import NOTHING_SAID, embed_sentences

__all__ = [
    "GroundingInferer",
    "ground_reports",
    "patch_effects",
    "sentence_directions",
    "sentence_scores",
    "slice_effects",
]

SEQUENCES = 256  # encoded at a time
TEXTS = 64


def slice_effects(image: Tensor, network: Any) -> Tensor:
    """What each axial slice adds to a volume's embedding, compared with the other slices.

    Args:
        image: (B, C, X, Y, S), float, intensity in [0, 1].
        network: the image tower, with `vit` and `project` (:class:`UniMediImageEncoder`).

    Returns:
        (B, S, E), float32; their mean over the slices is zero.
    """
    tokenizer, num_slices = network.vit.tokenizer, image.shape[4]
    every = torch.arange(num_slices, device=image.device).expand(image.shape[0], -1)
    content, position = tokenizer.volumes(image)
    volume = content + position  # (B, N, C)
    content, position = tokenizer.slices(image, every)
    slices = (content + position).reshape(image.shape[0] * num_slices, -1, volume.shape[2])
    parts = [
        _embed(torch.cat([volume[rows // num_slices], slices[rows]], 1), network)
        for rows in torch.arange(len(slices), device=image.device).split(SEQUENCES)
    ]
    embedding = torch.cat(parts).reshape(*every.shape, -1)
    return embedding - embedding.mean(1, keepdim=True)


def patch_effects(image: Tensor, network: Any) -> Tensor:
    """What an X-ray's embedding loses when one patch is left out.

    Args:
        image: (B, C, X, Y), float, intensity in [0, 1].
        network: see `slice_effects`.

    Returns:
        (B, gx, gy, E), float32.
    """
    tokenizer = network.vit.tokenizer
    content, position = tokenizer.images(image)
    tokens, count = content + position, content.shape[1]  # (B, N, C)
    order = torch.arange(count, device=image.device)
    kept = torch.stack([order[order != left_out] for left_out in order])  # (N, N - 1)
    parts = [
        _embed(tokens[:, rows].flatten(0, 1), network).reshape(len(tokens), len(rows), -1)
        for rows in kept.split(max(1, SEQUENCES // len(tokens)))
    ]
    grid = image.shape[2] // tokenizer.patch_x, image.shape[3] // tokenizer.patch_y
    return (_embed(tokens, network)[:, None] - torch.cat(parts, 1)).unflatten(1, grid)


def sentence_directions(
    sentences: Sequence[str], text_encoder: Callable[..., Tensor], tokenizer: Callable[..., Any], max_tokens: int = 256
) -> Tensor:
    """What each sentence says: its embedding without that of the empty text; arguments as `embed_sentences`.

    Returns:
        (N, E), float32, on the CPU, not normalised.
    """
    texts = [NOTHING_SAID, *sentences]
    parts = [
        embed_sentences(texts[first : first + TEXTS], text_encoder, tokenizer, max_tokens)
        for first in range(0, len(texts), TEXTS)
    ]
    embedding = torch.cat(parts)
    return embedding[1:] - embedding[:1]


def sentence_scores(effects: Tensor, directions: Tensor) -> Tensor:
    """Scores of sentences at every place.

    Args:
        effects: (B, S, E) of `slice_effects` or (B, gx, gy, E) of `patch_effects`.
        directions: (N, E) of `sentence_directions`.

    Returns:
        (B, N, S) or (B, N, gx, gy), float, larger = the sentence is rather about this place.
    """
    scores = effects @ directions.to(effects).T
    return scores.movedim(-1, 1)


class GroundingInferer(Inferer):
    """Finds the places that sentences are about, in images of either dimension.

    Args:
        directions: (N, E), from `sentence_directions`.
    """

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        self.directions = directions

    @torch.no_grad()
    def __call__(self, inputs: Tensor, network: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Score a batch.

        Args:
            inputs: (B, C, X, Y) or (B, C, X, Y, S), float, intensity in [0, 1].
            network: the image tower, in eval mode.
            args: not used.
            kwargs: not used.

        Returns:
            (B, N, gx, gy) of X-rays, (B, N, S) of CTs.
        """
        return sentence_scores(_effects(inputs, network), self.directions)


@torch.no_grad()
def ground_reports(
    test: Mapping[str, Mapping[str, Any]],
    sentences: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]],
    network: Any,
    text_encoder: Callable[..., Tensor],
    tokenizer: Callable[..., Any],
    max_tokens: int = 256,
    device: torch.device | str = "cpu",
) -> dict[str, dict[str, Any]]:
    """Grounds sentences of the reports of evaluated images.

    Args:
        test: by source, evaluation arrays with `image` (N, C, X, Y[, S]).
        sentences: by source and row, ``{"sentence", ...}`` each, as `sentences_to_ground` gives them.
        network: the image tower, in eval mode on `device`.
        text_encoder: see `embed_sentences`.
        tokenizer: see `embed_sentences`.
        max_tokens: see `embed_sentences`.
        device: where to compute.

    Returns:
        `test`, each source with ``grounding`` added: by row, the given dictionaries with ``scores`` (S,) or
        (gx, gy), and with ``other_scores``, the sentence's on the image of the row before; float32 on the CPU.
    """
    texts = sorted({one["sentence"] for rows in sentences.values() for found in rows.values() for one in found})
    directions = sentence_directions(texts, text_encoder, tokenizer, max_tokens)
    number = {text: index for index, text in enumerate(texts)}
    result = {source: dict(arrays) for source, arrays in test.items()}
    for source, rows in sentences.items():
        image = test[source]["image"]
        effects = [_effects(torch.as_tensor(image[row])[None].to(device), network).cpu() for row in rows]
        found = {}
        for place, (row, given) in enumerate(rows.items()):
            wanted = directions[[number[one["sentence"]] for one in given]]
            own, other = (sentence_scores(effects[place - back], wanted)[0] for back in (0, 1))
            found[row] = [
                {**one, "scores": scores, "other_scores": elsewhere}
                for one, scores, elsewhere in zip(given, own, other)
            ]
        result[source]["grounding"] = found
    return result


def _effects(image: Tensor, network: Any) -> Tensor:
    return slice_effects(image, network) if image.ndim == 5 else patch_effects(image, network)


def _embed(tokens: Tensor, network: Any) -> Tensor:
    """Patch tokens (B, N, C), positions added, to embeddings (B, E), L2-normalised."""
    return network.project(network.vit.encode(tokens)[:, 0]).float()
