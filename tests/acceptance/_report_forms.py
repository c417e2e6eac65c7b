# SPDX-License-Identifier: Apache-2.0
"""Forms in which systems export the sections of a report, for the measurement of the section reader.

The reader was written on other forms, those of ``tests/data/test_report_text.py``. A form takes the sections
in the order in which they shall stand, as (name, text), and gives the report.
"""

from __future__ import annotations

import html
import random
import textwrap

import _report_forms_layouts
import _report_forms_letters
import _report_forms_marks
import _report_forms_markup
import _report_forms_tables
import _report_forms_words
from _report_form_patterns import Form, Sections, lines, names

__all__ = ["FORMS", "JOINED"]

FORMAL = {
    "findings": "Radiographic Findings",
    "impression": "Diagnostic Impression",
    "indication": "Reason for Examination",
    "comparison": "Comparison Studies",
}
CASUAL = {"findings": "Observations", "impression": "Opinion", "indication": "Hx", "comparison": "Priors"}
RESULTS = {
    "findings": "RESULTS",
    "impression": "SUMMARY",
    "indication": "CLINICAL INFORMATION",
    "comparison": "PREVIOUS STUDIES",
}
SHORT = {"findings": "FINDINGS", "impression": "IMP", "indication": "IND", "comparison": "COMP"}
SPANISH = {
    "findings": "HALLAZGOS RADIOLÓGICOS",
    "impression": "Impresion diagnostica",
    "indication": "Motivo de la exploración",
    "comparison": "Estudios previos",
}


def wrapped(pattern: str, width: int, indent: str = "") -> Form:
    """As ``lines``, each section broken into lines of a width."""

    def write(sections: Sections) -> str:
        whole = lines(pattern, separator="\n\f")(sections)
        parts = (textwrap.fill(part, width, subsequent_indent=indent) for part in whole.split("\n\f"))
        return "\n".join(parts)

    return write


def columns(sections: Sections) -> str:
    """Names in a column of their own at the left."""
    return "\n".join(
        textwrap.fill(text, 76, initial_indent=f"{name.upper():<16}", subsequent_indent=" " * 16)
        for name, text in sections
    )


def table(sections: Sections) -> str:
    rows = (f"<tr><td><b>{n.capitalize()}</b></td><td>{html.escape(t)}</td></tr>" for n, t in sections)
    return f"<html><body><table>{''.join(rows)}</table></body></html>"


def letter(sections: Sections) -> str:
    """With what stands above and below a report."""
    head = "FINAL REPORT\n\nPatient Name: XXXX\nMRN: 000000\nExam Date: 1/1/2001\nExam: Chest, two views\n\n"
    foot = "\n\nDictated by: A. B., M.D.\nElectronically signed by: C. D., M.D. on 1/1/2001 at 10:00 AM\n"
    return head + lines("{NAME}: {text}", separator="\n\n")(sections) + foot


def spaced_capitals(sections: Sections) -> str:
    return "\n".join(f"{' '.join(name.upper())}:\n{text}\n" for name, text in sections)


def notes(sections: Sections) -> str:
    parts = (f'  "{name}": "{text}"' for name, text in sections)
    return "{\n" + ",\n".join(parts) + "\n}"


def one_after_the_other(sections: Sections) -> str:
    """Each section in another of the simple forms."""
    patterns = [
        "{NAME}: {text}",
        "{Name} - {text}",
        "{Name}:\n{text}",
        "** {NAME} **\n{text}",
        "{NAME}\n{text}",
    ]
    draw = random.Random(len(sections[0][1]))
    return "\n".join(lines(draw.choice(patterns))([section]) for section in sections)


FORMS: dict[str, Form] = {
    "Radiographic Findings -- text": lines("{Name} -- {text}", FORMAL),
    "RADIOGRAPHIC FINDINGS text": lines("{NAME} {text}", FORMAL),
    "Observations: text": lines("{Name}: {text}", CASUAL),
    "RESULTS: text, SUMMARY: text": lines("{NAME}: {text}", RESULTS),
    "IMP: text, abbreviated": lines("{NAME}: {text}", SHORT),
    "Spanish names, paragraphs": lines("{Name}\n{text}", SPANISH, "\n\n"),
    "Spanish names in one line": lines("{name}: {text}", SPANISH, " "),
    ":: FINDINGS ::": lines(":: {NAME} ::\n{text}\n"),
    "/// Findings ///": lines("/// {Name} ///\n{text}"),
    "FINDINGS >> text": lines("{NAME} >> {text}"),
    "{FINDINGS} text": lines("{{{NAME}}} {text}"),
    "«Findings»: text in one line": lines("«{Name}»: {text}", separator=" "),
    "3.1 Findings: text": lines("3.{i} {Name}: {text}"),
    "(1) FINDINGS – text": lines("({i}) {NAME} – {text}"),
    "FINDINGS; text": lines("{NAME}; {text}"),
    "FINDINGS ...... text": lines("{NAME} ...... {text}"),
    "#Findings# text": lines("#{Name}# {text}"),
    "### findings": lines("### {name}\n{text}\n"),
    "_FINDINGS_ text": lines("_{NAME}_ {text}"),
    "FINDINGS:text, 40 columns": wrapped("{NAME}:{text}", 40),
    "Findings text, 60 columns": wrapped("{Name} {text}", 60),
    "findings: text, hanging 50 columns": wrapped("{name}: {text}", 50, "    "),
    "names in the left column": columns,
    "Findings: text; Impression: text": lines("{Name}: {text}", separator="; "),
    "FINDINGS: text | IMPRESSION: text": lines("{NAME}: {text}", separator=" | "),
    "FINDINGS text, capitals in one line": lambda sections: lines("{NAME} {text}", separator=" ")(
        sections
    ).upper(),
    "table of HTML": table,
    "FINDINGS SECTION:": lines("{NAME} SECTION:\n{text}\n"),
    "* FINDINGS *": lines("* {NAME} *\n{text}"),
    "Findings ~~~~": lines("{Name}\n~~~~~~~~~~\n{text}\n"),
    "Findings (see images): text": lines("{Name} (see images): {text}"),
    "@FINDINGS: text @END": lines("@{NAME}: {text}"),
    "spaced capitals": spaced_capitals,
    "header, signature": letter,
    "JSON": notes,
    "each section in another form": one_after_the_other,
    "HL7 breaks": lines("{NAME}:\\.br\\{text}", separator="\\.br\\"),
}


