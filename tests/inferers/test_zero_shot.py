# SPDX-License-Identifier: Apache-2.0
"""Prompts: ensembling, polarity and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_unimedi.inferers.zero_shot import ZeroShotInferer, embed_prompts, load_prompts

PROMPTS = {
    "nodule": {"positive": ["a a a", "b"], "negative": ["c"]},
    "effusion": {"positive": ["b"], "negative": ["a"]},
}


def tokenizer(sentences: list[str], **options: Any) -> dict[str, Tensor]:
    """One letter a token, padded with 0 to the longest."""
    rows = [[ord(word) - ord("a") + 1 for word in sentence.split()] for sentence in sentences]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    assert options["return_tensors"] == "pt"
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


class CountLetters(nn.Module):
    """Embeds a sentence as its counts of a, b, c: not normalised, so that normalising shows."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(5.0))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        counts = torch.nn.functional.one_hot(input_ids, 4)[..., 1:] * attention_mask[..., None]
        return self.scale * counts.sum(dim=1).float()


def test_prompts_are_averaged_as_unit_vectors() -> None:
    embedding = embed_prompts(PROMPTS, CountLetters(), tokenizer)
    half = 2**-0.5
    assert embedding["nodule"]["positive"].tolist() == pytest.approx([half, half, 0])
    assert embedding["nodule"]["negative"].tolist() == pytest.approx([0, 0, 1])
    assert not embedding["nodule"]["positive"].requires_grad


def test_inferer_scores_present_minus_absent() -> None:
    inferer = ZeroShotInferer(embed_prompts(PROMPTS, CountLetters(), tokenizer), ["effusion", "nodule"])
    scores = inferer(torch.eye(3), lambda image: image)
    half = 2**-0.5
    assert scores.flatten().tolist() == pytest.approx([-1, half, 1, half, 0, -1])


def test_missing_finding_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"got none for \['mass'\]"):
        ZeroShotInferer(embed_prompts(PROMPTS, CountLetters(), tokenizer), ["mass"])


def test_prompt_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(PROMPTS))
    assert load_prompts(path) == PROMPTS


@pytest.mark.parametrize("given", ["a b", ["a b"]])
def test_positive_sentences_alone_stand_against_the_empty_text(tmp_path: Path, given: Any) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"nodule": given}))
    assert load_prompts(path) == {"nodule": {"positive": ["a b"], "negative": [""]}}


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_prompt_file_without_findings_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"prompts\.json must"):
        load_prompts(path)


@pytest.mark.parametrize(
    "given", [{"positive": ["x"]}, {"positive": ["x"], "negative": []}, [" "], 3, {"positive": [""], "negative": ["x"]}]
)
def test_prompt_file_without_a_polarity_names_the_finding(tmp_path: Path, given: Any) -> None:
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({"nodule": given}))
    with pytest.raises(ValueError, match="at 'nodule' / "):
        load_prompts(path)
