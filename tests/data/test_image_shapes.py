# SPDX-License-Identifier: Apache-2.0
"""Volumes of different depth: cropped to the nearest of some depths, measured once, cached, batched, embedded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from monai_unimedi.data.collate import SourcesCollate
from monai_unimedi.data.dataset import SourcesDataset
from monai_unimedi.data.image_shapes import image_shapes
from monai_unimedi.data.samplers import SourcesBatchSampler
from monai_unimedi.engines.batch import check_sources
from monai_unimedi.engines.embedder import EmbeddingEvaluator
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from monai_unimedi.transforms import CropOrPadBody, CropOrPadBodyd, LoadVolumed
from tests.networks.test_image_encoder import SMALL

DEPTHS = [8, 12, 16]
SLICES = [9, 16, 7, 13, 30, 8, 3, 12]
NEAREST = [8, 16, 8, 12, 16, 8, 8, 12]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder, random = tmp_path_factory.mktemp("ct"), np.random.RandomState(0)
    for index, depth in enumerate(SLICES):
        voxels = random.randint(-1000, 300, (48, 48, depth)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-8.0, -8.0, 20.0, 1.0])), folder / f"{index}.nii.gz")
    return [{"image": str(folder / f"{i}.nii.gz"), "id": str(i), "report": f"w{i} ."} for i in range(len(SLICES))]


def dataset(rows: list[dict[str, Any]], largest: list[int] | None, **options: Any) -> SourcesDataset:
    steps = [LoadVolumed("image"), CropOrPadBodyd("image", (48, 48, 16), depths=DEPTHS)]
    given = {"3d": largest} if largest else None
    return SourcesDataset({"3d": rows}, {"3d": steps}, cache_dtype="float32", largest=given, **options)


@pytest.mark.parametrize(("depth", "expected"), [(3, 8), (9, 8), (10, 12), (11, 12), (14, 16), (15, 16), (90, 16)])
def test_a_volume_gets_the_nearest_depth_and_comes_back(depth: int, expected: int) -> None:
    crop = CropOrPadBody((48, 40, 99), depths=DEPTHS)
    volume = torch.rand(1, 48, 48, depth)
    found = crop(volume)
    assert crop.size_of((48, 48, depth)) == found.shape[1:] == (48, 40, expected)
    back = crop.restore(found, crop.window_start(volume), (48, 48, depth))
    kept = back != 0
    assert torch.equal(torch.as_tensor(back)[kept], volume[kept])
    assert kept.sum() == 48 * 40 * min(depth, expected)


def test_depths_are_checked() -> None:
    for wrong in ([], [0, 8], [8, 8]):
        with pytest.raises(ValueError, match="depths must be distinct positive"):
            CropOrPadBody((4, 4, 4), depths=wrong)
    assert CropOrPadBody((4, 4, 4))(torch.zeros(1, 4, 4, 9)).shape == (1, 4, 4, 4)


def test_a_shifted_window_keeps_the_affine() -> None:
    volume = MetaTensor(torch.zeros(1, 4, 4, 12), affine=torch.diag(torch.tensor([1.0, 1, 5, 1])))
    cut = CropOrPadBody((4, 4, 1), depths=[8])(volume)
    assert cut.affine[2, 3] == 10.0  # two slices of 5 mm


def test_shapes_are_measured_once_and_kept_for_the_same_rows_only(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    found, file = dataset(rows, [48, 48, 16]), tmp_path / "run" / "image_shapes.json"
    shapes = image_shapes(found, ["3d"], file, {"ct_depths": DEPTHS})
    assert shapes == {"3d": [(1, 48, 48, depth) for depth in NEAREST]}
    assert "nii" not in file.read_text()
    content = json.loads(file.read_text())
    content["3d"]["shapes"][0] = [1, 2, 3, 4]
    file.write_text(json.dumps(content))
    assert image_shapes(found, ["3d"], file, {"ct_depths": DEPTHS})["3d"][0] == (1, 2, 3, 4)  # read, not measured
    assert image_shapes(found, ["3d"], file, {"ct_depths": [8]}) == shapes  # another recipe
    file.write_text("{")
    assert image_shapes(found, ["3d"], file, {"ct_depths": DEPTHS}) == shapes  # cut off
    assert image_shapes(found, [])["3d"] == [shapes["3d"][0]] * len(rows)  # the first stands for all


def test_cached_samples_are_those_read_anew(rows: list[dict[str, Any]]) -> None:
    cached, anew = dataset(rows, [48, 48, 16]), dataset(rows, None, cache=False)
    image_shapes(cached, ["3d"])
    for row in range(len(rows)):
        one, other = (found.datasets["3d"].sample(row, 5)["image"] for found in (cached, anew))
        assert torch.equal(one, other)
        assert cached.datasets["3d"].cache.get(row) is not None
    assert cached.datasets["3d"].cache_bytes == 4 * len(rows) * 48 * 48 * 16


class Words:
    """As much of a tokenizer as the collate function asks for."""

    model_max_length, pad_token_id = 16, 0

    def __call__(self, texts: list[str], **options: Any) -> dict[str, Any]:
        return {"input_ids": [[1] * len(text.split()) for text in texts]}


def test_batches_of_a_token_budget_train_and_mixed_ones_are_embedded(rows: list[dict[str, Any]]) -> None:
    found, collate = dataset(rows, [48, 48, 16]), SourcesCollate(Words())
    torch.manual_seed(0)
    tower = UniMediImageEncoder(**SMALL).eval()
    shapes = image_shapes(found, ["3d"])
    for depth in DEPTHS:
        read = tower.vit(torch.rand(1, 1, 48, 36, depth), torch.zeros(1, 2, dtype=torch.int64)).shape[1]
        assert tower.num_tokens((1, 48, 36, depth)) == read == 1 + 12 * (depth // 4 + 2)
    assert tower.num_tokens((1, 48, 36)) == tower.vit(torch.rand(1, 1, 48, 36)).shape[1] == 13
    sampler = SourcesBatchSampler(
        found.lengths, {"3d": 0}, shapes=shapes, token_budgets={"3d": 260}, count_tokens=tower.num_tokens
    )
    for step in range(6):
        batch = collate(found.__getitems__(sampler.requests(step)))
        check_sources(batch)
        content, _ = tower.vit.embed(batch["3d"]["image"], torch.zeros(len(batch["3d"]["id"]), 2, dtype=torch.int64))
        assert content.shape[0] * (1 + content.shape[1]) <= 260
    mixed = collate([found[row] for row in range(len(rows))])
    with pytest.raises(ValueError, match=r"source '3d' must have one shape.*48, 48, 8.*ct_depths"):
        check_sources(mixed)
    evaluator = EmbeddingEvaluator(
        "cpu", [mixed, collate([found[0], found[2]])], tower, with_attention=True, carried=["id"]
    )
    evaluator.run()
    arrays = evaluator.arrays["3d"]
    assert [len(scores) for scores in arrays["slice_scores"]] == [*NEAREST, 8, 8]
    for row in range(len(rows)):
        alone = tower(found[row]["image"][None])[0].detach()
        torch.testing.assert_close(arrays["image_embedding"][row], alone, atol=1e-5, rtol=0)
