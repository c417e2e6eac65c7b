# SPDX-License-Identifier: Apache-2.0
"""Forty inputs that are broken as hospitals' files are broken, each with the reason that must be given.

    from tests.data.broken_inputs import BROKEN, LISTS, write_broken, unprivileged
    rows = write_broken(folder)      # rows of a datalist: id = name of the input; paths within the folder
    LISTS["name"](folder)            # a broken datalist file

``BROKEN[name]`` is ``Broken(make, severity, check, reason)``: ``make(folder, name)`` writes the files and
returns the row; ``reason`` is a regular expression that the one finding's message must match. ``SOUND`` holds
inputs that look odd and must be read without a word.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import (
    JPEG2000,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    generate_uid,
)

__all__ = ["BROKEN", "LISTS", "SOUND", "Broken", "accession", "unprivileged", "write_broken"]

Row = dict[str, Any]
SPACING = (2.0, 2.0, 5.0)  # mm
NOBODY = 65534


class Broken(NamedTuple):
    """How an input is made and what must be said about it."""

    make: Callable[[Path, str], Row]
    severity: str
    check: str
    reason: str


def seed_of(name: str) -> int:
    return zlib.crc32(name.encode())


def picture(name: str, size: tuple[int, int] = (200, 160), cells: int = 6) -> np.ndarray:
    """A smooth random picture (rows, columns) uint8 of `cells` by `cells` hills; each name has its own."""
    coarse = np.random.RandomState(seed_of(name)).randint(20, 235, (cells, cells)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))


def body(name: str, slices: int = 12) -> np.ndarray:
    """A chest of HU (X, Y, Z) int16, lungs of the name's own shape."""
    random = np.random.RandomState(seed_of(name))
    volume = np.full((40, 36, slices), -1000, np.int16)
    volume[4:36, 4:32] = 40
    for _ in range(5):
        x, y, z = random.randint(6, 22), random.randint(6, 18), random.randint(0, max(1, slices - 5))
        volume[x : x + 10, y : y + 10, z : z + 5] = random.randint(-880, -700)
    return volume


def report(name: str) -> str:
    """A report that no other row has."""
    return f"The heart is of normal size. Finding {seed_of(name) % 997} in zone {seed_of(name) % 89}."


def row(name: str, image: str, **keys: Any) -> Row:
    return {"id": name, "patient": name, "image": image, "report": report(name), **keys}


# X-rays


def save(folder: Path, name: str, image: Image.Image, ending: str = "png", **options: Any) -> Row:
    image.save(folder / f"{name}.{ending}", **options)
    return row(name, f"{name}.{ending}")


def cut(path: Path, keep: float) -> None:
    """Leaves the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])


def truncated(ending: str) -> Callable[[Path, str], Row]:
    def make(folder: Path, name: str) -> Row:
        made = save(folder, name, Image.fromarray(picture(name)), ending)
        cut(folder / made["image"], 0.6)
        return made

    return make


def constant_png(folder: Path, name: str) -> Row:
    return save(folder, name, Image.fromarray(np.full((160, 200), 77, np.uint8)))


def colour_jpeg(folder: Path, name: str) -> Row:
    layers = [picture(f"{name}{i}") for i in range(3)]
    return save(folder, name, Image.fromarray(np.stack(layers, -1)), "jpg")


def two_frames_tiff(folder: Path, name: str) -> Row:
    first, second = (Image.fromarray(picture(f"{name}{i}")) for i in range(2))
    return save(folder, name, first, "tif", save_all=True, append_images=[second])


def not_a_picture(folder: Path, name: str) -> Row:
    (folder / f"{name}.png").write_text("<html>404 Not Found</html>" * 20)
    return row(name, f"{name}.png")


def empty_file(folder: Path, name: str) -> Row:
    (folder / f"{name}.png").touch()
    return row(name, f"{name}.png")


def nan_tiff(folder: Path, name: str) -> Row:
    values = picture(name).astype(np.float32)
    values[3, 5] = np.nan
    return save(folder, name, Image.fromarray(values), "tif")


def turned_jpeg(folder: Path, name: str) -> Row:
    exif = Image.Exif()
    exif[0x0112] = 6
    return save(folder, name, Image.fromarray(picture(name)), "jpg", exif=exif)


def dataset(array: np.ndarray, sop_class: str, **tags: Any) -> pydicom.Dataset:
    """A DICOM object of one uint8, int16 or uint16 frame, rows by columns."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(sop_class), generate_uid()
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    data.Rows, data.Columns = array.shape[:2]
    bits = 8 * array.dtype.itemsize
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = bits, bits, bits - 1
    data.PixelRepresentation = int(array.dtype.kind == "i")
    data.PixelData = array.tobytes()
    for tag, value in tags.items():
        setattr(data, tag, value)
    return data


