# SPDX-License-Identifier: Apache-2.0
"""The digest of a file, which ties weights, records and figures to each other."""

from __future__ import annotations

import hashlib
import os

__all__ = ["file_digest"]


def file_digest(path: str | os.PathLike, kind: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes."""
    found = hashlib.new(kind)
    with open(path, "rb") as file:
        while chunk := file.read(2**20):
            found.update(chunk)
    return found.hexdigest()
