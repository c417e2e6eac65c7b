# SPDX-License-Identifier: Apache-2.0
"""Conversion: the bundle's images up to quantisation, whatever kills, workers and bad files there are."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from PIL import Image

from monai_unimedi.__main__ import main
from monai_unimedi.data import convert, convert_rows
from monai_unimedi.data.convert import convert_datalist, find_source
from monai_unimedi.data.datalist import check_datalist, label_names, load_datalist, section_names
from monai_unimedi.data.dataset import SourcesDataset
from monai_unimedi.data.shard_sources import SOURCES, source_facts
from monai_unimedi.data.shards import ShardReader, check_files
from monai_unimedi.transforms import RowError

RECIPE = {
    "xray_size": 24, "spacing": [4.0, 4.0, 8.0], "ct_size": [16, 16, 8], "ct_padding": "constant",
    "dtype": "int16", "hu_range": [-1150.0, 350.0],
}  # fmt: skip
REPORT = "Clear lungs in patient {}. No effusion."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 X-rays of uneven sizes with one lesion mask, 6 CTs of uneven spacing, and two datalists."""
    folder = tmp_path_factory.mktemp("corpus with blank")
    random = np.random.RandomState(0)
    xrays, cts = [], []
    for i in range(20):
        Image.fromarray(random.randint(0, 255, (40 + i, 50), np.uint8)).save(folder / f"x{i}.png")
        xrays.append({"image": f"x{i}.png", "report": REPORT.format(i), "patient": f"p{i // 2}", "label": [i % 2]})
    Image.fromarray((random.rand(40, 50) > 0.5).astype(np.uint8)).save(folder / "mask.png")
    xrays[0]["lesion_mask"] = "mask.png"
    for i in range(6):
        volume = random.randint(-1000, 600, (24, 20, 10 + i)).astype(np.int16)
        affine = np.diag([2.0 if i % 2 else -2.0, 2.5, 3.0 + i, 1.0])
        nibabel.save(nibabel.Nifti1Image(volume, affine), folder / f"c{i}.nii.gz")
        cts.append({"image": f"c{i}.nii.gz", "report": REPORT.format(i), "id": f"ct-{i}"})
    (folder / "2d.json").write_text(
        json.dumps({"label_names": ["sick"], "training": xrays[:17], "validation": [], "test": xrays[17:]})
    )
    (folder / "3d.json").write_text(json.dumps({"training": cts}))
    return folder


@pytest.fixture(scope="module")
def shards(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Converts a datalist once for each set of changes to the recipe."""
    made: dict[str, Path] = {}

    def convert_once(source: str, **changes: Any) -> Path:
        key = source + json.dumps(changes)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("shards") / "out"
            convert_datalist(folder / f"{source}.json", made[key], RECIPE | changes, jobs=1)
        return made[key]

    return convert_once


def bundle_chain(bundle: Path, source: str) -> Any:
    """The bundle's transforms of one image, at the sizes of the recipe."""
    parser = ConfigParser(json.loads((bundle / "configs" / "inference.json").read_text()))
    parser.update({"xray_size": 24, "ct_size": [16, 16, 8], "spacing": [4.0, 4.0, 8.0], "patch_size": [8, 8]})
    return parser.get_parsed_content(f"preprocessing#{source}")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("source", "changes", "step"),
    [("2d", {}, 1 / 255), ("3d", {}, 1 / 1500), ("3d", {"dtype": "uint8"}, 1 / 255)],
)
def test_shards_give_the_bundles_images_within_half_a_step(
    folder: Path,
    pretrain_bundle: Path,
    shards: Callable[..., Path],
    source: str,
    changes: dict[str, Any],
    step: float,
) -> None:
    chain = bundle_chain(pretrain_bundle, source)
    path = shards(source, **changes)
    files = load_datalist(folder / f"{source}.json")
    rows = check_datalist(load_datalist(path), source)
    dataset = SourcesDataset({source: rows}, {source: chain}, cache_dtype="float32")
    assert [row["id"] for row in rows] == [row["id"] for row in files]
    for i, row in enumerate(files):
        expected = torch.as_tensor(chain({"image": row["image"]})["image"])
        found = dataset[i]["image"]
        assert found.shape == expected.shape
        assert found.dtype == torch.float32
        assert float((found - expected).abs().max()) <= step / 2 + 1e-6


def test_batches_are_gathered_and_equal_single_samples(shards: Callable[..., Path], pretrain_bundle: Path) -> None:
    rows = load_datalist(shards("2d"))
    dataset = SourcesDataset({"2d": rows}, {"2d": bundle_chain(pretrain_bundle, "2d")})
    requests = [("2d", 3, 1), ("2d", 16, 2), ("2d", 3, 7)]
    together = dataset.__getitems__(requests)
    for request, sample in zip(requests, together):
        alone = dataset[request]
        assert torch.equal(alone.pop("image"), sample.pop("image"))
        assert alone == sample
    assert [sample["image"].shape for sample in dataset.__getitems__([0, 5])] == [(1, 24, 24)] * 2


