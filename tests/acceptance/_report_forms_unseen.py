# SPDX-License-Identifier: Apache-2.0
"""Thirty forms that were written without knowledge of the reader, and on which it was not mended since.

python tests/acceptance/report_sections.py --forms tests/acceptance/_report_forms_unseen.py
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence

__all__ = ["FORMS"]

Sections = Sequence[tuple[str, str]]


def f(sep: str, head: Callable[[str], str], join: str = "\n\n") -> Callable[[Sections], str]:
    """Sections with one kind of heading."""
    return lambda s: join.join(head(n) + sep + t for n, t in s)


def syn(names: Mapping[str, str]) -> Callable[[str], str]:
    """Other words for the sections' names."""
    return lambda n: names.get(n, n)


cap = str.capitalize
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII")
SYN = {
    "findings": "Description",
    "impression": "Opinion",
    "indication": "Clinical information",
    "comparison": "Prior studies",
}
SYN2 = {
    "findings": "Radiographic findings",
    "impression": "Impressions",
    "indication": "Reason for exam",
    "comparison": "Comparison studies",
}
SYN3 = {
    "findings": "FINDINGS/OBSERVATIONS",
    "impression": "IMPRESSION/RECOMMENDATION",
    "indication": "HISTORY/INDICATION",
    "comparison": "COMPARISON/PRIOR",
}
SYN4 = {
    "findings": "Observations",
    "impression": "Summary",
    "indication": "Clinical history",
    "comparison": "Comparison",
}
ES = {
    "findings": "Hallazgos",
    "impression": "Impresión diagnóstica",
    "indication": "Motivo de consulta",
    "comparison": "Comparación",
}
DE = {
    "findings": "Befund",
    "impression": "Beurteilung",
    "indication": "Klinische Angaben",
    "comparison": "Voraufnahmen",
}
FR = {"findings": "Résultats", "impression": "Conclusion", "indication": "Indication", "comparison": "Comparaison"}
FORMS: dict[str, Callable[[Sections], str]] = {
    "upper colon newline": f(":\n", str.upper),
    "lower colon same line": f(": ", str.lower, "\n"),
    "upper no colon line": f("\n", str.upper),
    "upper no colon same line": f(" ", str.upper, "\n"),
    "one line all": f(": ", str.upper, " "),
    "capital dash": f(" - ", cap),
    "semicolon": f("; ", cap),
    "arrow": f(" => ", cap, "\n"),
    "double star": lambda s: "\n".join(f"**{cap(n)}**\n{t}\n" for n, t in s),
    "md heading": lambda s: "\n".join(f"## {cap(n)}\n\n{t}\n" for n, t in s),
    "number paren": lambda s: "\n".join(f"{i + 1}) {n.upper()}: {t}" for i, (n, t) in enumerate(s)),
    "roman": lambda s: "\n".join(f"{r}. {cap(n)}\n   {t}" for r, (n, t) in zip(ROMAN, s)),
    "underline eq": lambda s: "\n".join(f"{cap(n)}\n{'=' * len(n)}\n{t}\n" for n, t in s),
    "box": lambda s: "\n".join(f"+{'-' * 20}+\n| {n.upper():<18} |\n+{'-' * 20}+\n{t}" for n, t in s),
    "synonyms 1": f(":\n", syn(SYN)),
    "synonyms 2": f(": ", syn(SYN2), "\n"),
    "synonyms slash": f(": ", syn(SYN3), "\n"),
    "synonyms 4": f("\n", lambda n: syn(SYN4)(n).upper()),
    "spanish": f(": ", syn(ES), "\n"),
    "german": f(":\n", syn(DE)),
    "french": f(" :\n", syn(FR)),
    "wrapped 70": lambda s: "\n\n".join(textwrap.fill(f"{n.upper()}: {t}", 70) for n, t in s),
    "wrapped indent": lambda s: "\n".join(
        f"{cap(n)}:\n" + textwrap.fill(t, 60, initial_indent="    ", subsequent_indent="    ") for n, t in s
    ),
    "header footer": lambda s: (
        "RADIOLOGY REPORT\nExam: XR CHEST 2 VIEWS\nDate: 01/02/2020\n\n"
        + "\n\n".join(f"{n.upper()}: {t}" for n, t in s)
        + "\n\nElectronically signed by: Dr. A. Smith, MD 01/02/2020 10:32"
    ),
    "xml": lambda s: (
        "<report>" + "".join(f"<{n}>{t.replace('&', '&amp;').replace('<', '&lt;')}</{n}>" for n, t in s) + "</report>"
    ),
    "key=value": lambda s: "\n".join(f"{n}={t}" for n, t in s),
    "pipe": lambda s: "|".join(f"{n.upper()}|{t}" for n, t in s),
    "html": lambda s: "<html><body>" + "".join(f"<h3>{cap(n)}</h3><p>{t}</p>" for n, t in s) + "</body></html>",
    "bracket": lambda s: "\n".join(f"<<{n.upper()}>>\n{t}" for n, t in s),
    "colon dictated": lambda s: "\n".join(f"{cap(n)} colon {t}" for n, t in s),
}
