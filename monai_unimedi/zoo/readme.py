# SPDX-License-Identifier: Apache-2.0
"""A bundle's README as it is downloaded: its paths, its commands, and the model card of its weights."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["downloaded", "model_card", "training_command"]

PREFIX = "unimedi_"
RULES = (  # what is so in the repository -> what is so beside a downloaded bundle
    (r"^`make downstream.*?\n\n", ""),
    (
        r"Commands are given from the repository's root\. From inside the bundle",
        "Commands are given from the folder that holds the bundle. From inside it",
    ),
    (
        r"`pip install -e \.`\s+in\s+the\s+repository",
        "`pip install PATH`, where\nPATH is its wheel, published beside the bundles, or its repository",
    ),
    (r"pip install -e \.\[", "pip install monai-unimedi["),
    (r"output/demo/models/model\.pt", f"{PREFIX}pretrain/models/model.pt"),
    (r"is what `make demo` leaves behind", f"lies in the bundle `{PREFIX}pretrain`, downloaded beside this one"),
    (r"\(`make demo` writes it\)", f"(of the bundle `{PREFIX}pretrain`, downloaded beside this one)"),
    (
        r'monai\.bundle\.load\("(?!unimedi_)(\w+)", bundle_dir="bundles"',
        rf'monai.bundle.load("{PREFIX}\1", bundle_dir="."',
    ),
    (r"bundles/(\w+)", rf"{PREFIX}\1"),
)
LEFT = re.compile(r"bundles/|`make |pip install -e|output/demo")
CARD = """
## Model card

| | |
|---|---|
| bundle | `{name}` {version}, for `monai-unimedi` {package} or newer |
| weights | `models/model.pt` and `models/model.safetensors`: the same tensors, {parameters:,} parameters; Apache-2.0 |
| data | synthetic chest phantoms only, made by the bundle on first use. No patient's image or report was seen |
| training | `{command}`; {steps} steps, seed {seed}{seconds} |
| figures | on phantoms that the training did not see, with 95 % bootstrap intervals over cases |
| limits | weights of phantoms know phantoms only: evidence for the mechanism, nothing about patients or accuracy |
| use | research only; not a medical device, not for clinical use |
| hash | MONAI's `download` checks none: `python -m monai_unimedi zoo verify FILE.zip --sums SHA256SUMS` does |

{figures}
"""


def downloaded(text: str) -> str:
    """A README or a config of the repository, as it holds in the folder of a download.

    Raises:
        ValueError: When a path or a command of the repository is left.
    """
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE | re.DOTALL)
    for line in text.splitlines():
        if LEFT.search(line):
            raise ValueError(f"a downloaded bundle must not speak of the repository's folders, but says {line!r}.")
    return text


def model_card(name: str, metadata: Mapping[str, Any], record: Mapping[str, Any], metrics: Path, command: str) -> str:
    """The card: data, training, figures, limits, use, licence.

    Args:
        name: of the bundle in the zoo.
        metadata: of the bundle.
        record: as `weights.read_record` gives it.
        metrics: ``metrics.json`` of the evaluation.
        command: as `training_command` gives it.
    """
    seconds = f", {record['seconds']:.0f} s on two CPU cores" if "seconds" in record else ""
    return CARD.format(
        name=name,
        version=metadata["version"],
        package=metadata["required_packages_version"]["monai-unimedi"],
        parameters=record["parameters"],
        command=command,
        steps=record["steps"],
        seed=record["seed"],
        seconds=seconds,
        figures=_table(json.loads(metrics.read_text(encoding="utf-8"))),
    )


def training_command(name: str, record: Mapping[str, Any]) -> str:
    """The command that makes these weights anew, with every option that is not the config's own value."""
    is_started = str(record.get("pretrained")).lower() not in ("", "none", "null")
    options = [f"--pretrained {PREFIX}pretrain/models/model.pt"] if is_started else []
    options += [f"--{key} {shlex.quote(str(value))}" for key, value in record["options"].items()]
    return " ".join([f"python -m monai.bundle run --config_file {name}/configs/train.json", *options])


def _table(metrics: Mapping[str, Any]) -> str:
    rows = [
        f"| {name} | {found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f}) | {found['count']} |"
        for name, found in _figures(metrics, "")
    ]
    if not rows:
        raise ValueError("metrics.json must hold figures with intervals, but has none: evaluate the training first.")
    return "\n".join(["| figure | value (95 % interval) | cases |", "|---|---|---|", *rows])


def _figures(node: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Figures with their dotted names; detail and single classes are left to the file."""
    if not isinstance(node, Mapping):
        return
    if {"value", "low", "high", "count"} <= node.keys():
        yield name, node
        return
    for key, child in node.items():
        if key not in ("extra", "classes", "per_class", "by_class"):
            yield from _figures(child, f"{name}.{key}".lstrip("."))
