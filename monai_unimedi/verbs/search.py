# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi search``: what of a table is nearest to a sentence, an image or a row."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from monai_unimedi.verbs.embed import model_folder

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Searches and prints.

    Args:
        argv: the arguments after the verb.

    Returns:
        0, or 2 when something is wrong.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    if not (arguments.text or arguments.image or arguments.id):
        parser.error("name what to search for: --text, --image or --id")
    if arguments.top < 1:
        parser.error(f"--top must be 1 or more, got {arguments.top}")
    try:
        found = _search(arguments)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1, ensure_ascii=False) if arguments.json else _as_text(found))
    return 0


def _search(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    import torch

    from monai_unimedi.data.embeddings import read_embeddings
    from monai_unimedi.data.search import EmbeddingIndex

    table = read_embeddings(arguments.table, arguments.dimension)
    names, queries = _queries(arguments, table)
    index = EmbeddingIndex(table.embeddings)
    scores, rows = index.search(torch.stack(queries), arguments.top + 1)
    found = []
    for number, name in enumerate(names):
        hits = [
            {
                "id": table.ids[row],
                "path": table.paths[row],
                "dimension": table.dimensions[row],
                "similarity": score,
            }
            for row, score in zip(rows[number].tolist(), scores[number].tolist())
            if not ("id" in name and table.ids[row] == name["id"])
        ]
        found.append({**name, "hits": hits[: arguments.top]})
    return found


def _queries(arguments: argparse.Namespace, table: Any) -> tuple[list[dict[str, str]], list[Any]]:
    """What was asked for, and its embeddings (E,)."""
    import torch

    named: list[tuple[dict[str, str], Any]] = []
    if arguments.text or arguments.image:
        encoder = _encoder(arguments, table.weights)
        named += [({"text": text}, encoder.text(text).cpu()) for text in arguments.text]
        named += [({"image": image}, encoder.image(image)) for image in arguments.image]
    everything = table
    if arguments.id and arguments.dimension:
        from monai_unimedi.data.embeddings import read_embeddings

        everything = read_embeddings(arguments.table)
    places = {name: row for row, name in enumerate(everything.ids)}
    for name in arguments.id:
        if name not in places:
            raise ValueError(f"--id must be in the table, got {name!r}; its first is {everything.ids[0]!r}.")
        named.append(({"id": name}, torch.from_numpy(everything.embeddings[places[name]])))
    return [name for name, _ in named], [query for _, query in named]


def _encoder(arguments: argparse.Namespace, weights: str) -> Any:
    from monai_unimedi.data.embeddings import weights_digest
    from monai_unimedi.encoder import load_encoder

    folder = model_folder(arguments.model_dir)
    encoder = load_encoder(folder, arguments.device)
    if weights and weights_digest(folder) != weights:
        raise ValueError(
            f"The model must be the one that made the table (weights {weights}), {str(folder)!r} is another: "
            "give its --checkpoint, or embed anew."
        )
    return encoder


def _as_text(found: list[dict[str, Any]]) -> str:
    lines = []
    for query in found:
        kind = next(name for name in ("text", "image", "id") if name in query)
        lines.append(f"{kind}: {query[kind]}")
        lines += [
            f"{rank:3d}  {hit['similarity']:6.3f}  {hit['dimension']}  {hit['id']}"
            for rank, hit in enumerate(query["hits"], start=1)
        ]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monai_unimedi search",
        description="The images of a table of embeddings that are nearest to a sentence, to an image, or "
        "to a row of the table. Exact: every row is compared.",
    )
    add = parser.add_argument
    add("table", type=Path, metavar="TABLE", help="FILE.parquet that the verb embed wrote")
    for name, what in (("text", "SENTENCE"), ("image", "FILE"), ("id", "ID")):
        add(
            f"--{name}", action="append", default=[], metavar=what, help="what to search for; may be repeated"
        )
    add("--top", type=int, default=10, metavar="N", help="how many to show (default %(default)s)")
    add("--dimension", choices=("2d", "3d"), help="X-rays or CTs only")
    add(
        "--checkpoint",
        "--model_dir",
        dest="model_dir",
        default=os.path.join("bundles", "pretrain", "models"),
        metavar="M",
        help="the model that made the table, for --text and --image (default %(default)s)",
    )
    add("--device", default="cpu", help="of the model (default %(default)s)")
    add("--json", action="store_true", help="print one JSON list")
    return parser
