# SPDX-License-Identifier: Apache-2.0
"""DICOM grey values as their header means them; large JPEGs at the scale they are needed at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from pydicom.pixels import apply_windowing
from pydicom.uid import DigitalXRayImageStorageForPresentation, JPEGLosslessSV1

from monai_unimedi.transforms import LoadXray, LoadXrayd, ScaleXray, XrayToGray
from tests.data.broken_inputs import dataset, dicom_xray, picture, write


def grey(path: Path, voi: str = "header") -> np.ndarray:
    return XrayToGray()(LoadXray(voi=voi)(path)).numpy()[0]


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_window_equals_pydicoms_and_the_first_one_counts(tmp_path: Path, function: str) -> None:
    dicom_xray(tmp_path, "x", WindowCenter=[1800, 5], WindowWidth=[1500, 9], VOILUTFunction=function)
    header = pydicom.dcmread(tmp_path / "x.dcm")
    expected = apply_windowing(header.pixel_array, header, 0) / 4095
    assert np.allclose(grey(tmp_path / "x.dcm"), expected.T, atol=1e-5)


def test_lut_goes_before_the_window(tmp_path: Path) -> None:
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "US", [4096, 0, 16])
    table.add_new("LUTData", "OW", (np.arange(4096) ** 2 // 4096).astype("<u2").tobytes())
    dicom_xray(tmp_path, "x", WindowCenter=1, WindowWidth=1, VOILUTSequence=pydicom.Sequence([table]))
    stored = picture("x").astype(np.int64) * 16
    expected = (stored**2 // 4096) / (4095**2 // 4096)
    assert np.allclose(grey(tmp_path / "x.dcm"), expected.T, atol=1e-3)


def test_window_can_be_ignored_and_no_window_leaves_percentiles(tmp_path: Path) -> None:
    dicom_xray(tmp_path, "x", WindowCenter=1800, WindowWidth=300)
    dicom_xray(tmp_path, "y")
    assert not np.allclose(grey(tmp_path / "x.dcm"), grey(tmp_path / "x.dcm", "ignore"))
    low, high = np.percentile(picture("y") * 16.0, (0.5, 99.5))
    assert np.allclose(grey(tmp_path / "y.dcm"), np.clip((picture("y").T * 16.0 - low) / (high - low), 0, 1), atol=0.01)


def test_monochrome1_is_inverted_after_the_window(tmp_path: Path) -> None:
    window = {"WindowCenter": 1800, "WindowWidth": 1500}
    dicom_xray(tmp_path, "x", **window)
    bright = grey(tmp_path / "x.dcm")
    header = pydicom.dcmread(tmp_path / "x.dcm")
    header.PhotometricInterpretation = "MONOCHROME1"
    write(header, tmp_path / "dark.dcm")
    assert np.allclose(grey(tmp_path / "dark.dcm"), 1 - bright, atol=1e-6)


def test_window_of_no_width_raises(tmp_path: Path) -> None:
    dicom_xray(tmp_path, "x", WindowCenter=1800, WindowWidth=0)
    with pytest.raises(ValueError, match=r"width of 1 or more.*voi='ignore'"):
        LoadXray()(tmp_path / "x.dcm")


def test_colour_in_luma_and_chroma_becomes_the_luma(tmp_path: Path) -> None:
    luma = picture("x")
    values = np.stack([luma, np.full_like(luma, 90), np.full_like(luma, 150)], -1)
    data = dataset(values, DigitalXRayImageStorageForPresentation, Modality="DX", SamplesPerPixel=3)
    data.PhotometricInterpretation, data.PlanarConfiguration = "YBR_FULL", 0
    write(data, tmp_path / "x.dcm")
    difference = np.abs(grey(tmp_path / "x.dcm") * 255 - luma.T)
    assert np.median(difference) < 1.5


def test_missing_decoder_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dicom_xray(tmp_path, "x")
    header = pydicom.dcmread(tmp_path / "x.dcm")
    header.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    header.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8" + b"\0" * 40])
    header["PixelData"].is_undefined_length = True
    write(header, tmp_path / "x.dcm")
    decoder = pydicom.pixels.get_decoder(JPEGLosslessSV1)
    monkeypatch.setattr(decoder, "_available", {})
    with pytest.raises(ValueError, match=r"JPEG Lossless.*pip install 'monai-unimedi\[dicom\]'"):
        LoadXray()(tmp_path / "x.dcm")


def large_jpeg(path: Path, quality: int = 90) -> Path:
    coarse = np.random.RandomState(3).randint(20, 235, (20, 17)).astype(np.uint8)
    Image.fromarray(coarse).resize((850, 1000), Image.Resampling.BICUBIC).save(path, quality=quality)
    return path


def test_scaled_decode_leaves_twice_the_target_and_the_same_picture(tmp_path: Path) -> None:
    path = large_jpeg(tmp_path / "a.jpg")
    small = LoadXray(target_size=96)(path)
    assert small.shape == (1, 213, 250)
    first, second = (
        torch.as_tensor(ScaleXray(96)(XrayToGray()(load(path)))) for load in (LoadXray(target_size=96), LoadXray())
    )
    assert 255 * float((first - second).abs().mean()) < 0.5


def test_stripes_above_the_target_do_not_alias(tmp_path: Path) -> None:
    stripes = np.zeros((1024, 1024), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "a.jpg", quality=95)
    image = torch.as_tensor(ScaleXray(128)(XrayToGray()(LoadXray(target_size=128)(tmp_path / "a.jpg"))))
    assert float(image.std()) < 0.01


def test_small_pictures_and_other_formats_are_decoded_whole(tmp_path: Path) -> None:
    Image.fromarray(picture("x")).save(tmp_path / "a.jpg")
    Image.fromarray(picture("x")).resize((900, 800)).save(tmp_path / "a.png")
    assert LoadXray(target_size=96)(tmp_path / "a.jpg").shape == (1, 200, 160)
    assert LoadXray(target_size=96)(tmp_path / "a.png").shape == (1, 900, 800)


def test_truncated_jpeg_raises_at_every_scale(tmp_path: Path) -> None:
    path = large_jpeg(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(OSError, match="truncated"):
        LoadXray(target_size=96)(path)


def test_image_beside_a_mask_is_decoded_whole(tmp_path: Path) -> None:
    path = str(large_jpeg(tmp_path / "a.jpg"))
    load = LoadXrayd(["image", "lesion_mask"], target_size=96, allow_missing_keys=True)
    assert load({"image": path})["image"].shape == (1, 213, 250)
    assert load({"image": path, "lesion_mask": path})["image"].shape == (1, 850, 1000)


def test_bad_options_raise() -> None:
    with pytest.raises(ValueError, match="voi must be"):
        LoadXray(voi="both")
    with pytest.raises(ValueError, match="positive number"):
        LoadXray(target_size=0)
    with pytest.raises(ValueError, match="fit must be"):
        LoadXray(fit="stretch")


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_tiff_whose_white_is_zero_is_the_same_grey_at_every_depth(tmp_path: Path, dtype: str) -> None:
    levels = np.add.outer(np.arange(20), np.arange(30)).astype(np.float64)
    levels *= 255 / levels.max() * (1 if dtype == "uint8" else 100)
    top = levels.max()
    plain = Image.fromarray(levels.round().astype(dtype))
    plain.save(tmp_path / "black.tif")
    # PIL itself turns 8 bits on writing and reading, deeper ones on neither
    stored = plain if dtype == "uint8" else Image.fromarray((top - levels).round().astype(dtype))
    stored.save(tmp_path / "white.tif", tiffinfo={262: 0})
    with Image.open(tmp_path / "white.tif") as opened:
        assert isinstance(opened, TiffImageFile) and opened.tag_v2[262] == 0
    black, white = grey(tmp_path / "black.tif"), grey(tmp_path / "white.tif")
    assert black[0, 0] == 0 and black[-1, -1] == 1
    assert np.allclose(white, black, atol=0.01)


def test_numbers_of_a_mask_in_a_tiff_whose_white_is_zero_stay(tmp_path: Path) -> None:
    mask = np.eye(20, dtype=np.uint16) * 300
    Image.fromarray(mask).save(tmp_path / "mask.tif", tiffinfo={262: 0})
    assert np.array_equal(LoadXray()(tmp_path / "mask.tif").numpy()[0], mask.T)