def accession(name: str) -> str:
    """Number under which a DICOM input's report is found."""
    return f"A{seed_of(name)}"


def write(data: pydicom.Dataset, path: Path) -> Path:
    name = path.parent.name if path.stem.isdigit() else path.stem
    data.AccessionNumber, data.PatientID = accession(name), name
    if "StudyInstanceUID" not in data:
        data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.save_as(path, enforce_file_format=True)
    return path


def dicom_xray(folder: Path, name: str, **tags: Any) -> Row:
    values = picture(name).astype(np.uint16) * 16
    data = dataset(values, DigitalXRayImageStorageForPresentation, Modality="DX", BitsStored=12, HighBit=11)
    for tag, value in tags.items():
        setattr(data, tag, value)
    write(data, folder / f"{name}.dcm")
    return row(name, f"{name}.dcm")


def truncated_dicom(folder: Path, name: str) -> Row:
    made = dicom_xray(folder, name)
    cut(folder / made["image"], 0.5)
    return made


def wrong_syntax(folder: Path, name: str) -> Row:
    """Raw pixels in a file that says JPEG 2000."""
    values = picture(name)
    data = dataset(values, DigitalXRayImageStorageForPresentation, Modality="DX")
    data.PixelData = pydicom.encaps.encapsulate([values.tobytes()])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = JPEG2000
    write(data, folder / f"{name}.dcm")
    return row(name, f"{name}.dcm")


def half_a_jpeg(folder: Path, name: str) -> Row:
    """A JPEG baseline frame that stops in the middle of its header."""
    data = dataset(picture(name), DigitalXRayImageStorageForPresentation, Modality="DX")
    data.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"\x00" * 30])
    data["PixelData"].is_undefined_length = True
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    write(data, folder / f"{name}.dcm")
    return row(name, f"{name}.dcm")


def no_pixels(folder: Path, name: str) -> Row:
    made = dicom_xray(folder, name)
    data = pydicom.dcmread(folder / made["image"])
    del data.PixelData
    write(data, folder / made["image"])
    return made


def one_ct_slice(folder: Path, name: str) -> Row:
    plane = np.ascontiguousarray(body(name)[:, :, 3].T)
    write(dataset(plane, CTImageStorage, Modality="CT"), folder / f"{name}.dcm")
    return row(name, f"{name}.dcm")


def empty_window(folder: Path, name: str) -> Row:
    return dicom_xray(folder, name, WindowCenter=60000, WindowWidth=100)


# DICOM series


def series(folder: Path, name: str, change: Callable[[list[pydicom.Dataset]], Any] | None = None) -> Row:
    """A folder of slices; `change` gets them in order and may return another list."""
    (folder / name).mkdir()
    volume, uid = body(name), generate_uid()
    slices = []
    for z in range(volume.shape[2]):
        data = dataset(
            np.ascontiguousarray(volume[:, :, z].T), CTImageStorage, Modality="CT", SeriesInstanceUID=uid,
            StudyInstanceUID=uid, InstanceNumber=z + 1, ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[-40.0, -36.0, 10.0 + SPACING[2] * z], PixelSpacing=list(SPACING[:2]),
            RescaleSlope=1, RescaleIntercept=0, ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
        )  # fmt: skip
        slices.append(data)
    changed = change(slices) if change is not None else None
    for number, data in enumerate(changed if changed is not None else slices):
        write(data, folder / name / f"{number:03d}.dcm")
    return row(name, name)


def a_series(change: Callable[[list[pydicom.Dataset]], Any]) -> Callable[[Path, str], Row]:
    return lambda folder, name: series(folder, name, change)


