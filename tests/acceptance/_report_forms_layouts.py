# SPDX-License-Identifier: Apache-2.0
"""Forms of reports by the lines and the white space round their headings, see ``_report_forms.py``."""

from __future__ import annotations

import re
import textwrap

from _report_form_patterns import Form, Sections, fill, lines

__all__ = ["FORMS"]

ROMAN = ["I", "II", "III", "IV", "V"]


def ascii_table(s: Sections) -> str:
    wide = max(len(n) for n, _ in s)
    rows = []
    for n, t in s:
        for i, line in enumerate(textwrap.wrap(t, 50)):
            rows.append(f"| {(n.title() if not i else '').ljust(wide)} | {line.ljust(50)} |")
        rows.append(f"+{'-' * (wide + 2)}+{'-' * 52}+")
    return f"+{'-' * (wide + 2)}+{'-' * 52}+\n" + "\n".join(rows)


def asterisk_bullets(s: Sections) -> str:
    return "\n\n".join(f"{n.upper()}\n" + "\n".join(f"  * {x}" for x in t.split("\n")) for n, t in s)


def bars(s: Sections) -> str:
    return "\n".join(f"│ {n.upper()} │ {t}" for n, t in s)


def bom(s: Sections) -> str:
    return "\ufeff" + "\r\n".join(f"{n.title()}:\r\n{t}" for n, t in s)


def boxes(s: Sections) -> str:
    rows = []
    for n, t in s:
        rows.append("+" + "-" * 70 + "+")
        rows.append("| " + n.upper().ljust(69) + "|")
        rows.append("+" + "-" * 70 + "+")
        rows += ["| " + x.ljust(69) + "|" for x in textwrap.wrap(t, 68)]
    rows.append("+" + "-" * 70 + "+")
    return "\n".join(rows)


def bulleted(s: Sections) -> str:
    return "\n\n".join(f"{n.upper()}:\n" + "\n".join(f"- {x}" for x in sentences(t)) for n, t in s)


def caps_then_paren(s: Sections) -> str:
    return "\n".join(f"{n.upper()} (as dictated)\n{fill(t)}" for n, t in s)


def centred(s: Sections) -> str:
    return "\n\n".join(n.upper().center(78).rstrip() + "\n" + fill(t, 78) for n, t in s)


def chat(s: Sections) -> str:
    return "Here is the report:\n\n" + "\n\n".join(f"**{i}. {n.title()}**\n\n{t}" for i, (n, t) in enumerate(s, 1))


def critical_block(s: Sections) -> str:
    return "\n\n".join(f"{n.upper()}:\n{t}" for n, t in s) + "\n\nCRITICAL FINDINGS: None.\n\nRADIATION DOSE: 0.1 mSv\n"


def crlf_wrapped(s: Sections) -> str:
    return "\r\n".join("\r\n".join([f"{n.upper()}:", *textwrap.wrap(t, 60), ""]) for n, t in s)


def dashed_leader(s: Sections) -> str:
    return "\n".join(f"{n.upper()}{'-' * (20 - len(n))}{t}" for n, t in s)


def dashes_around(s: Sections) -> str:
    return "\n".join(f"---------- {n.upper()} ----------\n{fill(t, 75)}" for n, t in s)


def db_row(s: Sections) -> str:
    return (
        "accession_number: A1\nstudy_date: 2012-01-02\n"
        + "\n".join(f"{n}_text: {t}" for n, t in s)
        + "\nradiologist_id: 17\n"
    )


def deep_indent_text(s: Sections) -> str:
    return "\n".join(f"{n.upper()}\n" + fill(t, 72, initial_indent=" " * 12, subsequent_indent=" " * 12) for n, t in s)


def dictated(s: Sections) -> str:
    return "\n".join(f"{n.title()} colon new line {t}" for n, t in s)


def disclaimer(s: Sections) -> str:
    return (
        "\n\n".join(f"{n.upper()}:\n{t}" for n, t in s)
        + "\n\n-----\nThis document is confidential and intended solely for the addressee. If you have received it in error, please notify the sender.\n"
    )


def dotted_leader(s: Sections) -> str:
    return "\n".join(f"{n.title()}{'.' * (25 - len(n))} {t}" for n, t in s)


