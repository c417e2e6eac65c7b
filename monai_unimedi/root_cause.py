# SPDX-License-Identifier: Apache-2.0
"""The sentence that matters, last: MONAI wraps what a config runs in errors of its own."""

from __future__ import annotations

import sys
from types import TracebackType

__all__ = ["root_cause", "show_root_cause_last"]

WRAPPERS = ("Failed to evaluate", "Failed to instantiate", "applying transform")


def root_cause(error: BaseException) -> BaseException:
    """The error inside MONAI's wrappers; the error itself where there are none."""
    is_wrapper = isinstance(error, RuntimeError) and str(error).startswith(WRAPPERS)
    return root_cause(error.__cause__) if is_wrapper and error.__cause__ is not None else error


def show_root_cause_last() -> None:
    """Makes an uncaught error end with its root cause, below MONAI's traceback; once a process."""
    if sys.excepthook is not _show:
        sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    sys.__excepthook__(kind, error, traceback)
    cause = root_cause(error)
    if cause is not error:
        sys.stderr.write(f"\nThis is what went wrong: {type(cause).__name__}: {cause}\n")
