# SPDX-License-Identifier: Apache-2.0
"""Acceptance: every corpus is prepared from a tree in its official layout, real CTs and X-rays from DICOM.

    python tests/acceptance/prepare.py

Each corpus of ``prepare`` runs twice on the tree of its tests: rows are kept, both runs write the same bytes,
and the lists are read as trainings read them. Then real volumes (``UNIMEDI_REAL_DATA``) are written as DICOM
series, two of them into one folder, beside the real DICOM X-rays; ``prepare dicom`` must find each of them,
and what its rows lead to must be the source's voxels. The last line holds both numbers.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from _bundle import OUTPUT, REPOSITORY
from monai.transforms import Compose, LoadImage, Orientation

sys.path.insert(0, str(REPOSITORY))

from monai_unimedi.data.datalist import load_datalist
from monai_unimedi.transforms import LoadXray
from monai_unimedi.verbs.prepare import CORPORA
from tests.data.corpora import trees_2d, trees_3d, trees_own
from tests.data.corpora.files import UID, ct_slice
from tests.data.corpora.prepared import Prepared, prepare

FOLDER = OUTPUT / "prepare"
REAL = Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
VOLUMES = [
    *("tcia_lung_ct/4DLung_113_HM10395_40pct", "thorax_organs/cxr", "lung_tumour_ct/lambin_pat1"),
    *("lung_tumour_ct/lambin_pat3", "totalseg/example_ct", "totalseg/example_ct_dicom"),
]
CROPS = 20  # of LIDC's
OPTIONS = {
    "covidx": ["--list_version", "9B"],
    "csv": ["--image", "path", "--report", "befund", "--patient", "pid"],
    "chexpert": ["--retrieval", "1"],
}
XRAYS = 3  # real DICOM files, of which two share a SOPInstanceUID
XRAY_STUDY = "1.2.276.0.7230010.3.1.2.8323329.6904.1517875201.850818"  # of those two: no accession number


def main() -> int:
    """Returns 0 where every corpus and every real series holds."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    failed = [corpus for corpus in CORPORA if not holds(corpus)]
    line = f"prepare: {len(CORPORA) - len(failed)} of {len(CORPORA)} corpora hold on their trees"
    line += f" (failed: {', '.join(failed)})" if failed else ""
    if not REAL.is_dir():
        print(f"{line}; real volumes: nothing shown, no folder {REAL}: set UNIMEDI_REAL_DATA")
        return 1
    wrong = real_dicom()
    total = len(VOLUMES) + CROPS + XRAYS
    if wrong:
        print("not as they must be:", *wrong)
    elif not failed:
        shutil.rmtree(FOLDER)
    print(f"{line}; {total - len(wrong)} of {total} real DICOM series and X-rays as they must be")
    return int(bool(failed or wrong))


def holds(corpus: str) -> bool:
    """Whether a corpus's tree is prepared, twice to the same bytes."""
    root = tree(corpus)
    options = list(OPTIONS.get(corpus, ()))
    if corpus == "csv":
        options += ["--csv", str(root / "reports.csv")]
    if corpus == "dicom":
        options += ["--reports", str(trees_own.own_reports(FOLDER / "reports.csv"))]
    try:
        runs = [prepare(corpus, root, FOLDER / run / corpus, *options) for run in ("first", "second")]
    except (AssertionError, ValueError) as error:
        print(f"{corpus}: {error}")
        return False
    return runs[0].status == 0 and same(runs[0], runs[1])


def tree(corpus: str) -> Path:
    makers: dict[str, Callable[[Path], Path]] = {"csv": trees_own.own_table, "dicom": trees_own.own_dicom}
    for module in (trees_2d, trees_3d):
        makers |= {name: getattr(module, name) for name in CORPORA if hasattr(module, name)}
    return makers[corpus](FOLDER / "trees" / corpus)


def same(first: Prepared, second: Prepared) -> bool:
    """Whether two runs wrote the same; paths below their own folders differ by the folder alone."""
    for path in sorted(first.output.glob("*.*")):
        other = (second.output / path.name).read_bytes()
        if path.read_bytes().replace(b"/first/", b"/second/") != other:
            print(f"{first.summary['corpus']}: {path.name} differs between two runs")
            return False
    return True


def real_dicom() -> list[str]:
    """Names of the volumes and X-rays that `prepare dicom` did not give back as they are."""
    root = FOLDER / "hospital"
    crops = sorted(path for path in (REAL / "lidc_nodule_voi").glob("*.nii.gz") if "_mask" not in path.name)
    sources = [REAL / f"{name}.nii.gz" for name in VOLUMES] + crops[:CROPS]
    for number, source in enumerate(sources):
        shared = "one_folder" if number in (2, 3) else f"series {number}"
        write_series(source, root / shared, number)
    shutil.copytree(REAL / "cxr_format_tests", root / "röntgen")
    with (FOLDER / "real.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["AccessionNumber", "Report"])
        writer.writerows([f"B{n:04d}", f"Template text of volume {n}."] for n in range(len(sources)))
        writer.writerow(["exam Number", "Template text of an X-ray."])
        writer.writerow([XRAY_STUDY, "Template text of another X-ray."])
    reports = ["--reports", str(FOLDER / "real.csv"), "--keep_uids", "--min_slices", "5"]
    found = prepare("dicom", root, FOLDER / "real", *reports, "--validation", "0", "--test", "0")
    rows = {
        row["id"]: row
        for source in ("2d", "3d")
        for row in load_datalist(FOLDER / "real" / f"datalist_{source}.json", "training", root)
    }
    wrong = [path.name for n, path in enumerate(sources) if not is_source(rows.get(f"{UID}5.{n}"), path)]
    xrays = sum(LoadXray()(row["image"]).ndim == 3 for row in rows.values() if row["image"].endswith(".dcm"))
    twice = found.reasons.get("another file has the same SOPInstanceUID", 0)
    return wrong if (xrays, twice) == (XRAYS - 1, 1) else [*wrong, "X-rays"]


def write_series(source: Path, folder: Path, number: int) -> None:
    """A volume as axial DICOM slices, named so that their order by name is not that of the positions."""
    volume = nibabel.as_closest_canonical(nibabel.Nifti1Image.from_filename(source))
    to_world = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine  # DICOM's world: left, back, head
    steps = to_world[:3, :3]
    spacing = np.linalg.norm(steps, axis=0)
    stored = np.rint(np.asarray(volume.dataobj)).astype(np.int16) + np.int16(1024)
    for index in range(stored.shape[2]):
        ct_slice(
            folder / f"{number}_{(index * 7919) % 10007:05d}", number, index, stored[:, :, index].T,
            ImagePositionPatient=[round(float(x), 6) for x in to_world[:3, 3] + index * steps[:, 2]],
            ImageOrientationPatient=[round(float(x), 9) for x in (steps[:, :2] / spacing[:2]).T.ravel()],
            PixelSpacing=[round(float(x), 6) for x in (spacing[1], spacing[0])],
        )  # fmt: skip


def is_source(row: dict[str, object] | None, source: Path) -> bool:
    """Whether a row's image has the source's voxels (to half a HU) and spacing (to 0.001 mm)."""
    if row is None:
        return False
    read = Compose([LoadImage(image_only=True, ensure_channel_first=True), Orientation("LPS")])
    one, other = read(row["image"]), read(source)
    if one.shape != other.shape or np.abs(one.numpy() - other.numpy()).max() > 0.5 + 1e-3:
        return False
    return bool(np.allclose(one.pixdim.numpy(), other.pixdim.numpy(), atol=1e-3))


if __name__ == "__main__":
    sys.exit(main())
