# SPDX-License-Identifier: Apache-2.0
"""Lesions in given thoraces: inside the lungs, on the reported side, as masked, reproducible, patients kept apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from benchmarks.real_anatomy import __main__ as driver
from benchmarks.real_anatomy import datalists, volumes
from benchmarks.real_anatomy.datalists import SPLITS, known_rows, patient_rows, volume_seed, write_folds
from benchmarks.real_anatomy.lungs import find_lungs
from benchmarks.real_anatomy.results import COLUMNS, append, is_done, read
from benchmarks.real_anatomy.runs import Run
from benchmarks.real_anatomy.table import BEGIN, END, put_into, tables
from benchmarks.real_anatomy.thoraces import Scan, Thorax, thorax_of
from benchmarks.real_anatomy.volumes import LEAST_VOXELS, SPACING, deform, make_volume
from monai_unimedi.data.phantom import LABEL_NAMES
from monai_unimedi.data.phantom.anatomy import SIDES
from monai_unimedi.data.phantom.lesions import paint_findings
from monai_unimedi.data.phantom.rendering import Chest
from monai_unimedi.data.phantom.shapes import Grid

STEP = (4.0, 4.0, 5.0)
SHAPE = (84, 72, 60)
COUNTS = {"training": 2, "validation": 1, "test": 1}
MANY = 24


def ellipsoid(middle: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
    """On the scan's grid, mm from its middle."""
    axes = np.ogrid[tuple(slice(n) for n in SHAPE)]
    terms = [((a - (n - 1) / 2) * s - m) / r for a, n, s, m, r in zip(axes, SHAPE, STEP, middle, radii)]
    return np.asarray(sum(term**2 for term in terms) <= 1)


def scan_of(name: str = "anybody", sides: tuple[str, ...] = ("left", "right")) -> Scan:
    """A trunk with lungs and a trachea, without a lung mask."""
    hu = np.full(SHAPE, -1000, np.float32)
    hu[ellipsoid((0, 0, 0), (150, 115, 1e6))] = 40
    for side in sides:
        hu[ellipsoid((SIDES[side] * 70, 0, 0), (56, 85, 115))] = -850
    hu[ellipsoid((0, 0, 130), (9, 9, 80))] = -1000
    return Scan(name, hu, {}, STEP)


@pytest.fixture(scope="module")
def thorax() -> Thorax:
    return thorax_of(scan_of())


@pytest.fixture(scope="module")
def drawn(thorax: Thorax) -> list[dict[str, Any]]:
    return [make_volume(thorax, volume_seed(0, "anybody", "test", index)) for index in range(MANY)]


def each_lesion(drawn: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any], np.ndarray]]:
    return [
        (volume, finding, volume["lesion_mask"] >> LABEL_NAMES.index(finding["finding"]) & 1 > 0)
        for volume in drawn
        for finding in volume["findings"]
    ]


def test_lungs_are_found_on_their_sides(thorax: Thorax) -> None:
    for side, sign in SIDES.items():
        truth = ellipsoid((sign * 70, 0, 0), (56, 85, 115))
        found = thorax.scan.masks[side] > 0.5
        assert 2 * (truth & found).sum() / (truth.sum() + found.sum()) > 0.95
    assert thorax.height == pytest.approx(230, abs=15)
    assert thorax.lung_hu == -850


def test_lesion_lies_in_the_lung_of_the_reported_side(drawn: list[dict[str, Any]]) -> None:
    lesions = each_lesion(drawn)
    assert {finding["finding"] for _, finding, _ in lesions} == set(LABEL_NAMES) - {"cardiomegaly"}
    for volume, finding, mask in lesions:
        assert mask.sum() >= LEAST_VOXELS
        assert (volume["lungs"][finding["side"]][mask] >= 0.5).all()
        x = np.argwhere(mask)[:, 0].mean() - (mask.shape[0] - 1) / 2  # LPS: to the left
        assert np.sign(x) == SIDES[finding["side"]]
        assert finding["side"] in finding["sentence"]
        assert finding["sentence"] in volume["report"]
        low, high = finding["slice_range"]
        assert set(np.flatnonzero(mask.any(axis=(0, 1)))) == set(range(low, high + 1))


