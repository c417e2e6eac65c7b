# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi embed``: X-rays and CTs to embeddings, how near each is to a sentence, and where in it.

One line for one file, and for a corpus: a Parquet table is written as the images come, in bounded memory.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["main", "model_folder"]

ENDINGS = (".parquet", ".npz", ".csv")
MAX_PICTURES = 200  # of a page; a browser is no viewer of collections


def main(argv: list[str]) -> int:
    """Embeds images, prints similarities, writes ``--output``.

    Args:
        argv: the arguments after the verb.

    Returns:
        0; 1 when files were skipped; 2 when something is wrong.
    """
    arguments = _parser().parse_args(argv)
    from monai_unimedi.data.discover import require_images
    from monai_unimedi.data.inputs import image_rows
    from monai_unimedi.encoder import load_encoder

    try:
        _check(arguments)
        rows = image_rows(arguments.images, arguments.dataset_dir)
        require_images(rows, arguments.images)
        encoder = load_encoder(model_folder(arguments.model_dir), arguments.device)
        names, texts = _columns(encoder, arguments)
        with _output(arguments, names) as write, _grounding(encoder, rows, arguments) as ground:
            similarity, skipped = _embed(encoder, rows, arguments, texts, write, ground)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if texts is not None or not _is_table(arguments.output):
        print(json.dumps(similarity, indent=1) if arguments.json else _as_text(similarity, names))
    else:
        print(f"{len(similarity)} embeddings, {skipped} images skipped: {arguments.output}")
    return 1 if skipped else 0


def _check(arguments: argparse.Namespace) -> None:
    if arguments.batch_size < 1:
        raise ValueError(f"--batch_size must be 1 or more, got {arguments.batch_size}.")
    if arguments.output is not None and arguments.output.suffix not in ENDINGS:
        raise ValueError(f"--output must end in {', '.join(ENDINGS)}, got {str(arguments.output)!r}.")


def model_folder(given: str) -> Path:
    """The folder that a training wrote, named itself or by its ``model.pt``."""
    path = Path(given)
    return path.parent if path.is_file() else path


def _columns(encoder: Any, arguments: argparse.Namespace) -> tuple[list[str], Any]:
    """What an image's embedding is multiplied with: sentences, and findings of a prompts file; their names first."""
    import torch

    from monai_unimedi.inferers.zero_shot import load_prompts

    prompts = load_prompts(arguments.prompts) if arguments.prompts else {}
    parts = [encoder.texts(arguments.text)] if arguments.text else []
    parts += [encoder.prompts(prompts)] if prompts else []
    return [*arguments.text, *prompts], torch.cat(parts) if parts else None


def _embed(
    encoder: Any,
    rows: dict[str, list[dict[str, Any]]],
    arguments: argparse.Namespace,
    texts: Any,
    write: Any,
    ground: Any,
) -> tuple[dict[str, list[float]], int]:
    """Similarities by id, and how many images were skipped; what is embedded goes to `write` at once."""
    from tqdm import tqdm

    similarity: dict[str, list[float]] = {}
    skipped = 0
    total = sum(map(len, rows.values()))
    with tqdm(total=total, unit="image", desc="embed", disable=not sys.stderr.isatty()) as bar:
        for source, found in rows.items():
            for batch in _batches(encoder, source, found, arguments.batch_size, arguments.skip_unreadable):
                good = [(row, image) for row, image in batch if image is not None]
                skipped += len(batch) - len(good)
                bar.update(len(batch))
                if not good:
                    continue
                embeddings, scores = encoder.embed([image for _, image in good])
                values = [[]] * len(good) if texts is None else (embeddings @ texts.T.cpu()).tolist()
                write([row for row, _ in good], source, embeddings.numpy(), scores, values)
                ground(good, source)
                similarity |= {row["id"]: value for (row, _), value in zip(good, values)}
    return similarity, skipped


def _batches(
    encoder: Any, source: str, rows: list[dict[str, Any]], size: int, skip_unreadable: bool
) -> Iterator[list[tuple[dict[str, Any], Any]]]:
    """Rows with their images; None instead of one that cannot be read and may be skipped."""
    from monai_unimedi.data.dataset import SourceDataset

    dataset = SourceDataset(rows, encoder.preprocessing[source], source, cache=False, cache_dtype="float32")
    for first in range(0, len(rows), size):
        batch: list[tuple[dict[str, Any], Any]] = []
        for number in range(first, min(first + size, len(rows))):
            try:
                batch.append((rows[number], dataset[number]["image"]))
            except ValueError as error:
                if not skip_unreadable:
                    raise
                print(f"skipped: {error}", file=sys.stderr)
                batch.append((rows[number], None))
        yield batch


@contextlib.contextmanager
def _output(arguments: argparse.Namespace, names: list[str]) -> Iterator[Any]:
    """What takes a batch of embeddings: a table, an archive of arrays, a table of scores, or nothing."""
    if arguments.output is None:
        yield lambda *batch: None
    elif _is_table(arguments.output):
        from monai_unimedi.data.embeddings import EmbeddingWriter, weights_digest

        with EmbeddingWriter(arguments.output, weights_digest(model_folder(arguments.model_dir))) as writer:
            yield lambda rows, source, embeddings, scores, values: writer.write(
                [row["id"] for row in rows], [row["path"] for row in rows], source, embeddings, scores
            )
    elif arguments.output.suffix == ".csv":
        if not names:
            raise ValueError("--output FILE.csv holds scores: name sentences by --text, or findings by --prompts.")
        lines: list[list[Any]] = []
        yield lambda rows, source, embeddings, scores, values: lines.extend(
            [row["id"], *found] for row, found in zip(rows, values)
        )
        _save_scores(arguments.output, ["id", *names], lines)
    else:
        kept: list[tuple[list[str], Any]] = []
        yield lambda rows, source, embeddings, scores, values: kept.append(([row["id"] for row in rows], embeddings))
        _save(arguments.output, kept)


