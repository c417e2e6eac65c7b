# SPDX-License-Identifier: Apache-2.0
"""inference.json, the verb embed and the three lines of Python give the same embeddings of the same files."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from monai_unimedi.__main__ import main
from monai_unimedi.data.discover import discover, source_of
from monai_unimedi.encoder import encoder_card, load_encoder
from tests.bundles.conftest import CONFIGS, SIZES, Bundle

SENTENCE = "Large nodule in the right upper zone."


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory, trained: Bundle) -> Path:
    """Two X-rays (PNG, DICOM), two CTs (NIfTI, DICOM folder) and a text file."""
    folder = tmp_path_factory.mktemp("images")
    phantom = Path(trained.places["phantom_dir"])
    shutil.copy(phantom / "2d" / "test" / "000000.png", folder / "a.png")
    (folder / "deeper").mkdir()
    shutil.copy(phantom / "3d" / "test" / "000000.nii", folder / "deeper" / "b.nii")
    (folder / "readme.txt").write_text("no image")
    pixels = np.asarray(Image.open(folder / "a.png"))
    _write_dicom(folder / "c.dcm", pixels.astype(np.uint16) * 16, "DX")
    (folder / "series").mkdir()
    for z in range(16):
        slices = np.full((48, 48), 1000 + 40 * z, np.uint16)
        slices[10:30, 12:34] = 200
        _write_dicom(folder / "series" / f"{z:02d}", slices, "CT", z)
    return folder


def _write_dicom(path: Path, pixels: np.ndarray, modality: str, z: int = 0) -> None:
    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    kind = (
        pydicom.uid.CTImageStorage if modality == "CT" else pydicom.uid.DigitalXRayImageStorageForPresentation
    )
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = kind
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(f"1.2.3.{z + 1}")
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = "1.2.4", "1.2.5", modality
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    if modality == "CT":
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 20.0 * z], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness, data.InstanceNumber = [8.0, 8.0], 20.0, z + 1
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = pixels.tobytes()
    data.save_as(path, enforce_file_format=True)


def test_files_are_found_by_kind(images: Path) -> None:
    rows = discover(images)
    found = {source: [row["id"] for row in rows[source]] for source in rows}
    assert found == {"2d": ["a.png", "c.dcm"], "3d": ["deeper/b.nii", "series"]}
    assert [row["id"] for row in discover(images=[str(images / "*.png")])["2d"]] == [str(images / "a.png")]
    assert source_of(images / "series") == "3d"
    with pytest.raises(ValueError, match=r"got .*readme\.txt"):
        source_of(images / "readme.txt")
    with pytest.raises(ValueError, match="found none"):
        discover(images=["nowhere.png"])


def test_all_properties_are_there(trained: Bundle, images: Path) -> None:
    workflow = trained.workflow("inference", kind="infer", dataset_dir=str(images), **SIZES)
    assert workflow.check_properties() == []


def test_inference_and_three_lines_of_python_agree(trained: Bundle, images: Path) -> None:
    folder = trained.infer(dataset_dir=str(images))
    table = np.load(folder / "embeddings.npz")
    assert table["ids"].tolist() == ["a.png", "c.dcm", "deeper/b.nii", "series"]
    assert table["sources"].tolist() == ["2d", "2d", "3d", "3d"]
    assert table["embeddings"].shape == (4, 16)
    encoder = load_encoder(trained.output_dir / "models")
    for name, embedding in zip(table["ids"], table["embeddings"]):
        alone = encoder.image(images / str(name))
        torch.testing.assert_close(torch.from_numpy(embedding), alone, atol=1e-5, rtol=0)
    scores = json.loads((folder / "slice_scores.json").read_text())
    assert set(scores) == {"deeper/b.nii", "series"}
    expected = encoder.slices(images / "deeper" / "b.nii")
    torch.testing.assert_close(torch.tensor(scores["deeper/b.nii"]["scores"]), expected, atol=1e-6, rtol=1e-4)
    best = sorted(expected.topk(4).indices.tolist())
    assert scores["deeper/b.nii"]["selected"] == best
    assert json.loads((folder / "skipped.json").read_text()) == []


def test_cts_of_several_depths_in_one_batch_are_embedded_as_alone(trained: Bundle) -> None:
    torch.manual_seed(0)
    encoder = load_encoder(trained.output_dir / "models")
    images = [torch.rand(1, 48, 48, depth) for depth in (16, 8, 16, 8)]
    embeddings, scores = encoder.embed(images)
    assert isinstance(scores, list)
    for number, image in enumerate(images):
        alone, own_scores = encoder.embed([image])
        assert own_scores is not None
        torch.testing.assert_close(embeddings[number], alone[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(scores[number], own_scores[0], atol=1e-6, rtol=1e-4)


def test_similarity_of_image_and_sentence_is_a_cosine(trained: Bundle, images: Path) -> None:
    encoder = load_encoder(trained.output_dir / "models")
    image, text = encoder.image(images / "a.png"), encoder.text(SENTENCE)
    assert image.shape == text.shape == (16,)
    assert abs(float(image.norm()) - 1) < 1e-5
    assert abs(float(text.norm()) - 1) < 1e-5
    with pytest.raises(ValueError, match="is an X-ray"):
        encoder.slices(images / "a.png")
    with pytest.raises(ValueError, match=r"nowhere\.png"):
        encoder.image("nowhere.png")


def test_unreadable_file_stops_with_its_path_or_is_skipped_and_listed(
    trained: Bundle, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(images / "a.png", tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((images / "a.png").read_bytes()[:200])
    with pytest.raises(RuntimeError) as caught:
        trained.infer(dataset_dir=str(tmp_path), output_dir=str(tmp_path / "out"))
    assert f"path '{tmp_path / 'bad.png'}'" in str(caught.value.__cause__)
    with caplog.at_level(logging.WARNING):
        folder = trained.infer(
            dataset_dir=str(tmp_path), output_dir=str(tmp_path / "out"), skip_unreadable="true"
        )
    assert json.loads((folder / "skipped.json").read_text()) == ["bad.png"]
    assert np.load(folder / "embeddings.npz")["ids"].tolist() == ["good.png"]
    assert str(tmp_path / "bad.png") in caplog.text


def test_empty_folder_stops_with_a_sentence(trained: Bundle, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        trained.infer(dataset_dir=str(tmp_path))
    assert "at least one image" in str(caught.value.__cause__)


def test_verb_prints_similarities_and_writes_embeddings(
    trained: Bundle, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, output = str(trained.output_dir / "models"), str(tmp_path / "e.npz")
    words = ["embed", str(images), "--model_dir", models, "--text", SENTENCE, "--output", output, "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    encoder = load_encoder(models)
    path = images / "series"
    assert printed[str(path)] == pytest.approx(
        [float(encoder.image(path) @ encoder.text(SENTENCE))], abs=1e-6
    )
    assert np.load(output)["ids"].tolist() == list(printed)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "bad.png")
    bad = ["embed", str(tmp_path / "bad.png"), str(images / "a.png"), "--model_dir", models]
    assert main(bad) == 2
    error = capsys.readouterr().err
    assert "bad.png" in error
    assert "must not be constant" in error
    assert main([*bad, "--skip_unreadable"]) == 1
    assert main(["embed", str(images / "a.png"), "--model_dir", str(tmp_path)]) == 2
    assert "encoder.json" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["os.system", "$__import__('os').system('true')", "monai.bundle.run"])
def test_card_that_names_code_is_refused(tmp_path: Path, target: str) -> None:
    card = encoder_card(CONFIGS / "inference.json", {})
    card["preprocessing"]["2d"]["transforms"][0]["_target_"] = target
    (tmp_path / "encoder.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="transforms and the image tower only"):
        load_encoder(tmp_path)


def test_card_of_the_shipped_config_holds_no_reference() -> None:
    text = json.dumps(encoder_card(CONFIGS / "inference.json", SIZES))
    assert '"@' not in text
    assert '"$' not in text
    assert '"hidden_size": 32' in text
