# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi convert``: a datalist to shards that training reads without decoding."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["main"]

_SHOWN = 20


def main(argv: list[str]) -> int:
    """Converts, or goes on where a killed conversion stopped, and prints the summary.

    Args:
        argv: the arguments after the verb.

    Returns:
        0; 1 when rows were left out; 2 when something is wrong.
    """
    arguments = _parser().parse_args(argv)
    from monai_unimedi.data.convert import convert_datalist

    try:
        with _backend(arguments.backend, arguments.jobs) as backend:
            result = convert_datalist(
                arguments.datalist,
                arguments.output,
                _recipe(arguments),
                arguments.dataset_dir,
                _tokenizer(arguments.tokenizer),
                arguments.jobs,
                backend,
                arguments.verify,
                show_progress=sys.stderr.isatty(),
            )
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(_as_text(result, arguments.output))
    return 1 if result["failures"] else 0


def _recipe(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "xray_size": arguments.xray_size,
        "spacing": [float(length) for length in arguments.ct_spacing],
        "ct_size": list(arguments.ct_size),
        "ct_padding": arguments.ct_padding,
        "dtype": arguments.ct_dtype,
        "hu_range": [float(value) for value in arguments.hu_range],
    }


def _tokenizer(folder: str | None) -> Any:
    if folder is None:
        return None
    from monai_unimedi.networks.nets.report_encoder import load_tokenizer

    return load_tokenizer(folder)


@contextlib.contextmanager
def _backend(name: str, jobs: int) -> Iterator[str]:
    """Makes joblib know the backend: a cluster that is there, or one of this machine.

    Raises:
        ValueError: When its package is not installed.
    """
    with contextlib.ExitStack() as stack:
        try:
            if name == "dask":
                import dask
                import distributed

                is_there = dask.config.get(
                    "scheduler-address", None
                )  # DASK_SCHEDULER_ADDRESS names a cluster
                local = {"n_workers": None if jobs < 1 else jobs, "threads_per_worker": 1}
                stack.enter_context(distributed.Client(**({} if is_there else local)))
            elif name == "ray":
                importlib.import_module("ray.util.joblib").register_ray()
        except ImportError as error:
            remedy = 'pip install "monai-unimedi[cluster]"' if name == "dask" else "pip install ray"
            raise ValueError(f"--backend {name} needs a package that is not installed: {remedy}.") from error
        yield name


def _as_text(result: dict[str, Any], output: Path) -> str:
    """Counts, then each row that was left out, ids and relative paths only."""
    failures = result["failures"]
    total = result["rows"] + len(failures)
    lines = [
        f"{result['source']}: {result['rows']} of {total} rows in {result['shards']} shards, "
        f"{result['bytes'] / 1e6:.1f} MB, {result['made']} shards made now, {len(failures)} rows left out"
    ]
    lines += [
        f"left out: {f['section']} row {f['row']}, id {f['id']!r}, path {f['path']!r}: {f['reason']}"
        for f in failures[:_SHOWN]
    ]
    if len(failures) > _SHOWN:
        lines.append(f"and {len(failures) - _SHOWN} more")
    return "\n".join([*lines, *([f"all of them: {output / 'failures.csv'}"] if failures else [])])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monai_unimedi convert",
        description="A datalist to shards: images as training wants them, in memory-mapped arrays, with the "
        "reports and their token ids. Give the folder to --datalist_2d or --datalist_3d. The same command "
        "goes on after a kill. The shards are patient data.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("datalist", type=Path, metavar="DATALIST", help="JSON file in Decathlon form, X-rays or CTs")
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the shards")
    add(
        "--dataset_dir",
        metavar="D",
        help="folder that relative paths start from; the datalist's own if not given",
    )
    add("--tokenizer", metavar="T", help="folder or hub id of a tokenizer whose token ids are kept")
    add("--xray_size", type=int, default=256, metavar="N", help="pixels of an X-ray's square")
    add("--ct_spacing", type=float, nargs=3, default=(3.0, 3.0, 10.0), metavar="MM", help="mm along the axes")
    add("--ct_size", type=int, nargs=3, default=(128, 128, 32), metavar="N", help="voxels along the axes")
    add("--ct_padding", choices=("constant", "edge"), default="constant", help="air, or the border repeated")
    add(
        "--ct_dtype", choices=("int16", "uint8"), default="int16", help="whole HU, or 255 steps of --hu_range"
    )
    add("--hu_range", type=float, nargs=2, default=(-1150.0, 350.0), metavar="HU", help="window of uint8")
    add("--jobs", type=int, default=-1, metavar="N", help="workers; -1 is all cores")
    add(
        "--backend",
        choices=("loky", "dask", "ray"),
        default="loky",
        help="of joblib; dask and ray are clusters",
    )
    add("--verify", action="store_true", help="compare the checksums of shards that are there already")
    return parser