@contextlib.contextmanager
def _grounding(
    encoder: Any, rows: dict[str, list[dict[str, Any]]], arguments: argparse.Namespace
) -> Iterator[Callable[[list[tuple[dict[str, Any], Any]], str], None]]:
    """What takes a batch of images and finds where their sentences lead to: a page or a JSON file, or nothing."""
    if arguments.grounding is None:
        yield lambda good, source: None
        return
    from monai_unimedi.data.grounding import report_sentences
    from monai_unimedi.transforms import ReportText

    is_page = arguments.grounding.suffix != ".json"
    total = sum(map(len, rows.values()))
    without = not any(row.get("report") for found in rows.values() for row in found)
    if not arguments.text and without:
        raise ValueError("--grounding needs sentences: name some by --text, or give a datalist with reports.")
    if is_page and total > MAX_PICTURES:
        raise ValueError(
            f"A page of --grounding holds at most {MAX_PICTURES} images, got {total}: name fewer, or FILE.json."
        )
    kept: dict[str, dict[str, Any]] = {}

    def ground(good: list[tuple[dict[str, Any], Any]], source: str) -> None:
        for row, image in good:
            sentences = arguments.text or report_sentences(ReportText()(row.get("report") or ""))
            arrays = kept.setdefault(source, {"id": [], "image": [], "grounding": {}})
            if sentences:
                scores = encoder.ground(image, sentences)
                found = [{"sentence": one, "finding": None, "scores": s} for one, s in zip(sentences, scores)]
                arrays["grounding"][len(arrays["id"])] = found
            arrays["id"].append(row["id"])
            arrays["image"].append(image.cpu() if is_page else None)

    yield ground
    _save_grounding(arguments.grounding, kept, is_page)


def _save_grounding(path: Path, kept: dict[str, dict[str, Any]], is_page: bool) -> None:
    if is_page:
        from monai_unimedi.visualize.grounding_page import write_grounding_page

        write_grounding_page(path, kept)
        return
    lists = {
        arrays["id"][row]: [{"sentence": one["sentence"], "scores": one["scores"].tolist()} for one in found]
        for arrays in kept.values()
        for row, found in arrays["grounding"].items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(lists, indent=1) + "\n", encoding="utf-8")


def _save_scores(path: Path, names: list[str], lines: list[list[Any]]) -> None:
    import csv

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([names, *lines])


def _is_table(path: Path | None) -> bool:
    return path is not None and path.suffix == ".parquet"


def _save(path: Path, kept: list[tuple[list[str], Any]]) -> None:
    import numpy as np

    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [name for names, _ in kept for name in names]
    vectors = np.concatenate([part for _, part in kept]) if kept else np.zeros((0, 0), np.float32)
    np.savez(path, ids=np.array(ids, np.str_), embeddings=vectors)


def _as_text(similarity: dict[str, list[float]], sentences: list[str]) -> str:
    lines = [f"[{number}] {sentence}" for number, sentence in enumerate(sentences, start=1)]
    lines += ["  ".join([*(f"{value:6.3f}" for value in row), name]) for name, row in similarity.items()]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monai_unimedi embed",
        description="X-rays and CTs to embeddings, how near each is to a sentence, and where in it.",
    )
    add = parser.add_argument
    add(
        "images",
        nargs="+",
        metavar="INPUT",
        help="image file, DICOM folder, pattern, folder of images, datalist (.json) or folder of shards",
    )
    add(
        "--checkpoint",
        "--model_dir",
        dest="model_dir",
        default=os.path.join("bundles", "pretrain", "models"),
        metavar="M",
        help="folder that a training wrote, or its model.pt (default %(default)s)",
    )
    add(
        "--text",
        action="append",
        default=[],
        metavar="SENTENCE",
        help="print each image's similarity with it",
    )
    add(
        "--prompts",
        metavar="FILE.json",
        help="print each image's zero-shot score of its findings: {finding: {positive: [...], negative: [...]}}, "
        "or {finding: [sentence, ...]}",
    )
    add(
        "--output",
        type=Path,
        metavar="FILE",
        help="FILE.parquet: id, path, dimension, embedding, a CT's slice scores; FILE.npz: ids, embeddings; "
        "FILE.csv: ids, what is printed of --text and --prompts",
    )
    add(
        "--grounding",
        type=Path,
        metavar="FILE",
        help="where the sentences of --text, else of a datalist's reports, lead to: FILE.html, slices and patches "
        "with the images; FILE.json, scores. Both hold the sentences",
    )
    add("--dataset_dir", metavar="D", help="folder that paths are relative to")
    add("--batch_size", type=int, default=8, metavar="N", help="images at a time (default %(default)s)")
    add("--device", default="cpu", help="default %(default)s")
    add("--skip_unreadable", action="store_true", help="name files that cannot be read, and go on")
    add("--json", action="store_true", help="print one JSON object")
    return parser
