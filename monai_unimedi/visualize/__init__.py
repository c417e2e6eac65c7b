# SPDX-License-Identifier: Apache-2.0
"""Pictures: what the encoder attends to, drawn, and the self-contained HTML page of an evaluation."""

from __future__ import annotations

from monai_unimedi.visualize.report_page import write_report_page

__all__ = ["write_report_page"]