def test_rows_keep_what_the_datalist_says(folder: Path, shards: Callable[..., Path]) -> None:
    path = shards("2d")
    assert section_names(path) == ["training", "test"]
    assert label_names(path) == ["sick"]
    row = load_datalist(path, "test", base_dir="/elsewhere")[0]
    assert (row["id"], row["path"], row["patient"], row["label"]) == ("x17.png", "x17.png", "p8", [1])
    assert row["report"] == REPORT.format(17)
    assert row["geometry"] == {"file_shape": [50, 57]}
    assert Path(row["image"]).is_absolute()
    ct = load_datalist(shards("3d"))[2]
    assert ct["geometry"]["file_spacing"] == [2.0, 2.5, 5.0]
    assert np.shape(ct["geometry"]["affine"]) == (4, 4)


def test_lesion_masks_come_along(folder: Path, shards: Callable[..., Path]) -> None:
    rows = load_datalist(shards("2d"))
    assert ["lesion_mask" in row for row in rows] == [True] + [False] * 16
    mask = ShardReader().gather(rows[:1], "lesion_mask")
    assert mask.shape == (1, 24, 24)
    assert set(np.unique(mask)) == {0, 1}


def test_other_geometry_is_refused_and_named(shards: Callable[..., Path], pretrain_bundle: Path) -> None:
    parser = ConfigParser(json.loads((pretrain_bundle / "configs" / "inference.json").read_text()))
    parser.update({"ct_size": [16, 16, 4], "spacing": [4.0, 4.0, 5.0], "patch_size": [8, 8], "xray_size": 32})
    for source, names in (("3d", ["spacing", "ct_size"]), ("2d", ["xray_size"])):
        with pytest.raises(ValueError, match="must be those of the shards") as caught:
            SourcesDataset(
                {source: load_datalist(shards(source))},
                {source: parser.get_parsed_content(f"preprocessing#{source}")},
            )
        assert all(name in str(caught.value) for name in names)


def test_window_outside_the_stored_one_is_refused(shards: Callable[..., Path], pretrain_bundle: Path) -> None:
    rows = load_datalist(shards("3d", dtype="uint8", hu_range=[-200.0, 200.0]))
    with pytest.raises(ValueError, match=r"hu_range .*must lie within"):
        SourcesDataset({"3d": rows}, {"3d": bundle_chain(pretrain_bundle, "3d")})