def double_spaced_titles(s: Sections) -> str:
    return "\n\n\n".join(f"{n.title()}:\n\n" + "\n\n".join(textwrap.wrap(t, 70)) for n, t in s)


def epic(s: Sections) -> str:
    rows = "\n".join(f"{n.upper()}:  \n{fill(t, 80)}\n" for n, t in s)
    return (
        "Narrative\n"
        + "-" * 60
        + "\n"
        + rows
        + "\nResident: A B\nAttending: C D\n\nFinal Report Dictated by: A B, 1/1/2013 9:00 AM\n"
    )


def final_status(s: Sections) -> str:
    return "[FINAL]\n" + "\n".join(f"{n.upper()}: {t}" for n, t in s) + "\n[END]\n"


def first_line_title(s: Sections) -> str:
    return "XR CHEST 2 VIEWS: 01/02/2012 10:22 AM\n" + "\n".join(f"{n.upper()}: {t}" for n, t in s)


def footer_note(s: Sections) -> str:
    return (
        "\n\n".join(f"{n.title()}:\n{t}" for n, t in s)
        + "\n\nNote: This report was generated automatically. For questions call 555-0100.\n"
    )


def hanging(s: Sections) -> str:
    return "\n".join(fill(f"{n.title()}: {t}", 70, subsequent_indent=" " * 10) for n, t in s)


def heading_in_stars_line(s: Sections) -> str:
    return "\n".join(f"{('* ' * 6).strip()} {n.title()} {('* ' * 6).strip()}\n{t}" for n, t in s)


def ini_plain(s: Sections) -> str:
    return "[Report]\n" + "\n".join(f"{n.title()} = {t}" for n, t in s)


def leading_blank_lines(s: Sections) -> str:
    return "\n\n\n\n" + "\n\n".join(f"{n.title()}:\t{t}" for n, t in s) + "\n\n\n"


def letter_dot(s: Sections) -> str:
    return "\n".join(f"{c}. {n.upper()}: {t}" for c, (n, t) in zip("ABCDE", s))


def line_numbers(s: Sections) -> str:
    rows = [r for n, t in s for r in [f"{n.upper()}:", *textwrap.wrap(t, 60)]]
    return "\n".join(f"{i:03d}| {r}" for i, r in enumerate(rows, 1))


def md_quote(s: Sections) -> str:
    return "### Sample 1\n\n" + "\n>\n".join(f"> **{n.upper()}:**\n> {t}" for n, t in s) + "\n\n---\n"


def meditech(s: Sections) -> str:
    return "\n".join(f"{n.upper()}: {fill(t, 65)}\n.\n" for n, t in s)


def ocr_page(s: Sections) -> str:
    return (
        "\n".join("  " + line for line in ("\n\n".join(f"{n.upper()} :\n{fill(t, 66)}" for n, t in s)).split("\n"))
        + "\n\n                         - 1 -\n"
    )


def over_and_under(s: Sections) -> str:
    return "\n".join(f"{'=' * 30}\n{n.title()}\n{'=' * 30}\n{t}" for n, t in s)


def portal(s: Sections) -> str:
    return (
        "Test results\nXR CHEST 2 VIEWS\nCollected on January 2, 2012 10:00 AM\nResults\n\n"
        + "\n\n".join(f"{n.title()}\n{t}" for n, t in s)
        + "\n\nAuthorizing provider: J. Smith, MD\nResult date: January 2, 2012 11:00 AM\nResult status: Final\n"
    )


def portal_narrative(s: Sections) -> str:
    return (
        "NARRATIVE:\n"
        + "\n".join(f"{n.upper()}: {t}" for n, t in s if n != "impression")
        + "".join(f"\n\nIMPRESSION:\n{t}" for n, t in s if n == "impression")
    )


def radiologist_note(s: Sections) -> str:
    return (
        "Radiology Note\n\n"
        + "\n".join(f"{n.title()}: {t}" for n, t in s)
        + "\n\nThis note was created with speech recognition; errors may occur.\n"
    )


def roman(s: Sections) -> str:
    return "\n".join(f"{r}. {n.upper()}\n{t}\n" for r, (n, t) in zip(ROMAN, s))


def rst(s: Sections) -> str:
    return "\n".join(f"{n.title()}\n{'-' * len(n)}\n\n{fill(t, 72)}\n" for n, t in s)


def semicolon_join(s: Sections) -> str:
    return ";\n".join(f"{n.upper()}: {t}" for n, t in s) + ";"


