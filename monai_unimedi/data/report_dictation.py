# SPDX-License-Identifier: Apache-2.0
"""What a report says of its making, who dictated, transcribed, signed or reviewed it, goes."""

from __future__ import annotations

import itertools
import re

from monai_unimedi.data.report_sentences import sentence_ends
from monai_unimedi.data.report_trailer import is_formal, says_something, without_trailer

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
_REVIEWED = re.compile(r"\W*\w+\s*:(?s:.*)")  # "Reviewed: lungs, heart and bones."
_MAY_BE_DICTATION = re.compile(
    r"(?i)\bby\b|sign|agree|attest|certif|recogni|dictat|transcri|errors?\b|end of|\bfin de|final|"
    r"preliminary|unsigned|radiologist|physician|resident|attending|author|technolog|radiograph|"
    r"\b[dt]{1,2} ?:|\bpor\b|\bvon\b|durch|\bpar\b|status|(?m:^\W*end\W*$)"
)


def without_dictation(piece: str) -> str:
    """A section's text, lines as they were, without what is said about its making."""
    piece = without_trailer(piece)
    if not _MAY_BE_DICTATION.search(piece):
        return piece
    piece = _SENTENCE.sub(" ", _END.sub(" ", piece))
    start = 0
    while found := _SIGNATURE.search(piece, start):
        end = _end_of(piece, found)
        if _REVIEWED.fullmatch(piece, found.start(), end) and says_something(piece[found.start() : end]):
            start = end
            continue
        piece = f"{piece[: found.start()]} {piece[end:]}"
        start = found.start()
    return piece


def _end_of(piece: str, found: re.Match[str]) -> int:
    """Where a signature ends: with its sentence, and with what follows on the line where that is formal too."""
    line_end = found.end()
    ends = [*sentence_ends(piece, found.start(), line_end, has_names=True), line_end]
    for end, following in itertools.pairwise(ends):
        if not is_formal(piece[end:following].strip()):
            return end
    if not _OPEN_ENDED.search(found.group()):
        return line_end
    following = piece.find("\n", line_end + 1)
    following = len(piece) if following < 0 else following
    return line_end if says_something(piece[line_end:following]) else following
