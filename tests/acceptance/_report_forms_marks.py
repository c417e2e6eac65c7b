# SPDX-License-Identifier: Apache-2.0
"""Forms of reports by the marks and the case of their headings, see ``_report_forms.py``."""

from __future__ import annotations

from collections.abc import Mapping

from _report_form_patterns import Form, Sections, fill, lines

__all__ = ["FORMS"]


def own_line_wrapped(head: str, width: int, sep: str = "\n") -> Form:
    def write(s: Sections) -> str:
        return sep.join(head.format(N=n.upper(), n=n.capitalize(), l=n) + "\n" + fill(t, width) for n, t in s)

    return write


def underlined(char: str) -> Form:
    def write(s: Sections) -> str:
        return "\n\n".join(f"{n.upper()}\n{char * len(n)}\n{t}" for n, t in s)

    return write


def wrapped_after(head: str, width: int, words: Mapping[str, str] | None = None, sep: str = "\n") -> Form:
    def write(s: Sections) -> str:
        return sep.join(
            fill(head.format(N=(words or {}).get(n, n).upper(), n=(words or {}).get(n, n).capitalize(), l=n) + t, width)
            for n, t in s
        )

    return write


FORMS: dict[str, Form] = {
    "FINDINGS underlined by =": underlined("="),
    "FINDINGS underlined by macron": underlined("\u203e"),
    'findings="text"': lines('{name}="{text}"'),
    "[FINDINGS] [/FINDINGS]": lines("[{NAME}]\n{text}\n[/{NAME}]"),
    "Findings… text": lines("{Name}… {text}"),
    "• FINDINGS: text": lines("• {NAME}: {text}"),
    "full-width colon": lines("{Name}：{text}"),
    "1) FINDINGS:": lines("{i}) {NAME}:\n{text}", separator="\n\n"),
    "== Findings ==": lines("== {Name} ==\n{text}"),
    "tabs": lines("\t{NAME}\n\t\t{text}"),
    "Findings | text": lines("{Name} | {text}"),
    "Findings/text": lines("{NAME}/ {text}"),
    "FINDINGS := 'text'": lines("{NAME} := '{text}'"),
    "colon on its own line": lines("{Name}\n:\n{text}"),
    "escaped newlines": lines("{NAME}:\\n{text}\\n", separator="\\n"),
    "between hashes": lines("########\n{Name}\n########\n{text}"),
    "■ FINDINGS": lines("■ {NAME}\n{text}\n"),
    "<FINDINGS>": lines("<{NAME}>\n{text}\n</{NAME}>"),
    "Findings =": lines("{Name} = {text}"),
    "(FINDINGS) text": lines("({NAME}) {text}"),
    "`Findings` text": lines("`{Name}` {text}"),
    "FINDINGS, blank lines": lines("{NAME}\n\n\n{text}\n\n\n"),
    "non-breaking blanks": lines("{NAME}\xa0:\xa0{text}"),
    "one line, FINDINGS: text": lines("{NAME}: {text}", separator=" "),
    "one line, Findings - text": lines("{Name} - {text}", separator=" "),
    "one line, slashes": lines("{Name}: {text}", separator=" // "),
    "dotted rules between": lines("{Name}:\n{text}", separator="\n. . . . . . . . . . . .\n"),
    "rule above": lines("________________________\n{Name}:\n{text}"),
    "Markdown block quote": lines("**{Name}**\n\n> {text}\n"),
    "Markdown numbered": lines("{i}. **{Name}**: {text}"),
    "Markdown bullets": lines("- **{Name}:** {text}"),
    "Markdown __FINDINGS__": lines("__{NAME}__\n\n{text}", separator="\n\n"),
    "'''Findings''': text": lines("'''{Name}''': {text}"),
    "* * * FINDINGS * * *": lines("* * * {NAME} * * *\n{text}"),
    "FINDINGS ____": lines("{NAME} _______\n{text}"),
    "#FINDINGS": lines("#{NAME}\n{text}"),
    "**Findings** text": lines("**{Name}** {text}"),
    "YAML list": lines("- section: {Name}\n  text: {text}"),
    "++Findings++": lines("++{Name}++\n{text}"),
    "~FINDINGS~": lines("~{NAME}~ {text}"),
    "^Findings^": lines("^{Name}^ {text}"),
    "$findings$": lines("${name}$ {text}"),
    "FINDINGS:- text": lines("{NAME}:- {text}"),
    ":findings: text": lines(":{name}: {text}"),
    "Findings...": lines("{Name}...\n{text}"),
    "No. 1 - Findings: text": lines("No. {i} - {Name}: {text}"),
    "RPT_FINDINGS=text": lines("RPT_{NAME}={text}"),
    "time before the heading": lines("[01/02/2012 10:22] {NAME}: {text}"),
    "findings: text;": lines("{name}: {text};"),
    "▶ Findings": lines("▶ {Name}: {text}"),
    "✔ Findings –": lines("✔ {Name} – {text}"),
    "/FINDINGS/": lines("/{NAME}/ {text}"),
    "tab colon tab": lines("{Name}\t:\t{text}"),
    "pipe fields": lines("{NAME}|{text}", separator="|"),
    "(1) FINDINGS: in one line": lines("({i}) {NAME}: {text}", separator=" "),
    "FINDINGS text, 70 columns": wrapped_after("{N} ", 70),
    "findings - text, 60 columns": wrapped_after("{l} - ", 60),
    "FINDINGS:-, paragraphs": wrapped_after("{N}:- ", 75, sep="\n\n"),
    "  FINDINGS: own line, 78 columns": own_line_wrapped("  {N}:", 78, "\n\n"),
    "===FINDINGS===": own_line_wrapped("==={N}===", 64),
    "##Findings##": own_line_wrapped("##{n}##", 80),
    "--Findings--": own_line_wrapped("--{n}--", 50),
    "»FINDINGS«": own_line_wrapped("»{N}«", 70),
    "one line, findings. text": lines("{NAME}. {text}", separator=" "),
    "one line, ** FINDINGS **": lines("** {NAME} ** {text}", separator=" "),
    "one line, Findings: with bars": lines("{Name}: {text}", separator=" || "),
    "<Findings: text>": lines("<{Name}: {text}>"),
    "FINDINGS=text; ": lines("{NAME}={text}", separator="; "),
    "FINDINGS (LUNGS AND HEART):": lines("{NAME} (LUNGS AND HEART):\n{text}"),
    "Findings, chest:": lines("{Name}, chest: {text}"),
    "FINDINGS 01/02/2012": lines("{NAME} 01/02/2012\n{text}"),
    "Findings @ 10:22": lines("{Name} @ 10:22: {text}"),
    "-Findings --text": lines("-{Name}\n--{text}"),
    "|== FINDINGS ==|": lines("|== {NAME} ==|\n{text}"),
    "stars between": lines("{Name}\n\n{text}", separator="\n\n* * *\n\n"),
    "***FINDINGS***: text": lines("***{NAME}***: {text}"),
    'Findings: "text"': lines('{Name}: "{text}"'),
    "FINDINGS:text": lines("{NAME}:{text}\n", separator=""),
}
