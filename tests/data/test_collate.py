# SPDX-License-Identifier: Apache-2.0
"""From samples to a batch: names, padding to the longest, long reports, groups."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerFast

from monai_unimedi.data.collate import SourcesCollate, shorten_report
from monai_unimedi.transforms.report import report_group

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", *(f"w{i}" for i in range(60)), "nodule", "right", "normal"]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=32, **names)


def sample(source: str, row: int, report: str, **more: Any) -> dict[str, Any]:
    shape = (1, 8, 8) if source == "2d" else (1, 4, 4, 4)
    image = torch.full(shape, float(row))
    base = {"source": source, "row": row, "sample_seed": 1000 + row, "id": f"{source}-{row}", "image": image}
    return {**base, "report": report, "pair_group": report_group(report), **more}


SAMPLES = [
    sample("2d", 0, "w1 w2 w3 ."),
    sample("3d", 1, "w1 nodule right w9 w8 ."),
    sample("2d", 2, "w4 ."),
    sample("3d", 3, "w1 ."),
    sample("2d", 4, "w1 w2 w3 ."),
]


def test_batch_has_the_names_shapes_and_types_of_the_contract(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = SourcesCollate(tokenizer)(SAMPLES)
    assert list(batch) == ["2d", "3d"]
    assert batch["2d"]["image"].shape == (3, 1, 8, 8)
    assert batch["3d"]["image"].shape == (2, 1, 4, 4, 4)
    assert batch["2d"]["row"].tolist() == [0, 2, 4]
    assert batch["2d"]["id"] == ["2d-0", "2d-2", "2d-4"]
    for name in ("input_ids", "attention_mask", "pair_group", "sample_seed", "row"):
        assert batch["2d"][name].dtype == torch.int64
    groups = batch["2d"]["pair_group"]
    assert groups[0] == groups[2] != groups[1]


def test_reports_are_padded_to_the_longest_of_their_source(tokenizer: PreTrainedTokenizerFast) -> None:
    batch = SourcesCollate(tokenizer)(SAMPLES)
    assert batch["2d"]["input_ids"].shape == (3, 6)
    assert batch["3d"]["input_ids"].shape == (2, 8)
    assert batch["2d"]["attention_mask"].sum(1).tolist() == [6, 4, 6]
    expected = tokenizer(
        [s["report"] for s in SAMPLES if s["source"] == "2d"], padding=True, return_tensors="pt"
    )
    assert torch.equal(batch["2d"]["input_ids"], expected["input_ids"])
    assert torch.equal(batch["2d"]["attention_mask"], expected["attention_mask"])


def test_absent_source_is_absent(tokenizer: PreTrainedTokenizerFast) -> None:
    assert list(SourcesCollate(tokenizer)(SAMPLES[:1])) == ["2d"]


def test_extra_keys_are_kept_when_every_sample_has_them(tokenizer: PreTrainedTokenizerFast) -> None:
    more = {"label": [0, 1], "findings": [{"finding": "nodule"}], "lesion_mask": torch.ones(1, 8, 8)}
    samples = [sample("2d", i, "w1 w2 .", **more) for i in range(2)]
    batch = SourcesCollate(tokenizer)(samples)["2d"]
    assert batch["label"].shape == (2, 2)
    assert batch["label"].dtype == torch.float32
    assert batch["lesion_mask"].shape == (2, 1, 8, 8)
    assert batch["lesion_mask"].dtype == torch.uint8
    assert batch["findings"] == [more["findings"]] * 2
    assert batch["report"] == ["w1 w2 ."] * 2
    assert not {"label", "report"} & SourcesCollate(tokenizer, extra_keys=())(samples)["2d"].keys()
    assert "label" not in SourcesCollate(tokenizer)([*samples, sample("2d", 3, "w1 .")])["2d"]


LONG = "Findings: " + " ".join(f"w{3 * i} w{3 * i + 1} w{3 * i + 2}." for i in range(20))
LONG += " Impression: nodule right. normal w59."


def test_long_report_keeps_its_impression_and_random_sentences(
    tokenizer: PreTrainedTokenizerFast, caplog: pytest.LogCaptureFixture
) -> None:
    collate = SourcesCollate(tokenizer, max_tokens=24)
    with caplog.at_level(logging.INFO):
        ids = [collate.tokenize([LONG, "w1 ."], [seed, 0])[0] for seed in range(6)]
    assert "1 of 2 reports were longer than 24 tokens" in caplog.text
    assert (collate.shortened, collate.seen) == (6, 12)
    ending = [WORDS.index(word) for word in ("nodule", "right", ".", "normal", "w59", ".", "[SEP]")]
    for tokens in ids:
        assert tokens.shape[1] <= 24
        assert [t for t in tokens[0].tolist() if t][-7:] == ending
    assert len({tuple(tokens[0].tolist()) for tokens in ids}) > 3
    assert torch.equal(collate.tokenize([LONG], [2])[0], ids[2][:1])


def test_reports_that_any_worker_shortened_are_one_count(tokenizer: PreTrainedTokenizerFast) -> None:
    collate = SourcesCollate(tokenizer, max_tokens=24)
    samples: Any = [sample("2d", row, LONG if row % 3 == 0 else "w1 .") for row in range(12)]
    list(DataLoader(samples, batch_size=2, num_workers=2, collate_fn=collate, multiprocessing_context="fork"))
    assert (collate.shortened, collate.seen) == (4, 12)
    assert pickle.loads(pickle.dumps(collate)).seen == 0


def test_impression_that_is_too_long_is_cut(tokenizer: PreTrainedTokenizerFast) -> None:
    text = "Findings: w1 w2 w3. Impression: " + " ".join(f"w{i}" for i in range(50)) + "."
    ids, mask = SourcesCollate(tokenizer, max_tokens=16).tokenize([text], [0])
    assert ids.shape == mask.shape == (1, 16)
    assert ids[0, 1] == WORDS.index("w0")
    assert ids[0, -1] == tokenizer.sep_token_id


def test_report_without_sections_is_shortened_by_sentences() -> None:
    text = "a b c. d e f. g h i. j k l."
    result = shorten_report(text, lambda s: [len(x.split()) for x in s], budget=7, seed=1)
    assert len(result.split()) == 6
    assert [w for w in text.split() if w in result.split()] == result.split()


def test_limit_comes_from_the_tokenizer(tokenizer: PreTrainedTokenizerFast) -> None:
    assert SourcesCollate(tokenizer).max_tokens == 32
    with pytest.raises(ValueError, match="between 3 and the tokenizer's limit of 32, got 64"):
        SourcesCollate(tokenizer, max_tokens=64)


def test_images_without_reports_make_a_batch(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [{k: v for k, v in s.items() if k not in ("report", "pair_group")} for s in SAMPLES[:1]]
    batch = SourcesCollate(tokenizer)(rows)["2d"]
    assert "input_ids" not in batch
    assert batch["image"].shape == (1, 1, 8, 8)
