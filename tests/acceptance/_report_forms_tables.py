# SPDX-License-Identifier: Apache-2.0
"""Forms of reports in JSON, tables and HL7 segments, see ``_report_forms.py``."""

from __future__ import annotations

import json
import textwrap

from _report_form_patterns import Form, Sections, fill, lines, names, quoted

__all__ = ["FORMS"]


def csv_header(s: Sections) -> str:
    return ",".join(n for n, _ in s) + "\n" + ",".join(quoted(t) for _, t in s) + "\n"


def csv_ids(s: Sections) -> str:
    return (
        "study_id,modality,"
        + ",".join(n.title() for n, _ in s)
        + "\n1001,CR,"
        + ",".join(quoted(t) for _, t in s)
        + "\n"
    )


def csv_long(s: Sections) -> str:
    return "id,field,value\n" + "\n".join(f'17,{n},"{t.replace(chr(34), chr(34) * 2)}"' for n, t in s)


def csv_semicolon(s: Sections) -> str:
    return "SECTION;TEXT\n" + "\n".join(f'"{n.upper()}";"{t.replace(chr(34), chr(34) * 2)}"' for n, t in s)


def fhir_report(s: Sections) -> str:
    d = dict(s)
    return json.dumps(
        {
            "resourceType": "DiagnosticReport",
            "id": "r1",
            "conclusion": d.get("impression", ""),
            "presentedForm": [{"contentType": "text/plain", "title": "XR"}],
            "findings": d.get("findings", ""),
            "indication": d.get("indication", ""),
            "comparison": d.get("comparison", ""),
        }
    )


def gdt(s: Sections) -> str:
    text = names("36643-5&GDT^XR CHEST", "36643-5&IMP^XR CHEST", "11329-0&HX^HISTORY", "18834-2&CMP^COMPARISON")
    return "\n".join(f"OBX|{i}|TX|{text[n]}|{i}|{t}|" for i, (n, t) in enumerate(s, 1))


def hash_box(s: Sections) -> str:
    return "\n".join(f"{'#' * 30}\n# {n.title():<27}#\n{'#' * 30}\n{t}" for n, t in s)


def hl7_repeat(s: Sections) -> str:
    return "\n".join(f"OBX|{i}|TX|RAD^{n.upper()}^L||{t.replace('. ', '.~')}||||||F" for i, (n, t) in enumerate(s, 1))


def json_array(s: Sections) -> str:
    return json.dumps([{"type": "section", "name": n.upper(), "content": [t]} for n, t in s])


def json_array_pairs(s: Sections) -> str:
    return json.dumps([[n.upper(), t] for n, t in s])


def json_line(s: Sections) -> str:
    return json.dumps({f"{n}Text": t for n, t in s})


def json_upper(s: Sections) -> str:
    return json.dumps({"ACC": "1", "report": {n.upper(): t for n, t in s}})


def jsonl(s: Sections) -> str:
    return "\n".join(json.dumps({"heading": n.title(), "text": t}) for n, t in s)


def margin(s: Sections) -> str:
    """Names in a right-justified column."""
    return "\n".join(f"{n.upper():>14}: " + fill(t, 60).replace("\n", "\n" + " " * 16) for n, t in s)


def ndjson_fields(s: Sections) -> str:
    return json.dumps({"fields": [{"label": n.title() + ":", "value": t} for n, t in s]})


def obx(s: Sections) -> str:
    rows = [f"OBX|{i}|TX|{n.upper()}^{n.title()}||{t}||||||F" for i, (n, t) in enumerate(s, 1)]
    return "\r\n".join(rows)


def obx_lines(s: Sections) -> str:
    rows: list[str] = []
    for n, t in s:
        for line in [f"{n.upper()}:", *textwrap.wrap(t, 70), ""]:
            rows.append(f"OBX|{len(rows) + 1}|TX|71020^CHEST 2 VIEWS||{line}||||||F")
    return "\r".join(rows)


def oru_one_field(s: Sections) -> str:
    t = "\\.br\\\\.br\\".join(f"{n.upper()}\\.br\\{t}" for n, t in s)
    return f"MSH|^~\\&|RIS\rPID|1||9\rOBX|1|TX|RPT^Report||{t}||||||F\r"


def psql(s: Sections) -> str:
    return "-[ RECORD 1 ]" + "-" * 30 + "\n" + "\n".join(f"{n:<11}| {t}" for n, t in s)


def wide(s: Sections) -> str:
    return "\n".join(f"{n.upper():<40}{t}" for n, t in s)


FORMS: dict[str, Form] = {
    "OBX by section": obx,
    "OBX by line": obx_lines,
    "JSON findingsText": json_line,
    "CSV with a header row": csv_header,
    "nested JSON": json_upper,
    "right-justified names": margin,
    "ORU in one field": oru_one_field,
    "OBX suffixes": gdt,
    "CSV with semicolons": csv_semicolon,
    "CSV with other columns": csv_ids,
    "JSON array": json_array,
    "JSON lines": jsonl,
    "{FINDINGS: text}": lines("{{{NAME}: {text}}}"),
    "OBX with repeats": hl7_repeat,
    "psql record": psql,
    "CSV, long": csv_long,
    "JSON label and value": ndjson_fields,
    "JSON pairs": json_array_pairs,
    "# Findings # box": hash_box,
    "FINDINGS, 40 columns apart": wide,
    "FHIR report": fhir_report,
}
