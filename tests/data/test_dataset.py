# SPDX-License-Identifier: Apache-2.0
"""A sample is a pure function of (source, row, sample_seed): cached or not, with workers or without."""

from __future__ import annotations

import pickle
from itertools import islice
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.transforms import Compose, LoadImaged, MapTransform, Orientationd, ScaleIntensityRanged
from PIL import Image
from torch.utils.data import DataLoader

from monai_unimedi.data.dataset import SourceDataset, SourcesDataset
from monai_unimedi.data.sample_cache import SampleCache
from monai_unimedi.data.samplers import SourcesBatchSampler
from monai_unimedi.transforms import (
    CheckImaged,
    CropOrPadBodyd,
    LoadXrayd,
    RandChestAugmentd,
    RandReportSentencesd,
    ReportTextd,
    ResampleVolumed,
    RowError,
    ScaleXrayd,
    XrayToGrayd,
)

REPORT = "FINDINGS: Row {} shows a nodule. No effusion is seen. IMPRESSION: Nodule on the right."


class Counted(MapTransform):
    """Counts its calls within this process."""

    calls = 0

    def __call__(self, data: Any) -> Any:
        Counted.calls += 1
        return data


def xray_chain(*random: Any) -> Compose:
    steady = [LoadXrayd("image"), XrayToGrayd("image"), CheckImaged("image", 2), ScaleXrayd("image", 16)]
    return Compose([*steady, Counted("image"), ReportTextd(), *random])


def ct_chain(*random: Any, size: tuple[int, int, int] = (12, 12, 8)) -> Compose:
    both = ["image", "lesion_mask"]
    return Compose(
        [
            LoadImaged("image", ensure_channel_first=True),
            LoadImaged("lesion_mask", ensure_channel_first=True, dtype=np.uint8, allow_missing_keys=True),
            CheckImaged("image", 3),
            Orientationd(both, "LPS", labels=None, allow_missing_keys=True),
            ResampleVolumed(both, (2, 2, 2), ["area", "nearest"], allow_missing_keys=True),
            CropOrPadBodyd(both, size, allow_missing_keys=True),
            ScaleIntensityRanged("image", -1150, 350, 0, 1, clip=True),
            CheckImaged("image", 3, (4, 4, 4), 4),
            ReportTextd(),
            *random,
        ]
    )


RANDOM = (RandReportSentencesd(prob=0.5), RandChestAugmentd("image", noise_prob=1.0))


@pytest.fixture
def rows(tmp_path: Path) -> dict[str, list[dict[str, Any]]]:
    random, lists = np.random.RandomState(0), {"2d": [], "3d": []}  # type: ignore[var-annotated]
    for i in range(6):
        Image.fromarray(random.randint(0, 255, (20, 18)).astype(np.uint8)).save(tmp_path / f"{i}.png")
        volume = random.randint(-1000, 300, (16, 12, 9)).astype(np.int16)
        mask = (volume > 0).astype(np.uint8) * 3
        for name, array in ((f"{i}.nii", volume), (f"{i}_mask.nii", mask)):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([2, 2, 2, 1])), tmp_path / name)
        lists["2d"].append({"id": f"x{i}", "image": str(tmp_path / f"{i}.png"), "report": REPORT.format(i)})
        lists["3d"].append(
            {
                "id": f"c{i}",
                "image": str(tmp_path / f"{i}.nii"),
                "lesion_mask": str(tmp_path / f"{i}_mask.nii"),
                "report": REPORT.format(i),
                "label": [0, 1],
            }
        )
    return lists


def same(first: dict[str, Any], second: dict[str, Any]) -> bool:
    assert first.keys() == second.keys()
    pairs = ((first[key], second[key]) for key in first)
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


def test_sample_has_the_names_and_shapes_of_the_contract(rows: dict[str, list[dict[str, Any]]]) -> None:
    dataset = SourcesDataset(rows, {"2d": xray_chain(*RANDOM), "3d": ct_chain(*RANDOM)})
    xray, ct = dataset["2d", 1, 5], dataset["3d", 2, 6]
    assert xray["image"].shape == (1, 16, 16)
    assert ct["image"].shape == (1, 12, 12, 8)
    assert ct["lesion_mask"].dtype == torch.uint8
    for sample, source, row, seed in ((xray, "2d", 1, 5), (ct, "3d", 2, 6)):
        assert type(sample["image"]) is torch.Tensor
        assert sample["image"].dtype == torch.float32
        assert (sample["source"], sample["row"], sample["sample_seed"]) == (source, row, seed)
        assert isinstance(sample["pair_group"], int)
    assert dataset.lengths == {"2d": 6, "3d": 6}
    assert len(dataset) == 12


