# SPDX-License-Identifier: Apache-2.0
"""Corpora of CTs as they are downloaded, each with the traps of its kind."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np

from tests.data.corpora.files import ct_series, nifti, picture, table, text, xray

CT_RATE_LABELS = ["Medical material", "Arterial wall calcification", "Cardiomegaly"]


def bimcv(root: Path) -> Path:
    """Seven patients: CTs and X-rays, an abdomen, a localizer, a lateral view, Spanish reports in a table and
    in sessions, one empty, one session without."""
    top = root / "covid19_posi"
    for number in range(1, 8):
        patient, session = f"sub-S0{number}", f"ses-E0{number}"
        stem = top / patient / session / "mod-rx" / f"{patient}_{session}_run-1"
        slices = 3 if number == 3 else 24
        nifti(stem.with_name(f"{stem.name}_bp-chest_ct.nii.gz"), (24, 24, slices))
        picture(stem.with_name(f"{stem.name}_bp-chest_vp-{'ll' if number == 2 else 'pa'}_dx.png"))
        text(stem.with_name(f"{stem.name}_bp-chest_ct.json"), "{}")
        row = {"session_id": session, "study_date": 20200401, "medical_evaluation": ""}
        if number == 1:
            row["medical_evaluation"] = (
                "['Hallazgos: Infiltrado intersticial bilateral.', 'Conclusión: Neumonía por COVID-19.']"
            )
        table(top / patient / f"{patient}_sessions.tsv", [row], delimiter="\t")
    stem = top / "sub-S01" / "ses-E01" / "mod-rx"
    nifti(stem / "sub-S01_ses-E01_run-2_bp-abdomen_ct.nii.gz", (24, 24, 24))
    rows = [
        {"": n, "PatientID": f"sub-S0{n}", "ReportID": f"ses-E0{n}", "Report": f"neumonía bilateral caso {n}",
         "Labels": "['pneumonia']"}
        for n in range(1, 7)
    ]  # fmt: skip
    rows[5]["Report"] = "nan"
    table(top / "derivatives" / "labels" / "labels_covid_posi.tsv", rows, delimiter="\t")
    return root


def ct_rate(root: Path, fixed: bool = True) -> Path:
    """Four patients for training, two for validation: two reconstructions, one head, one empty report, one
    missing file; or the first release, without spacing."""
    kind = "_fixed" if fixed else ""
    for split, name, count in (("train", "train", 4), ("valid", "validation", 2)):
        reports, labels = [], []
        for number in range(1, count + 1):
            for reconstruction in (1, 2):
                volume = f"{split}_{number}_a_{reconstruction}.nii.gz"
                folder = root / "dataset" / f"{split}{kind}" / f"{split}_{number}" / f"{split}_{number}_a"
                if (split, number, reconstruction) != ("train", 2, 2):
                    nifti(folder / volume, (4, 4, 6), 2.0 if fixed else 1.0)
                findings = "" if (split, number) == ("train", 3) else f"Heart is normal, case {number}."
                reports.append(
                    {"VolumeName": volume, "ClinicalInformation_EN": "cough", "Technique_EN": "MDCT",
                     "Findings_EN": findings, "Impressions_EN": "No nodule seen." if findings else ""}
                )  # fmt: skip
                labels.append({"VolumeName": volume, **dict.fromkeys(CT_RATE_LABELS, number % 2)})
        table(root / "dataset" / "radiology_text_reports" / f"{name}_reports.csv", reports)
        table(root / "dataset" / "multi_abnormality_labels" / f"{split}_predicted_labels.csv", labels)
    text(root / "dataset" / "metadata" / "no_chest_train.txt", "train_4_a_1.nii.gz\ntrain_4_a_2.nii.gz\n")
    return root


def cc_ccii(root: Path, lists: bool = True) -> Path:
    """Two patients a class, slices whose names sort as numbers; a scan too short, one with a broken slice."""
    content: dict[str, dict[str, dict[str, dict[str, list[str]]]]] = {"train": {}, "val": {}, "test": {}}
    for kind in ("NCP", "CP", "Normal"):
        for patient, split in ((1, "train"), (2, "test")):
            scan = f"{patient * 10}"
            count = 4 if (kind, patient) == ("CP", 2) else 12
            for index in range(count):
                picture(root / kind / str(patient) / scan / f"{index}.png", value=20 * index)
            content[split].setdefault(kind, {})[str(patient)] = {scan: [f"{i}.png" for i in range(count)]}
    text(root / "Normal" / "2" / "20" / "3.png", "broken")
    for split, found in content.items() if lists else ():
        text(root / f"ct_{split}.json", json.dumps(found))
    return root


def ricord(root: Path) -> Path:
    """Three patients each of 1A and 1B: an axial series, one coronal, a localizer, an X-ray by mistake."""
    number = 0
    for letter in "AB":
        for patient in range(1, 4):
            number += 10
            subject = f"MIDRC-RICORD-1{letter}-419639-{patient:06d}"
            study = (
                root / "manifest-1608" / f"MIDRC-RICORD-1{letter}" / subject / "08-02-2002-NA-CT CHEST-04614"
            )
            ct_series(study / "2.000000-ROUTINE CHEST NON-CON-97100", number)
            if patient == 1:
                coronal = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
                ct_series(study / "602.000000-COR 3X3-11320", number + 1, 21, ImageOrientationPatient=coronal)
                scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
                ct_series(study / "1.000000-Scout-1", number + 2, 2, ImageType=scout)
                xray(study / "9.000000-chest-1" / "1-1.dcm", number)
    return root


def luna16(root: Path, shape: tuple[int, int, int] = (20, 16, 12)) -> Path:
    """A scan in each subset as .mhd and .raw (one without its .raw), nodules in world coordinates at a bright
    voxel, five candidates a scan."""
    annotations, candidates = [], []
    for fold in range(10):
        name = f"1.3.6.{fold}"
        folder = root / f"subset{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        volume = np.full(shape[::-1], -1000, np.int16)
        x, y, z = 4 + fold % 3, 5, 6
        volume[z, y, x] = 100
        offset, spacing = (-30.0, -40.0, -200.0 + fold), (0.5, 0.5, 2.0)
        header = {
            "ObjectType": "Image", "NDims": 3, "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
            "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1",
            "Offset": " ".join(map(str, offset)), "ElementSpacing": " ".join(map(str, spacing)),
            "DimSize": " ".join(map(str, shape)), "ElementType": "MET_SHORT",
            "ElementDataFile": f"{name}.raw",
        }  # fmt: skip
        text(folder / f"{name}.mhd", "".join(f"{key} = {value}\n" for key, value in header.items()))
        if fold != 3:
            (folder / f"{name}.raw").write_bytes(volume.tobytes())
        centre = [o + s * i for o, s, i in zip(offset, spacing, (x, y, z))]
        place = dict(zip(("coordX", "coordY", "coordZ"), centre))
        if fold % 2 == 0:
            annotations.append({"seriesuid": name, **place, "diameter_mm": 5.5})
        for index in range(5):
            candidates.append({"seriesuid": name, **place, "class": int(index == 0 and fold % 2 == 0)})
    table(root / "annotations.csv", [*annotations, annotations[0] | {"seriesuid": "1.3.6.99"}])
    table(root / "candidates_V2.csv", candidates)
    return root


def btcv(root: Path) -> Path:
    """Four scans of which two are judged, a mask without scan, a scan without mask, two without labels."""
    top = root / "RawData"
    for number in (1, 2, 35, 40, 5):
        nifti(top / "Training" / "img" / f"img{number:04d}.nii.gz", (6, 6, 6))
    for number in (1, 2, 35, 40, 6):
        nifti(top / "Training" / "label" / f"label{number:04d}.nii.gz", (6, 6, 6))
    for number in (61, 62):
        nifti(top / "Testing" / "img" / f"img{number:04d}.nii.gz", (6, 6, 6))
    return root


def msd(root: Path) -> Path:
    """Task06_Lung with macOS's shadow files and a missing mask, and an MR task beside it."""
    folder = root / "Task06_Lung"
    training = []
    for number in range(1, 9):
        name = f"lung_{number:03d}.nii.gz"
        nifti(folder / "imagesTr" / name, (6, 6, 6))
        text(folder / "imagesTr" / f"._{name}", "shadow")
        if number != 8:
            nifti(folder / "labelsTr" / name, (6, 6, 6))
        training.append({"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"})
    nifti(folder / "imagesTs" / "lung_009.nii.gz", (6, 6, 6))
    content = {
        "name": "Lung", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "cancer"},
        "training": training, "test": ["./imagesTs/lung_009.nii.gz"],
    }  # fmt: skip
    text(folder / "dataset.json", json.dumps(content))
    other = content | {"modality": {"0": "MRI"}, "training": [], "test": []}
    text(root / "Task02_Heart" / "dataset.json", json.dumps(other))
    return root


