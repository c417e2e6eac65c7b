# SPDX-License-Identifier: Apache-2.0
"""A switch given on the command line, a string there, is the switch of the config, wherever it goes in any bundle."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser

BUNDLES = Path(__file__).resolve().parents[2] / "bundles"
NAMES = ("classification_2d", "classification_3d", "pretrain", "segmentation_2d", "segmentation_3d")
KINDS = ("train", "evaluate", "inference")
FLIPPED = {"true": "false", "false": "true"}


def configs(bundle: str) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (BUNDLES / bundle / "configs").glob("*.json")}


def switches(bundle: str) -> set[str]:
    """Top-level keys that are true or false in some config of a bundle, or are read as such."""
    found = configs(bundle)
    given = {key for content in found.values() for key, value in content.items() if isinstance(value, bool)}
    return given | set(re.findall(r"is_on\(@(\w+)\)", json.dumps(found)))


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every string of a config with its id."""
    if isinstance(node, str):
        yield path, node
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, value in items:
        yield from leaves(value, f"{path}::{name}" if path else str(name))


def references(text: str) -> set[str]:
    return set(re.findall(r"@([\w:]+)", text))


def is_plain(key: str, content: dict[str, Any]) -> bool:
    """Whether it takes no data and no blocks to know a top-level value."""
    value = content.get(key)
    if isinstance(value, (dict, list)):
        return False
    return all(name in content and is_plain(name, content) for name in references(str(value)))


def resolved(bundle: str, files: list[str], changes: dict[str, Any]) -> dict[str, Any]:
    """What becomes of everything that hangs on switches and plain values alone."""
    parser = ConfigParser()
    parser.read_config([str(BUNDLES / bundle / "configs" / f"{name}.json") for name in files])
    given = set(switches(bundle)) & set(parser.get())
    parser.update({key: value for key, value in changes.items() if key in given})
    plain = {key for key in parser.get() if is_plain(key, parser.get())}
    found = {}
    for path, text in leaves(parser.get()):
        names = references(text)
        own = {name.removeprefix("sizes::") for name in names}
        if own & given and own <= plain and path not in plain:
            found[path] = parser.get_parsed_content(path)
    return found


def runs() -> Iterator[tuple[str, list[str]]]:
    """Each config alone, and behind it each overlay that sets a switch."""
    for bundle in NAMES:
        found = configs(bundle)
        overlays = [
            name
            for name, content in found.items()
            if name not in (*KINDS, "metadata") and any(isinstance(value, bool) for value in content.values())
        ]
        for kind in KINDS:
            yield from ((bundle, [kind, *overlay]) for overlay in ([], *([name] for name in overlays)))


@pytest.mark.parametrize(("bundle", "files"), list(runs()), ids=str)
@pytest.mark.parametrize("word", ["true", "false"])
def test_switch_as_a_string_is_the_switch_itself(bundle: str, files: list[str], word: str) -> None:
    keys = switches(bundle)
    real = resolved(bundle, files, dict.fromkeys(keys, word == "true"))
    assert real
    for spelling in (word, word.upper()):
        strings = resolved(bundle, files, dict.fromkeys(keys, spelling))
        assert {path: (type(value), value) for path, value in strings.items()} == {
            path: (type(value), value) for path, value in real.items()
        }
    flipped = resolved(bundle, files, dict.fromkeys(keys, FLIPPED[word]))
    alone = [path for path in real if isinstance(real[path], bool) and not path.endswith("_disabled_")]
    assert [path for path in alone if real[path] is flipped[path]] == []  # the others read two switches
    assert not [path for path, value in strings.items() if isinstance(value, str) and value.lower() in FLIPPED]


@pytest.mark.parametrize("bundle", NAMES)
def test_no_config_reads_a_switch_but_through_is_on(bundle: str) -> None:
    keys = "|".join(sorted(switches(bundle)))
    bare = re.compile(rf"(?<!is_on\()(?<!sizes::)@({keys})\b(?! is None)")
    found = [
        (name, path, text)
        for name, content in configs(bundle).items()
        for path, text in leaves(content)
        if bare.search(text)
    ]
    assert found == []


def test_settings_network_and_loss_of_the_pretraining_are_among_them() -> None:
    found = resolved("pretrain", ["train"], {"debiased": "false", "visible_only": "false", "joint_contrast": "false"})
    expected = ("sizes::debiased", "network_def::debiased", "unimedi::visible_only", "loss_function::joint_contrast")
    assert {path: found[path] for path in expected} == dict.fromkeys(expected, False)
    off = resolved("classification_2d", ["train"], dict.fromkeys(("frozen", "balanced", "balanced_batches"), "false"))
    settings = ("settings::frozen", "settings::balanced", "settings::balanced_batches", "network_def::frozen")
    assert {path: off[path] for path in settings} == dict.fromkeys(settings, False)
