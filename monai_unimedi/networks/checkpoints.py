# SPDX-License-Identifier: Apache-2.0
"""Reading checkpoints safely: folders, files, hub ids and mappings become tensors and a card."""

from __future__ import annotations

import json
import os
import pickle
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from monai_unimedi.file_digest import file_digest

__all__ = ["LAYOUTS", "SUMS", "check_published", "find_tower", "read_card", "read_tensors", "with_digest"]

LAYOUTS = {  # the patch embedding's key tells the layout and where the tower lies in the checkpoint
    "unimedi": "tokenizer.image_patch.weight",
    "huggingface": "embeddings.patch_embeddings.projection.weight",
    "timm": "patch_embed.proj.weight",
}
SUMS = "SHA256SUMS"  # lies in the models/ of a published bundle
DAMAGED = (  # what torch's reader meets in a file that is none of weights, by its first bytes
    RuntimeError, EOFError, IndexError, KeyError, ValueError, AttributeError, TypeError, struct.error
)  # fmt: skip
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin", "model.pt")
_FILES_OF_WEIGHTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
_CARD_FILES = ("config.json", "preprocessor_config.json")


def read_tensors(checkpoint: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    """Reads a checkpoint without running any code that it may hold.

    Args:
        checkpoint: a mapping (returned as it is), a `.safetensors` or torch file, a folder that holds one,
            or the id of a Hugging Face repository.

    Returns:
        Mapping of names to tensors, nested as in the file.

    Raises:
        FileNotFoundError: When there is no such file or folder, and no such id can be reached.
        ValueError: When the file is damaged, holds more than tensors and plain containers, or is not the one that
            the `SHA256SUMS` beside it lists.
    """
    if isinstance(checkpoint, Mapping):
        return checkpoint
    path = Path(checkpoint)
    if not path.is_file():
        path = _first_file(str(checkpoint), _WEIGHT_FILES)
    check_published(path.parent, path.name)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"checkpoint {path} must hold tensors and plain containers only, and was not loaded because it "
            "may run code or is damaged; where you trust it, save its state_dict() anew."
        ) from error
    except (SafetensorError, *DAMAGED) as error:
        raise ValueError(f"checkpoint {path} is damaged or not a file of weights; copy it anew.") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"checkpoint {path} must hold a mapping of tensors, got {type(content).__name__}.")
    return content


def with_digest(checkpoint: str | Path | None) -> Any:
    """A checkpoint's place and the start of its weights' SHA-256, by which a run knows whether they are the same:
    ``PATH (SHA-256 0123456789abcdef)``.

    Args:
        checkpoint: as the configs take it. What is no local file and no folder with weights comes back as it is: None,
            ``none``, the id of a Hugging Face repository.
    """
    if str(checkpoint).lower() in ("none", ""):
        return checkpoint
    path = Path(str(checkpoint))
    files = [path, *(path / name for name in _WEIGHT_FILES)]
    weights = next((file for file in files if file.is_file()), None)
    return checkpoint if weights is None else f"{checkpoint} (SHA-256 {file_digest(weights)[:16]})"


def check_published(folder: str | os.PathLike, name: str | None = None) -> None:
    """Compares the files of a published bundle's `models/` with the sums that came with them.

    Args:
        folder: a folder without `SHA256SUMS` was not published, and is not checked.
        name: one file of it; by default all that are listed.

    Raises:
        ValueError: When a file is missing or another one.
    """
    sums = Path(folder) / SUMS
    lines = sums.read_text(encoding="utf-8").splitlines() if sums.is_file() else []
    listed = {entry: value for value, entry in (line.split(maxsplit=1) for line in lines if line.strip())}
    for entry in listed if name is None else {name} & listed.keys():
        path = sums.parent / entry
        if not path.is_file() or file_digest(path) != listed[entry]:
            raise ValueError(
                f"{path} is not the file that was published with this bundle (its SHA-256 differs from {SUMS}): "
                f"download the bundle again, or, where you changed it yourself, remove {sums}."
            )


def read_card(checkpoint: str | Path | Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's folder or repository says of its model and its image processor.

    Returns:
        The entries of `config.json` and `preprocessor_config.json`, with the mean and std of timm's
        `pretrained_cfg` under the same names; empty for files and mappings.
    """
    if isinstance(checkpoint, Mapping) or Path(checkpoint).is_file():
        return {}
    card: dict[str, Any] = {}
    for name in _CARD_FILES:
        try:
            card |= json.loads(_first_file(str(checkpoint), (name,)).read_text())
        except FileNotFoundError:
            continue
    defaults = card.pop("pretrained_cfg", {})
    renamed = {"image_mean": defaults.get("mean"), "image_std": defaults.get("std")}
    return {key: value for key, value in renamed.items() if value is not None} | card


def find_tower(content: Mapping[str, Any], branch: str) -> tuple[str, str, dict[str, torch.Tensor]]:
    """Finds the one image tower in a checkpoint.

    Args:
        content: mapping of tensors, nested (a resume file) or flat.
        branch: which tower where a training module holds several: `student` or `teacher`.

    Returns:
        Layout (a key of `LAYOUTS`), the tower's prefix, and the flat tensors that the prefix belongs to.

    Raises:
        ValueError: When no tower, or more than one, is found; the keys are listed.
    """
    towers = [
        (layout, key[: -len(marker)], tensors)
        for tensors in _state_dicts(content)
        for layout, marker in LAYOUTS.items()
        for key in tensors
        if key == marker or key.endswith("." + marker)
    ]
    if len(towers) > 1:
        towers = [tower for tower in towers if branch in tower[1].split(".")] or towers
    if len(towers) == 1:
        return towers[0]
    if towers:
        names = ", ".join(repr(prefix) for _, prefix, _ in towers)
        raise ValueError(f"checkpoint must hold one image tower for branch {branch!r}, got several: {names}.")
    keys = [key for tensors in _state_dicts(content) for key in tensors]
    shown = ", ".join(keys[:12]) or "no tensor"
    raise ValueError(
        "checkpoint must be of this project, a Hugging Face ViTModel or a timm vision transformer, but none "
        f"of its {len(keys)} tensors is one of {', '.join(LAYOUTS.values())}; it holds {shown}."
    )


def _state_dicts(content: Mapping[str, Any]) -> Iterator[dict[str, torch.Tensor]]:
    """Every mapping in the nesting that directly holds tensors."""
    tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
    if tensors:
        yield tensors
    for value in content.values():
        if isinstance(value, Mapping):
            yield from _state_dicts(value)


def _first_file(place: str, names: tuple[str, ...]) -> Path:
    """The first of `names` in a local folder or a Hugging Face repository."""
    if Path(place).is_dir():
        for name in names:
            if (Path(place) / name).is_file():
                return Path(place) / name
        raise FileNotFoundError(f"folder {place} must hold one of {', '.join(names)}; name the file itself.")
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HFValidationError

    for name in () if Path(place).suffix in _FILES_OF_WEIGHTS else names:  # not asked for on the network
        try:
            return Path(hf_hub_download(place, name))
        except (OSError, HFValidationError):
            continue
    raise FileNotFoundError(
        f"checkpoint {place!r} must be a file, a folder or a Hugging Face id, and could not be read: check "
        "the path, or download the model once (hf download ID --local-dir FOLDER) and name the folder."
    )
