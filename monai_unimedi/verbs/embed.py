# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi embed``: X-rays and CTs to embeddings, and how near each is to a sentence.

For a few files at hand; for a large collection run the bundle's ``inference.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Embeds files, prints similarities, writes ``--output``.

    Args:
        argv: the arguments after the verb.

    Returns:
        0; 1 when files were skipped; 2 when something is wrong.
    """
    arguments = _parser().parse_args(argv)
    from monai_unimedi.data.discover import discover, require_images
    from monai_unimedi.encoder import load_encoder

    try:
        rows = _rows(arguments.images, discover)
        require_images(rows, arguments.images)
        encoder = load_encoder(arguments.model_dir, arguments.device)
        embedded, skipped = _embed(encoder, rows, arguments.skip_unreadable)
        similarity = _similarity(encoder, embedded, arguments.text)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(similarity, indent=1) if arguments.json else _as_text(similarity, arguments.text))
    if arguments.output is not None:
        _save(arguments.output, embedded)
    return 1 if skipped else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monai_unimedi embed",
        description="X-rays and CTs to embeddings, and how near each is to a sentence.",
    )
    add = parser.add_argument
    add("images", nargs="+", metavar="PATH", help="image file, DICOM folder, pattern, or folder of images")
    add(
        "--model_dir",
        default="bundles/pretrain/models",
        help="folder that a training wrote (default %(default)s)",
    )
    add(
        "--text",
        action="append",
        default=[],
        metavar="SENTENCE",
        help="print each image's similarity with it",
    )
    add("--output", type=Path, metavar="FILE.npz", help="write ids and embeddings")
    add("--device", default="cpu", help="default %(default)s")
    add("--skip_unreadable", action="store_true", help="name files that cannot be read, and go on")
    add("--json", action="store_true", help="print one JSON object")
    return parser


def _rows(images: list[str], discover: Any) -> list[dict[str, Any]]:
    """A folder stands for the images below it, unless it is one DICOM series."""
    rows: list[dict[str, Any]] = []
    for given in images:
        is_folder = Path(given).is_dir()
        found = discover(dataset_dir=given) if is_folder else discover(images=[given])
        for row in [row for source in found.values() for row in source]:
            rows.append(row | {"id": str(Path(given) / row["id"]) if is_folder else row["id"]})
    return rows


def _embed(
    encoder: Any, rows: list[dict[str, Any]], skip_unreadable: bool
) -> tuple[dict[str, Any], list[str]]:
    embedded, skipped = {}, []
    for row in rows:
        try:
            embedded[row["id"]] = encoder.image(row["image"])
        except ValueError as error:
            if not skip_unreadable:
                raise
            print(f"skipped: {error}", file=sys.stderr)
            skipped.append(row["id"])
    return embedded, skipped


def _similarity(encoder: Any, embedded: dict[str, Any], sentences: list[str]) -> dict[str, list[float]]:
    if not sentences:
        return {name: [] for name in embedded}
    texts = encoder.texts(sentences)
    return {name: (texts @ vector).tolist() for name, vector in embedded.items()}


def _as_text(similarity: dict[str, list[float]], sentences: list[str]) -> str:
    lines = [f"[{number}] {sentence}" for number, sentence in enumerate(sentences, start=1)]
    lines += ["  ".join([*(f"{value:6.3f}" for value in row), name]) for name, row in similarity.items()]
    return "\n".join(lines)


def _save(path: Path, embedded: dict[str, Any]) -> None:
    import numpy as np

    vectors = [vector.numpy() for vector in embedded.values()]
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, ids=np.array(list(embedded), np.str_), embeddings=np.stack(vectors or [np.zeros(0)]))
