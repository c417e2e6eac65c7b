# SPDX-License-Identifier: Apache-2.0
"""From the repository's bundles and trained weights to what is published: zips, listing, argument files, sums."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_unimedi import __version__
from monai_unimedi.zoo.archive import digest, read_sums, write_sums, write_zip
from monai_unimedi.zoo.checks import check_files, check_metadata, check_trained_sizes
from monai_unimedi.zoo.readme import PREFIX, downloaded, model_card, training_command
from monai_unimedi.zoo.weights import copy_weights, read_record

__all__ = ["build"]

LEFT_OUT = ("output", "models", "eval", ".gitignore", "__pycache__", ".*")


def build(
    output: Path, bundles: Path, runs: Mapping[str, Path], url: str, wheel: Path | None = None
) -> list[Path]:
    """Writes ``<name>_v<version>.zip``, ``zoo/<name>.json``, ``models/model_info.json`` and ``SHA256SUMS``.

    The same bundles and runs give the same bytes.

    Args:
        output: an empty or new folder, or one that this wrote.
        bundles: the repository's folder of bundles.
        runs: bundle to the folder of its training (``output_dir``, with ``models/`` in it).
        url: where the zips will lie; the argument files and the listing name it.
        wheel: of the package, published beside the bundles that need it.

    Returns:
        The zips.

    Raises:
        ValueError: When a bundle or a run is not fit to be published.
    """
    _clear(output)
    if wheel is not None and not wheel.name.startswith(f"monai_unimedi-{__version__}-"):
        raise ValueError(f"the wheel must be monai_unimedi-{__version__}, got {wheel}.")
    with tempfile.TemporaryDirectory() as scratch:
        staged = [_stage(bundles / name, run, runs, Path(scratch)) for name, run in runs.items()]
        output.mkdir(parents=True, exist_ok=True)
        zips = [_pack(folder, output) for folder in staged]
    info = {path.stem: {"checksum": digest(path, "sha1"), "source": f"{url.rstrip('/')}/{path.name}"} for path in zips}
    _write(output / "models" / "model_info.json", dict(sorted(info.items())))
    for name, entry in info.items():
        bundle = name.split("_v")[0]
        arguments = {"name": bundle, "url": entry["source"], "bundle_dir": "."}
        _write(output / "zoo" / f"{bundle}.json", arguments)
    if wheel is not None:
        shutil.copyfile(wheel, output / wheel.name)
    write_sums(output / "SHA256SUMS", [path for path in output.rglob("*") if path.is_file()])
    return zips


def _clear(output: Path) -> None:
    """Removes an earlier zoo: a folder in which every file is one of its sums."""
    sums = output / "SHA256SUMS"
    files = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    if files and (not sums.is_file() or files != {*read_sums(sums), sums.name}):
        raise ValueError(f"{output} must be empty or an earlier zoo, but holds other files: name another folder.")
    if files:
        shutil.rmtree(output)


def _stage(bundle: Path, run: Path, runs: Mapping[str, Path], scratch: Path) -> Path:
    """The folder that goes into the zip."""
    if not (bundle / "configs" / "metadata.json").is_file():
        raise ValueError(f"{bundle} must be a bundle, but has no configs/metadata.json.")
    pretrained = runs["pretrain"] / "models" / "model.pt" if "pretrain" in runs else None
    record = read_record(run, pretrained)
    folder = scratch / f"{PREFIX}{bundle.name}"
    shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for path in [*folder.glob("configs/*.json"), folder / "docs" / "README.md"]:
        path.write_text(downloaded(path.read_text(encoding="utf-8")), encoding="utf-8")
    copy_weights(run / "models", folder / "models")
    _refuse([*check_trained_sizes(folder)], bundle)
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    command = training_command(folder.name, record)
    readme = folder / "docs" / "README.md"
    card = model_card(folder.name, metadata, record, run / "metrics.json", command)
    readme.write_text(_with_card(readme.read_text(encoding="utf-8"), card), encoding="utf-8")
    _refuse([*check_files(folder), *check_metadata(metadata)], bundle)
    return folder


def _with_card(readme: str, card: str) -> str:
    """The card stands behind the introduction, before the first section."""
    head, mark, rest = readme.partition("\n## ")
    return f"{head.rstrip()}\n{card}{mark}{rest}"


def _refuse(wrong: Sequence[str], bundle: Path) -> None:
    if wrong:
        raise ValueError(f"{bundle} is not fit to be published: {'; '.join(wrong)}.")


def _pack(folder: Path, output: Path) -> Path:
    metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    path = output / f"{folder.name}_v{metadata['version']}.zip"
    write_zip(folder, path)
    return path


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
