# SPDX-License-Identifier: Apache-2.0
"""What must be the same for a run to go on: settings, architecture, optimizer, losses and lists."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim.optimizer import Optimizer

from monai_unimedi.engines.distributed import unwrap

__all__ = ["check_fingerprint", "fingerprint"]

MAX_NAMED = 8
MAY_CHANGE = "gradient_checkpointing"  # the name of Hugging Face: less memory, equal results
WEIGHTS = re.compile(r"(?P<place>.+) \(SHA-256 (?P<digest>[0-9a-f]{16})\)")  # of `with_digest`
SCALARS = (bool, int, float, str, type(None))


def fingerprint(
    settings: Mapping[str, Any],
    network: nn.Module | None = None,
    optimizer: Optimizer | None = None,
    loss_function: nn.Module | None = None,
    datalists: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Flat plain values that tell one run from another; compute it before training, since schedules change
    attributes.

    Args:
        settings: values of the config; nested ones get dotted names.
        network: its modules' public scalar attributes (`network.student.num_selected_slices`) and a digest of
            the names and shapes of its tensors.
        optimizer: its groups' options, with the learning rate before any schedule.
        loss_function: as the network.
        datalists: name to a digest of the list's content.

    Returns:
        name to bool, int, float, str, None or a list of them.
    """
    values = dict(_flattened(settings))
    values.update({f"datalist.{name}": digest for name, digest in (datalists or {}).items()})
    if optimizer is not None:
        values.update(_of_optimizer(optimizer))
    for name, module in (("loss", loss_function), ("network", network)):
        if isinstance(module, nn.Module):
            values.update(_of_module(name, unwrap(module)))
    return values


def check_fingerprint(saved: Mapping[str, Any], present: Mapping[str, Any], path: Path) -> None:
    """Compares the fingerprint of a checkpoint with that of the run at hand.

    Raises:
        ValueError: When they differ; one sentence names what changed and the two ways on.
    """
    changed = [
        name
        for name in [*present, *(key for key in saved if key not in present)]
        if not name.endswith(f".{MAY_CHANGE}") and _differs(name, saved, present)
    ]
    if not changed:
        return
    named = [
        f"{name} (was {_shown(saved, name)}, is {_shown(present, name)})" for name in changed[:MAX_NAMED]
    ]
    more = f" and {len(changed) - MAX_NAMED} more" if len(changed) > MAX_NAMED else ""
    raise ValueError(
        f"The run saved in {path} can go on with the settings it began with only, but "
        f"{', '.join(named)}{more} changed: give `--resume false` to start it again, or another "
        "`--output_dir` to keep both."
    )


def _differs(name: str, saved: Mapping[str, Any], present: Mapping[str, Any]) -> bool:
    one, other = _listed(saved.get(name)), _listed(present.get(name))  # an absent option has its default, None
    return bool(one != other) and not _are_same_weights(one, other)


def _are_same_weights(saved: Any, present: Any) -> bool:
    """Where weights lie may change, what they hold may not; runs from before digests were kept name the place alone."""
    one, other = (WEIGHTS.fullmatch(value) if isinstance(value, str) else None for value in (saved, present))
    if one and other:
        return one["digest"] == other["digest"]
    return other is not None and other["place"] == saved


def _shown(values: Mapping[str, Any], name: str) -> str:
    return repr(values[name]) if name in values else "absent"


def _listed(value: Any) -> Any:
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value


def _flattened(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if _is_plain(value) else str(value)


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) for item in value)
    return isinstance(value, SCALARS)


def _of_optimizer(optimizer: Optimizer) -> Iterator[tuple[str, Any]]:
    yield "optimizer", type(optimizer).__name__
    for index, group in enumerate(optimizer.param_groups):
        options = {name: value for name, value in group.items() if name not in ("params", "initial_lr")}
        options["lr"] = group.get("initial_lr", group["lr"])
        yield from (
            (f"optimizer.{index}.{name}", value) for name, value in options.items() if _is_plain(value)
        )


def _of_module(prefix: str, module: nn.Module) -> Iterator[tuple[str, Any]]:
    for path, part in module.named_modules():
        for name, value in vars(part).items():
            if not name.startswith("_") and name != "training" and value is not None and _is_plain(value):
                yield ".".join(filter(None, (prefix, path, name))), value
    shapes = [(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]
    yield f"{prefix} tensors", hashlib.sha256(repr(shapes).encode()).hexdigest()[:16]
