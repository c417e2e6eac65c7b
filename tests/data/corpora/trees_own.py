# SPDX-License-Identifier: Apache-2.0
"""Own data as they lie about in hospitals, with what goes wrong there."""

from __future__ import annotations

from pathlib import Path

from tests.data.corpora.files import ct_series, ct_slice, nifti, picture, structured_report, table, text, xray


def own_table(root: Path) -> Path:
    """Images of both dimensions and a table with semicolons in Windows' encoding: a missing file, an empty
    report, a file of no known kind, a repeated row, a path with spaces and accents."""
    picture(root / "xrays" / "année 1.png")
    for number in range(2, 9):
        picture(root / "xrays" / f"{number}.png")
    nifti(root / "cts" / "a.nii.gz")
    ct_series(root / "cts" / "b", 1, 4)
    text(root / "cts" / "notes.docx", "no image")
    images = ["xrays/année 1.png", *(f"xrays/{n}.png" for n in range(2, 9)), "cts/a.nii.gz", "cts/b"]
    rows = [
        {"path": image, "befund": f"Kein Erguß, Herz normal groß, Fall {n}.", "pid": f"p{n}", "part": "train",
         "effusion": n % 2, "class": "AB"[n % 2]}
        for n, image in enumerate(images)
    ]  # fmt: skip
    rows[2]["befund"] = ""
    rows[3]["path"] = "xrays/gone.png"
    rows[4]["part"] = "test"
    rows[5]["part"] = "Val"
    rows[6]["part"] = "secret"
    rows += [rows[1], rows[7] | {"path": "cts/notes.docx"}, rows[7] | {"path": "", "pid": "p0"}]
    path = table(root / "reports.csv", rows, delimiter=";")
    path.write_bytes(path.read_text(encoding="utf-8").encode("cp1252"))
    return root


def own_dicom(root: Path, structured: bool = False) -> Path:
    """X-rays and CTs of nine patients in one tree: two series in one folder, a localizer, a short series, a
    coronal one, one with missing slices, one tilted, one whose slices jump sideways, copies, a truncated and a
    broken file, another modality, several frames, a loop of links, no accession number, another patient's
    report. `own_reports` has the table."""
    for number in range(1, 6):
        xray(root / "xrays" / f"röntgen {number}.dcm", number)
    xray(root / "xrays" / "lateral.dcm", 6, PatientID="P1", ViewPosition="LL", StudyInstanceUID="1.2.3.1")
    xray(root / "xrays" / "copy", 1)
    xray(root / "xrays" / "frames.dcm", 7, NumberOfFrames=2)
    xray(root / "xrays" / "without_number.dcm", 8, AccessionNumber="")
    xray(root / "xrays" / "zeros.dcm", 9, AccessionNumber="0777")
    xray(root / "other" / "mr.dcm", 10, Modality="MR")
    xray(root / "other" / "another.dcm", 11)
    text(root / "other" / "readme.txt", "no image")
    whole = xray(root / "other" / "whole.dcm", 12).read_bytes()
    (root / "other" / "whole.dcm").unlink()
    (root / "other" / "truncated.dcm").write_bytes(whole[: len(whole) // 2])
    (root / "other" / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (root / "other" / "loop").symlink_to(root, target_is_directory=True)

    ct_series(root / "cts" / "alone", 1)
    for index in range(24):  # two series share a folder
        ct_slice(root / "cts" / "mixed" / f"{index}.dcm", 2, index)
        ct_slice(root / "cts" / "mixed" / f"b{index}.dcm", 3, index, AccessionNumber="B0002", PatientID="C2")
    ct_slice(root / "cts" / "mixed" / "copy.dcm", 2, 0)
    ct_series(root / "cts" / "scout", 4, 2, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    ct_series(root / "cts" / "short", 5, 5)
    ct_series(root / "cts" / "coronal", 6, 24, ImageOrientationPatient=[1.0, 0.0, 0.0, 0.0, 0.0, -1.0])
    (ct_series(root / "cts" / "gap", 7) / "1-012.dcm").unlink()
    for index in range(24):
        ct_slice(root / "cts" / "tilt" / f"{index}", 8, index, ImagePositionPatient=[0.0, 0.5 * index, 2.0 * index])
        place = [9.0 * (index == 12), 0.0, 2.0 * index]
        ct_slice(root / "cts" / "shifted" / f"{index}", 10, index, ImagePositionPatient=place)
    if structured:
        for number in (1, 2):
            findings = f"The heart is of normal size, case {number}."
            structured_report(root / "sr" / f"{number}.dcm", number, findings, "No acute disease.")
    return root


def own_reports(path: Path) -> Path:
    """The table to `own_dicom`: an addendum, a report of another patient, one for no image."""
    rows = [
        {
            "Accession Number": f"A{n:04d}",
            "MRN": f"P{n}",
            "Report Text": f"FINDINGS: Clear lungs, case {n}.\n",
        }
        for n in range(1, 8)
    ]
    rows[5]["MRN"] = "P1"
    rows += [
        {
            "Accession Number": f"B{n:04d}",
            "MRN": f"C{n}",
            "Report Text": f"IMPRESSION: CT case {n} is normal.",
        }
        for n in range(1, 9)
    ]
    rows += [
        {"Accession Number": "A0002", "MRN": "P2", "Report Text": "IMPRESSION: Small nodule on the left."},
        {"Accession Number": "A0011", "MRN": "P99", "Report Text": "FINDINGS: Of somebody else."},
        {"Accession Number": "777", "MRN": "P9", "Report Text": "FINDINGS: Spreadsheet took the zero."},
        {"Accession Number": "A0099", "MRN": "P50", "Report Text": "FINDINGS: No image here."},
    ]
    return table(path, rows)
