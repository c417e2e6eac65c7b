# SPDX-License-Identifier: Apache-2.0
"""One file a corpus: from its official download to rows.

Each has ``items(root, options)``, which yields what it finds (`items.py`), and where it needs them
``add_arguments(parser)`` for options of its own and ``AMOUNTS``, the validation and test rows to draw where
the corpus has no official split.
"""