def sentences(t: str) -> list[str]:
    return re.split(r"(?<=[a-z]\.)\s+(?=[A-Z])", t)


def sigs_between(s: Sections) -> str:
    return "\n".join(f"{'-' * 72}\n{n.upper()}\n{'-' * 72}\n{t}\n" for n, t in s)


def spaced_title(s: Sections) -> str:
    return "\n".join(f"{' '.join(n.title())} : {t}" for n, t in s)


def spoken(s: Sections) -> str:
    return "\n".join(
        f"{n.title()} colon new paragraph {t} Next section"
        if i < len(s) - 1
        else f"{n.title()} colon new paragraph {t}"
        for i, (n, t) in enumerate(s)
    )


def stars_under(s: Sections) -> str:
    return "\n".join(f"{n.title()}\n{'*' * len(n)}\n{t}\n" for n, t in s)


def swapped_case(s: Sections) -> str:
    return "\n".join(f"{n.upper() if i % 2 else n.lower()}: {t}" for i, (n, t) in enumerate(s))


def tilde(s: Sections) -> str:
    return "~".join(f"{n.upper()}:~{t}~" for n, t in s)


def trial_form(s: Sections) -> str:
    return "CASE REPORT FORM\n" + "\n".join(f"Q{i}. {n.title()}: {t}" for i, (n, t) in enumerate(s, 1))


def tsv(s: Sections) -> str:
    return "\t".join(n.upper() for n, _ in s) + "\n" + "\t".join(t for _, t in s)


def yaml(s: Sections) -> str:
    return "\n".join(f"{n}: >\n" + fill(t, 70, initial_indent="  ", subsequent_indent="  ") for n, t in s)


def yaml_block(s: Sections) -> str:
    return "report:\n" + "\n".join(f"  {n}: |\n" + textwrap.indent(fill(t, 70), "    ") for n, t in s)


FORMS: dict[str, Form] = {
    "centred": centred,
    "YAML": yaml,
    "bulleted sentences": bulleted,
    "roman numerals": roman,
    "Epic narrative": epic,
    "Meditech dots": meditech,
    "ASCII boxes": boxes,
    "---- FINDINGS ----": dashes_around,
    "colon new line": dictated,
    "CRLF, 60 columns": crlf_wrapped,
    "TSV with a header row": tsv,
    "INI": ini_plain,
    "line numbers": line_numbers,
    "tilde breaks": tilde,
    "between rules": sigs_between,
    "lower and upper in turn": swapped_case,
    "byte order mark, CRLF": bom,
    "reStructuredText": rst,
    "disclaimer": disclaimer,
    "Markdown quoted sample": md_quote,
    "portal": portal,
    "portal, narrative": portal_narrative,
    "FINDINGS----text": dashed_leader,
    "Findings...... text": dotted_leader,
    "chat answer": chat,
    "YAML block": yaml_block,
    "* * * Findings * * * wide": heading_in_stars_line,
    "A. FINDINGS: text": letter_dot,
    "text deeply indented": deep_indent_text,
    "double-spaced titles": double_spaced_titles,
    "trial form": trial_form,
    "scanned page": ocr_page,
    "spaced title": spaced_title,
    "stars under": stars_under,
    "over and under": over_and_under,
    "asterisk bullets": asterisk_bullets,
    "hanging indent": hanging,
    "speech recognition note": radiologist_note,
    "I) Findings:": lambda s: "\n".join(f"{r}) {n.title()}:\n{t}" for r, (n, t) in zip(("I", "II", "III", "IV"), s)),
    "1.1 Findings": lambda s: "\n".join(f"1.{i} {n.title()}\n\n{t}\n" for i, (n, t) in enumerate(s, 1)),
    "one line, capitals and colons": lambda s: lines("{NAME}: {text}", separator=" ")(s).upper(),
    "database row": db_row,
    "FINDINGS (as dictated)": caps_then_paren,
    "Findings:<TAB>": leading_blank_lines,
    "FINDINGS: text;": semicolon_join,
    "title with a time": first_line_title,
    "note below": footer_note,
    "│ FINDINGS │ text": bars,
    "ASCII table": ascii_table,
    "Next section": spoken,
    "[FINAL] [END]": final_status,
    "critical findings, dose": critical_block,
}
