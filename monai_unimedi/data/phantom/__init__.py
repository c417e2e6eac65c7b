# SPDX-License-Identifier: Apache-2.0
"""Chest phantoms with known truth: CT-like volumes, X-rays of other phantoms, reports, lesion masks.

Evidence for a mechanism, never for clinical accuracy. `difficulty_card.json` says how hard they are,
`prompts.json` holds zero-shot prompts in the form of their reports.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from monai_unimedi.data.phantom.dataset import ensure_phantom, write_phantom
from monai_unimedi.data.phantom.generate import VERSION, generate_ct, generate_xray, seed_sequence
from monai_unimedi.data.phantom.lesions import LABEL_NAMES
from monai_unimedi.data.phantom.reports import stated_finding

__all__ = [
    "LABEL_NAMES",
    "PROMPTS",
    "VERSION",
    "difficulty_card",
    "ensure_phantom",
    "generate_ct",
    "generate_xray",
    "seed_sequence",
    "stated_finding",
    "write_phantom",
]


def _read(name: str) -> dict[str, Any]:
    return json.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))


PROMPTS: dict[str, dict[str, list[str]]] = _read("prompts.json")
"""Per finding, the report-form sentences to be ensembled: `positive` and `negative`."""


def difficulty_card() -> dict[str, Any]:
    """How hard the phantoms of this `VERSION` are, as `benchmarks/phantom_card.py` measured it."""
    return _read("difficulty_card.json")
