# SPDX-License-Identifier: Apache-2.0
"""Forms of reports in HTML, XML, RTF and the like, see ``_report_forms.py``."""

from __future__ import annotations

import html
import random

from _report_form_patterns import Form, Sections, lines

__all__ = ["FORMS"]


def entities(s: Sections) -> str:
    return "<br>".join(f"&nbsp;&nbsp;<b>{n.title()}&nbsp;:</b>&nbsp;{html.escape(t)}" for n, t in s)


def font_html(s: Sections) -> str:
    return "<BR>".join(f'<FONT COLOR="#0000FF"><B>{n.title()}: </B></FONT>{html.escape(t)}<BR>' for n, t in s)


def h_tags(s: Sections) -> str:
    return "".join(
        f"<h2><span>{i}.</span> {n.title()}</h2><div>{html.escape(t)}</div>" for i, (n, t) in enumerate(s, 1)
    )


def html_br(s: Sections) -> str:
    return "<br/>".join(f"<u>{n.upper()}</u><br/>{html.escape(t)}<br/>" for n, t in s)


def html_caps_table(s: Sections) -> str:
    return (
        "<TABLE><TBODY>"
        + "".join(f"<TR><TD WIDTH=100><B>{n.upper()}:</B></TD></TR><TR><TD>{html.escape(t)}</TD></TR>" for n, t in s)
        + "</TBODY></TABLE>"
    )


def html_dl(s: Sections) -> str:
    return "<dl>" + "".join(f"<dt>{n.title()}</dt><dd>{html.escape(t)}</dd>" for n, t in s) + "</dl>"


def html_entities(s: Sections) -> str:
    return "&lt;b&gt;" + "&lt;br/&gt;&lt;b&gt;".join(f"{n.title()}:&lt;/b&gt; {html.escape(t)}" for n, t in s)


def html_hr(s: Sections) -> str:
    return "<hr>".join(f"<h4 style='color:navy'>{n.upper()}:</h4>{html.escape(t)}" for n, t in s)


def html_li_strong(s: Sections) -> str:
    return "<ol>" + "".join(f"<li><strong>{n.title()}</strong> &ndash; {html.escape(t)}</li>" for n, t in s) + "</ol>"


def html_page(s: Sections) -> str:
    body = "".join(f"<h3>{n.title()}</h3>\n<p>{html.escape(t)}</p>\n" for n, t in s)
    return (
        "<!DOCTYPE html>\n<html><head><title>Radiology report</title><style>p {margin: 0}</style></head>\n"
        f"<body>\n{body}</body></html>"
    )


def html_strong_br(s: Sections) -> str:
    return "<br><br>".join(f"<strong>{n.title()}</strong><br>{html.escape(t)}" for n, t in s)


def md_details(s: Sections) -> str:
    return "\n".join(
        f"<details><summary>{n.title()}</summary>\n\n{html.escape(t, quote=False)}\n\n</details>" for n, t in s
    )


def mixed_order_marks(s: Sections) -> str:
    d = random.Random(len(s[0][1]) + 1)
    heads = ["{N}:\n{t}", "**{n}:** {t}", "{N} - {t}", "_{n}_: {t}", "{n}: {t}", "<b>{N}</b><br>{t}<br>"]
    return "\n\n".join(d.choice(heads).format(N=n.upper(), n=n.title(), t=html.escape(t, quote=False)) for n, t in s)


def numbered_html(s: Sections) -> str:
    return "".join(f"<p>{i}. <u>{n.title()}</u>: {html.escape(t)}</p>" for i, (n, t) in enumerate(s, 1))


def one_line_html(s: Sections) -> str:
    return "".join(f"<b>{n.upper()}</b>{html.escape(t)}" for n, t in s)


def one_line_newline_marks(s: Sections) -> str:
    return "<br />".join(f"{n.upper()}<br />{html.escape(t)}<br />" for n, t in s)


def powerscribe_xml(s: Sections) -> str:
    return (
        "<ContentText>" + html.escape("\n\n".join(f"{n.upper()}:\n{t}" for n, t in s), quote=False) + "</ContentText>"
    )


def rtf_bold(s: Sections) -> str:
    return "{\\rtf1\\ansi " + "".join(f"\\b {n.title()}:\\b0  {t}\\par " for n, t in s) + "}"


def rtf_plain(s: Sections) -> str:
    return "{\\rtf1\\ansi\\deff0 " + "\\par ".join(f"{n.upper()}:\\line {t}\\par" for n, t in s) + "}"


