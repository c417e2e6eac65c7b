# SPDX-License-Identifier: Apache-2.0
"""One file a verb of ``python -m monai_unimedi VERB``, each with ``main(argv: list[str]) -> int``."""
