# SPDX-License-Identifier: Apache-2.0
"""How many reports are longer than a text encoder takes, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, NamedTuple

from monai_unimedi.data.collate import token_limit

__all__ = ["ReportLengths", "count_tokens_beyond"]

_BATCH = 1000


class ReportLengths(NamedTuple):
    """Counts of :func:`count_tokens_beyond`; tokens include the special ones."""

    num_reports: int
    num_beyond: int
    longest: int
    max_tokens: int

    def __str__(self) -> str:
        return (
            f"{self.num_beyond} of {self.num_reports} reports are longer than {self.max_tokens} tokens "
            f"(the longest has {self.longest})"
        )


def count_tokens_beyond(texts: Iterable[str], tokenizer: Any, max_tokens: int | None = None) -> ReportLengths:
    """Counts the texts that need more tokens than the text encoder takes.

    Training shortens these by whole sentences, :func:`monai_unimedi.data.collate.shorten_report`.

    Args:
        texts: cleaned reports, read once.
        tokenizer: a Hugging Face tokenizer.
        max_tokens: special tokens included; the tokenizer's own limit when None.

    Raises:
        ValueError: When ``max_tokens`` is not positive.
    """
    if max_tokens is not None and max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {max_tokens}.")
    limit = max_tokens or token_limit(tokenizer)
    remaining = iter(texts)
    count = beyond = longest = 0
    while batch := list(islice(remaining, _BATCH)):
        encoded = tokenizer(batch, truncation=False, return_attention_mask=False, verbose=False)["input_ids"]
        lengths = [len(tokens) for tokens in encoded]
        count += len(lengths)
        beyond += sum(length > limit for length in lengths)
        longest = max(longest, *lengths)
    return ReportLengths(count, beyond, longest, limit)
