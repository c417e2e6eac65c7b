# SPDX-License-Identifier: Apache-2.0
"""The bundle takes shards wherever it takes a datalist, with the same numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Events

from monai_unimedi.data import collate
from monai_unimedi.data.convert import convert_datalist
from monai_unimedi.networks.nets.report_encoder import load_tokenizer
from tests.bundles.conftest import TINY, Bundle

RECIPE = {
    "xray_size": 72, "spacing": [8.0, 8.0, 20.0], "ct_size": [48, 48, 16], "ct_padding": "constant",
    "dtype": "int16",
}  # fmt: skip


@pytest.fixture(scope="module")
def shards(trained: Bundle, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The phantoms of the finished training as shards, with the token ids of its vocabulary."""
    phantom, folder = Path(trained.places["phantom_dir"]), tmp_path_factory.mktemp("shards")
    tokenizer = load_tokenizer(str(trained.output_dir / "vocabulary"))
    for source in ("2d", "3d"):
        convert_datalist(
            phantom / f"datalist_{source}.json", folder / source, RECIPE, tokenizer=tokenizer, jobs=1
        )
    return {f"datalist_{source}": str(folder / source) for source in ("2d", "3d")}


def losses(bundle: Bundle) -> list[dict[str, Any]]:
    lines = (bundle.output_dir / "history.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in lines]


def test_training_from_lossless_shards_is_the_training_from_files_bit_for_bit(
    trained: Bundle, new_bundle: Bundle, shards: dict[str, str], equal: Callable[[Any, Any], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Phantoms are 8-bit X-rays and whole HU on the run's own grid: nothing is lost."""
    known: list[bool] = []
    find = collate.SourcesCollate._known

    def seen(self: collate.SourcesCollate, sample: dict[str, Any]) -> list[int] | None:
        found = find(self, sample)
        known.append(bool(found))
        return found

    monkeypatch.setattr(collate.SourcesCollate, "_known", seen)
    new_bundle.train(**shards)
    assert known
    assert all(known), "token ids of the shards are used"
    assert losses(new_bundle) == losses(trained)
    models = [bundle.output_dir / "models" / "model.pt" for bundle in (trained, new_bundle)]
    assert equal(*(torch.load(file, weights_only=True) for file in models))


def test_stopped_training_from_shards_goes_on_exactly(
    trained: Bundle, new_bundle: Bundle, shards: dict[str, str], equal: Callable[[Any, Any], bool]
) -> None:
    def stop(engine: Any) -> None:
        if engine.state.iteration == 3:
            raise KeyboardInterrupt

    workflow = new_bundle.workflow("train", **{**TINY, **shards})
    workflow.trainer.add_event_handler(Events.ITERATION_STARTED, stop)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        workflow.run()
    new_bundle.train(**shards)
    models = [bundle.output_dir / "models" / "model.pt" for bundle in (trained, new_bundle)]
    assert equal(*(torch.load(file, weights_only=True) for file in models))


def test_other_shards_are_another_run(
    trained: Bundle, new_bundle: Bundle, shards: dict[str, str], tmp_path: Path
) -> None:
    new_bundle.train(**shards)
    phantom = Path(trained.places["phantom_dir"])
    windowed = RECIPE | {"dtype": "uint8", "hu_range": [-1150.0, 350.0]}
    convert_datalist(phantom / "datalist_3d.json", tmp_path / "w", windowed, jobs=1)
    with pytest.raises(RuntimeError) as caught:
        new_bundle.train(**{**shards, "datalist_3d": str(tmp_path / "w")})
    assert "3d.training" in str(caught.value.__cause__)


def test_windowed_shards_and_partial_reports_train_nearly_the_same(
    trained: Bundle, new_bundle: Bundle, shards: dict[str, str], tmp_path: Path
) -> None:
    phantom = Path(trained.places["phantom_dir"])
    windowed = RECIPE | {"dtype": "uint8", "hu_range": [-1150.0, 350.0]}
    convert_datalist(phantom / "datalist_3d.json", tmp_path / "w", windowed, jobs=1)
    options: dict[str, Any] = {"partial_report_prob": 0.5, "augment_prob": 1.0}
    options |= {"slice_rule": "uniform"}  # near ties of scores would be decided by the quantisation
    files = Bundle(tmp_path / "files", phantom)
    files.train(**options)
    new_bundle.train(**options, **{**shards, "datalist_3d": str(tmp_path / "w")})
    pairs = [
        (one["loss_vl"], other["loss_vl"])
        for one, other in zip(losses(files), losses(new_bundle))
        if "loss_vl" in one
    ]
    assert len(pairs) >= 4
    assert abs(pairs[0][0] - pairs[0][1]) < 2e-3
    assert max(abs(one - other) for one, other in pairs) < 3e-2, pairs


def test_evaluation_and_inference_take_shards(
    trained: Bundle, shards: dict[str, str], tmp_path: Path
) -> None:
    figures = [
        trained.evaluate(output_dir=str(tmp_path / name), **lists) and (tmp_path / name / "metrics.json")
        for name, lists in (("files", {}), ("shards", shards))
    ]
    one, other = (json.loads(Path(path).read_text()) for path in figures)
    assert one["retrieval"] == other["retrieval"]
    folder = trained.infer(output_dir=str(tmp_path / "i"), dataset_dir=shards["datalist_3d"])
    with np.load(folder / "embeddings.npz") as table:
        assert len(table["ids"]) == 36 + 10 + 16
        assert set(table["sources"]) == {"3d"}
