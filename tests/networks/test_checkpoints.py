# SPDX-License-Identifier: Apache-2.0
"""What a run remembers of the weights that it started from."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from monai_unimedi.networks.checkpoints import with_digest


@pytest.mark.parametrize("given", [None, "none", "None", "", "google/vit-base-patch16-224-in21k"])
def test_what_is_no_local_file_stays_as_it_is(given: str | None) -> None:
    assert with_digest(given) == given


@pytest.mark.parametrize("name", ["model.pt", "model.safetensors", "pytorch_model.bin"])
def test_file_and_folder_of_weights_have_the_digest_of_the_content(tmp_path: Path, name: str) -> None:
    assert with_digest(tmp_path) == tmp_path
    (tmp_path / name).write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()[:16]
    for place in (tmp_path, str(tmp_path / name)):
        assert with_digest(place) == f"{place} (SHA-256 {digest})"
    (tmp_path / name).write_bytes(b"others")
    assert digest not in with_digest(tmp_path)
