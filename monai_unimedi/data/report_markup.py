# SPDX-License-Identifier: Apache-2.0
"""Tags of HTML and XML and the control words of RTF go out of a report; what they say of headings stays.

Bold text is left between marks; an element or an attribute that names a section sets a heading off.
"""

from __future__ import annotations

import html
import re

from monai_unimedi.data.report_exports import HEADED, by_columns, set_off
from monai_unimedi.data.report_headings import heading_section, titled_section

__all__ = ["BOLD", "from_rtf", "without_commands", "without_tags"]

BOLD = "\ue000"
"""Stands where a tag began or ended bold text, until the headings are found."""

_TAG = re.compile(
    r"<(?P<end>/?)(?P<name>[A-Za-z][\w:.-]*)"
    r"(?P<attributes>(?:\s+[\w:.-]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))?)*)\s*/?>"
)
_NAMED = re.compile(r"(?P<before><(?P<name>[\w:.-]+)[^<>]*>)\s*(?P<text>[^<>\n]{2,80}?)\s*(?=</)")
_LIKELY = re.compile(r"</\w|<(?:br|p|hr)\b", re.IGNORECASE)
_CLOSING_NAME = re.compile(r"</([\w:.-]+)")
_ATTRIBUTE = re.compile(r"([\w:.-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_LATEX = re.compile(r"\\(?:text(?:bf|it|sc|sf)|(?:sub)*section|paragraph|emph|underline|uline)\*?\{([^{}]*)\}")
_BBCODE = re.compile(r"\[/?(?:b|i|u|h\d|size|color|center|left|font|list)(?:=[^\]\n]{0,20})?\]", re.IGNORECASE)
_TABLE = re.compile(r"<table\b[^>]*>(.*?)</table>", re.DOTALL | re.IGNORECASE)
_TABLE_ROW = re.compile(r"<tr\b[^>]*>(.*?)</tr>", re.DOTALL | re.IGNORECASE)
_TABLE_CELL = re.compile(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", re.DOTALL | re.IGNORECASE)
_CONTENT = frozenset(("value", "text", "content", "data"))
_UNSEEN = re.compile(r"<(style|script)\b.*?</\1\s*>|<!--.*?-->|<!DOCTYPE[^>]*>|<\?[^>]*\?>", re.S | re.I)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)
_BLOCKS = frozenset(
    """br p div li ul ol tr table h1 h2 h3 h4 h5 h6 pre html body head title dl dt dd section article header
    footer main hr center blockquote thead tbody tfoot caption details summary fieldset legend form textarea""".split()
)
_STRONG = frozenset("b strong u th label em i mark ins".split())
_INLINE = frozenset("span font a sub sup small big code tt s strike kbd q abbr img nobr wbr time input".split())

_RTF = re.compile(
    r"\\(?P<word>[a-z]{1,32})(?P<number>-?\d{1,10})? ?|\\'(?P<byte>[0-9a-fA-F]{2})|\\(?P<sign>[^a-z])"
    r"|(?P<brace>[{}])|[\r\n]+|(?P<text>[^\\{}\r\n]+)"
)
_RTF_UNSEEN = frozenset(
    """fonttbl colortbl stylesheet info pict header footer headerl headerr footerl footerr listtable
    listoverridetable generator themedata rsidtbl fldinst object xmlnstbl""".split()
)
_RTF_SIGNS = {
    **dict.fromkeys("par line sect page row softline".split(), "\n"),
    **dict.fromkeys("tab cell".split(), "\t"),
    "emdash": "—", "endash": "–", "bullet": "•", "lquote": "‘", "rquote": "’",
    "ldblquote": "“", "rdblquote": "”", "~": " ", "-": "", "_": "-", "\n": "\n", "\r": "\n",
}


def without_commands(text: str) -> str:
    """The text without the commands of LaTeX and the marks of BBCode that make headings."""
    text = _LATEX.sub(rf"{BOLD}\1{BOLD}", text) if "\\" in text else text
    return _BBCODE.sub(BOLD, text) if "[/" in text else text


def without_tags(text: str) -> str:
    """The text of HTML or XML; other text as it is, "< 5 mm" and ``<DATE>`` included."""
    text = _CDATA.sub(lambda found: html.escape(found.group(1), quote=False), _UNSEEN.sub("", text))
    if not _LIKELY.search(text):
        return text
    text = _TABLE.sub(_instead_of_table, text)
    closed = frozenset(name.lower() for name in _CLOSING_NAME.findall(text))
    text = _NAMED.sub(_instead_of_named, text)
    return _TAG.sub(lambda tag: _instead_of_tag(tag, closed), text)


def _instead_of_table(table: re.Match[str]) -> str:
    """A table whose first row names sections, as sections; another as it is."""
    rows = [_TABLE_CELL.findall(row) for row in _TABLE_ROW.findall(table[1])]
    rows = [row for row in rows if row]
    is_even = len(rows) > 1 and len({len(row) for row in rows}) == 1
    columns = by_columns([[_TAG.sub("", cell) for cell in rows[0]], *rows[1:]]) if is_even else []
    return "\n".join(columns) or table.group()


def _instead_of_named(element: re.Match[str]) -> str:
    """An element that holds the name of a section and nothing else is a heading."""
    is_known = element["name"].lower() in _BLOCKS
    is_heading = (is_known or not heading_section(element["name"])) and titled_section(html.unescape(element["text"]))
    if not is_heading:
        return element.group()
    name = element["text"].rstrip(" :")
    is_inline = element["name"].lower() in _INLINE or element["name"].lower() in _STRONG
    return element["before"] + (f"{HEADED}{name}{HEADED}" if is_inline else set_off(name))


def _instead_of_tag(tag: re.Match[str], closed: frozenset[str]) -> str:
    name = tag["name"].lower()
    is_known = name in _BLOCKS or name in _INLINE or name in _STRONG or name == "td"
    if is_known and tag["attributes"] and (heading := _attribute_heading(tag, is_known)):
        return heading
    if name in _INLINE or name in _STRONG:
        return BOLD if name in _STRONG else ""
    if name == "td":
        return " "
    if name in _BLOCKS:
        return "\n"
    if name not in closed and not tag["attributes"]:
        return tag.group()
    local = tag["name"].rpartition(":")[2]
    if heading_section(local) and not tag["end"]:
        return set_off(local)
    return "\n" if tag["end"] else _attribute_heading(tag, is_known) or "\n"


def _attribute_heading(tag: re.Match[str], is_known: bool) -> str:
    """What the attributes of a tag say: ``<section name="Findings">``, ``<p class="findings">``."""
    values = {name.lower(): double + single for name, double, single in _ATTRIBUTE.findall(tag["attributes"])}
    named = {value: titled_section(value) for value in values.values()}
    heading = next((value for value, name in named.items() if name and not (is_known and name == "report")), "")
    others = {name: text for name, text in values.items() if text != heading}
    texts = [t for name, t in others.items() if name in _CONTENT or (not is_known and len(t.split()) > 2)]
    return set_off(heading) + "\n".join(texts) if heading else ""


def from_rtf(raw: str) -> str:
    """The text of RTF; other text as it is."""
    if not raw.lstrip().startswith("{\\rtf"):
        return raw
    parts: list[str] = []
    groups: list[tuple[bool, bool]] = []
    is_seen, is_bold, to_skip = True, False, 0
    for token in _RTF.finditer(raw):
        word = token["word"] or token["sign"] or ""
        if token["brace"] == "{":
            groups.append((is_seen, is_bold))
        elif token["brace"]:
            was_bold = is_bold
            is_seen, is_bold = groups.pop() if groups else (True, False)
            parts.append(BOLD if was_bold and not is_bold else "")
        elif word == "*" or word in _RTF_UNSEEN:
            is_seen = False
        elif is_seen and word in ("b", "ul"):
            is_bold = token["number"] != "0"
            parts.append(BOLD)
        elif is_seen and word == "u":
            parts.append(chr(int(token["number"] or 63) % 0x10000))
            to_skip = 1
        elif is_seen and token["byte"]:
            parts.append("" if to_skip else bytes.fromhex(token["byte"]).decode("cp1252", "replace"))
            to_skip = 0
        elif is_seen:
            signs = word if word in ("\\", "{", "}") else _RTF_SIGNS.get(word, "")
            parts.append(signs or (token["text"] or "")[to_skip if token["text"] else 0 :])
            to_skip = 0 if token["text"] else to_skip
    return "".join(parts)
