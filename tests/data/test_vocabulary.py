# SPDX-License-Identifier: Apache-2.0
"""The vocabulary is the same for the same reports, loads as a Hugging Face tokenizer, and is made once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from monai_unimedi.data.vocabulary import SPECIAL_TOKENS, ensure_vocabulary, train_wordpiece

REPORTS = [
    f"Findings: {size} {kind} in the {side} {zone} lobe. Impression: {kind}, {side} side."
    for size in ("Small", "Large", "Subtle")
    for kind in ("nodule", "consolidation", "ground glass opacity", "pleural effusion", "pneumothorax")
    for side in ("left", "right")
    for zone in ("upper", "lower")
]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_same_reports_give_same_files_in_another_process(tmp_path: Path) -> None:
    program = (
        "import json, sys; from monai_unimedi.data.vocabulary import train_wordpiece; "
        "train_wordpiece(json.load(sys.stdin), sys.argv[1], vocab_size=150)"
    )
    here = train_wordpiece(iter(REPORTS), tmp_path / "a", vocab_size=150)
    command = [sys.executable, "-c", program, str(tmp_path / "b")]
    subprocess.run(command, input=json.dumps(REPORTS), text=True, check=True, cwd=Path(__file__).parents[2])
    assert content(here) == content(tmp_path / "b")


def test_folder_loads_as_tokenizer_with_special_tokens(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(train_wordpiece(REPORTS, tmp_path / "text", 300, max_tokens=32))
    assert {name: getattr(tokenizer, name) for name in SPECIAL_TOKENS} == SPECIAL_TOKENS
    assert tokenizer.pad_token_id == 0
    assert tokenizer.model_max_length == 32
    assert 100 < len(tokenizer) <= 300
    batch = tokenizer(["SMALL Nodule", "Large consolidation in the left lobe."], padding=True)
    assert sorted(batch) == ["attention_mask", "input_ids"]
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0])[:4] == ["[CLS]", "small", "nodule", "[SEP]"]
    assert batch["attention_mask"][0][:5] == [1, 1, 1, 1, 0]
    assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == "small nodule"


def test_unseen_words_split_into_pieces_and_unseen_characters_are_unknown(tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(train_wordpiece(REPORTS, tmp_path / "text", 300))
    assert "[UNK]" not in tokenizer.tokenize("nodules"[::-1])
    assert tokenizer.tokenize("日") == ["[UNK]"]


def test_second_call_leaves_folder_untouched(tmp_path: Path) -> None:
    folder = ensure_vocabulary(REPORTS, tmp_path / "text", 200)
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert ensure_vocabulary(REPORTS, tmp_path / "text", 200) == folder
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["text"]


def test_other_reports_or_settings_have_a_folder_beside_it_and_find_it_again(tmp_path: Path) -> None:
    first = ensure_vocabulary(REPORTS, tmp_path / "text", 200)
    before = content(first)
    others = [(REPORTS[1:], 200, 256), (REPORTS, 150, 256), (REPORTS, 200, 64)]
    folders = [ensure_vocabulary(reports, tmp_path / "text", *settings) for reports, *settings in others]
    assert len({first, *folders}) == 4
    assert all(folder.parent == tmp_path and folder.name.startswith("text_") for folder in folders)
    assert content(first) == before
    assert [ensure_vocabulary(reports, tmp_path / "text", *settings) for reports, *settings in others] == folders
    assert content(folders[1]) == content(train_wordpiece(REPORTS, tmp_path / "alone", 150))
    assert ensure_vocabulary(REPORTS, tmp_path / "text", 200) == first


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="another kind of file"):
        ensure_vocabulary(REPORTS, tmp_path / "other", 200)


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("monai_unimedi.data.vocabulary.os.replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        ensure_vocabulary(REPORTS, tmp_path / "text", 200)
    assert list(tmp_path.iterdir()) == []


def test_wrong_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="one string"):
        train_wordpiece("nodule", tmp_path / "a")
    with pytest.raises(TypeError, match="index 1"):
        train_wordpiece(["nodule", 3], tmp_path / "a")  # type: ignore[list-item]
    with pytest.raises(ValueError, match="without any"):
        train_wordpiece(["", " "], tmp_path / "a")
    with pytest.raises(ValueError, match="vocab_size must be at least"):
        train_wordpiece(REPORTS, tmp_path / "a", vocab_size=10)
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="new or empty"):
        train_wordpiece(REPORTS, tmp_path)
