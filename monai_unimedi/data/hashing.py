# SPDX-License-Identifier: Apache-2.0
"""One stable hash for seeds and groups, the same on every machine, process and Python version."""

from __future__ import annotations

import hashlib

__all__ = ["stable_hash"]


def stable_hash(*parts: object) -> int:
    """63-bit hash of the parts' texts (blake2b), so that it fits a signed int64 tensor.

    Python's own ``hash`` is salted per process and would change masks, groups and augmentation on resume.

    Args:
        parts: numbers or strings; their order counts.
    """
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
