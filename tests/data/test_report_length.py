# SPDX-License-Identifier: Apache-2.0
"""Reports beyond the text encoder's length are counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from monai_unimedi.data.collate import SourcesCollate
from monai_unimedi.data.report_length import count_tokens_beyond
from monai_unimedi.data.vocabulary import train_wordpiece

TEXTS = ["clear .", "clear lungs . " * 3, "clear lungs . " * 40]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = train_wordpiece(TEXTS, tmp_path_factory.mktemp("words") / "v", 64, max_tokens=16)
    return AutoTokenizer.from_pretrained(folder)


def test_special_tokens_count_and_the_limit_itself_fits(tokenizer: Any) -> None:
    lengths = [len(tokenizer(text)["input_ids"]) for text in TEXTS]
    assert lengths[0] == 4
    found = count_tokens_beyond(TEXTS, tokenizer, lengths[1])
    assert found == (3, 1, lengths[2], lengths[1])
    assert count_tokens_beyond(TEXTS, tokenizer, lengths[1] - 1).num_beyond == 2


def test_tokenizers_own_limit_is_that_of_training(tokenizer: Any) -> None:
    assert count_tokens_beyond(TEXTS, tokenizer).max_tokens == SourcesCollate(tokenizer).max_tokens == 16


def test_many_texts_are_read_once(tokenizer: Any) -> None:
    def many() -> Iterator[str]:
        yield from TEXTS * 500

    found = count_tokens_beyond(many(), tokenizer)
    assert (found.num_reports, found.num_beyond) == (1500, 500)
    assert "500 of 1500 reports are longer than 16 tokens" in str(found)


def test_none_is_no_error(tokenizer: Any) -> None:
    assert count_tokens_beyond([], tokenizer) == (0, 0, 0, 16)


def test_limit_below_one_raises(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        count_tokens_beyond(TEXTS, tokenizer, 0)
