# SPDX-License-Identifier: Apache-2.0
"""Corpora of X-rays as they are downloaded, each with the traps of its kind."""

from __future__ import annotations

import json
from pathlib import Path

from tests.data.corpora.files import REPORT, picture, table, text, xray

CHEXPERT_LABELS = [
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema"),
    *("Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other"),
    *("Fracture", "Support Devices"),
]


def mimic_cxr(root: Path) -> Path:
    """Five patients: a lateral view, a view that is not stated, an empty report, a report without sections of
    its own, one that is missing, an image that is missing, all three official splits."""
    # dicom_id, subject, study, view, split
    images = [
        ("a1", 10000001, 50000001, "PA", "train"),
        ("a2", 10000001, 50000001, "LATERAL", "train"),
        ("a3", 10000001, 50000002, "AP", "train"),
        ("b1", 10000002, 50000003, "PA", "validate"),
        ("c1", 11000003, 50000004, "AP", "test"),
        ("c2", 11000003, 50000005, "", "test"),
        ("d1", 11000004, 50000006, "PA", "train"),
        ("d2", 11000004, 50000007, "PA", "train"),
        ("e1", 11000005, 50000008, "PA", "train"),
        ("e2", 11000005, 50000009, "AP", "train"),
    ]
    reports = {study: f"                 FINAL REPORT\n {REPORT}" for _, _, study, _, _ in images}
    reports[50000002] = " \n"
    reports[50000006] = "FINDINGS: Clear."
    del reports[50000007]
    for name, patient, study, _, _ in images:
        folder = root / "files" / f"p{patient // 10**6}" / f"p{patient}"
        if name != "e1":
            picture(folder / f"s{study}" / f"{name}.jpg")
        if study in reports:
            where = root / "mimic-cxr-reports" / folder.relative_to(root)
            text(where / f"s{study}.txt", reports[study])
    keys = ("dicom_id", "subject_id", "study_id")
    metadata = [
        {**dict(zip(keys, image)), "PerformedProcedureStepDescription": "CHEST (PA AND LAT)",
         "ViewPosition": image[3], "Rows": 20, "Columns": 24}
        for image in images
    ]  # fmt: skip
    table(root / "mimic-cxr-2.0.0-metadata.csv.gz", metadata)
    order = ("dicom_id", "study_id", "subject_id")
    splits = [{**{k: dict(zip(keys, i))[k] for k in order}, "split": i[4]} for i in images]
    table(root / "mimic-cxr-2.0.0-split.csv.gz", splits)
    labels = [
        {
            "subject_id": i[1],
            "study_id": i[2],
            **dict.fromkeys(CHEXPERT_LABELS, ""),
            "Edema": "1.0",
            "Fracture": -1,
        }
        for i in images
    ]
    table(root / "mimic-cxr-2.0.0-chexpert.csv.gz", labels)
    return root


def _open_i_report(number: int, images: list[str], sections: dict[str, str]) -> str:
    texts = "".join(f'<AbstractText Label="{k}">{v}</AbstractText>' for k, v in sections.items())
    names = "".join(f'<parentImage id="{name}"><caption>PA and Lateral</caption></parentImage>' for name in images)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<eCitation><uId id="CXR{number}"/><MedlineCitation><Article><Abstract>{texts}</Abstract></Article>'
        f"</MedlineCitation><MeSH><major>normal</major></MeSH>{names}</eCitation>"
    )


