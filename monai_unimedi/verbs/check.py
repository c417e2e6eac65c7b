# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi check``: reads every row of datalists and says whether training may start."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_unimedi.data.check import CheckResult
    from monai_unimedi.data.check_rows import Finding

__all__ = ["main"]

_EPILOG = """exit status: 0 training may start (there may be warnings), 1 there are errors, 2 wrong options.
Report texts and DICOM headers are neither printed nor written: findings name rows by id."""


def main(argv: list[str]) -> int:
    """Checks the datalists, prints a table and writes a page.

    Args:
        argv: the arguments after the verb.

    Returns:
        0 when training may start, 1 when there are errors, 2 when an argument is wrong.
    """
    arguments = _parser().parse_args(argv)
    from monai_unimedi.data.check import check_datalists, write_findings
    from monai_unimedi.data.language import language_of

    try:
        tokenizer = _tokenizer(arguments.tokenizer)
    except (OSError, ValueError) as error:
        print(f"--tokenizer must be a folder or id of a tokenizer: {error}", file=sys.stderr)
        return 2
    result = check_datalists(
        arguments.datalists,
        arguments.dataset_dir,
        tokenizer,
        language_of,
        arguments.num_processes,
        show_progress=sys.stderr.isatty(),
    )
    _print(result)
    if arguments.findings:
        write_findings(result.findings, arguments.findings)
        print(f"all findings: {arguments.findings}")
    if arguments.output:
        print(f"page: {_write_page(result, arguments)}")
    print(_verdict(result))
    return 0 if result.may_start else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m monai_unimedi check",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("datalists", nargs="+", metavar="DATALIST", help="JSON file in Decathlon form, one or more")
    add("--output", metavar="HTML", help="page to write: self-contained, with pictures of what is flagged")
    add("--dataset_dir", metavar="DIR", help="folder that the rows' paths start from (default: the list's)")
    add("--tokenizer", metavar="T", help="tokenizer, by folder or id: counts the reports beyond its length")
    add("--findings", metavar="CSV", help="table of all findings to write, one a line")
    add("--num_processes", type=int, metavar="N", help="that open images (default: 1, long lists all cores)")
    add("--no_pictures", action="store_true", help="leave the pictures out of the page")
    add("--max_pictures", type=int, default=24, metavar="N", help="pictures of one kind of finding (24)")
    return parser


def _tokenizer(name: str | None) -> Any | None:
    if name is None:
        return None
    from monai_unimedi.networks.nets.report_encoder import load_tokenizer

    return load_tokenizer(name)


def _print(result: CheckResult) -> None:
    for name, facts in result.summary.items():
        print(name)
        for key, value in facts.items():
            print(f"  {key}: {_plain(value)}")
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in result.findings:
        groups.setdefault((finding.severity, finding.check), []).append(finding)
    width = max(60, shutil.get_terminal_size((110, 20)).columns)
    for (severity, check), found in groups.items():
        first = found[0]
        print(f"{severity:<8} {check:<14} {len(found):>5}  {first.id or first.datalist}")
        print(textwrap.fill(first.message, width, initial_indent=" " * 9, subsequent_indent=" " * 9))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {count}" for name, count in value.items())
    return (
        ", ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )


def _write_page(result: CheckResult, arguments: argparse.Namespace) -> str:
    from monai_unimedi.data.check_image import shown_planes
    from monai_unimedi.visualize.check_page import write_check_page

    def picture(finding: Finding) -> Any | None:
        path = result.images.get((finding.datalist, finding.section, finding.row))
        return None if path is None else shown_planes(path)

    return str(
        write_check_page(
            arguments.output,
            [finding._asdict() for finding in result.findings],
            result.summary,
            None if arguments.no_pictures else lambda number: picture(result.findings[number]),
            arguments.max_pictures,
        )
    )


def _verdict(result: CheckResult) -> str:
    counts = {name: sum(f.severity == name for f in result.findings) for name in ("error", "warning", "note")}
    told = ", ".join(f"{count} {name}{'s' if count != 1 else ''}" for name, count in counts.items())
    return f"{told}: training {'may start' if result.may_start else 'must not start'}"
