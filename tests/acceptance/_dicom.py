# SPDX-License-Identifier: Apache-2.0
"""Phantoms as DICOM, and Orthanc on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CT = "1.2.840.10008.5.1.4.1.1.2"
DX = "1.2.840.10008.5.1.4.1.1.1.1"
PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"


def in_own_network() -> None:
    """Starts this script again in a network namespace that has loopback only: Orthanc 1.10 listens everywhere."""
    if os.environ.get("UNIMEDI_OWN_NETWORK"):
        return
    if not shutil.which("unshare") or not shutil.which("ip") or not shutil.which("Orthanc"):
        raise SystemExit("needed: unshare, ip, and Orthanc with DICOMweb (apt-get install orthanc orthanc-dicomweb)")
    command = 'ip link set lo up && exec "$@"'
    words = ["unshare", "--net", "--map-root-user", "sh", "-c", command, "sh", sys.executable, *sys.argv]
    os.execvpe("unshare", words, {**os.environ, "UNIMEDI_OWN_NETWORK": "1"})


def instance(array: Any, kind: str, **tags: Any) -> Any:
    """A DICOM object of one frame, rows by columns, int16 or uint16."""
    import pydicom
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    data = pydicom.Dataset()
    data.file_meta = pydicom.dataset.FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UID(kind)
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.Rows, data.Columns = array.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = int(array.dtype.kind == "i")
    data.PixelData = array.tobytes()
    data.StudyDate = data.SeriesDate = data.ContentDate = "20240101"
    data.StudyTime = data.SeriesTime = data.ContentTime = "120000"
    data.PatientSex, data.PatientBirthDate, data.AccessionNumber, data.StudyID = "O", "20000101", "", "1"
    data.ReferringPhysicianName, data.Manufacturer, data.SeriesNumber = "", "synthetic", 1
    for tag, value in tags.items():
        setattr(data, tag, value)
    return data


def ct_series(path: Path, name: str) -> list[Any]:
    """A phantom's CT (stored as LPS) as a series of slices."""
    import nibabel
    import numpy as np
    from pydicom.uid import generate_uid

    image = nibabel.load(path)
    values = np.asarray(image.dataobj).astype(np.int16)
    matrix = np.diag([-1, -1, 1, 1]) @ image.affine
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = matrix[:3, :3] / spacing
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    return [
        instance(
            np.ascontiguousarray(values[:, :, z].T), CT, Modality="CT", PatientName=name, PatientID=name,
            StudyDescription="synthetic CT", StudyInstanceUID=study, SeriesInstanceUID=series,
            FrameOfReferenceUID=frame, InstanceNumber=z + 1, RescaleSlope=1, RescaleIntercept=0,
            ImageOrientationPatient=[round(float(x), 6) for x in (*axes[:, 0], *axes[:, 1])],
            ImagePositionPatient=[round(float(x), 4) for x in (matrix @ [0, 0, z, 1])[:3]],
            PixelSpacing=[round(float(spacing[1]), 6), round(float(spacing[0]), 6)],
            SliceThickness=round(float(spacing[2]), 6), ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            WindowCenter=-400, WindowWidth=1500, PositionReferenceIndicator="", KVP="120",
        )
        for z in range(values.shape[2])
    ]  # fmt: skip


def dx_image(path: Path, name: str) -> Any:
    """A phantom's X-ray."""
    import numpy as np
    from PIL import Image
    from pydicom.uid import generate_uid

    values = np.asarray(Image.open(path)).astype(np.uint16) * 16
    return instance(
        values, DX, Modality="DX", PatientName=name, PatientID=name, StudyDescription="synthetic X-ray",
        StudyInstanceUID=generate_uid(), SeriesInstanceUID=generate_uid(), InstanceNumber=1, BitsStored=12, HighBit=11,
        WindowCenter=2048, WindowWidth=4096, ImagerPixelSpacing=[5.0, 5.0], ImageType=["ORIGINAL", "PRIMARY"],
        PresentationIntentType="FOR PRESENTATION", ImageLaterality="U", BodyPartExamined="CHEST",
    )  # fmt: skip


class Orthanc:
    """Orthanc with DICOMweb on a loopback port, empty; a context manager."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> Orthanc:
        import requests

        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        config = {
            "Name": "acceptance", "StorageDirectory": str(self.folder / "db"),
            "IndexDirectory": str(self.folder / "db"),
            "HttpPort": self.port, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "DicomServerEnabled": False, "Plugins": [PLUGIN], "HttpBindAddresses": ["127.0.0.1"],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }  # fmt: skip
        (self.folder / "orthanc.json").write_text(json.dumps(config))
        with (self.folder / "orthanc.log").open("w") as stream:
            self.process = subprocess.Popen(
                ["Orthanc", str(self.folder / "orthanc.json")], stdout=stream, stderr=stream
            )
        started = time.monotonic()
        while time.monotonic() - started < 120 and self.process.poll() is None:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{self.url}/system", timeout=5).ok:
                    return self
            time.sleep(0.3)
        self.__exit__()
        raise SystemExit(f"Orthanc did not start, see {self.folder / 'orthanc.log'}")

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def send(self, data: Any) -> None:
        """Stores an object."""
        import io

        import requests

        content = io.BytesIO()
        data.save_as(content, enforce_file_format=True)
        requests.post(f"{self.url}/instances", data=content.getvalue(), timeout=60).raise_for_status()
