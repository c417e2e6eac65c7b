# SPDX-License-Identifier: Apache-2.0
"""The trainings that a comparison on real files sets side by side, and what each of them cost."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["SCRATCH", "Arm", "networks_from_scratch", "our_arms", "steps_of_each", "training_costs"]

SCRATCH = "scratch"


@dataclass(frozen=True)
class Arm:
    """One row of a table.

    Args:
        name: of the row.
        from_scratch: name of the row of the same network from random weights; its own where that is this one.
        pretrained: path of the first weights, ``{fold}`` standing for the split, or ``none``.
        network: options of the bundle that say which network it is.
    """

    name: str
    from_scratch: str
    pretrained: str = "none"
    network: Mapping[str, Any] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return self.name.replace(",", "").replace(" ", "_")

    def weights(self, fold: int) -> Path | str:
        """The option ``pretrained`` of the bundle in one split."""
        return self.pretrained if self.pretrained == "none" else Path(self.pretrained.format(fold=fold)).resolve()


def our_arms(
    starts: Iterable[str], name: str = "{}", scratch: str = SCRATCH, network: Mapping[str, Any] | None = None
) -> list[Arm]:
    """The bundle's network from scratch, and from each of the given weights.

    Args:
        starts: ``NAME=PATH`` each.
        name: of a row, ``{}`` standing for NAME.
        scratch: name of the row from scratch.
        network: as in :class:`Arm`.

    Raises:
        ValueError: When a start is not ``NAME=PATH``.
    """
    arms = [Arm(scratch, scratch, network=network or {})]
    for start in starts:
        word, is_given, path = start.partition("=")
        if not is_given:
            raise ValueError(f"A start must be NAME=PATH, got {start!r}.")
        arms.append(Arm(name.format(word), scratch, path, network or {}))
    return arms


def networks_from_scratch(networks: Mapping[str, Any]) -> list[Arm]:
    """MONAI's networks by name, as the bundle's ``network_def``."""
    return [Arm(name, name, network={"network_def": network}) for name, network in networks.items()]


def steps_of_each(arms: Sequence[Arm], pace: Callable[[Arm], int]) -> dict[str, int]:
    """Steps by row: those that its network takes from scratch in the asked time, measured once a network."""
    found = {arm.name: pace(arm) for arm in arms if arm.name == arm.from_scratch}
    return {arm.name: found[arm.from_scratch] for arm in arms}


def training_costs(folders: Sequence[Path]) -> dict[str, Any]:
    """Steps, mean seconds and parameters of the trainings of one arm."""
    records = [json.loads((folder / "training.json").read_text()) for folder in folders]
    seconds = round(statistics.mean(record["seconds"] for record in records))
    return {"steps": records[0]["steps"], "seconds": seconds, "parameters": records[0]["parameters"]}
