# SPDX-License-Identifier: Apache-2.0
"""What the MONAI model zoo's own checks ask of a bundle, and what its README promises; a sentence for each fault."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from packaging.version import Version
from torch import Tensor

from monai_unimedi import __version__

__all__ = ["check_files", "check_metadata", "check_network", "check_readme", "check_schema", "check_trained_sizes"]

FILES = (
    *(f"configs/{name}.json" for name in ("train", "evaluate", "inference", "multi_gpu_train", "metadata")),
    *("configs/logging.conf", "docs/README.md", "LICENSE"),
)
ASKED = (
    *("version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors"),
    *("copyright", "intended_use", "network_data_format", "required_packages_version"),
)
LARGE = 25 * 2**20  # bytes; above it the zoo wants large_files.yml
CLOSE = 1e-4


def check_files(folder: Path) -> Iterator[str]:
    """Missing files, and large ones that nothing names."""
    yield from (f"{name} is missing" for name in FILES if not (folder / name).is_file())
    if not any((folder / f"large_files.{kind}").is_file() for kind in ("yml", "yaml", "json")):
        large = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > LARGE)
        yield from (f"{path.relative_to(folder)} has over 25 MB and needs large_files.yml" for path in large)
    for path in folder.glob("configs/*.json"):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            yield f"{path.relative_to(folder)} is no JSON ({error})"


def check_metadata(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Keys, version, changelog, and whether the installed package is new enough."""
    yield from (f"metadata.json has no {key!r}" for key in ASKED if not metadata.get(key))
    version, changes = str(metadata.get("version")), metadata.get("changelog") or {}
    if re.fullmatch(r"\d\.\d\.\d", version) is None:
        yield f"version must be x.y.z of one digit each (the zoo compares versions as text), got {version}"
    if version not in changes:
        yield f"changelog has no entry for version {version}"
    elif version != max(changes):
        yield f"version {version} must be the newest of the changelog, which is {max(changes)}"
    needed = (metadata.get("required_packages_version") or {}).get("monai-unimedi")
    if needed is None:
        yield "required_packages_version must name monai-unimedi"
    elif Version(needed) > Version(__version__):
        yield f"monai-unimedi {needed} is needed, {__version__} is installed: install the newer one"


def check_schema(folder: Path, schema: Path) -> Iterator[str]:
    """By MONAI's own verb, with a schema on disk (it needs ``jsonschema``)."""
    from monai.bundle import verify_metadata

    try:
        verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(schema))
    except Exception as error:
        yield f"metadata.json does not fit {schema.name}: {_line(error)}"


def check_trained_sizes(folder: Path) -> Iterator[str]:
    """Whether the configs have the sizes that the weights were trained with, also those that no shape shows (spacing,
    intensities): what train, evaluate and inference ask before they run. Runs expressions of the configs."""
    from monai.bundle import ConfigParser

    from monai_unimedi.encoder import check_sizes

    try:
        card = json.loads((folder / "models" / "encoder.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        card = None
    if not isinstance(card, dict) or not isinstance(card.get("sizes"), dict):
        yield "models/encoder.json must hold the sizes that the weights were trained with"
        return
    for name in ("train", "evaluate", "inference"):
        parser = ConfigParser()
        parser.read_config(str(folder / "configs" / f"{name}.json"))
        try:
            check_sizes(folder / "models", parser.get_parsed_content("sizes"))
        except ValueError as error:
            yield f"{name}.json: {str(error).replace(f'{folder.parent}/', '')}"
            return


def check_network(folder: Path, tensors: Mapping[str, Tensor], with_export: bool = True) -> Iterator[str]:
    """`verify_net_in_out` with the training's and the inference's network; whether the weights fit it exactly;
    `ckpt_export`, whose script must give the network's output. Runs the bundle's configs."""
    from monai.bundle import ConfigParser, verify_net_in_out

    meta = folder / "configs" / "metadata.json"
    for name in ("train", "inference"):
        config = folder / "configs" / f"{name}.json"
        try:
            verify_net_in_out("network_def", str(meta), str(config), "cpu", bundle_root=str(folder))
        except Exception as error:
            yield f"verify_net_in_out with {name}.json: {_line(error)}"
    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    network: Any = parser.get_parsed_content("network_def")
    try:
        network.load_state_dict(dict(tensors), strict=True)
    except RuntimeError as error:
        yield f"model.pt does not fit network_def of inference.json: {_line(error)}"
        return
    if with_export:
        yield from _check_script(folder, network.eval())


def _check_script(folder: Path, network: torch.nn.Module) -> Iterator[str]:
    from monai.bundle import ckpt_export

    shape = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    shape = shape["network_data_format"]["inputs"]["image"]["spatial_shape"]
    image = torch.rand(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    configs = folder / "configs"
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad():
        script = Path(scratch) / "model.ts"
        names = (str(configs / "metadata.json"), str(configs / "inference.json"))
        try:
            ckpt_export("network_def", str(script), str(folder / "models" / "model.pt"), *names)
            gap = float((torch.jit.load(str(script)).eval()(image) - network(image)).abs().max())
        except Exception as error:
            yield f"ckpt_export: {_line(error)}"
            return
    if not gap <= CLOSE:
        yield f"ckpt_export gives outputs that differ by {gap:.1e} from the network's, over {CLOSE}"


def check_readme(folder: Path) -> Iterator[str]:
    """Paths of the README's commands that do not exist, and options that no config has."""
    text = (folder / "docs" / "README.md").read_text(encoding="utf-8")
    for name in sorted(set(re.findall(rf"\b{folder.name}/((?:configs|models)/[\w.]+\.(?:json|pt))", text))):
        if not (folder / name).is_file():
            yield f"the README names {name}, which is not there"
    keys = {key for path in folder.glob("configs/*.json") for key in json.loads(path.read_text(encoding="utf-8"))}
    commands = re.findall(r"^python -m monai\.bundle run .*$", text, flags=re.MULTILINE)
    used = {key for line in commands for key in re.findall(r"--(\w+)", line)} - {"config_file", "tracking"}
    yield from (f"the README gives --{key}, which no config has" for key in sorted(used - keys))


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