def soap(s: Sections) -> str:
    return (
        '<ns2:ReportResponse xmlns:ns2="urn:x">'
        + "".join(f"<ns2:{n}Section><ns2:text><![CDATA[{t}]]></ns2:text></ns2:{n}Section>" for n, t in s)
        + "</ns2:ReportResponse>"
    )


def table_header_html(s: Sections) -> str:
    return (
        "<table border=1><tr>"
        + "".join(f"<th>{n.title()}</th>" for n, _ in s)
        + "</tr><tr>"
        + "".join(f"<td>{html.escape(t)}</td>" for _, t in s)
        + "</tr></table>"
    )


def ul(s: Sections) -> str:
    return "<ul>\n" + "\n".join(f"<li><em>{n.title()}</em>: {html.escape(t)}</li>" for n, t in s) + "\n</ul>"


def xml(s: Sections) -> str:
    rows = "".join(f"  <{n}>{html.escape(t, quote=False)}</{n}>\n" for n, t in s)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<report>\n{rows}</report>\n'


def xml_attr(s: Sections) -> str:
    rows = "".join(f'<Section name="{n.title()}"><Text>{html.escape(t, quote=False)}</Text></Section>' for n, t in s)
    return f"<RadiologyReport>{rows}</RadiologyReport>"


def xml_caps_attr(s: Sections) -> str:
    return "\n".join(f"<SECTION TITLE='{n.upper()}'>\n{html.escape(t)}\n</SECTION>" for n, t in s)


def xml_cda(s: Sections) -> str:
    rows = "".join(
        f'<component><section><code code="18782-3" codeSystem="2.16.840.1.113883.6.1"/><title>{n.title()}</title><text><paragraph>{html.escape(t, quote=False)}</paragraph></text></section></component>\n'
        for n, t in s
    )
    return f'<ClinicalDocument xmlns="urn:hl7-org:v3"><component><structuredBody>\n{rows}</structuredBody></component></ClinicalDocument>'


def xml_ns(s: Sections) -> str:
    return (
        '<?xml version="1.0"?>\n<rad:Report xmlns:rad="urn:rad">\n'
        + "\n".join(
            f'  <rad:{n.title()} lang="en">\n    <rad:Line>{html.escape(t, quote=False)}</rad:Line>\n  </rad:{n.title()}>'
            for n, t in s
        )
        + "\n</rad:Report>"
    )


def xml_pairs(s: Sections) -> str:
    return (
        "<Report>"
        + "".join(f"<Item><Key>{n.upper()}</Key><Value>{html.escape(t, quote=False)}</Value></Item>" for n, t in s)
        + "</Report>"
    )


def xml_section_code(s: Sections) -> str:
    return (
        "<report>"
        + "".join(
            f"<section><title>{n.upper()}</title><content>{html.escape(t, quote=False)}</content></section>"
            for n, t in s
        )
        + "</report>"
    )


FORMS: dict[str, Form] = {
    "<p><strong>FINDINGS:</strong> text</p>": lambda s: "".join(
        f"<p><strong>{n.upper()}:</strong> {html.escape(t)}</p>" for n, t in s
    ),
    "HTML page, h3": html_page,
    "XML": xml,
    "XML attributes": xml_attr,
    "CDA": xml_cda,
    "RTF \\b \\b0": rtf_bold,
    "HTML u br": html_br,
    "HTML dl": html_dl,
    "HTML nbsp": entities,
    "HTML ul": ul,
    "one line, <b>FINDINGS</b>text": one_line_html,
    "HTML font": font_html,
    "HTML table with a header row": table_header_html,
    "LaTeX": lines("\\textbf{{{Name}:}} {text}", separator="\n\n"),
    "XML key and value": xml_pairs,
    "SOAP, CDATA": soap,
    "escaped tags": html_entities,
    "<SECTION TITLE>": xml_caps_attr,
    "HTML ol strong": html_li_strong,
    "HTML hr": html_hr,
    "Markdown details": md_details,
    "BBCode": lines("[b]{Name}:[/b] {text}"),
    "<br /> in one line": one_line_newline_marks,
    "mixed marks": mixed_order_marks,
    "XML namespace": xml_ns,
    "RTF without bold": rtf_plain,
    "HTML capitals": html_caps_table,
    "HTML strong br": html_strong_br,
    "XML title and content": xml_section_code,
    "escaped text in XML": powerscribe_xml,
    "numbered HTML": numbered_html,
    "h2 with a number": h_tags,
}
