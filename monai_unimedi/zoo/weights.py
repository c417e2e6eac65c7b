# SPDX-License-Identifier: Apache-2.0
"""What is published of a training: tensors only, twice, with sums; and whether the training saw phantoms only."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from monai_unimedi.metrics.metrics_file import weight_digests
from monai_unimedi.networks.checkpoints import SUMS, check_published, read_tensors
from monai_unimedi.zoo.archive import digest, write_sums

__all__ = ["check_weights", "copy_weights", "read_record", "read_weights"]

NONE = ("", "none", "null")


def read_record(run: Path, pretrained: Path | None = None) -> dict[str, Any]:
    """What a training recorded of itself, where it saw synthetic patients only.

    Args:
        run: a training's ``output_dir``, evaluated, with ``models/`` in it.
        pretrained: the weights that a training may have started from.

    Returns:
        ``training.json``.

    Raises:
        ValueError: When a file is missing, the training saw other data, it started from other weights, or the
            figures are not those of its weights.
    """
    for name in ("training.json", "metrics.json", "models/model.pt", "models/encoder.json"):
        if not (run / name).is_file():
            raise ValueError(f"{run} must be the folder of a finished and evaluated training, but has no {name}.")
    record = json.loads((run / "training.json").read_text(encoding="utf-8"))
    if record.get("trained_on") != "phantoms":
        raise ValueError(
            f"{run} must be a training on phantoms only, but its training.json says trained_on = "
            f"{record.get('trained_on')!r}: weights that saw patients are never published; train it again without "
            "datalists."
        )
    for key in ("image_checkpoint", "text_model"):
        if str(record.get(key)).lower() not in NONE:
            raise ValueError(f"{run} must not start from the weights of others, but began with {key} {record[key]!r}.")
    if str(record.get("pretrained")).lower() not in NONE:
        _check_start(run, record, pretrained)
    _check_figures(run)
    if not isinstance(record.get("options"), dict):
        raise ValueError(
            f"{run} must record the options that it was run with, but its training.json has none: train it again by a "
            "bundle's train.json."
        )
    return dict(record)


def _check_start(run: Path, record: Mapping[str, Any], pretrained: Path | None) -> None:
    start, found = record["pretrained"], record.get("pretrained_sha256")
    if found is None:
        raise ValueError(
            f"{run} must record the SHA-256 of the file that it began with, but its training.json has no "
            f"pretrained_sha256 (it began with {start}): train it again from the pre-training's models/model.pt."
        )
    if pretrained is None or not pretrained.is_file() or digest(pretrained) != found:
        raise ValueError(
            f"{run} must start from the pre-trained weights published beside it ({pretrained}), but began with "
            f"{start} of SHA-256 {found[:12]}...: give the run that it began with by --run pretrain=FOLDER, or train "
            "it again from these weights."
        )


def _check_figures(run: Path) -> None:
    """The figures must be of the weights beside them, its report tower included."""
    judged = json.loads((run / "metrics.json").read_text(encoding="utf-8")).get("weights")
    if judged is None:
        raise ValueError(
            f"{run} must say which weights its figures are of, but its metrics.json has no digests: evaluate it again."
        )
    found = weight_digests(run / "models")
    other = sorted(name for name in judged.keys() | found.keys() if judged.get(name) != found.get(name))
    if other:
        raise ValueError(
            f"{run} must hold the weights that its metrics.json is of, but models/{other[0]} is not the file that was "
            "judged: evaluate it again."
        )


def copy_weights(models: Path, target: Path) -> None:
    """Writes ``model.pt``, ``model.safetensors``, ``encoder.json``, ``text/`` where there is one, and their sums.

    Raises:
        ValueError: When a checkpoint holds more than a flat mapping of finite tensors.
    """
    target.mkdir(parents=True)
    tensors = read_weights(models / "model.pt")
    torch.save(tensors, target / "model.pt")
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(models / "encoder.json", target / "encoder.json")
    if (models / "text").is_dir():
        shutil.copytree(models / "text", target / "text")
    write_sums(target / SUMS, [path for path in target.rglob("*") if path.is_file()])


def check_weights(models: Path) -> Mapping[str, Tensor]:
    """The tensors of a bundle's ``models/``.

    Raises:
        ValueError: When a file is not the published one, may run code, or the two files of weights differ.
    """
    if not (models / SUMS).is_file():
        raise ValueError(f"{models} must hold {SUMS}, but does not: do not use it.")
    check_published(models)
    tensors = read_weights(models / "model.pt")
    other = load_file(models / "model.safetensors")
    differ = sorted(name for name in tensors.keys() | other.keys() if not _same(tensors.get(name), other.get(name)))
    if differ:
        raise ValueError(f"model.pt and model.safetensors must hold the same tensors, {differ[0]} differs.")
    return tensors


def read_weights(path: Path) -> dict[str, Tensor]:
    """A flat mapping of finite tensors.

    Raises:
        ValueError: When the file holds anything else, may run code, or is not the published one.
    """
    content = read_tensors(path)
    wrong = [str(name) for name, value in content.items() if not isinstance(value, Tensor)]
    if wrong:
        raise ValueError(f"{path.name} must map names to tensors only, {wrong[0]!r} is something else.")
    broken = [name for name, value in content.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ValueError(f"{path.name} must hold finite numbers, {broken[0]!r} does not.")
    return {name: value.detach().clone().contiguous() for name, value in content.items()}


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and one.dtype == other.dtype and torch.equal(one, other)
