# SPDX-License-Identifier: Apache-2.0
"""The options of a run: names that nothing reads, words for none, what its config holds other than the bundle's own
``train.json``, and the sizes of weights that MONAI loads."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from types import FrameType
from typing import Any

from monai.bundle import ConfigItem, ConfigParser, load

from .best_model import CARD

__all__ = ["check_options", "different_options", "read_none", "run_options", "take_trained_sizes"]

logger = logging.getLogger(__name__)

PLACES = ("bundle_root", "output_dir", "model_dir", "phantom_dir", "dataset_dir", "device", "pretrained")
NOT_OPTIONS = (*PLACES, "imports", "initialize", "run", "finalize", "resume", "dry_run")
OF_THE_MACHINE = "has_bfloat16_units("  # a default that is not the same everywhere
WORDS = {"true": True, "false": False, "none": None, "null": None}
REFERENCE = re.compile(r"@(\w+)")
KINDS = ("train", "evaluate", "inference")
LIKENESS = 0.8  # from which a name is taken for another one misspelt


def check_options() -> None:
    """Looks for options that the bundle does not have, which MONAI adds to the config and nothing reads.

    An option is known where the bundle's ``train.json``, ``evaluate.json`` or ``inference.json`` has it, or the config
    that is being parsed refers to it. Only plain values are looked at: a block or an expression is of somebody's own
    config. A name that is like no known one is warned of: a tool may have its own.

    Raises:
        ValueError: When an unknown option is like one of the config.
    """
    parser = _parser()
    folder = None if parser is None or _loaded_by_monai() is not None else _configs(parser)
    if parser is None or folder is None:
        return
    files = [folder / f"{kind}.json" for kind in KINDS]
    own = {key for file in files if file.is_file() for key in json.loads(file.read_text(encoding="utf-8"))}
    given = parser.get()
    known = own.union(REFERENCE.findall(str(given)))
    for key, value in given.items():
        if key in known or key.startswith("_") or not _is_plain(value):
            continue
        if alike := get_close_matches(key, own & given.keys(), 1, LIKENESS):
            raise ValueError(f"There is no option {key!r}: did you mean {alike[0]!r}?")
        logger.warning("There is no option %r in this bundle: nothing reads it.", key)


def read_none(*keys: str) -> None:
    """Makes ``none`` and ``null``, which a command line hands over as words, None in the config that is being parsed.

    Args:
        keys: at the config's top; to be read before anything that needs them.
    """
    parser = _parser()
    for key in keys:
        value = None if parser is None else parser.get(key)
        if parser is not None and isinstance(value, str) and WORDS.get(value.strip().lower(), value) is None:
            _set(parser, key, None)


def take_trained_sizes() -> None:
    """Gives the config that ``monai.bundle.load`` parses the sizes of the weights that it is about to load.

    It knows the bundle's defaults only, and of weights of other sizes (classes of one's own) it copies what fits, and
    says so in one line. The card beside the weights says the sizes. What ``net_override`` gives stays.
    """
    parser, weights = _parser(), _loaded_by_monai()
    card = None if weights is None else Path(weights).parent / CARD
    if parser is None or card is None or not card.is_file():
        return
    sizes = json.loads(card.read_text(encoding="utf-8")).get("sizes", {})
    for key in sizes.keys() & parser.get().keys():
        _set(parser, key, sizes[key])


def run_options() -> dict[str, Any] | None:
    """Name (``lr``, ``phantom#num_training``) to value, of the config that is being parsed.

    Defaults that depend on the machine are among them, resolved. None where no config is being parsed, or it is not
    a bundle's.
    """
    parser = _parser()
    folder = None if parser is None else _configs(parser)
    if parser is None or folder is None:
        return None
    own = json.loads((folder / "train.json").read_text(encoding="utf-8"))
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


def _is_plain(value: Any) -> bool:
    """Whether a value of a config is no block and no expression."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return not isinstance(value, Mapping) and not (isinstance(value, str) and value.startswith("$"))


def _plain(value: Any) -> Any:
    """Words of the command line as the values that they mean, tuples as lists."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return WORDS.get(value.lower(), value) if isinstance(value, str) else value


def _configs(parser: ConfigParser) -> Path | None:
    """The folder of the bundle's configs; None where the config is not a bundle's."""
    if "bundle_root" not in parser:
        return None
    folder = Path(parser.get_parsed_content("bundle_root")) / "configs"
    return folder if (folder / "train.json").is_file() else None


def _set(parser: ConfigParser, key: str, value: Any) -> None:
    """Changes an entry of a config that is being parsed, one that nothing was made of yet."""
    parser.get()[key] = value
    parser.ref_resolver.items[key] = ConfigItem(config=value, id=key)


def _loaded_by_monai() -> str | None:
    """The file whose network ``monai.bundle.load`` builds; None where it is not what builds the caller."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not load.__code__:
        frame = frame.f_back
    return None if frame is None else frame.f_locals.get("full_path")


def _parser() -> ConfigParser | None:
    """The parser that is building the caller: a component of a config is given no reference to it."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, ConfigParser):
            return owner
        frame = frame.f_back
    return None
