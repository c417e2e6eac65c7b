# SPDX-License-Identifier: Apache-2.0
"""Who dictated, signed or sent a report, and what stands below every report of a hospital, goes."""

from __future__ import annotations

import re

__all__ = ["without_dictation"]

_REST = r"(?:[^.\n]|\n(?!\s*\n)|\.(?=\w)|(?<=\bDr)\.|(?<=\b[A-Z])\.)*\.?"
_DONE = r"""(?:dictated|transcribed|signed|verified|authenticated|approved|finali[sz]ed|validated|typed
    |released|interpreted|reviewed|read|edited|prepared|created)"""
_SIGNATURE = re.compile(
    rf"""(?:^[\s*=\-\#(\[<]*|(?<=[.!?)\]])\s+)
    (?:(?:this|the)?\s*(?:final\s+|preliminary\s+)?(?:report|examination|study|exam)\s+(?:was\s+|has\s+been\s+)?)?
    (?:(?:electronically|digitally)\s+)?
    (?:{_DONE}(?:\s*(?:,|/|&|and|,\s*and)\s*(?:electronically\s+|digitally\s+)?{_DONE})*
        (?:\s+(?:electronically|digitally))?\s*(?:by\b|:)
    |(?:signed|dictated|transcribed|approved|verified|finali[sz]ed)\s+(?:electronically\s+)?(?:on|at)\b
    |(?:reported|performed|checked|authori[sz]ed|filed|scribed|acquired|entered|received|sent|requested|ordered|printed)
        \s+(?:by|on|at)\s*:
    |(?:electronically|digitally)\s+signed
    |(?:attending|staff|reading|reporting|interpreting|resident|fellow|teaching)\s+(?:radiologist|physician)\s*:
    |(?:radiologist|radiographer|technologist|transcriptionist|transcriber|resident|attending|author)\s*:
    |(?:informe\s+)?(?:firmado|validado|dictado|transcrito|informado|realizado)\s+(?:electr[oó]nicamente\s+)?por\b
    |(?:diktiert|signiert|freigegeben|elektronisch\s+signiert)\s+(?:von|durch)\b
    |(?:sign[ée]|dict[ée]|valid[ée])\s+(?:[ée]lectroniquement\s+)?par\b
    |[DT]{{1,2}}\s*:\s*(?:\d{{1,4}}[/.-]\d|__)
    )[^\n]*""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_OPEN_ENDED = re.compile(r"(?:\b(?:by|on|at|por|von|par)|[:,])\s*$", re.IGNORECASE)
_SENTENCE = re.compile(
    rf"""(?:^|(?<=[.!?:)\]*\s]))(?:
    (?:as\s+the\s+(?:attending|teaching|staff)[^.\n]{{0,60}},\s*)?
        \bI(?:,[^.\n]{{1,80}}?,)?\s+(?:have\s+|hereby\s+|was\s+)?(?:personally\s+|independently\s+|also\s+)*
        (?:reviewed|viewed|examined|interpreted|supervised|attest|certify|confirm|agree|present)\b
        (?=(?:[^.]|\.(?=\w))*\b(?:agree|resident|resident's|fellow|interpretation|attest|certify|personally|above
        |report|as\s+written|as\s+dictated)\b){_REST}
    |(?:the\s+)?(?:attending|staff|teaching)\s+(?:radiologist|physician)\b
        (?=[^.]*\b(?:reviewed|agrees|concurs)\b){_REST}
    |(?:(?:this|the|portions|parts|some|although|please|due|despite|note)\b)
        (?=[^.]*\b(?:voice[- ]recognition|speech[- ]recognition|dictation\s+(?:software|system|device)
        |transcription(?:al)?\s+errors?|typographical\s+errors?|powerscribe|dragon)\b){_REST}
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_END = re.compile(
    r"""[*=\-\#<\[(~_\s]*\b(?:end\s+of\s+(?:the\s+)?(?:\w+\s+)?(?:report|dictation|document|addendum|text)
    |fin\s+del?\s+(?:informe|rapport))\b[*=\-\#>\])~_.:]*|^\W*(?:final|preliminary|unsigned|end)\W*$
    |^\W*(?:report\s+)?status\s*:\s*(?:final|preliminary|signed)\W*$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_MAY_BE_DICTATION = re.compile(
    r"(?i)\bby\b|sign|agree|attest|certif|recogni|dictat|transcri|errors?\b|end of|\bfin de|final|"
    r"preliminary|unsigned|radiologist|physician|resident|attending|author|technolog|radiograph|\b[dt]{1,2} ?:|\bpor\b|\bvon\b|durch|"
    r"\bpar\b|status|^\W*end\W*$"
)
_FAREWELL = re.compile(
    r"""^[ \t>*]*(?:(?:with\s+)?(?:kind(?:est)?|best|warm|many)\s+(?:regards|wishes|thanks)|regards|thanks|thank\s+you(?:\s+(?:very\s+much\s+)?for\s+(?:the|this|your|referring)\b[^\n]*)?
    |yours(?:\s+(?:sincerely|faithfully|truly))?|sincerely(?:\s+yours)?|respectfully(?:\s+\w+)?|cordially|cheers
    |(?:un\s+)?(?:cordial\s+)?saludos?(?:\s+cordial(?:es)?)?|atentamente|atenciosamente|cordialement
    |bien\s+cordialement|cordiali\s+saluti|distinti\s+saluti|mit\s+(?:freundlichen|kollegialen|besten)\s+gr(?:ü|ue)(?:ß|ss)en
    |met\s+vriendelijke\s+groet(?:en)?|med\s+v[äe]nlig(?:a)?\s+h[äi]lsning(?:ar)?)\b[^\n\w]*(?:\n(?:.*\n?){0,12}\Z|\Z)""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_NOTICE = re.compile(
    r"""^[^\w\n]*(?:(?:confidentiality\s+notice|disclaimer|confidential)\b|(?:this|the)\s+(?:e-?mail|message|document|report|fax
    |communication|information|transmission)\b(?=[^\n]*(?:\n[^\n]+)*?\b(?:confidential|privileged|intended\s+(?:solely|only)
    |addressee|unauthori[sz]ed)\b))[^\n]*(?:\n[^\n]+)*""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_PAGE = re.compile(r"^[ \t]*[-–—][ \t]*\d{1,3}[ \t]*[-–—][ \t]*$|^[^\w\n]*(?:page|p[aá]g(?:ina)?|seite|blatt)\.?\s*:?\s*\d+\s*(?:(?:of|de|von|/|sur|di|van)\s*\d+)?\W*$", re.I | re.M)
_BELOW = re.compile(
    r"""(?:\s*\n[^\w\n]*(?:
    [A-Za-z][\w /.&#-]{0,30}:[ \t]*(?![^\n]*[a-z]\.[ \t]*(?:\n|\Z))[^\n]{0,70}
    |[A-Za-z]{2,5}(?:[/:][A-Za-z]{2,5}){0,2}\W*
    |[^\n]{0,60}\b(?:M\.?D|D\.?O|MBBS|MBChB|FRCR|FRANZCR|FFR|Ph\.?D|GMC|NPI|[Rr]adiologist|RADIOLOGIST)\b[^\n]{0,40}
    |[\d/:.,\- ]{6,}(?:[AaPp]\.?[Mm]\.?)?[^\n]{0,10}
    )(?=\n|\Z))+""",
    re.VERBOSE,
)
"""Lines of names, numbers and dates that follow a signature."""
_PERSONAL = re.compile(
    r"""^[^\w\n]*(?:[\w /.-]{0,30}\b(?:sign|dictat|transcri|verif|authenticat|authori[sz]|approv|finali[sz]|validat|typ(?:ed|ist)
    |released|electronic|provider|physician|radiolog|radiograph|doctor|dr|resident|attending|fellow|technolog|author|print
    |job|workstation|status|accession|mrn|dob|npi|phone|tel|telephone|fax|pager|cc|reported|reviewed|read\s+by|result\s+date
    |date|time|page|firma|m[eé]dico|arzt|m[eé]decin)[\w .()#-]{0,24}:[^\n]*
    |[A-Za-z]{2,4}[/:][A-Za-z]{2,4}\W*|(?:Dr\.?\ )?[A-Z][\w.'-]*,?(?:\ [A-Z][\w.'-]*,?){1,3}\ (?:M\.?D|D\.?O|MBBS|FRCR|FRANZCR|Ph\.?D)\b.{0,30})$""",
    re.IGNORECASE | re.VERBOSE,
)
_ROLE = re.compile(
    r"""^[^\w\n]*(?:
    (?:(?i:dr|dra|dott|dott\.ssa|prof|doctor|doctora|docteur)\b\.?,?|(?i:fdo|firmado|firma|signed|sgd)\b[.:]*)(?:[ ]+(?i:med\.?|dr\.?|dra\.?|de|von|van|di|[A-Z][\w.'’-]*),?){1,5}
    |(?=[^\n]{0,60}\b(?i:(?:neuro)?radiologist|radiolog[oa]|radiologue|radiologe|radiologin|radioloog|consultant|oberarzt|chefarzt|facharzt
        |registrar|radiographer|attending|resident|fellow|radiodiagnosis)\b)(?:[A-Z(][\w.'’()-]*|of|and|in|de|di|des|et|il|la|el|le|,|&)(?:[ ,/]+(?:[A-Z(][\w.'’()-]*|of|and|in|de|di|des|et|&)){0,7}
    |(?i:verified|validated|signed|reported|dictated|authori[sz]ed|approved|typed|printed|finali[sz]ed|read|electronically\ signed|informado|validado)\b
        (?=[^\n]*(?:\d{1,4}[/.:-]|\b(?i:dr|dra|prof|m\.?d)\b))[^\n]{0,110}
    )[^\w\n]*$""",
    re.VERBOSE,
)
_BARE = re.compile(r"[^\w\n]*(?:[\w /.#-]{1,30}:[^\n]{0,60}|[\d/:.,\- ]{6,}(?:[AaPp]\.?[Mm]\.?)?)?[^\w\n]*")
_LONG_SIGNATURE = 160
_SENTENCE_END = re.compile(r"(?<![A-Z])(?<!\bDr)(?<!\bMr)\.\s+(?=[A-Z\d])")


def without_dictation(piece: str) -> str:
    """A section's text, lines as they were, without what is said about its making."""
    piece = _without_trailer(_FAREWELL.sub("", _NOTICE.sub("", _PAGE.sub("", piece))))
    if not _MAY_BE_DICTATION.search(piece):
        return piece
    piece = _SENTENCE.sub(" ", _END.sub(" ", piece))
    start = 0
    while found := _SIGNATURE.search(piece, start):
        end = found.end()
        if len(found.group()) > _LONG_SIGNATURE and (
            stop := _SENTENCE_END.search(piece, found.start() + 1, end)
        ):
            end = stop.end()
        elif _OPEN_ENDED.search(found.group()):
            following = piece.find("\n", end + 1)
            end = len(piece) if following < 0 else following
        if below := _BELOW.match(piece, end):
            end = below.end()
        piece = f"{piece[: found.start()]} {piece[end:]}"
        start = found.start()
    return piece


def _without_trailer(piece: str) -> str:
    """The text without the lines of names, places and times that end it."""
    lines = piece.split("\n")
    end = len(lines)
    for i in range(len(lines) - 1, 0, -1):
        if _PERSONAL.match(lines[i]) or _ROLE.match(lines[i]):
            end = i
        elif not _BARE.fullmatch(lines[i]):
            break
    return "\n".join(lines[:end])
