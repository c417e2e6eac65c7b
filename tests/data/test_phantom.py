# SPDX-License-Identifier: Apache-2.0
"""The phantom: deterministic, and its truth (labels, masks, slices, sides, words) agrees with its images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from monai_unimedi.data.phantom import (
    LABEL_NAMES,
    PROMPTS,
    VERSION,
    dataset,
    difficulty_card,
    ensure_phantom,
    generate_ct,
    generate_xray,
    seed_sequence,
    write_phantom,
)
from monai_unimedi.data.phantom.generate import DIMENSIONS, SPLITS
from monai_unimedi.data.phantom.reports import SIZE_WORDS, build_prompts
from monai_unimedi.verbs.phantom import main

TINY: dict[str, Any] = {"num_training": 4, "num_validation": 2, "num_test": {"2d": 2, "3d": 1}}
DENSER = ("nodule", "consolidation", "ground_glass", "pleural_effusion")
CT_COUNT, XRAY_COUNT = 60, 40


def seed_of(dimension: str, index: int, split: str = "training", seed: int = 7) -> np.random.SeedSequence:
    return seed_sequence(seed, split, dimension, index)


@pytest.fixture(scope="module")
def cts() -> list[dict[str, Any]]:
    return [generate_ct(seed_of("3d", i)) for i in range(CT_COUNT)]


@pytest.fixture(scope="module")
def xrays() -> list[dict[str, Any]]:
    return [generate_xray(seed_of("2d", i)) for i in range(XRAY_COUNT)]


def mask_of(phantom: dict[str, Any], name: str) -> np.ndarray:
    return (phantom["lesion_mask"] >> LABEL_NAMES.index(name)) & 1 == 1


def contents(root: Path) -> dict[str, bytes]:
    """All files but the manifest, which holds the seconds that it took."""
    files = (p for p in root.rglob("*") if p.suffix in (".png", ".nii", ".json") and p.name != "phantom.json")
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_bytes_do_not_depend_on_number_of_processes(tmp_path: Path) -> None:
    write_phantom(tmp_path / "one", **TINY, num_processes=1)
    write_phantom(tmp_path / "three", **TINY, num_processes=3)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "three")
    assert len(one) == 2 + 15 + 7  # datalists, images, masks


def test_processes_that_are_used_again_write_where_they_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        write_phantom("set", **TINY, num_processes=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


@pytest.mark.parametrize(("num_training", "expected"), [(3, 1), (40, 3), (400, 8)])
def test_a_process_has_full_work(
    num_training: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def parallel(n_jobs: int, **options: Any) -> Callable[[list[Any]], list[Any]]:
        started.append(n_jobs)
        return lambda jobs: [[] for _ in jobs]

    monkeypatch.setattr(dataset, "Parallel", parallel)
    monkeypatch.setattr(dataset, "cpu_count", lambda: 8)
    write_phantom(tmp_path, num_training=num_training, num_validation=0, num_test=0)
    assert started == [expected]


def test_every_split_dimension_and_seed_has_phantoms_of_its_own() -> None:
    keys = {
        tuple(seed_sequence(seed, split, dimension, index).generate_state(4))
        for seed in (0, 1)
        for split in SPLITS
        for dimension in DIMENSIONS
        for index in range(50)
    }
    assert len(keys) == 2 * 3 * 2 * 50


def test_same_seed_gives_same_phantom() -> None:
    for make, dimension in ((generate_ct, "3d"), (generate_xray, "2d")):
        first, second = make(seed_of(dimension, 3)), make(seed_of(dimension, 3))
        assert first["report"] == second["report"]
        np.testing.assert_array_equal(first["image"], second["image"])


def test_files_and_rows_agree_with_arrays(tmp_path: Path) -> None:
    paths = ensure_phantom(tmp_path, seed=7, **TINY, num_processes=1)
    lists = {dimension: json.loads(path.read_text()) for dimension, path in paths.items()}
    assert lists["2d"]["label_names"] == list(LABEL_NAMES)
    assert [len(lists["3d"][split]) for split in SPLITS] == [4, 2, 1]
    for row, phantom in zip(
        lists["3d"]["validation"], (generate_ct(seed_of("3d", i, "validation")) for i in range(2))
    ):
        image: Any = nibabel.load(tmp_path / row["image"])
        assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        assert image.header.get_zooms() == (8.0, 8.0, 20.0)
        np.testing.assert_array_equal(np.asarray(image.dataobj), phantom["image"])
        stored: Any = nibabel.load(tmp_path / row["lesion_mask"])
        mask = np.asarray(stored.dataobj)
        np.testing.assert_array_equal(mask, phantom["lesion_mask"])
        assert (row["report"], row["label"], row["findings"]) == tuple(
            phantom[k] for k in ("report", "label", "findings")
        )
    row, phantom = lists["2d"]["test"][1], generate_xray(seed_of("2d", 1, "test"))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / row["image"])).T, phantom["image"])
    assert all("lesion_mask" not in row for row in lists["2d"]["training"] + lists["3d"]["training"])
    ids = [row["id"] for content in lists.values() for split in SPLITS for row in content[split]]
    assert len(set(ids)) == len(ids)


def test_complete_set_is_left_alone_and_a_different_one_made_again(tmp_path: Path) -> None:
    marked = ensure_phantom(tmp_path, **TINY, num_processes=1)["2d"].parent / "2d" / "training" / "000000.png"
    marked.write_bytes(b"mine")
    ensure_phantom(tmp_path, **TINY, num_processes=1)
    assert marked.read_bytes() == b"mine"
    ensure_phantom(tmp_path, **TINY, seed=1, num_processes=1)
    assert marked.read_bytes() != b"mine"
    manifest = json.loads((tmp_path / "phantom.json").read_text())
    (tmp_path / "phantom.json").write_text(json.dumps({**manifest, "is_complete": False}))
    marked.unlink()
    ensure_phantom(tmp_path, **TINY, seed=1, num_processes=1)
    assert marked.exists()


def test_folder_of_other_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "2d").mkdir()
    with pytest.raises(ValueError, match="output_dir must be empty or hold phantoms"):
        write_phantom(tmp_path, **TINY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must be a whole number"),
        ({"ct_shape": (48, 48)}, "ct_shape must be 3 numbers"),
        ({"num_test": -1}, "counts of test must be 0 or more"),
        ({"num_test": {"4d": 1}}, "counts of test must be 0 or more"),
    ],
)
def test_arguments_out_of_range_are_named(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ensure_phantom(tmp_path, **arguments)


def test_label_mask_and_findings_agree(cts: list[dict[str, Any]], xrays: list[dict[str, Any]]) -> None:
    for phantom in cts + xrays:
        names = [f["finding"] for f in phantom["findings"]]
        assert [LABEL_NAMES[i] for i in np.flatnonzero(phantom["label"])] == names
        for name in LABEL_NAMES:
            assert mask_of(phantom, name).any() == (name in names)


def test_slice_range_is_that_of_the_mask(cts: list[dict[str, Any]], xrays: list[dict[str, Any]]) -> None:
    for phantom in cts:
        for finding in phantom["findings"]:
            slices = np.flatnonzero(mask_of(phantom, finding["finding"]).any(axis=(0, 1)))
            assert finding["slice_range"] == [slices[0], slices[-1]]
    assert all("slice_range" not in finding for phantom in xrays for finding in phantom["findings"])


def test_lesion_lies_on_the_side_that_is_said(cts: list[dict[str, Any]], xrays: list[dict[str, Any]]) -> None:
    for phantom in cts + xrays:
        for finding in phantom["findings"]:
            if finding["side"]:
                x = np.argwhere(mask_of(phantom, finding["finding"]))[:, 0].mean() / phantom["image"].shape[0]
                assert (x > 0.5) == (finding["side"] == "left")


def test_heart_lies_more_to_the_left(cts: list[dict[str, Any]], xrays: list[dict[str, Any]]) -> None:
    for phantom in cts + xrays:
        if phantom["label"][LABEL_NAMES.index("cardiomegaly")]:
            middle = np.argwhere(mask_of(phantom, "cardiomegaly"))[:, 0].mean() / phantom["image"].shape[0]
            assert middle > 0.44


def test_upper_lesions_lie_above_lower_ones_in_one_patient(
    cts: list[dict[str, Any]], xrays: list[dict[str, Any]]
) -> None:
    order = {"lower": 0, "middle": 1, "upper": 2}
    for phantom, sign in [(p, 1) for p in cts] + [(p, -1) for p in xrays]:
        placed = [f for f in phantom["findings"] if f["zone"]]
        if len(placed) == 2 and placed[0]["zone"] != placed[1]["zone"]:
            first, second = (np.argwhere(mask_of(phantom, f["finding"]))[:, -1].mean() for f in placed)
            assert (sign * (first - second) > 0) == (order[placed[0]["zone"]] > order[placed[1]["zone"]])


def test_lesion_is_visible_against_the_lung_of_its_slices(cts: list[dict[str, Any]]) -> None:
    for phantom in cts:
        for finding in phantom["findings"]:
            mask, image = mask_of(phantom, finding["finding"]), phantom["image"]
            slices = image[..., mask.any(axis=(0, 1))]
            lung = np.median(slices[(slices > -950) & (slices < -400)])
            if finding["finding"] == "pneumothorax":
                assert np.quantile(image[mask], 0.25) < lung - 60  # HU
            elif finding["finding"] in DENSER:
                assert np.median(image[mask]) > lung + 120


def test_lesions_are_several_voxels_across(cts: list[dict[str, Any]]) -> None:
    are_thick = []
    for phantom in cts:
        for finding in phantom["findings"]:
            low, high = finding["slice_range"]
            mask = mask_of(phantom, finding["finding"])
            is_cut = low == 0 or high == mask.shape[2] - 1
            assert mask.sum() >= (6 if is_cut else 15)
            assert np.ptp(np.argwhere(mask)[:, :2], axis=0).max() >= 2
            are_thick.append(high > low or is_cut)
    assert np.mean(are_thick) > 0.93


def test_report_states_what_is_there_and_only_that(
    cts: list[dict[str, Any]], xrays: list[dict[str, Any]]
) -> None:
    for phantom in cts + xrays:
        findings, impression = phantom["report"].removeprefix("Findings: ").split(" Impression: ")
        for part in (findings.lower(), impression.lower()):
            for finding in phantom["findings"]:
                for word in (finding["side"], finding["zone"] and finding["zone"][:3]):
                    assert word is None or word in part
                words = SIZE_WORDS.get(finding["size"], ("",))
                assert any(word in part for word in words)
        if not phantom["findings"]:
            assert not any(side in impression for side in ("left", "right"))


def test_wording_is_drawn_apart_from_the_image() -> None:
    reports = {generate_ct(seed_of("3d", i))["report"] for i in range(20)}
    assert len(reports) >= 18


def test_xray_is_bright_where_it_is_dense(xrays: list[dict[str, Any]]) -> None:
    image = np.mean([p["image"] for p in xrays], axis=0)
    X, Y = image.shape
    spine, lung = image[X // 2 - 2 : X // 2 + 2, Y // 2].mean(), image[X // 4 : X // 3, Y // 2].mean()
    assert spine > lung + 40
    assert image[:, -4:].mean() > image[:, :4].mean()  # abdomen below, neck above


def test_prompts_file_is_that_of_the_code() -> None:
    assert build_prompts() == PROMPTS
    assert tuple(PROMPTS) == LABEL_NAMES
    assert all(len(each["positive"]) >= 3 and len(each["negative"]) >= 3 for each in PROMPTS.values())


def test_difficulty_card_is_of_this_version_and_within_its_limits() -> None:
    card = difficulty_card()
    assert card["version"] == VERSION
    for k in (1, 2, 4):
        figures = card["small_lesions"][f"hit@{k}"]
        for guess in ("constant", "entropy"):
            assert abs(figures[guess] - figures["random"]) <= card["limits"]["guess_margin"]
    for dimension in DIMENSIONS:
        assert card["intensity_probe"][dimension] <= card["limits"]["intensity_probe"]
        assert card["supervised_probe"][dimension] >= card["limits"]["supervised_probe"]


def test_verb_writes_a_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = ["--num_2d", "2", "1", "1", "--num_3d", "1", "1", "1"]
    assert main(["--output", str(tmp_path), "--num_processes", "1", *counts]) == 0
    assert "datalist_2d.json" in capsys.readouterr().out
    assert main(["--output", str(tmp_path), "--seed", "-1", *counts]) == 2
