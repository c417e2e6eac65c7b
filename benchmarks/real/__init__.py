# SPDX-License-Identifier: Apache-2.0
"""Parts of ``benchmarks/real_files.py``: real images and texts through the pre-training bundle."""