def missing_slices(slices: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
    return slices[:5] + slices[8:]


def two_series(slices: list[pydicom.Dataset]) -> None:
    uid = generate_uid()
    for data in slices[7:]:
        data.SeriesInstanceUID = uid


def tilted(slices: list[pydicom.Dataset]) -> None:
    for number, data in enumerate(slices):
        data.ImagePositionPatient = [-40.0, -36.0 + 1.5 * number, 10.0 + SPACING[2] * number]


def shifted(slices: list[pydicom.Dataset]) -> None:
    for number, data in enumerate(slices):
        data.ImagePositionPatient = [-40.0, -36.0 + 4.0 * (5 <= number < 8), 10.0 + SPACING[2] * number]


def uneven(slices: list[pydicom.Dataset]) -> None:
    for number, data in enumerate(slices):
        data.ImagePositionPatient = [-40.0, -36.0, 10.0 + SPACING[2] * number + 1.2 * (number % 2)]


def mixed_sizes(slices: list[pydicom.Dataset]) -> None:
    smaller = slices[4].pixel_array[:-4, :-4]
    slices[4].Rows, slices[4].Columns = smaller.shape
    slices[4].PixelData = smaller.tobytes()


def a_slice_twice(slices: list[pydicom.Dataset]) -> list[pydicom.Dataset]:
    """The same object under two file names: its UID occurs twice."""
    return [*slices, slices[3]]


def with_localizer(slices: list[pydicom.Dataset]) -> None:
    slices[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def no_positions(slices: list[pydicom.Dataset]) -> None:
    for data in slices:
        del data.ImagePositionPatient


def truncated_slice(folder: Path, name: str) -> Row:
    made = series(folder, name)
    cut(folder / name / "006.dcm", 0.5)
    return made


def folder_without_dicom(folder: Path, name: str) -> Row:
    (folder / name).mkdir()
    (folder / name / "readme.txt").write_text("no slices here")
    return row(name, name)


def linked_slice(folder: Path, name: str) -> Row:
    made = series(folder, name)
    (folder / name / "006.dcm").unlink()
    (folder / name / "006.dcm").symlink_to("nowhere.dcm")
    return made


# NIfTI, NRRD, MHA


def nifti(folder: Path, name: str, volume: np.ndarray | None = None, affine: np.ndarray | None = None) -> Row:
    lps = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    image = nibabel.Nifti1Image(body(name) if volume is None else volume, lps if affine is None else affine)
    nibabel.save(image, folder / f"{name}.nii.gz")
    return row(name, f"{name}.nii.gz")


def edited_header(folder: Path, name: str, offset: int, values: list[float]) -> Row:
    """A NIfTI file whose header's floats from `offset` on are replaced, as no library would write them."""
    made = nifti(folder, name)
    path = folder / made["image"]
    raw = bytearray(gzip.decompress(path.read_bytes()))
    new = np.asarray(values, "<f4").tobytes()
    raw[offset : offset + len(new)] = new
    path.write_bytes(gzip.compress(bytes(raw)))
    return made


def nan_affine(folder: Path, name: str) -> Row:
    return edited_header(folder, name, 280, [float("nan")])  # srow_x[0]


def zero_spacing(folder: Path, name: str) -> Row:
    made = edited_header(folder, name, 80, [2.0, 2.0, 0.0])  # pixdim[1:4]
    path = folder / made["image"]
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[254:256] = b"\0\0"  # sform_code: the spacing is all there is
    raw[252:254] = b"\0\0"  # qform_code
    path.write_bytes(gzip.compress(bytes(raw)))
    return made


def singular_affine(folder: Path, name: str) -> Row:
    return edited_header(folder, name, 280, [-2.0, 0, 0, 0, 0, -2.0, 0, 0, 0, -2.0, 0, 0])


def four_axes(folder: Path, name: str) -> Row:
    return nifti(folder, name, np.stack([body(name), body(f"{name} later")], -1))


def nan_voxel(folder: Path, name: str) -> Row:
    volume = body(name).astype(np.float32)
    volume[7, 7, 7] = np.nan
    return nifti(folder, name, volume)


def rescaled_twice(folder: Path, name: str) -> Row:
    return nifti(folder, name, (body(name) - 1024).astype(np.int16))


def windowed(folder: Path, name: str) -> Row:
    return nifti(folder, name, np.clip((body(name) + 1000) / 1400, 0, 1).astype(np.float32))


def eight_bits(folder: Path, name: str) -> Row:
    return nifti(folder, name, (np.clip((body(name) + 1000) / 1400, 0, 1) * 255).astype(np.uint8))


def damaged_gzip(folder: Path, name: str) -> Row:
    """One byte changed in the middle: it inflates, to other voxels."""
    made = nifti(folder, name)
    path = folder / made["image"]
    raw = gzip.decompress(path.read_bytes())
    stored = gzip.compress(raw, compresslevel=0)
    path.write_bytes(stored[: len(stored) // 2] + b"\x7f" + stored[len(stored) // 2 + 1 :])
    return made


def truncated_gzip(folder: Path, name: str) -> Row:
    made = nifti(folder, name)
    cut(folder / made["image"], 0.7)
    return made


def truncated_mha(folder: Path, name: str) -> Row:
    header = {
        "ObjectType": "Image", "NDims": 3, "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "ElementSpacing": "2 2 5", "DimSize": "40 36 12", "ElementType": "MET_SHORT",
        "ElementDataFile": "LOCAL",
    }  # fmt: skip
    text = "".join(f"{key} = {value}\n" for key, value in header.items())
    values = body(name).T.tobytes()
    (folder / f"{name}.mha").write_bytes(text.encode() + values[: len(values) // 2])
    return row(name, f"{name}.mha")


def nrrd_without_data(folder: Path, name: str) -> Row:
    lines = ["NRRD0004", "type: short", "dimension: 3", "sizes: 40 36 12", "endian: little", "encoding: raw"]
    lines += ["space: left-posterior-superior", "space directions: (2,0,0) (0,2,0) (0,0,5)"]
    (folder / f"{name}.nhdr").write_text("\n".join([*lines, "data file: lost.raw", "", ""]))
    return row(name, f"{name}.nhdr")


# Rows and the file system


def good_png(folder: Path, name: str, **keys: Any) -> Row:
    return save(folder, name, Image.fromarray(picture(name))) | keys


def with_report(text: Any) -> Callable[[Path, str], Row]:
    return lambda folder, name: good_png(folder, name, report=text)


def other_patient(folder: Path, name: str) -> Row:
    return good_png(folder, name, report="Patient PAT-20417, upright. No pleural effusion.")


def named_patient(folder: Path, name: str) -> Row:
    return good_png(folder, name, patient="PAT-20417")


def missing_file(folder: Path, name: str) -> Row:
    return row(name, f"{name}.png")


def link_loop(folder: Path, name: str) -> Row:
    (folder / f"{name}.png").symlink_to(f"{name} too.png")
    (folder / f"{name} too.png").symlink_to(f"{name}.png")
    return row(name, f"{name}.png")


def unreadable(folder: Path, name: str) -> Row:
    made = good_png(folder, name)
    (folder / made["image"]).chmod(0)
    return made


def other_spelling(folder: Path, name: str) -> Row:
    """The accent in one sign in the row, in two on the disk, as a copy from another system leaves it."""
    made = save(folder, normalize("NFD", name), Image.fromarray(picture(name)))
    return row(name, normalize("NFC", made["image"]))


def spaces_and_accents(folder: Path, name: str) -> Row:
    (folder / "Radiología tórax (2)").mkdir(exist_ok=True)
    made = save(folder / "Radiología tórax (2)", name, Image.fromarray(picture(name)))
    return made | {"image": f"Radiología tórax (2)/{made['image']}"}


BROKEN: dict[str, Broken] = {
    "truncated png": Broken(truncated("png"), "error", "opens", "truncated|broken"),
    "truncated jpeg": Broken(truncated("jpg"), "error", "opens", "truncated"),
    "constant png": Broken(constant_png, "error", "opens", "must not be constant"),
    "colour x-ray": Broken(colour_jpeg, "warning", "colour", "must be grey"),
    "two frames": Broken(two_frames_tiff, "error", "opens", "one picture, got 2 frames"),
    "html for a picture": Broken(not_a_picture, "error", "opens", "must hold a picture"),
    "empty file": Broken(empty_file, "error", "opens", "it is empty"),
    "nan pixel": Broken(nan_tiff, "error", "opens", "finite values"),
    "turned by exif": Broken(turned_jpeg, "warning", "orientation", "EXIF orientation is 6"),
    "truncated dicom": Broken(truncated_dicom, "error", "opens", "cut off"),
    "wrong transfer syntax": Broken(wrong_syntax, "error", "opens", "transfer syntax is wrong"),
    "half a jpeg in dicom": Broken(half_a_jpeg, "error", "opens", "could not be decoded"),
    "dicom without pixels": Broken(no_pixels, "error", "opens", "must hold pixel data"),
    "one ct slice": Broken(one_ct_slice, "error", "CT slice", "one CT slice"),
    "window beside the values": Broken(empty_window, "error", "opens", "one grey level"),
    "missing slices": Broken(a_series(missing_slices), "error", "opens", "about 3 are missing in 1 gaps"),
    "two series": Broken(a_series(two_series), "error", "opens", "one series, it holds 2 of 7 and 5 files"),
    "shifted slices": Broken(a_series(shifted), "error", "opens", "3 of 12 lie up to 4.0 mm beside the line"),
    "tilted gantry": Broken(a_series(tilted), "error", "opens", "tilted by 16.7 degrees"),
    "uneven spacing": Broken(a_series(uneven), "error", "opens", "evenly spaced"),
    "mixed sizes": Broken(a_series(mixed_sizes), "error", "opens", "must have one size"),
    "duplicated uid": Broken(a_series(a_slice_twice), "error", "opens", "1 of 13 lie on another"),
    "localizer": Broken(a_series(with_localizer), "error", "opens", "1 of 12 files are localizers"),
    "no positions": Broken(a_series(no_positions), "error", "opens", "must give its ImagePositionPatient"),
    "truncated slice": Broken(truncated_slice, "error", "opens", "006.dcm.*cut off"),
    "slice behind a dead link": Broken(linked_slice, "error", "opens", "leads nowhere"),
    "folder without dicom": Broken(folder_without_dicom, "error", "opens", "holds none"),
    "nan affine": Broken(nan_affine, "error", "opens", "affine .* must be finite"),
    "zero spacing": Broken(zero_spacing, "error", "opens", r"must be invertible, its spacing is .* 0\.0"),
    "singular affine": Broken(singular_affine, "error", "opens", "axes are parallel|must be invertible"),
    "four axes": Broken(four_axes, "error", "opens", "three axes"),
    "nan voxel": Broken(nan_voxel, "error", "opens", "finite values"),
    "rescaled twice": Broken(rescaled_twice, "error", "HU", "rescaled twice"),
    "windowed to 0..1": Broken(windowed, "error", "HU", "within 0 and 1"),
    "eight bits": Broken(eight_bits, "error", "HU", "within 0 and 255"),
    "damaged gzip": Broken(damaged_gzip, "error", "opens", "broken or cut off"),
    "truncated gzip": Broken(truncated_gzip, "error", "opens", "broken or cut off"),
    "truncated mha": Broken(truncated_mha, "error", "opens", "broken or cut off"),
    "nrrd without its data": Broken(nrrd_without_data, "error", "opens", "broken"),
    "empty report": Broken(with_report("  ___ \n "), "error", "empty report", "3 words at least"),
    "report that is a number": Broken(with_report(4.5), "error", "keys", "must be a string, got float"),
    "report in another character set": Broken(
        with_report("Neumon\u00c3\u00ada basal derecha sin derrame."),
        "warning",
        "damaged text",
        "character set",
    ),
    "control characters": Broken(
        with_report("No pleural\x00 effusion is seen."), "warning", "damaged text", "control characters"
    ),
    "report of another patient": Broken(other_patient, "error", "other patient", "another patient"),
    "missing file": Broken(missing_file, "error", "opens", "found none; is --dataset_dir right"),
    "symbolic link loop": Broken(link_loop, "error", "opens", "nowhere or to itself"),
    "unreadable permission": Broken(unreadable, "error", "opens", "change its permissions"),
    "otro té": Broken(other_spelling, "error", "opens", "other Unicode signs"),
}

SOUND: dict[str, Callable[[Path, str], Row]] = {
    "path with spaces and accents é": spaces_and_accents,
    "the named patient": named_patient,
    "monochrome1": lambda folder, name: dicom_xray(folder, name, PhotometricInterpretation="MONOCHROME1"),
    "upside down series": a_series(lambda slices: slices[::-1]),
    "undershoot": lambda folder, name: nifti(folder, name, np.where(body(name) > -1000, body(name), -3024)),
}


def write_broken(folder: Path, names: list[str] | None = None) -> list[Row]:
    """Writes the named inputs, or all broken and all sound ones; returns their rows."""
    makers = {name: entry.make for name, entry in BROKEN.items()} | SOUND
    return [makers[name](folder, name) for name in names or makers]


def _list(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / f"{name}.json").write_bytes(content)
        return folder / f"{name}.json"

    return make


LISTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "not utf-8": (
        _list("latin", '{"training": [{"report": "Neumonía"}]}'.encode("latin-1")),
        "JSON in UTF-8",
    ),
    "half a list": (_list("half", b'{"training": [{"image": "a.png"'), "must be JSON"),
    "a bare list": (_list("bare", b'["a.png"]'), "one JSON object"),
    "no rows": (_list("none", b'{"training": []}'), "must have rows"),
    "a row that is a number": (_list("number", json.dumps({"training": [7]}).encode()), "must be an object"),
}
"""Datalist files that are broken as a whole: their maker and the reason expected."""


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Runs as a user whom permissions hold back, where the tests run as root."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
