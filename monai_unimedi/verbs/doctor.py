# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi doctor``: is this installation whole, and if not, what to do about it.

Looks at the packages, the devices and the bundles; builds no network, reads no data and needs no network
connection. The exit status is 1 when something is broken, and each finding comes with its remedy.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import pydoc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monai_unimedi import __version__

__all__ = ["examine", "main"]

DISTRIBUTION = "monai-unimedi"
MODULES = ("torch", "monai", "transformers", "ignite", "itk", "nibabel")
CONFIGS = {"train.json": "train", "inference.json": "infer"}

Finding = dict[str, str]


def main(argv: list[str]) -> int:
    """Prints what was found.

    Args:
        argv: the arguments after the verb.

    Returns:
        1 when something is broken, else 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m monai_unimedi doctor",
        description="Versions, devices, each bundle's properties; exit status 1 when something is broken.",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    parser.add_argument("--bundles", type=Path, help="folder of bundles (default: the repository's)")
    arguments = parser.parse_args(argv)
    if arguments.bundles is not None and not arguments.bundles.is_dir():
        parser.error(f"--bundles must be a folder that exists, got {arguments.bundles}")
    with contextlib.redirect_stdout(sys.stderr), _no_warnings_logged():  # stdout is for the result alone
        result = examine(arguments.bundles)
    print(json.dumps(result, indent=2) if arguments.json else as_text(result))
    return 1 if result["findings"] else 0


def examine(bundles: Path | None = None) -> dict[str, Any]:
    """Returns versions, devices, each bundle's missing properties, and the findings.

    Args:
        bundles: folder that holds the bundles; by default ``bundles/`` of the repository, if there is one.
    """
    findings: list[Finding] = []
    _check_torchvision(findings)
    _check_requirements(findings)
    versions: dict[str, str | None] = {"python": platform.python_version(), "monai_unimedi": __version__}
    versions |= {name: _version(name, findings) for name in MODULES}
    root = bundles or Path(__file__).resolve().parents[2] / "bundles"
    found = sorted(root.glob("*/configs/")) if versions["monai"] else []
    return {
        "versions": versions,
        "devices": _devices() if versions["torch"] else {},
        "bundles": {path.parent.name: _check_bundle(path, findings) for path in found},
        "findings": findings,
    }


def as_text(result: dict[str, Any]) -> str:
    """Returns the result of :func:`examine` as lines for a terminal."""
    lines = [f"{name:<14} {version or 'broken or missing'}" for name, version in result["versions"].items()]
    lines += [f"{name:<14} {value}" for name, value in result["devices"].items()]
    for bundle, configs in result["bundles"].items():
        lines += [f"{bundle}/{name}: {missing or 'ok'}" for name, missing in configs.items()]
    lines += [f"BROKEN {finding['what']}\n  remedy: {finding['remedy']}" for finding in result["findings"]]
    return "\n".join([*lines, f"{len(result['findings'])} findings"])


def _check_torchvision(findings: list[Finding]) -> None:
    """A torchvision that does not match torch breaks transformers too, so it is tried first."""
    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        _add(
            findings,
            f"torchvision is installed but does not import ({_line(error)}); transformers fails with it",
            "pip uninstall torchvision (not needed here), or install the build made for this torch",
        )


def _check_requirements(findings: list[Finding]) -> None:
    from packaging.requirements import Requirement

    try:
        texts = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        _add(
            findings, f"{DISTRIBUTION} is importable but not installed", "pip install -e . in the repository"
        )
        return
    for requirement in map(Requirement, texts):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        installed = _distribution_version(requirement.name)
        if installed is None or not requirement.specifier.contains(installed, prereleases=True):
            _add(findings, f"{requirement} is needed, found {installed}", f'pip install "{requirement}"')


def _distribution_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _version(name: str, findings: list[Finding]) -> str | None:
    try:
        return str(importlib.import_module(name).__version__)
    except Exception as error:
        remedy = f"pip install --force-reinstall --no-deps {'pytorch-ignite' if name == 'ignite' else name}"
        _add(findings, f"{name} does not import ({_line(error)})", remedy)
        return None


def _devices() -> dict[str, str]:
    import psutil
    import torch

    gib = 2**30
    memory = psutil.virtual_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    devices = {
        "cpu": f"{cores} cores, {torch.get_num_threads()} torch threads",
        "memory": f"{memory.available / gib:.1f} GiB free of {memory.total / gib:.1f}",
        "cuda": "none",
    }
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        devices["cuda"] = ", ".join(f"{card.name} ({card.total_memory / gib:.0f} GiB)" for card in cards)
    return devices


def _check_bundle(configs: Path, findings: list[Finding]) -> dict[str, list[str]]:
    """Returns, for each config of the bundle, the properties and targets that MONAI would not find."""
    results: dict[str, list[str]] = {}
    for name, kind in CONFIGS.items():
        path = configs / name
        if not path.is_file():
            continue
        try:
            missing = _missing_from_config(path, kind)
        except Exception as error:
            missing = [_line(error)]
        results[name] = missing
        if missing:
            remedy = "restore the bundle's files (git checkout, or download it again)"
            _add(findings, f"{path} lacks {', '.join(missing)}", remedy)
    return results


def _missing_from_config(path: Path, kind: str) -> list[str]:
    from monai.bundle import ConfigWorkflow

    class DeclaredWorkflow(ConfigWorkflow):
        """Tells which properties a config declares; MONAI's own check builds datasets and trainer for it."""

        def _get_property(self, name: str, property: dict[str, Any]) -> Any:
            try:
                return self._get_prop_id(name, property)
            except KeyError as error:
                raise AttributeError(name) from error

    workflow = DeclaredWorkflow(str(path), logging_file=False, workflow_type=kind)
    return [*(workflow.check_properties() or []), *_unresolved_targets(workflow.parser.get())]


def _unresolved_targets(config: Any) -> list[str]:
    if isinstance(config, dict):
        children, target = list(config.values()), config.get("_target_")
    else:
        children, target = (config if isinstance(config, list) else []), None
    missing = [name for child in children for name in _unresolved_targets(child)]
    if isinstance(target, str) and "." in target and not target.startswith(("$", "@")):
        missing += [] if pydoc.locate(target) is not None else [target]
    return sorted(set(missing))


@contextlib.contextmanager
def _no_warnings_logged() -> Iterator[None]:
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


def _add(findings: list[Finding], what: str, remedy: str) -> None:
    findings.append({"what": what, "remedy": remedy})


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
