# SPDX-License-Identifier: Apache-2.0
"""First guesses and points: on the image's grid, whatever its axes, and without holding up the server."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(axes: str, spacing: tuple[float, float, float], degrees: float = 0.0) -> np.ndarray:
    """Voxel-to-world matrix (RAS) of a volume with these axes, turned about the patient's long axis."""
    matrix = nibabel.orientations.inv_ornt_aff(nibabel.orientations.axcodes2ornt(tuple(axes)), (20, 20, 20)) @ np.diag(
        [*spacing, 1]
    )
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix = turn @ matrix
    matrix[:3, 3] = (-40.0, 25.0, 60.0)
    return matrix


def saved_volume(path: Path, affine: np.ndarray, shape: tuple[int, int, int] = (40, 36, 30)) -> Path:
    values = np.random.default_rng(0).integers(-1000, 200, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def segmented(client: Any, path: Path, model: str = "segmentation", **params: Any) -> SimpleITK.Image:
    answer = client.post(
        f"/infer/{model}?output=image",
        files={"file": (path.name, path.read_bytes())},
        data={"params": json.dumps({"result_extension": ".nrrd", **params})},
    )
    assert answer.status_code == 200, answer.text
    result = path.with_name("result.nrrd")
    result.write_bytes(answer.content)
    return SimpleITK.ReadImage(str(result))


def matrix_of(image: SimpleITK.Image) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) @ np.diag(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return LPS_TO_RAS @ matrix


@pytest.mark.parametrize(
    "affine",
    [
        turned("LPS", (2.0, 2.0, 3.0)),
        turned("RAS", (1.0, 3.0, 2.0)),
        turned("PIR", (2.5, 1.5, 4.0)),
        turned("LPS", (2.0, 2.0, 3.0), degrees=20),
    ],
    ids=["lps", "ras", "anisotropic", "oblique"],
)
def test_label_lies_on_the_image(client: Any, tmp_path: Path, affine: np.ndarray) -> None:
    found = segmented(client, saved_volume(tmp_path / "a.nii.gz", affine))
    assert found.GetSize() == (40, 36, 30)
    assert np.allclose(matrix_of(found), affine, atol=1e-3)
    assert found.GetPixelID() == SimpleITK.sitkUInt8


def test_segments_lie_where_the_network_put_them(client: Any, instance: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """A network that marks what is bright: in the file's own voxels, on another grid than its own."""
    affine = turned("RAS", (4.0, 4.0, 10.0))
    values = np.full((48, 48, 30), -1000, np.int16)
    values[8:20, 30:44, 6:12] = 300
    nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / "a.nii.gz")
    model = instance.segmenters["segmentation"].model("cpu")

    def bright(image: Any, network: Any) -> Any:
        return ((image - 0.5) * 20).repeat(1, 6, 1, 1, 1) - np.arange(6)[None, :, None, None, None] * 5.0

    monkeypatch.setattr(model, "inferer", bright)
    found = SimpleITK.GetArrayFromImage(segmented(client, tmp_path / "a.nii.gz")).T
    truth = values > 0
    overlap = 2 * ((found == 1) & truth).sum() / ((found == 1).sum() + truth.sum())
    assert overlap > 0.75
    assert set(np.unique(found)) == {0, 1}


def test_specks_are_left_out_by_the_sizes_beside_the_weights(instance: Any, tmp_path: Path) -> None:
    given = instance.segmenters["segmentation"].weights
    weights = type(given)(tmp_path, given.bundle)
    for path in (given.file, given.card):
        shutil.copyfile(path, tmp_path / path.name)
    card = json.loads(weights.card.read_text())
    assert "min_voxels" not in card, "a fresh decoder knows none"
    assert weights.parser().get_parsed_content("postprocessing").transforms[1].suppress.min_voxels == [0]
    weights.card.write_text(json.dumps(card | {"min_voxels": [7, 0, 0, 0, 0, 9]}))
    after = weights.parser().get_parsed_content("postprocessing").transforms[1]
    assert after.suppress.min_voxels == [7, 0, 0, 0, 0, 9]


def test_xray_result_is_one_slice_where_viewers_put_a_picture(client: Any, instance: Any) -> None:
    path = Path(instance.datastore().get_image_uri("xray_0"))
    answer = client.post(
        "/infer/segmentation_xray?image=xray_0&output=image", data={"params": '{"result_extension": ".nrrd"}'}
    )
    result = path.parents[1] / "xray.nrrd"
    result.write_bytes(answer.content)
    image, label = SimpleITK.ReadImage(str(path)), SimpleITK.ReadImage(str(result))
    assert label.GetSize() == (*image.GetSize(), 1)
    assert label.GetSpacing()[:2] == image.GetSpacing()


def test_answer_names_the_segments_and_says_what_the_weights_are(client: Any) -> None:
    answer = client.post("/infer/segmentation?image=ct_0&output=json").json()
    assert answer["label_names"][0] == "nodule (research use)"
    assert len(answer["label_names"]) == 6
    assert "fresh decoder" in answer["weights"]
    info = client.get("/info/").json()
    assert "not trained to segment" in info["models"]["segmentation"]["description"]
    assert all("research use" in label for label in info["labels"])


def test_wrong_dimension_is_refused_with_the_model_to_choose(client: Any) -> None:
    answer = client.post("/infer/segmentation?image=xray_0")
    assert answer.status_code == 400
    assert "segmentation_xray" in answer.json()["detail"]


def test_session_answers_like_the_file(client: Any, instance: Any) -> None:
    path = Path(instance.datastore().get_image_uri("ct_2"))
    opened = client.put("/session/", files={"files": ("ct_2.nii", path.read_bytes())}).json()
    by_session = client.post("/infer/segmentation", params={"session_id": opened["session_id"], "output": "image"})
    by_id = client.post("/infer/segmentation", params={"image": "ct_2", "output": "image"})
    assert by_session.status_code == 200
    assert by_session.content == by_id.content
    assert client.delete(f"/session/{opened['session_id']}").status_code == 200


def points(client: Any, image: str, text: str, **params: Any) -> list[dict[str, Any]]:
    answer = client.post(
        f"/infer/findings?image={image}&output=image", data={"params": json.dumps({"text": text, **params})}
    )
    assert answer.status_code == 200, answer.text
    (node,) = answer.json()["markups"]
    assert node["coordinateSystem"] == "LPS"
    assert "research use" in node["name"]
    return list(node["controlPoints"])


def test_points_lie_on_the_slice_they_name(client: Any, instance: Any) -> None:
    found = points(client, "ct_3", "Nodule in the left upper zone. Pleural effusion on the right.", topk=2)
    assert len(found) == 4
    image = nibabel.load(instance.datastore().get_image_uri("ct_3"))
    for point in found:
        assert "research use" in point["label"]
        index = np.linalg.inv(image.affine) @ LPS_TO_RAS @ [*point["position"], 1]
        assert (index[:3] > -0.5).all() and (index[:3] < np.asarray(image.shape) - 0.5).all()
        assert f"slice {round(index[2]) + 1}," in point["label"]


def test_points_follow_the_axes_of_the_file(client: Any, instance: Any, tmp_path: Path) -> None:
    """The same CT stored another way gives the same points."""
    image = nibabel.load(instance.datastore().get_image_uri("ct_3"))
    other = image.as_reoriented(nibabel.orientations.axcodes2ornt(("S", "R", "A")))
    nibabel.save(other, tmp_path / "other.nii.gz")
    data = {"params": json.dumps({"text": "Nodule.", "topk": 3})}
    sent = {"file": ("other.nii.gz", (tmp_path / "other.nii.gz").read_bytes())}
    answer = client.post("/infer/findings?output=image", files=sent, data=data)
    positions = [point["position"] for point in answer.json()["markups"][0]["controlPoints"]]
    expected = [point["position"] for point in points(client, "ct_3", "Nodule.", topk=3)]
    assert np.allclose(positions, expected, atol=1e-2)


def test_points_of_an_xray_lie_on_it(client: Any) -> None:
    (found,) = points(client, "xray_1", "Cardiomegaly.")
    assert all(0 <= value < 72 for value in found["position"][:2])


def test_points_of_a_large_jpeg_lie_where_those_of_the_same_png_do(client: Any, tmp_path: Path) -> None:
    """Of a large JPEG less is decoded."""
    grey = np.kron(np.random.default_rng(0).integers(0, 255, (8, 6)), np.ones((100, 100))).astype(np.uint8)
    found = {}
    for name in ("large.png", "large.jpg"):
        Image.fromarray(grey).save(tmp_path / name)
        data = {"params": json.dumps({"text": "Cardiomegaly.", "topk": 1000})}
        sent = {"file": (name, (tmp_path / name).read_bytes())}
        answer = client.post("/infer/findings?output=image", files=sent, data=data)
        found[name] = sorted(point["position"] for point in answer.json()["markups"][0]["controlPoints"])
    assert np.abs(np.asarray(found["large.png"])).max(0)[:2] == pytest.approx((550, 750), abs=60)
    assert np.allclose(found["large.jpg"], found["large.png"], atol=0.01)


def test_empty_text_is_refused(client: Any) -> None:
    assert client.post("/infer/findings?image=ct_0").status_code == 400


def test_info_answers_while_inferences_run(client: Any, instance: Any, monkeypatch: Any) -> None:
    task = instance.segmenters["segmentation"]
    running, most = 0, 0

    def slow(path: Path) -> tuple[np.ndarray, np.ndarray]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.4)
        running -= 1
        return np.zeros((4, 4, 4), np.uint8), np.eye(4)

    monkeypatch.setattr(task.model("cpu"), "numbers", slow)
    threads = [
        threading.Thread(target=lambda: client.post("/infer/segmentation?image=ct_0&output=json")) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    started = time.monotonic()
    assert client.get("/info/").status_code == 200
    waited = time.monotonic() - started
    for thread in threads:
        thread.join()
    assert waited < 0.5
    assert most == 1, "one computation at a time on a device"