def test_killed_conversion_ends_with_the_same_bytes(
    folder: Path, shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = convert_rows.write_shard, []

    def killed(*arguments: Any) -> Any:
        calls.append(arguments[1])
        if len(calls) == 2:
            (tmp_path / "out" / ".training-00001.left").mkdir()
            raise KeyboardInterrupt
        return write(*arguments)

    monkeypatch.setattr(convert_rows, "write_shard", killed)
    with pytest.raises(KeyboardInterrupt):
        convert_datalist(folder / "2d.json", tmp_path / "out", RECIPE, jobs=1)
    with pytest.raises(ValueError, match=r"let .* finish first"):
        load_datalist(tmp_path / "out")
    result = convert_datalist(folder / "2d.json", tmp_path / "out", RECIPE, jobs=1)
    assert calls.count("training-00000") == 1
    assert (result["rows"], result["shards"], result["made"]) == (20, 4, 3)
    assert tree(tmp_path / "out") == tree(shards("2d"))


def test_finished_shards_are_left_alone_and_damaged_ones_made_again(folder: Path, tmp_path: Path) -> None:
    def again(**options: bool) -> dict[str, Any]:
        return convert_datalist(folder / "3d.json", tmp_path / "o", RECIPE, jobs=1, **options)

    assert again()["made"] == 1
    before = tree(tmp_path / "o")
    assert again()["made"] == 0
    image = tmp_path / "o" / "training-00000" / "image.npy"
    changed = bytearray(image.read_bytes())
    changed[-1] ^= 1
    image.write_bytes(changed)
    assert check_files(tmp_path / "o", "training-00000") is None
    assert "checksum" in str(check_files(tmp_path / "o", "training-00000", contents=True))
    assert again(verify=True)["made"] == 1
    assert tree(tmp_path / "o") == before
    image.write_bytes(changed[:-5])
    with pytest.raises(ValueError, match=r"must be whole, but training-00000/image.npy must have \d+ bytes"):
        load_datalist(tmp_path / "o")


def test_bad_files_are_listed_and_do_not_stop_the_rest(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = json.loads((folder / "2d.json").read_text())["training"][:4]
    (folder / "cut é.png").write_bytes((folder / "x1.png").read_bytes()[:300])
    Image.new("L", (9, 9), 7).save(folder / "flat.png")
    rows += [{"image": "cut é.png", "report": "secret"}, {"image": "flat.png"}, {"report": "no image"}]
    rows += [{"image": "gone.png"}, {"image": "c0.nii.gz"}, {"image": "x9.png", "id": "same"}]
    rows += [{"image": "x8.png", "id": "same"}]
    (folder / "bad.json").write_text(json.dumps({"training": rows}))
    options = ["--output", str(tmp_path / "out"), "--jobs", "1", "--xray_size", "24"]
    assert main(["convert", str(folder / "bad.json"), *options]) == 1
    printed = capsys.readouterr().out
    assert "2d: 4 of 11 rows" in printed
    assert "7 rows left out" in printed
    for word in ("cut é.png", "constant", "must hold a path", "gone.png", "c0.nii.gz", "occurs again"):
        assert word in printed
    assert "secret" not in printed
    assert str(folder) not in printed
    table = (tmp_path / "out" / "failures.csv").read_text().splitlines()
    assert len(table) == 8
    assert len(load_datalist(tmp_path / "out")) == 4


def test_other_settings_or_a_strange_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    convert_datalist(folder / "3d.json", tmp_path / "o", RECIPE, jobs=1)
    with pytest.raises(ValueError, match=r"differs in spacing \(was .* is \[1.0, 1.0, 1.0\]\)"):
        convert_datalist(folder / "3d.json", tmp_path / "o", RECIPE | {"spacing": [1.0, 1.0, 1.0]}, jobs=1)
    with pytest.raises(ValueError, match="must be a new or empty folder"):
        convert_datalist(folder / "3d.json", folder, RECIPE, jobs=1)
    with pytest.raises(ValueError, match="holds shards already"):
        convert_datalist(tmp_path / "o", tmp_path / "p", RECIPE, jobs=1)
    with pytest.raises(ValueError, match="found none at the paths of its 1 rows"):
        find_source([{"image": "nowhere.png"}])


def test_second_conversion_of_a_folder_is_refused_while_the_first_is_at_work(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "o").mkdir()
    with convert._alone(tmp_path / "o"), pytest.raises(ValueError, match="Another conversion is at work"):
        convert_datalist(folder / "3d.json", tmp_path / "o", RECIPE, jobs=1)


def test_shorter_datalist_leaves_no_shard_of_the_longer(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "2d.json").read_text())
    path = folder / "grown.json"
    for rows in (content["training"], content["training"][:5]):
        path.write_text(json.dumps({"training": rows}))
        convert_datalist(path, tmp_path / "o", RECIPE, jobs=1)
    assert [p.name for p in sorted((tmp_path / "o").glob("training-*"))] == ["training-00000"]
    assert len(load_datalist(tmp_path / "o")) == 5


def test_notice_says_what_the_folder_is(shards: Callable[..., Path]) -> None:
    assert "Patient data" in (shards("2d") / "NOTICE").read_text()
    assert "token ids" in (shards("2d") / "NOTICE").read_text().lower()


def test_dask_cluster_gives_the_same_bytes(folder: Path, shards: Callable[..., Path], tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason='pip install "monai-unimedi[cluster]"')
    with distributed.Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None):
        convert_datalist(folder / "2d.json", tmp_path / "out", RECIPE, jobs=2, backend="dask")
    assert tree(tmp_path / "out") == tree(shards("2d"))


