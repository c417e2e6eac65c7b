# SPDX-License-Identifier: Apache-2.0
"""Token ids of cleaned reports, kept beside the images: ids are cached per tokenizer, and whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["encode_reports", "tokenizer_digest"]


def tokenizer_digest(tokenizer: Any) -> str:
    """Hash (32 hexadecimal digits) of what decides a tokenizer's ids: its rules and vocabulary."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        rules = {k: v for k, v in json.loads(backend.to_str()).items() if k not in ("padding", "truncation")}
    else:
        rules = {"class": type(tokenizer).__name__, "vocabulary": tokenizer.get_vocab()}
    return hashlib.blake2b(json.dumps(rules, sort_keys=True).encode(), digest_size=16).hexdigest()


def encode_reports(tokenizer: Any, reports: Sequence[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """All ids one after the other, special tokens included, nothing cut, and where each report ends.

    Args:
        tokenizer: of Hugging Face.
        reports: cleaned texts; None has no ids.

    Returns:
        (T,) int32 ids and (N,) int64 ends.
    """
    texts = [text for text in reports if text is not None]
    options = {"truncation": False, "return_attention_mask": False, "return_token_type_ids": False}
    found = iter(tokenizer(texts, verbose=False, **options)["input_ids"] if texts else [])
    ids = [[] if text is None else next(found) for text in reports]
    flat = np.fromiter((token for tokens in ids for token in tokens), np.int32)
    return flat, np.cumsum([len(tokens) for tokens in ids], dtype=np.int64)
