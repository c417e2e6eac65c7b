# SPDX-License-Identifier: Apache-2.0
"""Sections of raw reports under many headings, what is cleaned away, and the choice of the text."""

from __future__ import annotations

import pytest

from monai_unimedi.data.report_text import (
    read_report,
)

LUNGS, HEART = "The lungs are clear. No acute findings.", "Normal heart; no effusion."
BOTH = {"findings": LUNGS, "impression": HEART}

STYLES = [
    "FINDINGS: {0}\nIMPRESSION: {1}",
    "Findings:\n{0}\n\nImpression:\n{1}",
    "findings: {0}\nimpression: {1}",
    "findings: {0} impression: {1}",
    "FINDINGS {0}\nIMPRESSION {1}",
    "Findings {0}\nImpression {1}",
    "findings {0}\nimpression {1}",
    "FINDINGS {0} IMPRESSION {1}",
    "FINDINGS\n{0}\nIMPRESSION\n{1}",
    "findings\n\n{0}\n\nimpression\n\n{1}",
    "Findings - {0}\nImpression - {1}",
    "FINDINGS – {0}\nIMPRESSION — {1}",
    "FINDINGS-{0}\nIMPRESSION-{1}",
    "FINDINGS: {0} -- IMPRESSION: {1}",
    "FINDINGS. {0}\nIMPRESSION. {1}",
    "FINDINGS\t{0}\nIMPRESSION\t{1}",
    "Findings     {0}\nImpression   {1}",
    "FINDINGS = {0}\nIMPRESSION = {1}",
    "FINDINGS => {0}\nIMPRESSION => {1}",
    "Findings | {0}\nImpression | {1}",
    "| Findings | {0} |\n|---|---|\n| Impression | {1} |",
    "**Findings**\n{0}\n\n**Impression**\n{1}",
    "**FINDINGS:** {0} **IMPRESSION:** {1}",
    "*Findings:* {0}\n*Impression:* {1}",
    "__Findings__: {0}\n__Impression__: {1}",
    "## Findings\n\n{0}\n\n## Impression\n\n{1}",
    "=== FINDINGS ===\n{0}\n=== IMPRESSION ===\n{1}",
    "--- Findings ---\n{0}\n--- Impression ---\n{1}",
    "Findings\n--------\n{0}\n\nImpression\n==========\n{1}",
    "[FINDINGS] {0} [IMPRESSION] {1}",
    "[Findings]\n{0}\n[Impression]\n{1}",
    "<FINDINGS>{0}</FINDINGS>\n<IMPRESSION>{1}</IMPRESSION>",
    "<findings>{0}</findings><impression>{1}</impression>",
    "(FINDINGS) {0}\n(IMPRESSION) {1}",
    "1. FINDINGS: {0}\n2. IMPRESSION: {1}",
    "1) Findings\n{0}\n2) Impression\n{1}",
    "II. FINDINGS\n{0}\nIII. IMPRESSION\n{1}",
    "a) Findings: {0}\nb) Impression: {1}",
    "- Findings: {0}\n- Impression: {1}",
    "• FINDINGS: {0}\n• IMPRESSION: {1}",
    "Section 1: Findings\n{0}\nSection 2: Impression\n{1}",
    "<b>FINDINGS:</b> {0}<br><b>IMPRESSION:</b> {1}",
    "<h2>Findings</h2><p>{0}</p><h2>Impression</h2><p>{1}</p>",
    "FINDINGS:\\n{0}\\nIMPRESSION:\\n{1}",
    "FINDINGS: {0}\\.br\\IMPRESSION: {1}",
    "FINDINGS&nbsp;: {0}\r\nIMPRESSION&nbsp;: {1}\r\n",
    "F I N D I N G S\n{0}\nI M P R E S S I O N\n{1}",
    "FINDINGS (PA and lateral): {0}\nIMPRESSION (final): {1}",
    "CHEST FINDINGS: {0}\nRADIOLOGICAL IMPRESSION: {1}",
    "FINDINGS OF THE CHEST X-RAY: {0}\nIMPRESSION FOR THIS EXAM: {1}",
    "The findings are as follows: {0}\nImpression is as follows: {1}",
    "FINDINGS: {0}\nCONCLUSION: {1}",
    "Report: {0}\nOpinion: {1}",
    "RESULT: {0}\nINTERPRETATION: {1}",
    "{0}\n\nIMPRESSION: {1}",
    "{0} IMPRESSION: {1}",
    "FINDING(S): {0}\nIMP: {1}",
    "HALLAZGOS: {0}\nIMPRESIÓN: {1}",
    "Hallazgos:\n{0}\nConclusión:\n{1}",
    "hallazgos : {0} conclusion : {1}",
    "HALLAZGOS.- {0}\nIMPRESIÓN DIAGNÓSTICA.- {1}",
    "Descripción: {0}\nJuicio diagnóstico: {1}",
    "Befund: {0}\nBeurteilung: {1}",
    "Résultats : {0}\nConclusion : {1}",
    "Achados: {0}\nImpressão: {1}",
    "Reperti: {0}\nConclusioni: {1}",
]


@pytest.mark.parametrize("style", STYLES)
def test_findings_and_impression_come_out_under_every_style(style: str) -> None:
    assert read_report(style.format(LUNGS, HEART)) == BOTH


@pytest.mark.parametrize("style", STYLES)
def test_other_sections_are_told_apart(style: str) -> None:
    """The same two headings after an indication and a comparison in capitals with colons."""
    raw = f"INDICATION: Cough\nCOMPARISON: None.\n\n{style.format(LUNGS, HEART)}"
    sections = read_report(raw)
    if not style.startswith("{0}") and "\\n" not in style:  # or the comparison goes on
        assert sections["impression"] == HEART
        assert sections["findings"] == LUNGS
        assert (sections["indication"], sections["comparison"]) == ("Cough", "None.")
