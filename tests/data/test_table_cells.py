# SPDX-License-Identifier: Apache-2.0
"""Quotation marks in tables: well-formed ones as ever, stray ones never take other rows along."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from monai_unimedi.data.prepare_tables import read_columns, read_lines, read_table
from monai_unimedi.data.table_cells import read_cells
from tests.data.corpora.files import picture, text, xray
from tests.data.corpora.prepared import prepare


@pytest.mark.parametrize(
    "content",
    [
        'a,b\n1,"x, y"\n2,"two\nlines, ""quoted"""\n\n3,5" thick\n',
        'a,b\r\n1,"path C:\\"\r\n2,"path C:\\""quoted"""\r\n',
        'a\tb\n1\t"two\nlines, and a\ttab\n"\n2\t"a ""word"""\n',
        'a\tb\n1\t"a ""word"" here"\n2\tplain\n',
        'a;b\r1;"x\ry"\r',
    ],
)
def test_well_formed_tables_are_read_as_by_the_standard(content: str) -> None:
    expected = csv.reader(io.StringIO(content, newline=""), delimiter=content[1], strict=True)
    found = [cells for _, cells in read_cells(content, content[1])]
    assert [cells for cells in found if cells and any(cells)] == [cells for cells in expected if cells]


def test_rows_have_the_numbers_of_their_lines(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", '\n\na,b\n1,"two\nlines"\n\n2,x\n3,y,z\n')
    assert [number for number, _ in read_lines(path)] == [4, 7, 8]


def test_row_of_more_cells_than_columns_is_refused_with_its_line(tmp_path: Path) -> None:
    path = text(tmp_path / "t.csv", "a,b\nA0,Heart size is normal, large right pneumothorax, urgent.\n")
    with pytest.raises(ValueError, match=r"'t.csv', line 2: more cells than columns"):
        list(read_table(path))
    path = text(tmp_path / "t.csv", "a,b\nA0,Clear.,, \n")
    assert list(read_table(path)) == [{"a": "A0", "b": "Clear."}]


def test_stray_quote_between_tabs_stays_in_its_cell(tmp_path: Path) -> None:
    rows = 'A1\t"Normal chest.\nA2\tClear.\nA3\t"Right effusion."\nA4\t"Normal" heart.\nA5\tStable."\n'
    found = list(read_table(text(tmp_path / "t.tsv", "a\tb\n" + rows)))
    texts = ['"Normal chest.', "Clear.", "Right effusion.", '"Normal" heart.', 'Stable."']
    assert [row["b"] for row in found] == texts


def test_stray_quote_between_commas_gives_up_its_row_alone(tmp_path: Path) -> None:
    rows = 'A1,"Normal chest.\nA2,Clear.\nA3,"Right effusion, small."\nA4,"Two\nlines."\n'
    found = list(read_lines(text(tmp_path / "t.csv", "a,b\n" + rows)))
    assert found == [
        (2, "a quote opens a cell and is not closed"),
        (3, {"a": "A2", "b": "Clear."}),
        (4, {"a": "A3", "b": "Right effusion, small."}),
        (5, {"a": "A4", "b": "Two\nlines."}),
    ]
    with pytest.raises(ValueError, match=r"'t.csv', line 1: a quote opens a cell"):
        read_columns(text(tmp_path / "t.csv", 'a,"b\n1,2\n3,"4" 5\n'))


def test_backslash_escapes_a_quote_within_a_cell(tmp_path: Path) -> None:
    rows = [
        r'A1,"He said \"fine\" today, and \"bye\""',
        r'A2,"stored in C:\new\"',
        'A3,"a \\"stable\\" nodule\nof 5 mm"',
    ]
    found = list(read_table(text(tmp_path / "t.csv", "\n".join(["a,b", *rows, ""]))))
    texts = ['He said "fine" today, and "bye"', "stored in C:\\new\\", 'a "stable" nodule\nof 5 mm']
    assert [row["b"] for row in found] == texts


TABLE = "accession,path,patient,report\n{0},1.dcm,P1,Heart size is normal, large pneumothorax, urgent.\n"
LEFT_OUT = "more cells than columns: a cell that holds the delimiter must stand in quotes"


def test_own_table_lists_rows_of_too_many_cells(tmp_path: Path) -> None:
    picture(tmp_path / "2.png")
    listed = text(tmp_path / "t.csv", TABLE.format("A0001") + "A2,2.png,P2,Clear lungs here.\n")
    columns = ("--image", "path", "--report", "report", "--patient", "patient")
    found = prepare("csv", tmp_path, tmp_path / "out", "--csv", str(listed), *columns)
    assert found.reasons == {LEFT_OUT: 1} and found.summary["examples"] == {LEFT_OUT: ["line 2"]}
    assert list(found.rows_of_all("2d")) == ["2.png"]


def test_table_of_reports_lists_rows_of_too_many_cells(tmp_path: Path) -> None:
    xray(tmp_path / "files" / "1.dcm", 1)
    xray(tmp_path / "files" / "2.dcm", 2)
    listed = text(tmp_path / "t.csv", TABLE.format("A0001") + "A0002,2.dcm,P2,Clear lungs here.\n")
    found = prepare("dicom", tmp_path / "files", tmp_path / "out", "--reports", str(listed))
    assert [row["report"] for row in found.rows_of_all("2d").values()] == ["Clear lungs here."]
    assert found.reasons == {LEFT_OUT: 1, "no report for the accession number": 1}
    assert found.summary["examples"][LEFT_OUT] == ["t.csv, line 2"]
