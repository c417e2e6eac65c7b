# SPDX-License-Identifier: Apache-2.0
"""From samples to a batch: images stacked per source, reports tokenised and padded to the longest of the
batch.

``batch[source]`` holds the names of ``method.md`` section 7: ``image``, ``input_ids``, ``attention_mask``,
``pair_group``, ``sample_seed``, ``row``, ``id``, and what ``extra_keys`` find. A source without samples has
no entry.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from monai_unimedi.data.tokens import tokenizer_digest
from monai_unimedi.transforms.report import report_group, split_sections, split_sentences

__all__ = ["SourcesCollate", "shorten_report", "token_limit"]

logger = logging.getLogger(__name__)
_NUMBERS = ("pair_group", "sample_seed", "row")
_TENSORS = {"label": torch.float32, "lesion_mask": torch.uint8}
_FALLBACK_TOKENS = 512  # a tokenizer without a limit reports 1e30


def shorten_report(
    report: str, count_tokens: Callable[[list[str]], list[int]], budget: int, seed: int
) -> str:
    """A report within ``budget`` tokens: the impression whole, then random other sentences, all in their
    order.

    Headings are left out. An impression longer than the budget is returned alone, uncut.

    Args:
        report: cleaned text.
        count_tokens: tokens of each of some sentences, special tokens not counted.
        budget: tokens, special tokens not counted.
        seed: of the choice, the sample's ``sample_seed``.
    """
    pairs = [(name, s) for name, text in split_sections(report).items() for s in split_sentences(text)]
    lengths = count_tokens([sentence for _, sentence in pairs])
    kept = {i for i, (name, _) in enumerate(pairs) if name == "impression"}
    left = budget - sum(lengths[i] for i in kept)
    for i in np.random.RandomState(seed % 2**32).permutation(len(pairs)):
        if i not in kept and lengths[i] <= left:
            kept.add(int(i))
            left -= lengths[i]
    return " ".join(pairs[i][1] for i in sorted(kept)) or report


def token_limit(tokenizer: Any) -> int:
    """Tokens of the longest sequence that a Hugging Face tokenizer's model takes, special tokens included."""
    limit = min(int(getattr(tokenizer, "model_max_length", _FALLBACK_TOKENS)), 10**6)
    return _FALLBACK_TOKENS if limit == 10**6 else limit


