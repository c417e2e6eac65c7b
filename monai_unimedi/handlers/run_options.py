# SPDX-License-Identifier: Apache-2.0
"""The options of a run: what its config holds other than the bundle's own ``train.json``, and words for none."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from monai.bundle import ConfigParser

__all__ = ["different_options", "read_none", "run_options"]

PLACES = ("bundle_root", "output_dir", "model_dir", "phantom_dir", "dataset_dir", "device", "pretrained")
NOT_OPTIONS = (*PLACES, "imports", "initialize", "run", "finalize", "resume", "dry_run")
OF_THE_MACHINE = "has_bfloat16_units("  # a default that is not the same everywhere
WORDS = {"true": True, "false": False, "none": None, "null": None}


def read_none(*keys: str) -> None:
    """Makes ``none`` and ``null``, which a command line hands over as words, None in the config that is being parsed.

    Args:
        keys: at the config's top; to be read before anything that needs them.
    """
    parser = _parser()
    for key in () if parser is None else keys:
        value = parser.get(key)
        if isinstance(value, str) and WORDS.get(value.strip().lower(), value) is None:
            parser.get()[key] = None
            parser.ref_resolver.items[key].update_config(None)


def run_options() -> dict[str, Any] | None:
    """Name (``lr``, ``phantom#num_training``) to value, of the config that is being parsed.

    Defaults that depend on the machine are among them, resolved. None where no config is being parsed, or it is not
    a bundle's.
    """
    parser = _parser()
    if parser is None or "bundle_root" not in parser:
        return None
    file = Path(parser.get_parsed_content("bundle_root")) / "configs" / "train.json"
    if not file.is_file():
        return None
    own = json.loads(file.read_text(encoding="utf-8"))
    varying = [key for key, value in own.items() if isinstance(value, str) and OF_THE_MACHINE in value]
    resolved = {key: parser.get_parsed_content(key) for key in varying}
    return {**dict(different_options(own, parser.get())), **resolved}


def different_options(own: Mapping[str, Any], given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Entries of a config that are not the file's own, by their ids."""
    for key, value in given.items():
        default = own.get(key)
        if not prefix and (key in NOT_OPTIONS or key.startswith("_")):
            continue
        if isinstance(value, Mapping) and isinstance(default, Mapping) and default.keys() <= value.keys():
            yield from different_options(default, value, f"{prefix}{key}#")
        elif _plain(value) != _plain(default):
            yield f"{prefix}{key}", value


def _plain(value: Any) -> Any:
    """Words of the command line as the values that they mean, tuples as lists."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return WORDS.get(value.lower(), value) if isinstance(value, str) else value


def _parser() -> ConfigParser | None:
    """The parser that is building the caller: a component of a config is given no reference to it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            return owner
        frame = frame.f_back
    return None
