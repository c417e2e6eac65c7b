# SPDX-License-Identifier: Apache-2.0
"""Exact gradients of a large batch in the memory of a small one, after GradCache (Gao et al., "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup", RepL4NLP 2021).

1. The batch goes through the network in chunks, without graph; its outputs are kept.
2. The loss of all outputs at once gives their gradients.
3. Each chunk goes through the network again, with graph and the same random draws, and passes its rows' gradients on.

Nothing is approximated: the chain rule is cut at the outputs. Unlike accumulated micro-batches, each row is contrasted
with the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import get_device_states, set_device_states

__all__ = ["GradientCache"]

Named = Mapping[str, Tensor]
Outputs = dict[str, dict[str, Tensor]]
Encode = Callable[[Any, Any], Outputs]


class GradientCache:
    """One batch on its way through both passes: `outputs`, a backward pass of their loss, `backward`.

    `encode` takes a chunk's inputs by source and its slice scores by source, or None, and gives its outputs by source:
    tensors (rows, ...), or scalars that are the same for every chunk, such as `logit_scale`.

    Args:
        sources: by source named tensors (B, ...), one entry a row.
        slice_scores: by source (B, S), or None.
        chunks: number of parts into which the rows of each source are cut, as even as can be. A source with fewer rows,
            such as a batch of a rare shape, goes row by row through the last chunks, and is absent from those before:
            the last chunk, after which ranks exchange gradients, has every source.

    Raises:
        ValueError: When a tensor is not one of rows.
    """

    def __init__(self, sources: Mapping[str, Named], slice_scores: Named | None, chunks: int) -> None:
        self._num_parts = {name: min(chunks, _count_rows(name, inputs)) for name, inputs in sources.items()}
        parts = {name: _cut(inputs, self._num_parts[name]) for name, inputs in sources.items()}
        scores = {name: each.tensor_split(self._num_parts[name]) for name, each in (slice_scores or {}).items()}
        longest = max(self._num_parts.values())
        self.chunks: list[tuple[dict[str, Named], Named | None]] = [
            (_of_chunk(parts, i), None if slice_scores is None else _of_chunk(scores, i)) for i in range(-longest, 0)
        ]
        self._random_states: list[Any] = []
        self._cached: Outputs = {}

    def outputs(self, encode: Encode) -> Outputs:
        """The first pass: outputs of the whole batch as leaves, in which a backward pass leaves their gradients."""
        parts = []
        with torch.no_grad():
            for chunk, scores in self.chunks:
                self._random_states.append(_random_state(chunk))
                parts.append(encode(chunk, scores))
        self._cached = {
            source: {name: _leaf([part[source][name] for part in parts if source in part]) for name in named}
            for source, named in parts[-1].items()
        }
        return self._cached

    def backward(self, encode: Encode, context: Callable[[bool], AbstractContextManager[Any]]) -> None:
        """The second pass: adds the gradients of the parameters.

        Args:
            encode: as in the first pass; what needs no gradient may be left out.
            context: wraps forward and backward of a chunk; told whether it is the last.
        """
        for number, (chunk, scores) in enumerate(self.chunks):
            with context(number + 1 == len(self.chunks)):
                _set_random_state(self._random_states[number])
                pairs = self._pairs(encode(chunk, scores), number)
                torch.autograd.backward([output for output, _ in pairs], [gradient for _, gradient in pairs])

    def _pairs(self, outputs: Outputs, number: int) -> list[tuple[Tensor, Tensor]]:
        """A chunk's outputs with their gradients; those of scalars once, with the last chunk."""
        pairs = []
        for source, named in outputs.items():
            for name, output in named.items():
                gradient = self._cached[source][name].grad
                if gradient is None or not output.requires_grad:
                    continue
                if output.ndim:
                    of_parts = gradient.tensor_split(self._num_parts[source])
                    pairs.append((output, of_parts[number - len(self.chunks)]))
                elif number + 1 == len(self.chunks):
                    pairs.append((output, gradient))
        return pairs


def _cut(tensors: Named, chunks: int) -> list[dict[str, Tensor]]:
    cut = {name: tensor.tensor_split(chunks) for name, tensor in tensors.items()}
    return [{name: parts[i] for name, parts in cut.items()} for i in range(chunks)]


def _of_chunk(parts: Mapping[str, Sequence[Any]], index: int) -> dict[str, Any]:
    """The part of each source in a chunk, counted from the last, -1; sources with fewer parts are absent."""
    return {source: cut[index] for source, cut in parts.items() if len(cut) >= -index}


def _count_rows(source: str, inputs: Named) -> int:
    rows = {name: len(value) if value.ndim else 0 for name, value in inputs.items()}
    if len(set(rows.values())) != 1:
        raise ValueError(
            f"every tensor of source '{source}' must have one entry a row, got {rows} entries; set "
            "gradient_cache_chunks to 1."
        )
    return min(rows.values())


def _leaf(parts: list[Tensor]) -> Tensor:
    whole = torch.cat(parts) if parts[0].ndim else parts[0].clone()
    return whole.detach().requires_grad_(whole.is_floating_point())


def _random_state(chunk: Mapping[str, Named]) -> tuple[Tensor, Any]:
    """States of the CPU's generator and of the generators of the devices that hold the chunk."""
    tensors = [value for inputs in chunk.values() for value in inputs.values()]
    return torch.get_rng_state(), get_device_states(*tensors)


def _set_random_state(state: tuple[Tensor, Any]) -> None:
    on_cpu, (devices, states) = state
    torch.set_rng_state(on_cpu)
    set_device_states(devices, states)