class SourcesCollate:
    """Collate function for ``SourcesDataset`` and ``SourceDataset``.

    A report that needs more than ``max_tokens`` keeps its impression whole and as many of its other
    sentences, chosen at random by the sample's seed, as fit; how often that happens, in all forked workers
    together, is logged at each power of ten. An impression that is too long by itself is cut at the end.

    Args:
        tokenizer: a Hugging Face tokenizer.
        max_tokens: special tokens included; the tokenizer's own limit when None.
        extra_keys: keys kept when every sample of a source has them: ``label`` as (B, F) float32,
            ``lesion_mask`` as (B, 1, X, Y[, Z]) uint8, anything else as a list. Training needs none of them.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_tokens: int | None = None,
        extra_keys: Sequence[str] = ("report", "label", "findings", "lesion_mask"),
    ) -> None:
        limit = token_limit(tokenizer)
        if max_tokens is not None and not 3 <= max_tokens <= limit:
            raise ValueError(
                f"max_tokens must lie between 3 and the tokenizer's limit of {limit}, got {max_tokens}."
            )
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens or limit
        self.extra_keys = tuple(extra_keys)
        self._digest = ""
        self._counts = _Counts()

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """
        Args:
            samples: of any sources, in any order.

        Returns:
            One entry per source, rows in the order of ``samples``. Images and masks of several shapes stay a list.
        """
        groups: dict[str, list[dict[str, Any]]] = {}
        for sample in samples:
            groups.setdefault(sample["source"], []).append(sample)
        return {source: self._source_batch(group) for source, group in groups.items()}

    def _source_batch(self, samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = {"image": _stacked([torch.as_tensor(s["image"]) for s in samples])}
        batch["id"] = [str(s.get("id", s["row"])) for s in samples]
        if all("report" in s for s in samples):
            seeds = [s["sample_seed"] for s in samples]
            known = [self._known(s) for s in samples]
            batch["input_ids"], batch["attention_mask"] = self.tokenize(
                [s["report"] for s in samples], seeds, known
            )
            samples = [{"pair_group": report_group(s["report"]), **s} for s in samples]
        for name in _NUMBERS:
            if all(name in s for s in samples):
                batch[name] = torch.tensor([s[name] for s in samples], dtype=torch.int64)
        for key in self.extra_keys:
            if all(s.get(key) is not None for s in samples):
                batch[key] = _gather(key, [s[key] for s in samples])
        return batch

    def _known(self, sample: dict[str, Any]) -> list[int] | None:
        """Token ids that a shard kept of the whole report, where this tokenizer made them."""
        if "token_ids" not in sample:
            return None
        self._digest = self._digest or tokenizer_digest(self.tokenizer)
        return sample["token_ids"].tolist() if sample["tokenizer"] == self._digest else None

    def tokenize(
        self, reports: Sequence[str], seeds: Sequence[int], known: Sequence[list[int] | None] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``input_ids`` and ``attention_mask`` (B, L) int64, right-padded to the longest.

        Args:
            reports: the texts.
            seeds: one a report, for those that are too long.
            known: token ids of the texts where they are at hand already.
        """
        encoded = [[] if tokens is None else tokens for tokens in known or [None] * len(reports)]
        unknown = [i for i, tokens in enumerate(encoded) if not tokens]
        for i, tokens in zip(unknown, self._encode([reports[i] for i in unknown]) if unknown else []):
            encoded[i] = tokens
        too_long = [i for i, tokens in enumerate(encoded) if len(tokens) > self.max_tokens]
        for i in too_long:
            encoded[i] = self._encode([self._shorten(reports[i], seeds[i])], truncation=True)[0]
        self._count(len(too_long), len(reports))
        ids = [torch.tensor(tokens, dtype=torch.int64) for tokens in encoded]
        padding = int(self.tokenizer.pad_token_id or 0)
        mask = pad_sequence([torch.ones_like(tokens) for tokens in ids], batch_first=True)
        return pad_sequence(ids, batch_first=True, padding_value=padding), mask

    def _encode(
        self, texts: Sequence[str], truncation: bool = False, special: bool = True
    ) -> list[list[int]]:
        options = {"truncation": True, "max_length": self.max_tokens} if truncation else {"truncation": False}
        encoded = self.tokenizer(
            list(texts),
            add_special_tokens=special,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
            **options,
        )
        return list(encoded["input_ids"])

    def _shorten(self, report: str, seed: int) -> str:
        def count_tokens(sentences: list[str]) -> list[int]:
            return [len(tokens) for tokens in self._encode(sentences, special=False)]

        budget = self.max_tokens - self.tokenizer.num_special_tokens_to_add()
        return shorten_report(report, count_tokens, budget, seed)

    @property
    def shortened(self) -> int:
        """Reports that were too long so far."""
        return self._counts.numbers[0]

    @property
    def seen(self) -> int:
        """Reports so far."""
        return self._counts.numbers[1]

    def _count(self, shortened: int, seen: int) -> None:
        numbers = self._counts.numbers
        with numbers.get_lock():
            numbers[0] += shortened
            numbers[1] += seen
            announced = numbers[2]
            if numbers[0] >= announced:
                numbers[2] = 10 * announced
                logger.info("%d of %d reports were longer than %d tokens", *numbers[:2], self.max_tokens)


class _Counts:
    """Reports shortened, reports seen, and shortened ones at which to log, of a process and its forked workers. Pickled
    to a spawned one they begin anew."""

    def __init__(self) -> None:
        self.numbers: Any = multiprocessing.Array("q", [0, 0, 1])

    def __reduce__(self) -> tuple[Any, ...]:
        return _Counts, ()


def _gather(key: str, values: list[Any]) -> Any:
    if key not in _TENSORS:
        return values
    return _stacked([torch.as_tensor(value).to(_TENSORS[key]) for value in values])


def _stacked(tensors: list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
    """One tensor of tensors of one shape, else the list itself: nothing is padded."""
    return torch.stack(tensors) if len({tensor.shape for tensor in tensors}) == 1 else tensors