def open_i(root: Path, projections: bool = True) -> Path:
    """Seven reports: two views each, one without images, one with empty sections, one broken, one image
    missing."""
    names = {}
    for number in range(1, 8):
        stem = f"CXR{number}_1" if number == 1 else f"CXR{number}"
        names[number] = [f"{stem}_IM-{number:04d}-{view}001" for view in (3, 4)]
        sections = {
            "COMPARISON": "None.",
            "INDICATION": "Positive TB test",
            "FINDINGS": f"The heart is of normal size. Case {number}.",
            "IMPRESSION": "Normal chest x-XXXX.",
        }
        if number == 3:
            sections = {"COMPARISON": "", "FINDINGS": "", "IMPRESSION": ""}
        content = _open_i_report(number, names[number] if number != 2 else [], sections)
        broken = content[: len(content) // 2] if number == 4 else content
        text(root / "ecgen-radiology" / f"{number}.xml", broken)
        for name in names[number]:
            if name != "CXR5_IM-0005-4001":
                picture(root / "NLMCXR_png" / f"{name}.png")
    if projections:
        rows = [
            {"uid": n, "filename": f"{name.removeprefix('CXR1_' if n == 1 else 'CXR')}.dcm.png",
             "projection": "Frontal" if name.endswith("4001") else "Lateral"}
            for n, pair in names.items() for name in pair
        ]  # fmt: skip
        table(root / "indiana_projections.csv", rows)
    return root


def chexpert(root: Path) -> Path:
    """Twelve patients in the ``small`` release: laterals, uncertain and blank labels, a missing file; two in
    ``valid.csv``."""
    top = root / "CheXpert-v1.0-small"
    findings = ["Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion"]
    rows = []
    for number in range(1, 13):
        path = f"CheXpert-v1.0-small/train/patient{number:05d}/study1/view1_frontal.jpg"
        labels = dict.fromkeys(CHEXPERT_LABELS, "") | {findings[number % 5]: "1.0", "Fracture": "0.0"}
        rows.append({"Path": path, "Sex": "Female", "Age": 60, "Frontal/Lateral": "Frontal", "AP/PA": "AP", **labels})
    rows[10] |= {"Edema": "-1.0", "Cardiomegaly": "-1.0", "Atelectasis": "-1.0"}
    lateral = rows[0] | {"Path": str(rows[0]["Path"]).replace("view1_frontal", "view2_lateral"), "AP/PA": ""}
    table(top / "train.csv", [*rows, lateral | {"Frontal/Lateral": "Lateral"}])
    for row in [*rows[:11], lateral]:
        picture(root / str(row["Path"]))
    valid = [row | {"Path": str(row["Path"]).replace("train/patient00", "valid/patient64")} for row in rows[:2]]
    table(top / "valid.csv", valid)
    for row in valid:
        picture(root / str(row["Path"]))
    return root


def chexpert_batches(root: Path) -> Path:
    """The same patients as the full-size download keeps them: tables and ``valid`` in the first batch, training
    patients in the others."""
    small = chexpert(root) / "CheXpert-v1.0-small"
    first = root / "CheXpert-v1.0 batch 1 (validate & csv)"
    small.rename(first)
    for number, patient in enumerate(sorted((first / "train").iterdir())):
        batch = root / f"CheXpert-v1.0 batch {2 + number % 3} (train {1 + number % 3})"
        batch.mkdir(exist_ok=True)
        patient.rename(batch / patient.name)
    (first / "train").rmdir()
    return root


def rsna(root: Path, mapping: bool = True) -> Path:
    """Eight images, one with two boxes, one missing, one without label; pairs of them are of one patient."""
    rows = []
    for number in range(8):
        name = f"0000{number}-aaaa"
        empty = {"patientId": name, "x": "", "y": "", "width": "", "height": "", "Target": 0}
        boxes = [(2.0, 3.0, 5.0, 4.0), (10.0, 3.0, 6.0, 8.0)][: 2 if number == 1 else number % 2]
        rows += [
            {"patientId": name, **dict(zip(("x", "y", "width", "height"), box)), "Target": 1} for box in boxes
        ] or [empty]
        if number != 7:
            xray(root / "stage_2_train_images" / f"{name}.dcm", number, PatientID=name)
    xray(root / "stage_2_train_images" / "unlabelled.dcm", 90)
    xray(root / "stage_2_test_images" / "test.dcm", 91)
    table(root / "stage_2_train_labels.csv", rows)
    classes = [{"patientId": row["patientId"], "class": "Normal"} for row in rows]
    table(root / "stage_2_detailed_class_info.csv", classes)
    if mapping:
        entries = [{"subset_img_id": f"0000{n}-aaaa", "img_id": f"{n // 2:08d}_{n % 2:03d}.png"} for n in range(8)]
        text(root / "pneumonia-challenge-dataset-mappings_2018.json", json.dumps(entries))
    return root


def siim(root: Path) -> Path:
    """Nine images of 20 x 24 pixels: the column with a space, two masks of one image, a repeated row, a code
    that does not fit, an image without row and a row without image."""
    codes = {
        1: ["-1"],
        2: ["41 3 17 3"],
        3: ["0 2", "100 5"],
        4: ["0 2", "0 2"],
        5: ["470 20"],
        6: ["-1"],
        7: ["200 4"],
        8: ["-1"],
        9: ["-1"],
    }
    rows = [{"ImageId": f"1.2.{n}", "EncodedPixels": code} for n, found in codes.items() for code in found]
    table(root / "train-rle.csv", rows, header="ImageId, EncodedPixels")
    for number in (*range(1, 9), 10):
        folder = root / "dicom-images-train" / f"1.9.{number}" / f"1.8.{number}"
        xray(folder / f"1.2.{number}.dcm", number, SOPInstanceUID=f"1.2.{number}")
    return root


def covidx(root: Path) -> Path:
    """Lists with four columns, a file with a space, a class that is not known, a missing file; and the lists
    of an older version."""
    lines = [f"p{n} image {n}.png {'positive' if n % 2 else 'negative'} cohen" for n in range(1, 11)]
    text(
        root / "train_COVIDx9B.txt",
        "\n".join([*lines, "p11 other.png unsure rsna", "p12 gone.png positive x"]),
    )
    text(root / "test_COVIDx9B.txt", "q1 t1.png positive sirm\nq2 t2.png negative rsna\n")
    text(root / "train_COVIDx5.txt", "3 image 1.png pneumonia\n")
    text(root / "test_COVIDx5.txt", "4 t1.png normal\n")
    for number in range(1, 11):
        picture(root / "train" / f"image {number}.png")
    for name in ("t1", "t2"):
        picture(root / "test" / f"{name}.png")
    return root
