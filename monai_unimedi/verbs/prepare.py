# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi prepare``: a corpus's official download, or one's own folders, to datalists."""

from __future__ import annotations

import argparse
import difflib
import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["CORPORA", "main"]

CORPORA = {
    "amos": "AMOS, abdominal CT, masks of 15 organs",
    "bimcv": "BIMCV-COVID19+, CT and X-ray with Spanish reports",
    "btcv": "BTCV, abdominal CT, masks of 13 organs",
    "cc_ccii": "CC-CCII (cleaned), CT slices as pictures, three classes",
    "chexpert": "CheXpert, X-rays with labels",
    "covidx": "COVIDx, X-rays with classes",
    "csv": "your own images and a table with their reports",
    "ct_rate": "CT-RATE, chest CT with reports and labels",
    "dicom": "your own tree of DICOM files, with reports by accession number",
    "flare": "FLARE, abdominal CT, organ masks, unlabelled cases",
    "luna16": "LUNA16, chest CT with nodules and candidates",
    "mimic_cxr": "MIMIC-CXR-JPG, X-rays with reports",
    "msd": "Medical Segmentation Decathlon, its CT tasks",
    "open_i": "Open-I (Indiana), X-rays with reports",
    "ricord": "RICORD 1a and 1b, chest CT with and without COVID-19",
    "rsna": "RSNA Pneumonia, X-rays with boxes",
    "siim": "SIIM-ACR Pneumothorax, X-rays with masks",
}
OWN = {"csv": "own_csv", "dicom": "own_dicom"}


def main(argv: list[str]) -> int:
    """Prepares one corpus.

    Args:
        argv: the arguments after the verb.

    Returns:
        0 where something was kept, 1 where nothing was or the download is not as it must be.
    """
    corpus = argv[0] if argv else "--help"
    if corpus in ("-h", "--help"):
        print(_usage())
        return 0 if argv else 2
    if corpus not in CORPORA:
        near = difflib.get_close_matches(corpus, CORPORA, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see python -m monai_unimedi prepare --help"
        print(f"CORPUS must be one of {', '.join(CORPORA)}; got {corpus!r}: {hint}", file=sys.stderr)
        return 2
    module = importlib.import_module(f"monai_unimedi.data.corpora.{OWN.get(corpus, corpus)}")
    options = _parser(corpus, module).parse_args(argv[1:])
    try:
        summary = _prepare(corpus, module, options)
    except (ValueError, OSError) as error:
        print(f"prepare {corpus}: {error}", file=sys.stderr)
        return 1
    return 0 if summary["kept"] else 1


def _usage() -> str:
    width = max(map(len, CORPORA))
    rows = [f"  {name:<{width}}  {line}" for name, line in CORPORA.items()]
    usage = "usage: python -m monai_unimedi prepare CORPUS --root DIR --output DIR [options]"
    more = "options of a corpus: python -m monai_unimedi prepare CORPUS --help"
    return "\n".join([usage, "", "CORPUS:", *rows, "", more])


def _prepare(corpus: str, module: ModuleType, options: argparse.Namespace) -> dict[str, Any]:
    from monai_unimedi.data.prepare import gather, write_datalists
    from monai_unimedi.data.prepare_summary import format_summary

    root = Path(options.root)
    if not root.is_dir():
        raise ValueError(f"--root must be a folder, found none at {options.root!r}.")
    items = module.items(root, options)
    gathering = gather(items, options.dataset_dir or root, options.report_text, options.min_words)
    summary = write_datalists(
        gathering, options.output, corpus, _command(corpus, options), _amounts(module, options),
        options.seed, options.label_seeds,
    )  # fmt: skip
    print(format_summary(summary))
    if summary["kept"]:
        print(f"\n--dataset_dir {options.dataset_dir or options.root}")
    else:
        print("\nnothing was kept", file=sys.stderr)
    return summary


def _amounts(module: ModuleType, options: argparse.Namespace) -> dict[str, float]:
    default: dict[str, float] = getattr(module, "AMOUNTS", {"validation": 0.1, "test": 0.1})
    given = {"validation": options.validation, "test": options.test}
    return {name: default.get(name, 0) if value is None else value for name, value in given.items()}


def _command(corpus: str, options: argparse.Namespace) -> str:
    """The command without folders and files: they may name patients, and move."""
    words = ["prepare", corpus]
    for name, value in sorted(vars(options).items()):
        if value is None or value is False:
            continue
        if isinstance(value, (Path, os.PathLike)):
            words += [f"--{name}", name.upper()]
        elif value is True:
            words.append(f"--{name}")
        else:
            values = value if isinstance(value, (list, tuple)) else [value]
            words += [f"--{name}", *map(str, values)]
    return " ".join(words)


def _parser(corpus: str, module: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m monai_unimedi prepare {corpus}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--root", type=Path, required=True, metavar="DIR", help="folder of the download or of your data")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the datalists and the summary")
    add(
        "--dataset_dir", type=Path, metavar="DIR",
        help="folder that the datalists' paths start from (default: --root); name the folder above all "
        "corpora to train on several",
    )  # fmt: skip
    add(
        "--report_text", choices=("findings", "impression", "both", "longer"), default="both",
        help="part of the report that is kept (default %(default)s)",
    )  # fmt: skip
    add("--min_words", type=int, default=3, help="a report must have, else it is left out (default 3)")
    number = "a share of the patients below 1, or a number of rows; no effect on official splits"
    add("--validation", type=_amount, metavar="N", help=f"validation rows to draw: {number}")
    add("--test", type=_amount, metavar="N", help=f"test rows to draw: {number}")
    add("--seed", type=int, default=42, help="of the drawn splits (default %(default)s)")
    add(
        "--label_seeds", type=int, nargs="+", default=[42], metavar="SEED",
        help="of the lists training_1 and training_10 that labelled rows get (default 42)",
    )  # fmt: skip
    if hasattr(module, "add_arguments"):
        module.add_arguments(parser)
    return parser


def _amount(text: str) -> float:
    value = float(text)
    if value < 0 or (value >= 1 and value != int(value)):
        raise argparse.ArgumentTypeError(f"must be a share below 1 or a whole number of rows, got {text}")
    return value
