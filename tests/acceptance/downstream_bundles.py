# SPDX-License-Identifier: Apache-2.0
"""Acceptance: what the MONAI model zoo's own checks ask of a bundle, for each downstream bundle.

    python tests/acceptance/downstream_bundles.py [BUNDLE ...]

Files; version and changelog; metadata by the schema (``../shared/schema``, or the folder that
``UNIMEDI_SCHEMA`` names); `verify_net_in_out` with the training's and the inference's network; `ckpt_export` of a
``model.pt``, whose script must give the network's logits; `check_properties` of training and inference, [] each, at
the default sizes, after two training steps on a few phantoms. The last line holds the count.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from _bundle import OUTPUT, REPOSITORY, copy_bundles, load
from monai.bundle import ckpt_export, create_workflow, verify_metadata, verify_net_in_out

import monai_unimedi

FOLDER = OUTPUT / "downstream_bundles"
BUNDLES = ("classification_2d", "classification_3d", "segmentation_2d", "segmentation_3d")
FILES = (
    *(f"configs/{name}.json" for name in ("train", "evaluate", "inference", "multi_gpu_train", "metadata")),
    *("configs/logging.conf", "docs/README.md", "LICENSE"),
)
ASKED = (
    *("version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors"),
    *("copyright", "intended_use", "network_data_format", "required_packages_version"),
)
LARGE = 25 * 2**20  # bytes; above it the zoo wants large_files.yml


def checks(folder: Path) -> Iterator[tuple[str, bool]]:
    """Name of each check and whether it holds; the first training is the fourth."""
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    yield (
        "files",
        all((folder / name).is_file() for name in FILES)
        and not any(path.stat().st_size > LARGE for path in folder.rglob("*") if path.is_file()),
    )
    yield "version", is_version(metadata["version"]) and metadata["version"] == monai_unimedi.__version__
    yield "changelog", metadata["version"] in metadata["changelog"] and all(metadata.get(key) for key in ASKED)
    yield "metadata schema", fits_schema(folder, metadata)
    for name in ("train", "inference"):
        paths = {"meta_file": str(folder / "configs" / "metadata.json")}
        paths["config_file"] = str(folder / "configs" / f"{name}.json")
        verify_net_in_out("network_def", device="cpu", bundle_root=str(folder), **paths)
        yield f"verify_net_in_out, {name}", True
    source = folder.name[-2:]
    counts = {f"phantom#num_{name}": {source: count} for name, count in sizes(folder.name).items()}
    train = workflow(folder, "train", "train", num_steps=2, steps_per_epoch=2, batch_size=4, **counts)
    yield "check_properties, train", train.check_properties() == []
    train.run()
    yield "ckpt_export", exports(folder, metadata)
    infer = workflow(folder, "inference", "infer", dataset_dir=str(folder / "output" / "phantom"))
    yield "check_properties, inference", infer.check_properties() == []


def is_version(version: str) -> bool:
    """Parts of one digit: the zoo compares versions as text."""
    return re.fullmatch(r"\d\.\d\.\d", version) is not None


def fits_schema(folder: Path, metadata: dict[str, Any]) -> bool:
    """By MONAI's own verb, which raises where it does not fit."""
    schemas = Path(os.environ.get("UNIMEDI_SCHEMA", REPOSITORY.parent / "shared" / "schema"))
    schema = schemas / metadata["schema"].rsplit("/", 1)[-1]
    if not schema.is_file():
        raise SystemExit(f"downstream bundles: the schema must lie at {schema}; UNIMEDI_SCHEMA names its folder")
    verify_metadata(meta_file=str(folder / "configs" / "metadata.json"), filepath=str(schema))
    return True


def sizes(bundle: str) -> dict[str, int]:
    """Phantoms: enough that each finding is there; masks of it for the segmentation."""
    return {"training": 40 if bundle.startswith("classification") else 64, "validation": 8, "test": 8}


def workflow(folder: Path, name: str, kind: str, **changes: Any) -> Any:
    config = str(folder / "configs" / f"{name}.json")
    return create_workflow(
        config_file=config, workflow_type=kind, bundle_root=str(folder), logging_file=False, device="cpu", **changes
    )


def exports(folder: Path, metadata: dict[str, Any]) -> bool:
    """Whether the exported script gives the trained network's logits for an image of the metadata's shape."""
    configs, model, script = folder / "configs", folder / "models" / "model.pt", folder / "models" / "model.ts"
    ckpt_export("network_def", str(script), str(model), str(configs / "metadata.json"), str(configs / "inference.json"))
    network = workflow(folder, "inference", "infer").network_def.eval()
    network.load_state_dict(load(model))
    torch.manual_seed(0)
    shape = metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    image = torch.rand(2, 1, *shape)
    with torch.no_grad():
        return torch.allclose(torch.jit.load(str(script)).eval()(image), network(image), atol=1e-4, rtol=1e-4)


def main(chosen: list[str]) -> int:
    """Runs all checks; returns 0 where all hold."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    root = copy_bundles(FOLDER / "repository") / "bundles"
    found = {(bundle, name): holds for bundle in chosen or BUNDLES for name, holds in checks(root / bundle)}
    for (bundle, name), holds in found.items():
        print(f"{'ok  ' if holds else 'FAIL'} {bundle}: {name}")
    wrong = [f"{bundle}: {name}" for (bundle, name), holds in found.items() if not holds]
    print(f"downstream bundles: {len(found) - len(wrong)} of {len(found)} checks hold {'; '.join(wrong)}".rstrip())
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
