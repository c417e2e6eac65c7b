# SPDX-License-Identifier: Apache-2.0
"""Labels and Markups read by 3D Slicer's own logic (the package ``slicer-core``): on the image's grid, in its place.

CTs stored as LPS, RAS, anisotropic and oblique, and an X-ray, which goes to 3D Slicer as one slice by way of ITK:
``slicer-core`` has no reader for pictures.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from _label import OUTPUT, Server, Steps, phantoms, slicer_client

FOLDER = OUTPUT / "slicer"
TEXT = "Pleural effusion on the right. Nodule in the left upper zone."


def main() -> int:
    try:
        import slicer
    except ImportError:
        print("slicer-core is not installed: .venv-label/bin/python -m pip install slicer-core")
        return 1
    rows = phantoms(10)
    images = volumes(rows["3d"][0]["image"], FOLDER / "studies")
    shutil.copyfile(rows["2d"][0]["image"], FOLDER / "studies" / "xray.png")
    steps = Steps()
    with Server(FOLDER / "studies", FOLDER) as server:
        client = slicer_client().MONAILabelClient(server.url, tmpdir=str(FOLDER))
        for name in [*images, "xray"]:
            model = "segmentation_xray" if name == "xray" else "segmentation"
            path = readable(next((FOLDER / "studies").glob(f"{name}.*")))
            with steps.step(f"{name}: label on the grid of its image, segments by name"):
                file, params = client.infer(model, name, {"result_extension": ".nrrd", "result_dtype": "uint8"})
                check_label(slicer, path, file, params["label_names"])
            with steps.step(f"{name}: points inside the image, on the slice they name"):
                file, _ = client.infer("findings", name, {"text": TEXT, "topk": 2})
                check_points(slicer, path, file)
    return steps.end("slicer-core")


def volumes(source: Path, studies: Path) -> list[str]:
    """One CT stored in four ways; their ids."""
    import nibabel
    import numpy as np

    shutil.rmtree(studies, ignore_errors=True)
    studies.mkdir(parents=True)
    image = nibabel.load(source)
    for axes in ("LPS", "RAS"):
        turn = nibabel.orientations.ornt_transform(
            nibabel.orientations.io_orientation(image.affine), nibabel.orientations.axcodes2ornt(tuple(axes))
        )
        nibabel.save(image.as_reoriented(turn), studies / f"{axes.lower()}.nii.gz")
    values = np.asarray(image.dataobj)
    shrink = image.affine @ np.diag([2, 1, 1, 1])
    nibabel.save(nibabel.Nifti1Image(values[::2], shrink), studies / "anisotropic.nii.gz")
    angle = np.deg2rad(25)
    oblique = np.eye(4)
    oblique[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    nibabel.save(nibabel.Nifti1Image(values, oblique @ image.affine), studies / "oblique.nii.gz")
    return ["lps", "ras", "anisotropic", "oblique"]


def readable(path: Path) -> Path:
    """The file, or a picture as ITK places it, as one slice."""
    if path.suffix != ".png":
        return path
    import SimpleITK

    target = FOLDER / f"{path.stem}_slice.nrrd"
    SimpleITK.WriteImage(SimpleITK.JoinSeries(SimpleITK.ReadImage(str(path))), str(target))
    return target


def read_volume(slicer: Any, scene: Any, path: str | Path, kind: str) -> Any:
    node = getattr(slicer, kind)()
    scene.AddNode(node)
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    storage.SetSingleFile(True)
    assert storage.ReadData(node), f"3D Slicer cannot read {path}"
    return node


def matrix_of(slicer: Any, node: Any) -> Any:
    import numpy as np
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def check_label(slicer: Any, image: Path, label: str, names: list[str]) -> None:
    import numpy as np
    import vtk

    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)
    volume = read_volume(slicer, scene, image, "vtkMRMLScalarVolumeNode")
    found = read_volume(slicer, scene, label, "vtkMRMLLabelMapVolumeNode")
    assert found.GetImageData().GetDimensions() == volume.GetImageData().GetDimensions()
    assert np.allclose(matrix_of(slicer, found), matrix_of(slicer, volume), atol=1e-3)
    segmentation = slicer.vtkMRMLSegmentationNode()
    scene.AddNode(segmentation)
    wanted = vtk.vtkStringArray()
    for name in names:
        wanted.InsertNextValue(name)
    assert logic.ImportLabelmapToSegmentationNode(found, segmentation, wanted)
    segments = segmentation.GetSegmentation()
    assert [segments.GetNthSegmentID(i) for i in range(segments.GetNumberOfSegments())] == names
    assert all("research use" in name for name in names)


def check_points(slicer: Any, image: Path, file: str) -> None:
    import numpy as np

    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerMarkupsLogic()
    logic.SetMRMLScene(scene)
    volume = read_volume(slicer, scene, image, "vtkMRMLScalarVolumeNode")
    node = scene.GetNodeByID(logic.LoadMarkups(file, None))
    assert node.GetNumberOfControlPoints() == 4 and "research use" in node.GetName()
    to_voxels = np.linalg.inv(matrix_of(slicer, volume))
    size = np.array(volume.GetImageData().GetDimensions())
    for number in range(4):
        index = (to_voxels @ [*node.GetNthControlPointPositionWorld(number), 1])[:3]
        assert (index > -0.51).all() and (index < size - 0.49).all(), index
        label = node.GetNthControlPointLabel(number)
        assert "research use" in label
        if "slice " in label:
            named = int(label.split("slice ")[1].split(",")[0]) - 1
            assert any(abs(value - named) < 0.51 for value in index)


if __name__ == "__main__":
    sys.exit(main())