def amos(root: Path) -> Path:
    """Cases of CT and MR, validation with masks, test without."""
    top = root / "amos22"
    for kind, numbers in (("Tr", (1, 4, 5, 6, 507)), ("Va", (8, 9, 510)), ("Ts", (11, 600))):
        for number in numbers:
            nifti(top / f"images{kind}" / f"amos_{number:04d}.nii.gz", (6, 6, 6))
            if kind != "Ts":
                nifti(top / f"labels{kind}" / f"amos_{number:04d}.nii.gz", (6, 6, 6))
    text(top / "dataset.json", json.dumps({"labels": {"0": "background", "1": "spleen"}}))
    return root


def flare(root: Path) -> Path:
    """FLARE22: labelled cases with and masks without nnU-Net's channel in the name, unlabelled ones, a
    validation set without masks."""
    top = root / "Training" / "FLARE22_LabeledCase50"
    for number in range(1, 7):
        nifti(top / "images" / f"FLARE22_Tr_{number:04d}_0000.nii.gz", (6, 6, 6))
        nifti(top / "labels" / f"FLARE22_Tr_{number:04d}.nii.gz", (6, 6, 6))
    for number in (1, 2):
        nifti(root / "Training" / "Unlabeled" / f"Case_{number:05d}_0000.nii.gz", (6, 6, 6))
        nifti(root / "Validation" / f"FLARE22TS_{number:04d}_0000.nii.gz", (6, 6, 6))
    return root


def hounsfield(path: Path) -> np.ndarray:
    """A volume's values as readers see them."""
    return np.asarray(nibabel.Nifti1Image.from_filename(path).get_fdata())
