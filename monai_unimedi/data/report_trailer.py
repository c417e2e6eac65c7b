# SPDX-License-Identifier: Apache-2.0
"""What stands below the text of every report of a hospital: farewells, notices, names, numbers and dates.

A line at the end is taken for such a one by its formal words ("signed", "pager", "copyright"), where it says
nothing of a body and is no sentence.
"""

from __future__ import annotations

import re

__all__ = ["without_trailer"]

_FORMAL = re.compile(
    r"""\b(?:(?:sign|dictat|transcri|verif|authenticat|authori[sz]|approv|finali[sz]|validat|releas|electronic
    |radiolo|radiograph|technolog|colegiad|copyright|telephon)\w*
    |typed|typist|provider|physician|doctor|dra?|dott|prof|resident|attending|fellow|consultant|registrar|author
    |printed|job|workstation|status|accession|mrn|dob|npi|gmc|phone|tel|fax|pager|cc|reported|reviewed|read\ by
    |dated?|time|page|firma\w*|fdo|m[eé]dico|fecha|(?:fach|ober|chef)?arzt|m[eé]decin|hospital|department|clinic
    |https?|www|rows?\ in|display|cpt|icd|code|version|report|document|record|back\ to|login|end\ of|software)\b""",
    re.IGNORECASE | re.VERBOSE,
)
_OF_BODY = re.compile(
    r"""\b(?:lung|pulmon|heart|cardi|pleur|effus|pneum|consolid|opaci|nodul|mass|edema|fractur|normal|clear|acute
    |stable|chang|evidence|chest|thora|abnorm|disease|infiltr|atelec|recommend|follow[ -]?up|correlat|suspic|consist
    |deform|since|interval
    |likely|remark|right|left|bilat|mild|moderate|sever|lob[ea]|aort|mediast|hil[au]|trache|bon[ey]|osseous|ribs?\b
    |spin[ea]|degener|cathet|tubes?\b|devices?\b|negativ|positiv|no\b|not\b|without|pain|limit)""",
    re.IGNORECASE | re.VERBOSE,
)
_SENTENCE = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|should|may|can|could|would|discussed|notified|see|please|advised)\b",
    re.IGNORECASE,
)
_LABEL = re.compile(r"[^\w\n]*(?P<label>[\w /.()#-]{2,40}):")
_NAME = re.compile(
    r"""[^\w\n]*(?:
    (?i:dra?|dott|prof|dr\.\ med|il|la|el)\b\.?,?(?:\ (?i:med\.|dra?\.|de|von|van|di|[A-Z][\w.'’-]*),?){1,5}
    |[A-Z][\w.'’,-]*(?:\ [A-Z][\w.'’-]*,?){0,4}[ ,]+(?:M\.?D|D\.?O|MBBS|MBChB|FRCR|FRANZCR|Ph\.?D)\b.{0,40}
    |[A-Za-z]{2,4}[/:][A-Za-z]{2,4}|/[A-Z]{2,4}|[\d/:.,\-\ ()+]{6,}(?:\ ?[AaPp]\.?[Mm]\.?)?)[^\w\n]*""",
    re.VERBOSE,
)
_BARE = re.compile(r"[^\w\n]*(?:[\w /.#-]{1,30}:[^\n]{0,60}|(?:[A-Z][\w.,'’-]*[ ]?){1,4})?[^\w\n]*")
_FAREWELL = re.compile(
    r"""^[ \t>*]*(?:(?:with\s+)?(?:kind(?:est)?|best|warm|many)\s+(?:regards|wishes|thanks)|regards|thanks
    |thank\s+you(?:\s+(?:very\s+much\s+)?for\s+(?:the|this|your|referring)\b[^\n]*)?
    |yours(?:\s+(?:sincerely|faithfully|truly))?|sincerely(?:\s+yours)?|respectfully(?:\s+\w+)?|cordially|cheers
    |(?:un\s+)?(?:cordial\s+)?saludos?(?:\s+cordial(?:es)?)?|atentamente|atenciosamente|(?:bien\s+)?cordialement
    |cordiali\s+saluti|distinti\s+saluti|mit\s+(?:freundlichen|kollegialen|besten)\s+gr(?:ü|ue)(?:ß|ss)en
    |met\s+vriendelijke\s+groet(?:en)?|med\s+v[äe]nliga?\s+h[äi]lsning(?:ar)?
    )\b[^\n\w]*(?:\n(?:.*\n?){0,12}\Z|\Z)""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_NOTICE = re.compile(
    r"""^[^\w\n]*(?:(?:confidentiality\s+notice|disclaimer|confidential)\b
    |(?:note\W+)?(?:this|the)\s+(?:e-?mail|message|document|report|fax|communication|information|transmission)\b
    (?=[^\n]*(?:\n[^\n]+)*?\b(?:confidential|privileged|intended\s+(?:solely|only)|addressee|unauthori[sz]ed
    |automatically|computer[ -]generated|questions)\b))[^\n]*(?:\n[^\n]+)*""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_PAGE = re.compile(
    r"""^[ \t]*[-–—][ \t]*\d{1,3}[ \t]*[-–—][ \t]*$
    |^[^\w\n]*(?:page|p[aá]g(?:ina)?|seite|blatt)\.?\s*:?\s*\d+\s*(?:(?:of|de|von|/|sur|di|van)\s*\d+)?\W*$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_MOST_WORDS = 16
_SHORT = 45  # characters of a line that is not broken for want of room


def without_trailer(piece: str) -> str:
    """The text without pages, notices, farewells, and the lines of names, places and times that end it."""
    piece = _FAREWELL.sub("", _NOTICE.sub("", _PAGE.sub("", piece)))
    lines = piece.split("\n")
    end = len(lines)
    for i in range(len(lines) - 1, 0, -1):
        if _is_formal(lines[i]):
            end = i if _is_finished(lines[i - 1]) else end
        elif not _BARE.fullmatch(lines[i]):
            break
    return "\n".join(lines[:end])


def _is_formal(line: str) -> bool:
    """Whether a line tells who or what made the report, and nothing else."""
    if _NAME.fullmatch(line):
        return True
    label = _LABEL.match(line)
    if label and _FORMAL.search(label["label"]):
        return True
    is_short = len(line.split()) <= _MOST_WORDS and not line.lstrip()[:1].islower()
    return is_short and bool(_FORMAL.search(line)) and not (_OF_BODY.search(line) or _SENTENCE.search(line))


def _is_finished(line: str) -> bool:
    """Whether the sentence of a line does not go on in the next."""
    text = line.rstrip()
    if len(text) < _SHORT or not any(map(str.isalnum, text)) or _is_formal(line):
        return True
    return text[-1] in ".!?:)]\"'" and not text[-2:-1].isdigit()
