# SPDX-License-Identifier: Apache-2.0
"""``python -m monai_unimedi VERB``: a table of verbs, each imported only when it is called.

A verb is a module of :mod:`monai_unimedi.verbs` with ``main(argv: list[str]) -> int``: it parses its own
arguments (``--help`` included) and returns the exit status.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

VERBS = {
    "check": "datalists: every image opened, every report looked at, and whether training may start",
    "convert": "a datalist to shards: memory-mapped arrays that training reads without decoding",
    "doctor": "versions, devices and the properties of each bundle, with a remedy for whatever is broken",
    "embed": "X-rays and CTs to embeddings (a Parquet table), and how near each is to a sentence, and where in it",
    "phantom": "X-rays and CTs of synthetic patients with reports, labels and lesion masks, on disk",
    "search": "the images of a table of embeddings nearest to a sentence, an image or one of its rows",
    "zoo": "bundles as downloads: build them, verify a downloaded zip, export to ONNX and torch.export",
    "prepare": "a corpus's official download, or one's own folders, to checked datalists",
}


def usage() -> str:
    """Returns the list of verbs as text."""
    width = max(map(len, VERBS))
    rows = [f"  {name:<{width}}  {line}" for name, line in VERBS.items()]
    return "\n".join(["usage: python -m monai_unimedi VERB [--help] [options]", "", "verbs:", *rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb.

    Args:
        argv: the verb and its arguments; by default those of the command line.

    Returns:
        The verb's exit status; 2 when the verb is missing or unknown.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["-h"], ["--help"]):
        print(usage())
        return 0
    if not arguments or arguments[0] not in VERBS:
        print(_unknown(arguments[0]) if arguments else usage(), file=sys.stderr)
        return 2
    verb = importlib.import_module(f"monai_unimedi.verbs.{arguments[0]}")
    return int(verb.main(arguments[1:]))


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, VERBS, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "see python -m monai_unimedi --help"
    return f"VERB must be one of {', '.join(VERBS)}; got {name!r}: {hint}"


if __name__ == "__main__":
    sys.exit(main())