@pytest.mark.parametrize("cache_dtype", ["float16", "float32"])
def test_first_later_and_uncached_access_give_identical_bits(
    rows: dict[str, list[dict[str, Any]]], cache_dtype: str
) -> None:
    def dataset(**options: Any) -> SourceDataset:
        return SourceDataset(rows["3d"], ct_chain(*RANDOM), "3d", cache_dtype=cache_dtype, **options)

    cached, uncached = dataset(), dataset(cache=False)
    small = dataset(cache_gb=2 * cached.cache_bytes / 6 / 2**30 * 1.01)
    assert small.cache is not None
    assert small.num_cached == 2
    for row in (3, 0, 5, 3):
        first, later = cached.sample(row, 77), cached.sample(row, 77)
        assert same(first, later)
        assert same(first, uncached.sample(row, 77))
        assert same(first, small.sample(row, 77))


def test_seed_decides_the_random_part_and_nothing_else(rows: dict[str, list[dict[str, Any]]]) -> None:
    dataset = SourceDataset(rows["2d"], xray_chain(*RANDOM), "2d")
    first = dataset.sample(2, 1)
    dataset.sample(4, 9)
    assert same(first, dataset.sample(2, 1))
    assert not torch.equal(first["image"], dataset.sample(2, 2)["image"])


def test_deterministic_part_runs_once(rows: dict[str, list[dict[str, Any]]]) -> None:
    Counted.calls = 0
    dataset = SourceDataset(rows["2d"], xray_chain(*RANDOM), "2d")
    for seed in range(3):
        for row in range(6):
            dataset.sample(row, seed)
    assert Counted.calls == 6


def test_changing_a_sample_does_not_change_the_cache(rows: dict[str, list[dict[str, Any]]]) -> None:
    dataset = SourceDataset(rows["2d"], xray_chain(), "2d", cache_dtype="float32")
    before = dataset[0]["image"].clone()
    dataset[0]["image"].zero_()
    assert torch.equal(dataset[0]["image"], before)


def test_float16_rounding_is_under_half_a_grey_level(rows: dict[str, list[dict[str, Any]]]) -> None:
    half = SourceDataset(rows["2d"], xray_chain(), "2d")[0]["image"]
    exact = SourceDataset(rows["2d"], xray_chain(), "2d", cache_dtype="float32")[0]["image"]
    assert 0 < float((half - exact).abs().max()) < 0.5 / 255


def test_workers_change_nothing_and_fill_one_cache(rows: dict[str, list[dict[str, Any]]]) -> None:
    def batches(workers: int) -> tuple[list[Any], SourcesDataset]:
        dataset = SourcesDataset(rows, {"2d": xray_chain(*RANDOM), "3d": ct_chain(*RANDOM)})
        sampler = SourcesBatchSampler(dataset.lengths, {"2d": 3, "3d": 2}, seed=1)
        loader: DataLoader[Any] = DataLoader(
            dataset, batch_sampler=sampler, num_workers=workers, collate_fn=list,
            multiprocessing_context="fork" if workers else None,
        )  # fmt: skip
        return list(islice(loader, 8)), dataset

    (alone, _), (shared, dataset) = batches(0), batches(2)
    for first, second in zip(alone, shared):
        assert all(same(a, b) for a, b in zip(first, second))
    for part in dataset.datasets.values():
        assert part.cache is not None
        assert all(part.cache.get(row) is not None for row in range(6))


def test_evaluation_in_row_order_with_an_ordinary_loader(rows: dict[str, list[dict[str, Any]]]) -> None:
    dataset = SourceDataset(rows["3d"], ct_chain(), "3d")
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=4, collate_fn=list)
    assert [sample["id"] for batch in loader for sample in batch] == [f"c{i}" for i in range(6)]
    assert same(dataset[-1], dataset[5])
    with pytest.raises(IndexError, match=r"row must lie in \[0, 6\)"):
        dataset[6]


def test_pickled_dataset_gives_the_same_samples(rows: dict[str, list[dict[str, Any]]]) -> None:
    dataset = SourceDataset(rows["3d"], ct_chain(*RANDOM), "3d")
    assert same(pickle.loads(pickle.dumps(dataset)).sample(1, 4), dataset.sample(1, 4))


