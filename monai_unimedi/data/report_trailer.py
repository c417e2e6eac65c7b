# SPDX-License-Identifier: Apache-2.0
"""What stands below the text of every report of a hospital: farewells, notices, names, numbers and dates.

A line at the end is taken for such a one by its label ("Signed by:"), or by its words where all of them are names,
numbers and words of an office ("A. Roe, Consultant Radiologist"). Items of lists and whole sentences stay.
"""

from __future__ import annotations

import re

from monai_unimedi.data.report_headings import fold

__all__ = ["is_formal", "says_something", "without_trailer"]

_OFFICE = r"""(?:transcri\w*|transkri\w*|signed|signer|signature|radiolog(?!ic|isch|iq|isk)\w*|radioloog|radiographer
    |technolog(?:ist|ue)|colegiad[oa]|telephone|telefono|telefon|typist|provider|physician|doctor|doctora|dra?|drs
    |dott|dottore|dottoressa|prof|professor|resident|attending|fellow|consultant|registrar|author|workstation|job
    |accession|mrn|dob|npi|gmc|phone|tel|fax|pager|firma\w*|fdo|medico|medica|facultativo|(?:fach|ober|chef)?arzt
    |(?:fach|ober|chef)?arztin|medecin|hospital|krankenhaus|klinikum|hopital|ospedale|department|clinic|cpt|icd)"""
_WEAK = r"""(?:date|dated|datum|fecha|status|page|code|record|document|report|informe|version|cc|dictated|transcribed
    |verified|validated|authenticated|authori[sz](?:ed|ing)|approved|finali[sz]ed|released|typed|printed|reported
    |reviewed|befundet|refertato|laudado|copyright|time|hora|uhrzeit)"""
_BESIDE = r"""(?:n[º°o]|by|on|at|of|and|the|no|nr|id|for|fur|de|del|della|di|der|die|des|von|durch|par|por|da|el|la|le
    |il|du|und|y|e|et|i|ii|iii|md|do|phd|mbbs|mbchb|frcr|franzcr|am|pm|est|edt|utc|gmt|hrs?|uhr|h|study|exam
    |examination|results?|final|preliminary|number|name|first|last|initials?|created|birth|service|received|sent
    |ordering|referring|requesting|reading|reporting|interpreting|interpreted|read|electronic|digital
    |electronically|digitally|staff|board|certified|chief|senior|specialist|general|validacion
    |jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|january|february|march|april|june|july|august|september
    |october|november|december|monday|tuesday|wednesday|thursday|friday|saturday|sunday|enero|febrero|marzo|abril
    |mayo|junio|julio|agosto|septiembre|octubre|noviembre|diciembre|januar|februar|marz|mai|juni|juli|oktober
    |dezember)"""