def double_spaced(sections: Sections) -> str:
    """A blank line between any two lines."""
    return "\n\n".join(
        line for name, text in sections for line in textwrap.wrap(f"{name.upper()}: {text}", 60)
    )


def mimic(sections: Sections) -> str:
    """Indented by one blank, as the files of MIMIC-CXR."""
    parts = (textwrap.fill(f"{name.upper()}:  {text}", 78) for name, text in sections)
    return "                    FINAL REPORT\n " + "\n \n ".join(part.replace("\n", "\n ") for part in parts)


def paragraphs(pattern: str, width: int) -> Form:
    """Each section a paragraph of lines of a width; what stands before a line break in the pattern stays."""

    def write(sections: Sections) -> str:
        parts = []
        for section in sections:
            head, _, text = lines(pattern)([section]).rpartition("\n")
            parts.append(f"{head}\n{textwrap.fill(text, width)}".strip())
        return "\n\n".join(parts)

    return write


REPORT = names("Report", "Opinion", "Clinical Details", "Comparison made with")
IMAGES = names("Image findings", "Interpretation", "Clinical question", "Previous imaging")
DESCRIBED = names("Description of findings", "Impression/plan", "Reason for study", "Comparison exams")
GERMAN = names("Befund", "Beurteilung", "Klinische Angaben", "Voruntersuchungen")
FRENCH = names("Résultats", "Conclusion", "Indication", "Comparaison")
ACCENTS = names("Descripción", "Impresión", "Información clínica", "Exploraciones previas")
FORMS |= {
    "FINDINGS (CHEST): text": lines("{NAME} (CHEST): {text}"),
    "Findings ► text": lines("{Name} ► {text}"),
    "<<FINDINGS>>": lines("<<{NAME}>>\n{text}"),
    "FINDINGS ---": lines("{NAME} ---\n{text}\n"),
    "Final Findings: text": lines("Final {Name}: {text}"),
    "results: text, in one line": lines(
        "{name}: {text}", names("results", "conclusions", "clinical history", "prior exams"), " "
    ),
    "carriage returns": lines("{NAME}\r\n\r\n{text}", separator="\r\n\r\n"),
    "indented, colon apart": lines("   {NAME} :\n\n   {text}\n"),
    "Findings—text": lines("{Name}—{text}"),
    "Image findings: text": lines("{Name}: {text}", IMAGES),
    "German": lines("{Name}:\n{text}\n", GERMAN),
    "French": lines("{NAME} : {text}", FRENCH),
    "1 FINDINGS": lines("{i} {NAME}\n{text}"),
    "text after a bullet": lines("{NAME}:\n  - {text}"),
    "double-spaced": double_spaced,
    "Report: text, Opinion: text": lines("{Name}: {text}", REPORT),
    "DESCRIPTION OF FINDINGS: text": lines("{NAME}: {text}", DESCRIBED),
    "two tabs": lines("{Name}\t\t{text}"),
    "[[Findings]] in one line": lines("[[{Name}]] {text}", separator=" "),
    "MIMIC-CXR": mimic,
    "*Findings*, * text": lines("*{Name}*\n* {text}"),
    "all capitals, 64 columns": lambda sections: wrapped("{NAME}: {text}", 64)(sections).upper(),
    "findings, paragraph": paragraphs("{name}\n{text}", 70),
    "FINDINGS text, paragraph": paragraphs("{NAME} {text}", 50),
    "Body: text": lines("{Name}: {text}", names("Body", "Impression", "Reason", "Comparison Date")),
    "FINDINGS => text": lines("{NAME} => {text}"),
    "Descripción: text": lines("{Name}: {text}", ACCENTS),
    "'FINDINGS': text": lines("'{NAME}': {text}"),
    "findings_text: text": lines("{name}_text: {text}"),
    "report_findings = text": lines("report_{name} = {text}"),
}
"""The thirty before this line came later, those below after them: ``docs/reports.md`` has what each set gave."""
for _module in (
    _report_forms_marks,
    _report_forms_layouts,
    _report_forms_words,
    _report_forms_letters,
    _report_forms_tables,
    _report_forms_markup,
):
    FORMS |= _module.FORMS


def joined(heading: str) -> Form:
    """Findings and impression under one heading; what each of them is then, is the text of both."""

    def write(sections: Sections) -> str:
        both = " ".join(text for name, text in sections if name in ("findings", "impression"))
        parts = [f"{name.upper()}: {text}" for name, text in sections if name in ("indication", "comparison")]
        return "\n".join([*parts, heading.format(both)])

    return write


JOINED: dict[str, Form] = {
    "FINDINGS/IMPRESSION: text": joined("FINDINGS/IMPRESSION: {}"),
    "Findings and Impression": joined("Findings and Impression\n{}"),
    "IMPRESSION & FINDINGS - text": joined("IMPRESSION & FINDINGS - {}"),
}
