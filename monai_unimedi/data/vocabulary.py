# SPDX-License-Identifier: Apache-2.0
"""A WordPiece vocabulary learnt from reports, saved as a Hugging Face tokenizer folder.

Used where no pre-trained text encoder is wanted: `ReportEncoder` from scratch takes its tokenizer from the
folder written here. The same reports, in the same order, give the same folder on every machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

logger = logging.getLogger(__name__)

__all__ = ["SPECIAL_TOKENS", "ensure_vocabulary", "find_tokenizer", "train_wordpiece"]

SPECIAL_TOKENS = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}
_RECIPE = "vocabulary.json"
_PREFIX = "##"


def train_wordpiece(
    reports: Iterable[str],
    output_dir: str | Path,
    vocab_size: int = 4096,
    max_tokens: int = 256,
    min_frequency: int = 2,
) -> Path:
    """Learns a lower-case WordPiece vocabulary and writes it as a tokenizer folder.

    Args:
        reports: the texts of the training split, each a non-empty string.
        output_dir: folder to create; `AutoTokenizer.from_pretrained` reads it. It is written under another
            name first, so that a half-written folder never has this name.
        vocab_size: upper limit of the number of tokens, special tokens and single characters included.
        max_tokens: longest sequence that the text encoder will take, [CLS] and [SEP] included.
        min_frequency: a pair of pieces seen fewer times is not merged.

    Returns:
        `output_dir`.

    Raises:
        FileExistsError: When `output_dir` already holds files.
        TypeError: When `reports` is one string, or holds something else than strings.
        ValueError: When no report has text, or `vocab_size` has no room for the characters of the reports.
    """
    output_dir = Path(output_dir)
    texts = _checked(reports)
    if output_dir.exists() and any(output_dir.iterdir()):
        raise FileExistsError(
            f"{output_dir} must be a new or empty folder for the vocabulary; remove it first."
        )
    tokenizer = _learn(texts, vocab_size, min_frequency)
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{output_dir.name}.", dir=output_dir.parent))
    try:
        _write(tokenizer, draft, max_tokens, _recipe(texts, vocab_size, max_tokens, min_frequency))
        os.replace(draft, output_dir)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    logger.info(
        "vocabulary of %d tokens from %d reports: %s", tokenizer.get_vocab_size(), len(texts), output_dir
    )
    return output_dir


def ensure_vocabulary(
    reports: Iterable[str],
    output_dir: str | Path,
    vocab_size: int = 4096,
    max_tokens: int = 256,
    min_frequency: int = 2,
) -> Path:
    """Makes the vocabulary of `train_wordpiece` once; the same call again leaves the folder as it is.

    A folder with the vocabulary of other reports or settings is left as it is too: another run may need it. The new one
    then lies beside it, with a digest of reports and settings in its name.

    Args:
        reports: the texts of the training split, each a non-empty string.
        output_dir: folder of the vocabulary.
        vocab_size: upper limit of the number of tokens.
        max_tokens: longest sequence that the text encoder will take.
        min_frequency: a pair of pieces seen fewer times is not merged.

    Returns:
        `output_dir`, or `<output_dir>_<digest>`.

    Raises:
        ValueError: When the folder holds something else than a vocabulary.
    """
    output_dir = Path(output_dir)
    texts = _checked(reports)
    recipe = _recipe(texts, vocab_size, max_tokens, min_frequency)
    if _found(output_dir) not in (None, recipe):
        digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
        output_dir = output_dir.with_name(f"{output_dir.name}_{digest}")
    if not output_dir.exists():
        try:
            return train_wordpiece(texts, output_dir, vocab_size, max_tokens, min_frequency)
        except OSError:
            if not (output_dir / _RECIPE).is_file():  # else another process made it meanwhile
                raise
    if _found(output_dir) != recipe:
        raise ValueError(
            f"{output_dir} must be new or hold a vocabulary with its {_RECIPE}, but holds another kind of file: "
            "remove the folder to learn the vocabulary anew, or name another folder."
        )
    return output_dir


def _found(folder: Path) -> dict[str, int | str] | None:
    """What the vocabulary in a folder was learnt from."""
    path = folder / _RECIPE
    return json.loads(path.read_text()) if path.is_file() else None


def _checked(reports: Iterable[str]) -> list[str]:
    if isinstance(reports, str):
        raise TypeError("reports must be a list of texts, got one string; wrap it in a list.")
    texts = list(reports)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"reports must hold strings, got {type(text).__name__} at index {index}.")
    if not any(text.strip() for text in texts):
        raise ValueError(f"reports must hold text to learn from, got {len(texts)} reports without any.")
    return texts


def _recipe(texts: list[str], vocab_size: int, max_tokens: int, min_frequency: int) -> dict[str, int | str]:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode() + b"\0")
    return {
        "format": 1,
        "reports": digest.hexdigest(),
        "vocab_size": vocab_size,
        "max_tokens": max_tokens,
        "min_frequency": min_frequency,
    }


def _learn(texts: list[str], vocab_size: int, min_frequency: int) -> Tokenizer:
    """Trains the pieces, then keeps only them.

    The trainer numbers continuation characters in the order of a hash table and breaks ties between merges by
    these numbers, so that two runs differ. Declared beforehand, in sorted order, they get fixed numbers.
    """
    draft = _empty_tokenizer(models.WordPiece(unk_token=SPECIAL_TOKENS["unk_token"]))
    seen = {character for text in texts for character in draft.normalizer.normalize_str(text)}
    characters = sorted(character for character in seen if not character.isspace())
    reserved = [*SPECIAL_TOKENS.values(), *(_PREFIX + c for c in characters)]
    if vocab_size < len(reserved) + len(characters):
        raise ValueError(
            f"vocab_size must be at least {len(reserved) + len(characters)} to hold the special tokens and "
            f"the {len(characters)} characters of the reports, got {vocab_size}."
        )
    draft.train_from_iterator(
        texts,
        trainers.WordPieceTrainer(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            special_tokens=reserved,
            limit_alphabet=max(len(characters), 1),
            continuing_subword_prefix=_PREFIX,
            show_progress=False,
        ),
    )
    pieces = models.WordPiece(draft.get_vocab(), unk_token=SPECIAL_TOKENS["unk_token"])
    tokenizer = _empty_tokenizer(pieces)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS.values()))
    return tokenizer


def _empty_tokenizer(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_PREFIX)
    return tokenizer


def _write(tokenizer: Tokenizer, folder: Path, max_tokens: int, recipe: dict[str, int | str]) -> None:
    start, end = SPECIAL_TOKENS["cls_token"], SPECIAL_TOKENS["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {end} $B:1 {end}:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (start, end)],
    )
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_tokens,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        **SPECIAL_TOKENS,
    }
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in (
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", SPECIAL_TOKENS),
        (_RECIPE, recipe),
    ):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")
    folder.chmod(0o755)


def find_tokenizer(
    text_model: str | None,
    reports: Iterable[str],
    output_dir: str | Path,
    vocab_size: int = 4096,
    max_tokens: int | None = None,
) -> str:
    """Where the run's tokenizer lies: at the text model, or in a vocabulary learnt from the reports.

    Args:
        text_model: folder or hub id of a text model, which brings its tokenizer; None learns a vocabulary.
        reports: the cleaned texts of the training split; not looked at with a `text_model`.
        output_dir: folder of the learnt vocabulary, see `ensure_vocabulary`.
        vocab_size: upper limit of the number of tokens of the learnt vocabulary.
        max_tokens: longest sequence of the learnt vocabulary; 256 where None.

    Returns:
        Folder or hub id.
    """
    if text_model is not None:
        return str(text_model)
    return str(ensure_vocabulary(reports, output_dir, vocab_size, max_tokens or 256))
