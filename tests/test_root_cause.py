# SPDX-License-Identifier: Apache-2.0
"""What the user reads last when a config fails."""

from __future__ import annotations

import subprocess
import sys

from monai_unimedi.root_cause import root_cause


def wrapped(error: Exception, *messages: str) -> BaseException:
    for message in messages:
        try:
            raise RuntimeError(message) from error
        except RuntimeError as outer:
            error = outer
    return error


def test_wrappers_of_monai_are_taken_off_and_others_stay() -> None:
    cause = ValueError("row 3 is empty")
    names = ("applying transform <x>", "Failed to instantiate component 'y'", "Failed to evaluate '$z'")
    assert root_cause(wrapped(cause, *names)) is cause
    ours = wrapped(cause, "row 3, id 'a': Load failed")
    assert root_cause(wrapped(ours, *names)) is ours
    assert root_cause(cause) is cause


def test_uncaught_error_ends_with_its_cause() -> None:
    code = (
        "from monai_unimedi.root_cause import show_root_cause_last as show; show(); show()\n"
        "try:\n    raise ValueError('row 3 is empty')\n"
        "except ValueError as e:\n    raise RuntimeError('Failed to evaluate') from e"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "This is what went wrong: ValueError: row 3 is empty"
    assert "Traceback" in done.stderr
