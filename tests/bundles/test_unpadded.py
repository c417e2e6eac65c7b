# SPDX-License-Identifier: Apache-2.0
"""train.json without padding and in less memory: CTs of several depths, token budgets, grouped reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from ignite.engine import Events

from monai_unimedi.__main__ import main
from monai_unimedi.data.embeddings import read_embeddings
from monai_unimedi.encoder import load_encoder
from tests.bundles.conftest import TINY, Bundle

SHORT = {"num_steps": 6, "steps_per_epoch": 3}
UNPADDED = {"ct_depths": [8, 16], "tokens_3d": 700, "rows_multiple": 2, "text_call_cost": 4}


@pytest.fixture(scope="module")
def two_depths(trained: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantoms' CTs, every other one without its upper half."""
    source = Path(trained.places["phantom_dir"]) / "datalist_3d.json"
    folder, content = tmp_path_factory.mktemp("depths"), json.loads(source.read_text())
    for section in ("training", "validation", "test"):
        for number, row in enumerate(content[section]):
            image: Any = nibabel.load(source.parent / row["image"])
            if number % 2:
                image = image.slicer[:, :, :9]  # padded or cut by a slice
            row.pop("lesion_mask", None)
            row["image"] = str(folder / f"{section}_{number}.nii.gz")
            nibabel.save(image, row["image"])
    (folder / "list.json").write_text(json.dumps(content))
    return folder / "list.json"


def test_several_depths_train_resume_and_embed(
    trained: Bundle, new_bundle: Bundle, equal: Callable[[Any, Any], bool], two_depths: Path, tmp_path: Path
) -> None:
    options = {**UNPADDED, **SHORT, "datalist_3d": str(two_depths)}
    whole = Bundle(tmp_path / "whole", Path(trained.places["phantom_dir"]))
    seen: set[tuple[int, int]] = set()
    workflow = whole.workflow("train", **{**TINY, **options})
    workflow.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: seen.add(tuple(engine.state.batch["3d"]["image"].shape[::4]))
    )
    workflow.run()
    assert seen == {(8, 8), (6, 16)}  # rows and slices: 81 and 97 tokens a volume
    stopped = new_bundle.workflow("train", **{**TINY, **options})

    def stop(engine: Any) -> None:
        if engine.state.iteration == 4:
            raise KeyboardInterrupt

    stopped.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        stopped.run()
    new_bundle.train(**options, activation_checkpointing="true")  # may change between two starts
    models = [bundle.output_dir / "models" / "model.pt" for bundle in (whole, new_bundle)]
    assert equal(*(torch.load(file, weights_only=True) for file in models))
    content = json.loads(two_depths.read_text())
    encoder = load_encoder(whole.output_dir / "models")
    assert [encoder.read(row["image"]).shape[3] for row in content["test"][:2]] == [16, 8]
    written = whole.infer(
        ct_depths=[8, 16], images=[row["image"] for row in content["test"][:4]], dataset_dir=str(two_depths.parent)
    )
    with np.load(written / "embeddings.npz") as table:
        assert len(table["ids"]) == 4
        alone = encoder.image(content["test"][1]["image"]).numpy()
        assert np.abs(table["embeddings"] - alone).max(1).min() < 1e-5
    scores = json.loads((written / "slice_scores.json").read_text())
    assert sorted(len(found["scores"]) for found in scores.values()) == [8, 8, 16, 16]
    images, output = [row["image"] for row in content["test"][:4]], tmp_path / "e.parquet"
    assert main(["embed", *images, "--model_dir", str(whole.output_dir / "models"), "--output", str(output)]) == 0
    assert read_embeddings(output).ids == images
    assert [len(row) for row in pq.read_table(output)["slice_scores"].to_pylist()] == [16, 8, 16, 8]
