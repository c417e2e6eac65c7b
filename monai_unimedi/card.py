# SPDX-License-Identifier: Apache-2.0
"""What a training and its evaluation agree on by ``encoder.json``, the card beside the weights."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from monai_unimedi.networks.pretrained import OWN_CARD

__all__ = ["check_bundle_root", "trained_min_voxels", "trained_split"]


def check_bundle_root(bundle_root: str | os.PathLike) -> None:
    """Looks, before anything is read or trained, for the config that the card needs at the end.

    Raises:
        FileNotFoundError: When it is not there, as from a folder that is neither the repository's root nor the bundle.
    """
    if not (Path(bundle_root) / "configs" / "inference.json").is_file():
        raise FileNotFoundError(
            f"bundle_root must be the bundle's folder, got {str(bundle_root)!r}, which has no configs/inference.json: "
            "give --bundle_root path/to/bundles/pretrain, or start from the repository's root or inside the bundle."
        )


def trained_split(
    model_dir: str | os.PathLike, seed: int = 0, validation_fraction: float | None = None
) -> dict[str, Any]:
    """How a training drew its validation rows from a list without any, so that no row it learnt from is judged.

    Args:
        model_dir: whose card says so.
        seed: of the draw, where the card does not say it.
        validation_fraction: share of the patients, where the card does not say it; 0.1 where None.

    Returns:
        ``seed`` and ``validation_fraction``.

    Raises:
        ValueError: When another share is given than the training's.
    """
    path = Path(model_dir) / OWN_CARD
    trained = json.loads(path.read_text(encoding="utf-8")).get("split", {}) if path.is_file() else {}
    given = 0.1 if validation_fraction is None else validation_fraction
    split = {"seed": seed, "validation_fraction": given} | trained
    if validation_fraction not in (None, split["validation_fraction"]):
        raise ValueError(
            f"validation_fraction must be the training's {split['validation_fraction']}, got {validation_fraction}: "
            f"other rows would be judged than those that the model in {model_dir} did not learn from; leave it out."
        )
    return split


def trained_min_voxels(model_dir: str | os.PathLike) -> int | list[int]:
    """The smallest component of each channel that a prediction keeps, as the training found it; 0 where no card has it.

    Args:
        model_dir: whose card says so.
    """
    path = Path(model_dir) / OWN_CARD
    return json.loads(path.read_text(encoding="utf-8")).get("min_voxels", 0) if path.is_file() else 0