def test_verb_starts_a_cluster_of_this_machine_or_names_what_is_missing(
    folder: Path,
    shards: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    distributed = pytest.importorskip("distributed", reason='pip install "monai-unimedi[cluster]"')
    words = ["convert", str(folder / "2d.json"), "--output", str(tmp_path / "out"), "--xray_size", "24"]
    in_process = functools.partial(distributed.Client, processes=False, dashboard_address=None)
    monkeypatch.setattr(distributed, "Client", in_process)
    assert main([*words, "--backend", "dask", "--jobs", "1"]) == 0
    assert tree(tmp_path / "out") == tree(shards("2d"))
    if importlib.util.find_spec("ray") is None:
        assert main([*words, "--backend", "ray"]) == 2
        assert "pip install ray" in capsys.readouterr().err


def test_unreadable_shard_file_is_a_row_error_of_the_run(shards: Callable[..., Path], pretrain_bundle: Path) -> None:
    rows = [dict(row) for row in load_datalist(shards("2d"))]
    dataset = SourcesDataset({"2d": rows}, {"2d": bundle_chain(pretrain_bundle, "2d")})
    dataset.datasets["2d"].rows[1]["shard_row"] = 10**6
    with pytest.raises(RowError, match=r"'x1.png' could not be read from shards"):
        dataset["2d", 1, 0]


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A datalist of ten X-rays, two shards, in a folder of its own."""
    folder = tmp_path / "few"
    write_xrays(folder, seed=1)
    return folder


def write_xrays(folder: Path, seed: int) -> None:
    folder.mkdir()
    random = np.random.RandomState(seed)
    for i in range(10):
        Image.fromarray(random.randint(0, 255, (40, 50), np.uint8)).save(folder / f"x{i}.png")
    rows = [{"image": f"x{i}.png", "report": REPORT.format(i)} for i in range(10)]
    (folder / "list.json").write_text(json.dumps({"training": rows}))


def images(path: Path) -> np.ndarray:
    """Of all rows, as stored."""
    return np.concatenate([np.load(file) for file in sorted(path.glob("training-*/image.npy"))])


def test_mended_file_is_read_again(few: Path, tmp_path: Path) -> None:
    whole = (few / "x9.png").read_bytes()
    (few / "x9.png").write_bytes(whole[:300])
    assert len(convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)["failures"]) == 1
    result = convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)
    assert (result["made"], result["rows"], len(result["failures"])) == (0, 9, 1)
    (few / "x9.png").write_bytes(whole)
    result = convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)
    assert (result["made"], result["rows"], result["failures"]) == (1, 10, [])


def test_row_that_failed_for_a_cause_outside_its_file_is_read_again(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without_decoder:
        without_decoder.setattr(convert_rows, "quantise", lambda *_: 1 / 0)
        result = convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)
        assert (result["rows"], len(result["failures"])) == (0, 10)
    result = convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)
    assert (result["made"], result["rows"], result["failures"]) == (2, 10, [])


def test_other_pictures_of_the_same_names_make_their_shards_anew(few: Path, tmp_path: Path) -> None:
    write_xrays(tmp_path / "other", seed=2)
    convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)
    convert_datalist(few / "list.json", tmp_path / "expected", RECIPE, tmp_path / "other", jobs=1)
    result = convert_datalist(few / "list.json", tmp_path / "o", RECIPE, tmp_path / "other", jobs=1)
    assert result["made"] == 2
    assert np.array_equal(images(tmp_path / "o"), images(tmp_path / "expected"))
    Image.fromarray(np.eye(40, dtype=np.uint8) * 255).save(tmp_path / "other" / "x3.png")
    result = convert_datalist(few / "list.json", tmp_path / "o", RECIPE, tmp_path / "other", jobs=1)
    assert result["made"] == 1


def test_moved_dataset_stays_done(few: Path, tmp_path: Path) -> None:
    convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)
    few.rename(tmp_path / "moved")
    assert convert_datalist(tmp_path / "moved" / "list.json", tmp_path / "o", RECIPE, jobs=1)["made"] == 0


def test_changed_mask_or_slice_makes_its_shard_anew(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").write_bytes(b"slice")
    (tmp_path / "mask.mhd").write_text("ElementDataFile = mask.raw\n")
    rows = [{"image": str(tmp_path / "series"), "lesion_mask": str(tmp_path / "mask.mhd")}, {}]
    before = source_facts(rows, str(tmp_path))
    assert [entry[0] for entry in before] == ["series", "mask.mhd"]
    (tmp_path / "mask.raw").write_bytes(b"voxels")
    after = source_facts(rows, str(tmp_path))
    assert [one == other for one, other in zip(before, after)] == [True, False]
    (tmp_path / "series" / "1.dcm").write_bytes(b"whole slice")
    assert source_facts(rows, str(tmp_path))[0] != after[0]
    assert source_facts([{"image": "nowhere.png"}], str(tmp_path))[0][1:] == [None, None]


def test_conversions_of_files_of_other_times_differ_in_the_sources_alone(few: Path, tmp_path: Path) -> None:
    convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)
    for path in few.glob("*.png"):
        os.utime(path, (1, 1))
    convert_datalist(few / "list.json", tmp_path / "p", RECIPE, jobs=1)
    one, other = tree(tmp_path / "o"), tree(tmp_path / "p")
    assert one.keys() == other.keys()
    assert {Path(name).name for name in one if one[name] != other[name]} == {SOURCES}


def test_shards_without_sources_are_read_and_made_anew_by_the_next_conversion(
    few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)
    for path in (tmp_path / "o").glob(f"*/{SOURCES}"):
        path.unlink()
    assert len(load_datalist(tmp_path / "o")) == 10
    assert convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)["made"] == 2
    assert "training-00000 does not say which files it was made from" in caplog.text
    assert convert_datalist(few / "list.json", tmp_path / "o", RECIPE, jobs=1)["made"] == 0
