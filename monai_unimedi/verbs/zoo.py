# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi zoo build|verify|export``: bundles as downloads."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path

__all__ = ["main"]

BUNDLES = ("pretrain", "classification_2d", "classification_3d", "segmentation_2d", "segmentation_3d")


def main(argv: list[str]) -> int:
    """Runs ``build``, ``verify`` or ``export``.

    Args:
        argv: the arguments after the verb.

    Returns:
        0, 1 where a zip is refused or an export is not the network's, 2 when something is wrong with the input.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.action(arguments))
    except (ValueError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2


def _build(arguments: argparse.Namespace) -> int:
    from monai_unimedi.zoo.build import build

    runs = {name: _default_run(name) for name in arguments.bundle or BUNDLES}
    for given in arguments.run_folder:
        name, _, folder = given.partition("=")
        if name not in runs or not folder:
            raise ValueError(f"--run must be NAME=FOLDER with NAME one of {', '.join(runs)}, got {given!r}.")
        runs[name] = Path(folder)
    for path in build(arguments.output, arguments.bundles, runs, arguments.url, arguments.wheel):
        print(path)
    print(f"{arguments.output / 'SHA256SUMS'}: publish it where it cannot be changed together with the zips")
    return 0


def _default_run(name: str) -> Path:
    return Path("output/demo") if name == "pretrain" else Path("output/downstream") / name


def _verify(arguments: argparse.Namespace) -> int:
    from monai_unimedi.zoo.archive import read_sums
    from monai_unimedi.zoo.verify import verify

    status = 0
    for path in arguments.zip:
        file = arguments.sums or path.with_name("SHA256SUMS")
        if not arguments.no_sums and not file.is_file():
            raise ValueError(f"the published sums must lie at {file}: name them with --sums.")
        try:
            with contextlib.redirect_stdout(sys.stderr):  # MONAI's verbs print
                sums = None if arguments.no_sums else read_sums(file)
                done = verify(path, sums, arguments.schema, not arguments.quick)
            print(f"{path.name}: ok ({', '.join(done)})")
        except ValueError as error:
            print(f"refused: {error}")
            status = 1
    return status


def _export(arguments: argparse.Namespace) -> int:
    from monai_unimedi.zoo.export import export_bundle, format_rows

    with contextlib.redirect_stdout(sys.stderr):
        rows = export_bundle(arguments.bundle, arguments.output or arguments.bundle / "models", arguments.repeats)
    print(format_rows(rows))
    return int(not all(row["holds"] for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m monai_unimedi zoo", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="build|verify|export")
    build = verbs.add_parser("build", help="zips, listing, argument files and sums from trained bundles")
    build.add_argument("--output", type=Path, required=True, help="folder to write")
    build.add_argument("--bundles", type=Path, default=Path("bundles"), help="the repository's bundles")
    build.add_argument("--bundle", action="append", choices=BUNDLES, help="only this one; may be given again")
    build.add_argument(
        "--run",
        dest="run_folder",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="folder of a finished and evaluated training (default: output/demo, output/downstream/NAME)",
    )
    build.add_argument("--url", default="http://localhost:8000", help="where the zips will lie (default: %(default)s)")
    build.add_argument("--wheel", type=Path, help="the package's wheel, published beside the bundles")
    build.set_defaults(action=_build)
    verify = verbs.add_parser("verify", help="is a zip the published one, and whole; exit status 1 where not")
    verify.add_argument("zip", type=Path, nargs="+")
    verify.add_argument("--sums", type=Path, help="published SHA256SUMS (default: beside the zip)")
    verify.add_argument("--no_sums", action="store_true", help="take the zip on trust")
    verify.add_argument("--schema", type=Path, help="the metadata's JSON schema, on disk")
    verify.add_argument("--quick", action="store_true", help="do not build and export the networks")
    verify.set_defaults(action=_verify)
    export = verbs.add_parser("export", help="TorchScript, torch.export and ONNX, compared with the network")
    export.add_argument("bundle", type=Path, help="folder of a bundle with models/model.pt")
    export.add_argument("--output", type=Path, help="folder to write (default: the bundle's models/)")
    export.add_argument("--repeats", type=int, default=20, help="runs behind each time (default: %(default)s)")
    export.set_defaults(action=_export)
    return parser
