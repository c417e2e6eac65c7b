# SPDX-License-Identifier: Apache-2.0
"""Reading X-ray files, grey values in [0, 1], one square size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from PIL import Image

from monai_unimedi.transforms.load_xray import LoadXray, LoadXrayd
from monai_unimedi.transforms.xray import ScaleXray, ScaleXrayd, XrayToGray, XrayToGrayd

PICTURE = np.random.RandomState(0).randint(0, 256, (20, 30)).astype(np.uint8)  # rows, columns


def saved(image: Image.Image, folder: Path, name: str = "a.png") -> str:
    image.save(folder / name)
    return str(folder / name)


def read(path: str) -> torch.Tensor:
    return torch.as_tensor(XrayToGray()(LoadXray()(path)))


def test_png_is_columns_by_rows_and_divided_by_255(tmp_path: Path) -> None:
    image = read(saved(Image.fromarray(PICTURE), tmp_path))
    assert image.shape == (1, 30, 20)
    assert image.dtype == torch.float32
    assert np.allclose(image[0].numpy(), PICTURE.T / 255, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_channels_and_palettes_become_the_same_grey(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(PICTURE)
    other = image.quantize(256) if mode == "P" else image.convert(mode)
    expected = np.asarray(other.convert("L")).T / 255
    assert np.allclose(read(saved(other, tmp_path))[0].numpy(), expected, atol=2e-3)


def test_16_bit_png_uses_robust_percentiles(tmp_path: Path) -> None:
    wide = (PICTURE.astype(np.int32) * 100 + 3000).astype(np.uint16)
    image = read(saved(Image.fromarray(wide), tmp_path))
    low, high = np.percentile(wide.T, (0.5, 99.5))
    assert np.allclose(image[0].numpy(), np.clip((wide.T - low) / (high - low), 0, 1), atol=1e-5)


def test_levels_fix_the_range() -> None:
    image = torch.tensor([[[0.0, 50, 100, 200]]])
    assert torch.equal(XrayToGray(levels=(0, 100))(image), torch.tensor([[[0.0, 0.5, 1, 1]]]))


def test_monochrome1_is_inverted_and_equals_monochrome2() -> None:
    stored = torch.rand(1, 9, 7) * 4000
    bright = MetaTensor(stored, meta={"photometric": "MONOCHROME2"})
    dark = MetaTensor(4095 - stored, meta={"photometric": "MONOCHROME1"})
    nested = MetaTensor(4095 - stored, meta={"00280004": {"vr": "CS", "Value": ["MONOCHROME1"]}})
    expected = torch.as_tensor(XrayToGray()(bright))
    assert torch.allclose(torch.as_tensor(XrayToGray()(dark)), expected, atol=1e-5)
    assert torch.allclose(torch.as_tensor(XrayToGray()(nested)), expected, atol=1e-5)


def test_constant_image_becomes_zero_and_nan_stays_nan() -> None:
    assert float(torch.as_tensor(XrayToGray()(torch.full((1, 4, 4), 7.0))).abs().max()) == 0
    image = torch.rand(1, 4, 4)
    image[0, 0, 0] = float("nan")
    assert torch.isnan(torch.as_tensor(XrayToGray(levels=(0, 1))(image))).sum() == 1


@pytest.mark.parametrize("shape", [(4, 4), (5, 8, 8), (1, 8, 8, 3)])
def test_wrong_channels_and_dimensions_raise(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 to 4 channels"):
        XrayToGray()(torch.zeros(shape))


def test_bad_options_raise() -> None:
    with pytest.raises(ValueError, match="low < high"):
        XrayToGray(levels=(5, 5))
    with pytest.raises(ValueError, match="percentiles"):
        XrayToGray(percentiles=(50, 40))
    with pytest.raises(ValueError, match="fit must be"):
        ScaleXray(8, fit="stretch")


def test_truncated_file_raises_instead_of_being_half_read(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        path = Path(saved(Image.fromarray(PICTURE), tmp_path, name))
        path.write_bytes(path.read_bytes()[:-120])
        with pytest.raises(OSError, match=r"truncated|broken"):
            LoadXray()(path)


def test_file_of_another_kind_and_missing_file_raise(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no image at all" * 20)
    with pytest.raises(ValueError, match="must be PNG, JPEG, BMP, TIFF or DICOM"):
        LoadXray()(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="found none"):
        LoadXray()(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError, match="must be one file"):
        LoadXray()(tmp_path)


def test_square_of_the_right_size_is_returned_unchanged() -> None:
    image = torch.rand(1, 16, 16)
    assert ScaleXray(16)(image) is image


def test_aspect_is_kept_and_padding_is_zero_on_both_sides() -> None:
    result = ScaleXray(8)(torch.ones(1, 16, 8))
    assert result.shape == (1, 8, 8)
    assert torch.equal(result[0].sum(0), torch.tensor([0.0, 0, 8, 8, 8, 8, 0, 0]))


def test_crop_cuts_the_long_side() -> None:
    image = torch.arange(32.0).reshape(1, 32, 1).expand(1, 32, 16)
    result = ScaleXray(16, fit="crop")(image)
    assert torch.equal(result[0, :, 0], torch.arange(8.0, 24))


def test_downsampling_averages_and_upsampling_interpolates() -> None:
    board = (torch.arange(16)[:, None] + torch.arange(16)) % 2
    assert torch.allclose(torch.as_tensor(ScaleXray(8)(board[None].float())), torch.tensor(0.5))
    ramp = torch.arange(8.0).reshape(1, 8, 1).expand(1, 8, 8)
    assert torch.allclose(torch.as_tensor(ScaleXray(16)(ramp))[0, 2:14, 0].diff(), torch.tensor(0.5))


def test_mask_keeps_its_values_beside_the_image() -> None:
    mask = (torch.rand(1, 30, 20) > 0.5).to(torch.uint8) * 6
    row = {"image": torch.rand(1, 30, 20), "lesion_mask": mask}
    result = ScaleXrayd(["image", "lesion_mask"], 12, mode=["area", "nearest"])(row)
    assert result["lesion_mask"].dtype == torch.uint8
    assert set(np.unique(result["lesion_mask"])) == {0, 6}
    assert result["lesion_mask"].shape == (1, 12, 12)


def test_mask_on_another_grid_raises() -> None:
    with pytest.raises(ValueError, match="must lie on one grid"):
        ScaleXrayd(["image", "lesion_mask"], 8)(
            {"image": torch.rand(1, 9, 9), "lesion_mask": torch.rand(1, 9, 8)}
        )


def test_array_and_dictionary_agree(tmp_path: Path) -> None:
    path = saved(Image.fromarray(PICTURE), tmp_path)
    chain = Compose([LoadXrayd("image"), XrayToGrayd("image"), ScaleXrayd("image", 8)])
    expected = ScaleXray(8)(XrayToGray()(LoadXray()(path)))
    assert torch.equal(torch.as_tensor(chain({"image": path})["image"]), torch.as_tensor(expected))
    array = PICTURE[None].astype(np.float32)
    assert np.array_equal(np.asarray(XrayToGray()(array)), np.asarray(XrayToGray()(torch.tensor(array))))