def test_label_says_the_findings(drawn: list[dict[str, Any]]) -> None:
    for volume in drawn:
        present = [name for name, value in zip(LABEL_NAMES, volume["label"]) if value]
        assert present == [finding["finding"] for finding in volume["findings"]]
        assert "enlarged" not in volume["report"].lower().replace("not enlarged", "")


def test_mask_is_where_the_volume_changed_most(thorax: Thorax, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same draw without its lesions: nothing differs outside the lungs, and a nodule's mask is where it
    replaced at least half of a voxel."""
    checked = set()
    for index in range(MANY):
        seeds = [volume_seed(0, "anybody", "test", index) for _ in range(2)]  # one that has spawned is another
        with monkeypatch.context() as patch:
            patch.setattr(volumes, "_noise", lambda rng: np.zeros(volumes.SHAPE, np.float32))
            volume = make_volume(thorax, seeds[0])
            patch.setattr(volumes, "paint_findings", paint_a_copy)
            without = make_volume(thorax, seeds[1])
        change = np.abs(volume["image"].astype(float) - without["image"])
        lung = volume["lungs"]["left"] + volume["lungs"]["right"]
        assert (change[lung == 0] == 0).all()
        kinds = [finding["finding"] for finding in volume["findings"]]
        if kinds == ["nodule"]:
            pure = lung > 0.999
            mask = volume["lesion_mask"] > 0
            assert (change[pure & mask] >= change.max() / 2 - 20).all()
            assert (change[pure & ~mask] <= change.max() / 2 + 20).all()
        for kind in kinds:
            mask = volume["lesion_mask"] >> LABEL_NAMES.index(kind) & 1 > 0
            assert (change[mask] > 0).mean() > 0.95
            checked.add(kind)
        if not kinds:
            assert (change == 0).all()
    assert checked == set(LABEL_NAMES) - {"cardiomegaly"}


def paint_a_copy(grid: Grid, chest: Chest, *others: Any, **more: Any) -> list[np.ndarray]:
    return paint_findings(grid, chest._replace(hu=chest.hu.copy()), *others, **more)


def test_deformation_moves_masks_with_the_image(thorax: Thorax) -> None:
    grid = Grid.around((48, 48, 16), SPACING, (0.0, 0.0, 0.0), 1.0)
    results = []
    for seed in (1, 2):
        hu, lungs = deform(thorax.scan, thorax.middle, grid, 1.0, np.random.default_rng(seed))
        both = lungs["left"] + lungs["right"]
        assert hu[both > 0.99].max() < -700
        inside = (both < 0.01) & (np.abs(grid.x) < 100)[:, None, None] & (np.abs(grid.y) < 40)[None, :, None]
        assert hu[inside].mean() > -50
        results.append(both)
    assert np.abs(results[0] - results[1]).max() > 0.5


def test_same_seed_gives_the_same_bytes_for_any_number_of_processes(thorax: Thorax, tmp_path: Path) -> None:
    contents = []
    for name, processes in (("one", 1), ("two", 2)):
        rows = patient_rows(thorax, tmp_path / name, COUNTS, 0, processes)
        assert {split: len(rows[split]) for split in SPLITS} == COUNTS
        files = sorted((tmp_path / name).rglob("*.nii"))
        contents.append({file.relative_to(tmp_path / name): file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    assert len(set(contents[0].values())) == len(contents[0])
    other = make_volume(thorax, volume_seed(1, "anybody", "test", 0))["image"]
    assert (other != make_volume(thorax, volume_seed(0, "anybody", "test", 0))["image"]).any()


def test_a_longer_list_keeps_what_is_there(thorax: Thorax, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert known_rows("anybody", tmp_path, COUNTS, 0) is None
    before = patient_rows(thorax, tmp_path, {**COUNTS, "test": 2}, 0, 1)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii")}
    monkeypatch.setattr(datalists, "make_volume", None)
    assert patient_rows(thorax, tmp_path, COUNTS, 0, 1) == {**before, "test": before["test"][:1]}
    assert known_rows("anybody", tmp_path, COUNTS, 0) == {**before, "test": before["test"][:1]}
    assert known_rows("anybody", tmp_path, COUNTS, 1) is None
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nii")}
    with pytest.raises(TypeError):
        patient_rows(thorax, tmp_path, COUNTS, 1, 1)  # another seed makes others


def test_files_are_lps_with_the_mask_on_the_same_grid(thorax: Thorax, tmp_path: Path) -> None:
    row = patient_rows(thorax, tmp_path, COUNTS, 0, 1)["test"][0]
    image, mask = (nibabel.Nifti1Image.from_filename(tmp_path / row[key]) for key in ("image", "lesion_mask"))
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    assert (image.affine == mask.affine).all()
    assert tuple(float(n) for n in image.header.get_zooms()) == SPACING
    centre = image.affine @ [*((np.array(image.shape) - 1) / 2), 1]
    assert centre[:3] == pytest.approx([0, 0, 0])
    drawn = make_volume(thorax, volume_seed(0, "anybody", "test", 0))
    assert (np.asarray(image.dataobj) == drawn["image"]).all()


def test_test_patients_are_never_trained_on(thorax: Thorax, tmp_path: Path) -> None:
    people = [thorax._replace(scan=thorax.scan._replace(name=name)) for name in ("one", "two", "three")]
    rows = {person.scan.name: patient_rows(person, tmp_path, COUNTS, 0, 1) for person in people}
    lists = write_folds(rows, tmp_path)
    assert set(lists) == {"one", "two", "three"}
    for tested, path in lists.items():
        content = json.loads(path.read_text())
        assert content["label_names"] == list(LABEL_NAMES)
        assert {row["patient"] for row in content["test"]} == {tested}
        for split in ("training", "validation"):
            assert {row["patient"] for row in content[split]} == set(lists) - {tested}
        assert all((tmp_path / row["image"]).is_file() for split in SPLITS for row in content[split])
    with pytest.raises(ValueError, match="must be different patients"):
        write_folds({"one": rows["one"]}, tmp_path)


@pytest.mark.parametrize("sides", [(), ("left",), ("right",)])
def test_thorax_without_both_lungs_is_refused(sides: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"must hold a left and a right lung .* nobody has"):
        thorax_of(scan_of("nobody", sides))


def test_mask_without_a_lung_is_refused() -> None:
    scan = scan_of()
    lungs = find_lungs(scan.hu, scan.spacing)
    masks = {"left": lungs["left"].astype(np.float32), "right": np.zeros(SHAPE, np.float32)}
    with pytest.raises(ValueError, match="must hold both lungs"):
        thorax_of(scan._replace(masks=masks))


def test_lungs_without_room_are_refused(
    thorax: Thorax, drawn: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(volumes, "ATTEMPTS", 2)
    empty = {side: np.zeros(SHAPE, np.float32) for side in SIDES}
    nobody = thorax._replace(scan=thorax.scan._replace(masks=empty))
    index = next(i for i, volume in enumerate(drawn) if volume["findings"])
    with pytest.raises(ValueError, match="must leave room for a lesion"):
        make_volume(nobody, volume_seed(0, "anybody", "test", index))


def test_results_become_tables(tmp_path: Path) -> None:
    run = Run("further", "one", 0, tmp_path, tmp_path, 10, 1)
    path, page = tmp_path / "results.csv", tmp_path / "page.md"
    assert read(path) == []
    figures = [
        *((f"slice_selection.all.attention.hit@{k}", 0.1 * k, 0.05, 0.5, 9) for k in (1, 2, 4)),
        *((f"slice_selection.all.random.hit@{k}", 0.1 * k, 0.05, 0.5, 9) for k in (1, 2, 4)),
        ("tumour.somebody.attention.hit@1", 0.25, None, None, 40),
    ]
    append(path, run, figures, 10, 3.0, "abc")
    lines = read(path)
    assert is_done(lines, run) and not is_done(lines, run._replace(tested="two"))
    assert tuple(lines[0]) == COLUMNS
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    put_into(page, tables(lines))
    text = page.read_text()
    assert "| one | attention, further | 0.10 / 0.20 / 0.40 | 0.10 (0.05 to 0.50) |" in text
    assert "| one | random | 0.10 / 0.20 / 0.40 |  |" in text
    assert "old" not in text and text.startswith("before") and text.endswith("after\n")
    page.write_text("no marks")
    with pytest.raises(ValueError, match="must hold the lines"):
        put_into(page, "")


def test_without_real_files_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert driver.main(["--data", str(tmp_path)]) == 0
    assert "skipped: no real CTs" in capsys.readouterr().out
