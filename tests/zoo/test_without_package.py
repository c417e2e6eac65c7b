# SPDX-License-Identifier: Apache-2.0
"""Where the package is not installed, a bundle says so in one line before it does anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from monai.bundle import ConfigWorkflow

BUNDLES = ("pretrain", "classification_2d", "classification_3d", "segmentation_2d", "segmentation_3d")
CONFIGS = (("train",), ("evaluate",), ("inference",), ("train", "multi_gpu_train"))


@pytest.mark.parametrize("names", CONFIGS, ids="-".join)
@pytest.mark.parametrize("bundle", BUNDLES)
def test_bundle_without_the_package_names_the_remedy(
    bundle: str, names: tuple[str, ...], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [str(repository / "bundles" / bundle / "configs" / f"{name}.json") for name in names]
    workflow = ConfigWorkflow(configs, logging_file=False)
    monkeypatch.setitem(sys.modules, "monai_unimedi", None)  # as if it were not there
    with pytest.raises(SystemExit) as caught:
        workflow.initialize()
    remedy = "run pip install PATH, where PATH is its wheel or its repository"
    assert caught.value.code == f"this bundle needs the package monai-unimedi: {remedy}"
