# SPDX-License-Identifier: Apache-2.0
"""UniMedI for MONAI: one vision transformer for chest X-rays and CT volumes, taught by radiology reports.

He et al., "Unified Medical Image Pre-training in Language-Guided Common Semantic Space", ECCV 2024
(arXiv 2311.14851). Importing this package imports nothing else; take what you need by its dotted name.
"""

from __future__ import annotations

__all__ = ["__version__", "is_on", "require"]

__version__ = "0.1.0"


def require(version: str) -> None:
    """Stops when the installed package is older than a config or a bundle needs.

    MONAI reads a bundle's ``required_packages_version`` nowhere at run time, so each config calls this.

    Args:
        version: lowest version that will do, digits and dots, such as ``"0.1"`` or ``"0.1.0"``.

    Raises:
        ValueError: When ``version`` is not digits and dots.
        ImportError: When the installed version is lower.
    """
    if _as_numbers(__version__) < _as_numbers(version):
        raise ImportError(
            f"monai-unimedi>={version} is needed, {__version__} is installed: "
            "run pip install --upgrade PATH, where PATH is its newer wheel or repository"
        )


def is_on(switch: bool | str | int | None) -> bool:
    """Reads a switch of a config, which a command line such as ``--resume false`` turns into a string.

    Args:
        switch: true or false, or one of the words true, yes, on, 1, false, no, off, 0, none, null in any
            case.

    Raises:
        ValueError: When it is another word.
    """
    word = str(switch).strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0", "none", "null"):
        return False
    raise ValueError(f"a switch must be true or false, got {switch!r}")


def _as_numbers(version: str) -> tuple[int, int, int]:
    parts = version.split(".") if isinstance(version, str) else []
    if not 1 <= len(parts) <= 3 or not all(part.isdecimal() for part in parts):
        raise ValueError(f"version must be one to three numbers with dots, such as '0.1.0', got {version!r}")
    major, minor, patch = ([int(part) for part in parts] + [0, 0])[:3]
    return major, minor, patch