def test_bad_files_name_source_row_id_key_and_path(rows: dict[str, list[dict[str, Any]]]) -> None:
    for source, chain in (("2d", xray_chain()), ("3d", ct_chain())):
        path = Path(rows[source][3]["image"])
        path.write_bytes(path.read_bytes()[:200])
        dataset = SourceDataset(rows[source], chain, source)
        place = f"source '{source}', row 3, id '.3', key 'image', path '{path}'"
        with pytest.raises(RowError, match=place):
            dataset[3]
        path.unlink()
        with pytest.raises(RowError, match=place):
            dataset[3]
        dataset[2]


def test_nan_constant_few_slices_and_dimension_name_the_row(rows: dict[str, list[dict[str, Any]]]) -> None:
    def ct(array: np.ndarray) -> str:
        nibabel.save(nibabel.Nifti1Image(array, np.diag([2, 2, 2, 1])), rows["3d"][4]["image"])
        del rows["3d"][4]["lesion_mask"]
        with pytest.raises(RowError, match="source '3d', row 4, id 'c4', key 'image', path") as caught:
            SourceDataset(rows["3d"], ct_chain(size=(12, 12, 3)), "3d", cache=False)[4]
        rows["3d"][4]["lesion_mask"] = rows["3d"][3]["lesion_mask"]
        return str(caught.value)

    nan = np.random.rand(16, 12, 9).astype(np.float32)
    nan[3, 3, 3] = np.nan
    assert "NaN" in ct(nan)
    assert "constant" in ct(np.zeros((16, 12, 9), np.int16))
    assert "3-dimensional" in ct(np.random.rand(16, 12).astype(np.float32))
    assert "must divide" in ct(np.random.rand(16, 12, 9).astype(np.float32))


def test_images_of_several_sizes_are_cached_as_they_are(rows: dict[str, list[dict[str, Any]]]) -> None:
    for row, size in enumerate(((9, 11), (30, 4), (12, 13))):
        Image.fromarray(np.random.rand(*size).astype(np.float32) * 255).convert("L").save(rows["2d"][row]["image"])
    chain = [LoadXrayd("image"), XrayToGrayd("image"), ReportTextd()]
    cached, anew = SourceDataset(rows["2d"], chain, "2d"), SourceDataset(rows["2d"], chain, "2d", cache=False)
    assert cached[1]["image"].shape == (1, 4, 30)
    for row in (0, 1, 2, 0, 1, 2):
        assert torch.equal(cached[row]["image"], anew[row]["image"])
    assert cached.cache is not None and cached.cache.get(2) is not None


def test_a_cache_keeps_every_type_and_leaves_out_what_finds_no_room() -> None:
    kept = {"image": torch.rand(1, 3, 5).half(), "label": torch.tensor([[300, -1, 70000]], dtype=torch.int32)}
    cache = SampleCache(3, ("image", "label"), 32 + 16 + 16 + 15)
    for row, tensors in enumerate((kept, {"label": torch.tensor([[255]], dtype=torch.uint8)}, kept)):
        cache.put(row, tensors)
    assert all(torch.equal(cache.get(0)[key], tensor) for key, tensor in kept.items())
    assert cache.get(1)["label"].dtype == torch.uint8 and cache.get(1).keys() == {"label"}
    assert cache.get(2) is None
    with pytest.raises(ValueError, match=r"complex64; set cache to False"):
        cache.put(2, {"image": torch.zeros(1, dtype=torch.complex64)})


def test_source_without_transforms_raises(rows: dict[str, list[dict[str, Any]]]) -> None:
    with pytest.raises(ValueError, match="'3d' must have transforms"):
        SourcesDataset(rows, {"2d": xray_chain()})
    assert SourcesDataset({"2d": rows["2d"], "3d": []}, {"2d": xray_chain()}).lengths == {"2d": 6}


def test_whole_numbers_count_through_the_sources(rows: dict[str, list[dict[str, Any]]]) -> None:
    dataset = SourcesDataset(rows, {"2d": xray_chain(), "3d": ct_chain()})
    found = [(dataset[i]["source"], dataset[i]["row"]) for i in range(len(dataset))]
    assert found == [(source, row) for source in ("2d", "3d") for row in range(len(rows[source]))]
    with pytest.raises(IndexError, match="got 99"):
        dataset[99]


def test_no_memory_for_a_cache_changes_no_sample(rows: dict[str, list[dict[str, Any]]]) -> None:
    none, all_of_it = (SourceDataset(rows["3d"], ct_chain(), "3d", cache_gb=gb) for gb in (0.0, 1.0))
    assert none.cache_bytes == 0
    assert torch.equal(none[1]["image"], all_of_it[1]["image"])
