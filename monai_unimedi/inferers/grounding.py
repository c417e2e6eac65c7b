# SPDX-License-Identifier: Apache-2.0
r"""What a sentence is about: which slices of a CT, which patches of an X-ray (method, section 3).

Nothing is trained for it, and no mask is needed. An image is embedded many times, each time with one of its places
singled out; the embeddings v_i differ by what place i shows alone. With the text tower's embedding t, the score of
place i for a sentence s is

.. math:: (v_i - \bar v)^T \, (t(s) - t(\text{""}))

A CT's place i is slice i: the volume's tokens and the tokens of that one slice, a sequence as the tower was trained
on. An X-ray's place i is a patch with its neighbours: what the embedding loses when they are replaced by the mask
token. The empty text holds what all texts share; taking it away leaves what the sentence says. The candidates that
were measured, and their figures, are in ``docs/decisions.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from monai.inferers import Inferer
from torch import Tensor

from monai_unimedi.inferers.zero_shot import embed_sentences

__all__ = [
    "GroundingInferer",
    "ground_reports",
    "patch_effects",
    "sentence_directions",
    "sentence_scores",
    "slice_effects",
]

NOTHING_SAID = ""
SEQUENCES = 256  # encoded at a time
TEXTS = 64


def slice_effects(image: Tensor, network: Any) -> Tensor:
    """What each axial slice adds to a volume's embedding, compared with the others.

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
    """What an X-ray's embedding loses when a patch and its neighbours are replaced by the mask token.

    Args:
        image: (B, C, X, Y), float, intensity in [0, 1].
        network: see `slice_effects`.

    Returns:
        (B, gx, gy, E), float32.
    """
    tokenizer, vit = network.vit.tokenizer, network.vit
    content, position = tokenizer.images(image)  # (B, N, C), (1, N, C)
    grid = image.shape[2] // tokenizer.patch_x, image.shape[3] // tokenizer.patch_y
    is_hidden = neighbourhoods(grid).to(image.device)  # (N, N)
    whole = _embed(content + position, network)[:, None]
    step = max(1, SEQUENCES // len(image))
    parts = [
        _embed(
            (torch.where(hidden[None, :, :, None], vit.mask_token, content[:, None]) + position).flatten(0, 1),
            network,
        ).reshape(len(image), len(hidden), -1)
        for hidden in is_hidden.split(step)
    ]
    return (whole - torch.cat(parts, 1)).unflatten(1, grid)


def neighbourhoods(grid: tuple[int, int], reach: int = 1) -> Tensor:
    """(N, N) bool: which patches are at most `reach` steps away from each, itself included."""
    x, y = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    place = torch.stack([x.flatten(), y.flatten()])
    return (place[:, :, None] - place[:, None]).abs().amax(0) <= reach


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