_WORD = re.compile(r"[^\W\d_]+")
_OF_OFFICE = re.compile(_OFFICE, re.VERBOSE)
_FORMAL = re.compile(rf"(?:{_OFFICE}|{_WEAK}|{_BESIDE}|[a-z])", re.VERBOSE)
_OF_FORM = re.compile(rf"(?:{_OFFICE}|{_WEAK})", re.VERBOSE)
_MADE = re.compile(
    r"""(?:(?:this|the)\s+)?(?:final\s+|preliminary\s+)?(?:report\s+)?(?:(?:electronically|digitally)\s+)?
    (?:(?:dictated|transcribed|signed|verified|authenticated|approved|finali[sz]ed|validated|typed|released
    |authori[sz]ed|interpreted|reported|reviewed|read|printed)\s+(?:electronically\s+)?(?:by\b|(?:(?:on|at)\s+)?\W*\d)
    |electronically\s+signed|(?:firmado|validado|dictado|informado)\s+por\b|(?:signe|dicte|valide)\s+par\b
    |(?:diktiert|signiert|freigegeben)\s+(?:von|durch)\b|(?:firmato|refertato)\s+da\b
    |(?:assinado|laudado)\s+por\b|copyright\b|©|https?:|www\.|back\s+to\s+top|log\s?(?:in|out)\b
    |\(?\d+\s+rows?\s+in|end\s+of\s+\w+\W*$|display\b|software\b)""",
    re.VERBOSE,
)
_STATE = re.compile(
    r"(?:\w+\s+)?status\W+(?:final|preliminary|signed|verified|approved|complete|completed|addended|amended"
    r"|corrected|unsigned|draft|unverified|validated|released)\w*\W*"
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
_LABEL = re.compile(r"[^\w\n]*(?P<label>[\w /.()#-]{2,40}):(?P<value>.*)")
_NAME = re.compile(
    r"""[^\w\n]*(?:
    (?i:dra?|dott|prof|dr\.\ med|il|la|el)\b\.?,?(?:\ (?i:med\.|dra?\.|de|von|van|di|[A-Z][\w.'’-]*),?){1,5}
    |[A-Z][\w.'’,-]*(?:\ [A-Z][\w.'’-]*,?){0,4}[ ,]+(?:M\.?D|D\.?O|MBBS|MBChB|FRCR|FRANZCR|Ph\.?D)\b.{0,40}
    |[A-Za-z]{2,4}[/:][A-Za-z]{2,4}|/[A-Z]{2,4}|[\d/:.,\-\ ()+]{6,}(?:\ ?[AaPp]\.?[Mm]\.?)?)[^\w\n]*""",
    re.VERBOSE,
)
_BARE = re.compile(r"[^\w\n]*(?:[\w /.#-]{1,30}:[^\n]{0,60}|(?:[A-Z][\w.,'’-]*[ ]?){1,4})?[^\w\n]*")
_ITEM = re.compile(r"[^\w\n]*(?:\d{1,2}|[a-z])[.)]\s+[^\W\d]")
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
    |automatically|computer[ -]generated
    |(?:call|contact)[^\n]*questions|questions[^\n]*(?:call|contact))\b))[^\n]*(?:\n[^\n]+)*""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_PAGE = re.compile(
    r"""^[ \t]*[-–—][ \t]*\d{1,3}[ \t]*[-–—][ \t]*$
    |^[^\w\n]*(?:page|p[aá]g(?:ina)?|seite|blatt)\.?\s*:?\s*\d+\s*(?:(?:of|de|von|/|sur|di|van)\s*\d+)?\W*$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_PROSE = re.compile(
    r"to|from|in|with|since|post|after|before|via|per|as|is|are|was|were|status|referr?\w*|transfer\w*|discharg\w*"
    r"|admi(?:t|ss)\w*|repeat\w*|urgent\w*|acquired|previous\w*|prior|known|course|stay|visit|bed|day|suggest\w*"
    r"|features?|signs?|diagnos\w*|appear\w*|unremarkable|unauffallig\w*|findings?|review|history|pacemaker"
    r"|refer\w*|en|nach|bei|mit|seit|zur?m?|desde|con|hacia|depuis|avec|vers|dal|dopo"
)
_CAPITALISED = re.compile(r"\b[A-Z][\w'’-]*")
_MOST_WORDS = 16
_MOST_NAMES, _MOST_NAMES_LOUD = 5, 3
_SHORT = 45  # characters of a line that is not broken for want of room


def without_trailer(piece: str) -> str:
    """The text without pages, notices, farewells, and the lines of names, places and times that end it."""
    piece = _FAREWELL.sub("", _NOTICE.sub("", _PAGE.sub("", piece)))
    lines = piece.split("\n")
    end = len(lines)
    for i in range(len(lines) - 1, 0, -1):
        if is_formal(lines[i]):
            end = i if _is_finished(lines[i - 1]) else end
        elif not _BARE.fullmatch(lines[i]) or _tells(lines[i]):
            break
    return "\n".join(lines[:end])


def is_formal(line: str) -> bool:
    """Whether a line tells who or what made the report, and nothing else."""
    if _ITEM.match(line):
        return False
    if _NAME.fullmatch(line):
        return True
    folded = fold(line).strip()
    bare = folded.lstrip(" \t*-=#_>[(<•|")
    is_short = len(line.split()) <= _MOST_WORDS and not says_something(line) and not _SENTENCE.search(line)
    if is_short and (_MADE.match(bare) or _STATE.fullmatch(bare)):
        return True
    label = _LABEL.match(line)
    return (label is not None and _is_label(label["label"], label["value"])) or (is_short and _is_title(line))


def says_something(line: str) -> bool:
    """Whether a word of a body or a disease stands in a line."""
    return bool(_OF_BODY.search(line))


def _is_label(label: str, value: str) -> bool:
    """Whether what a label says belongs to the form: an office, or a date, a number, a name behind another word."""
    words = _WORD.findall(fold(label))
    if not words or not all(map(_FORMAL.fullmatch, words)) or not any(map(_OF_FORM.fullmatch, words)):
        return False
    if says_something(value) and (value.rstrip().endswith(".") or says_something(_CAPITALISED.sub("", value))):
        return False
    is_value = any(map(str.isdigit, value)) or _NAME.fullmatch(value.strip()) or not value.strip()
    return bool(is_value) or any(map(_OF_OFFICE.fullmatch, words))


def _is_title(line: str) -> bool:
    """Whether an office stands in a line and nothing beside it but names and numbers: "General Hospital"."""
    words = _WORD.findall(line)
    names = [word for word in words if not _FORMAL.fullmatch(fold(word))]
    if not any(_OF_OFFICE.fullmatch(fold(word)) for word in words):
        return False
    is_sentence = line.rstrip().endswith(".") and not any(map(str.isdigit, line))
    most = 0 if is_sentence else _MOST_NAMES_LOUD if line.isupper() else _MOST_NAMES
    return len(names) <= most and all(name[0].isupper() and not _PROSE.fullmatch(fold(name)) for name in names)


def _tells(line: str) -> bool:
    """Whether a bare line may be one of the report itself."""
    return bool(_ITEM.match(line)) or says_something(line) or line.rstrip().endswith(".")


def _is_finished(line: str) -> bool:
    """Whether the sentence of a line does not go on in the next."""
    text = line.rstrip()
    if len(text) < _SHORT or not any(map(str.isalnum, text)) or is_formal(line):
        return True
    return text[-1] in ".!?:)]\"'" and not text[-2:-1].isdigit()
