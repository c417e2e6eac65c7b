# SPDX-License-Identifier: Apache-2.0
"""Is a downloaded zip the published one, and does it hold what a bundle has to?"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from monai_unimedi.zoo.archive import check_sum, unpack
from monai_unimedi.zoo.checks import (
    check_files,
    check_metadata,
    check_network,
    check_readme,
    check_schema,
    check_trained_sizes,
)
from monai_unimedi.zoo.weights import check_weights

__all__ = ["verify"]


def verify(
    path: Path, sums: Mapping[str, str] | None, schema: Path | None = None, runs_configs: bool = True
) -> list[str]:
    """Checks a zip from the outside in: its digest, its entries, its files' digests, its weights, then what the
    MONAI model zoo asks. A bundle's configs can run any Python, so they are run at the end only.

    Args:
        path: ``<name>_v<version>.zip``.
        sums: published digests by name; None takes the zip on trust.
        schema: the metadata's JSON schema, on disk.
        runs_configs: whether to build the networks and export them.

    Returns:
        The checks that were made.

    Raises:
        ValueError: When anything is wrong, with one sentence.
    """
    if not path.is_file():
        raise ValueError(f"{path} must be a zip of the zoo, but there is no such file.")
    if sums is not None:
        check_sum(path, sums)
    with tempfile.TemporaryDirectory() as scratch:
        folder = unpack(path, Path(scratch))
        try:
            tensors = check_weights(folder / "models")
        except ValueError as error:
            raise ValueError(f"{path.name}: {error}".replace(f"{scratch}/", "")) from error
        done = ["sum"] * (sums is not None) + ["entries", "weights"]
        _refuse(path, [*check_files(folder)])
        metadata = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
        wrong = [*check_metadata(metadata), *check_readme(folder)]
        if path.name != f"{folder.name}_v{metadata['version']}.zip":
            wrong.append(f"its name must be {folder.name}_v{metadata['version']}.zip")
        done += ["files", "version and changelog", "README"]
        if schema is not None:
            wrong += check_schema(folder, schema)
            done.append("metadata schema")
        _refuse(path, wrong)
        if runs_configs:
            _refuse(path, [*check_trained_sizes(folder)])
            _refuse(path, [*check_network(folder, tensors)])
            done += ["sizes", "verify_net_in_out", "weights fit", "ckpt_export"]
    return done


def _refuse(path: Path, wrong: list[str]) -> None:
    if wrong:
        raise ValueError(f"{path.name} is not fit to be used: {'; '.join(wrong)}.")
