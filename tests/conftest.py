# SPDX-License-Identifier: Apache-2.0
"""What all tests share: one thread, no network, no window, and the places on disk.

The variables are set before torch, itk or matplotlib is imported, so they hold in every worker.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

os.environ.update(
    OMP_NUM_THREADS="1",
    MKL_NUM_THREADS="1",
    OPENBLAS_NUM_THREADS="1",
    ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS="1",
    TOKENIZERS_PARALLELISM="false",
    HF_HUB_OFFLINE="1",
    TRANSFORMERS_OFFLINE="1",
    MPLBACKEND="Agg",
    GIT_PYTHON_REFRESH="quiet",
)


# What ranks of the tests need, imported once; they are forked from a process without threads.
multiprocessing.set_forkserver_preload(["monai_unimedi.engines", "monai_unimedi.handlers", "torch.distributed"])


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def pretrain_bundle(repository: Path) -> Path:
    """The folder of the pre-training bundle."""
    return repository / "bundles" / "pretrain"


@pytest.fixture(scope="session")
def real_data(repository: Path) -> Path:
    """Real X-rays and CTs: the folder named by UNIMEDI_REAL_DATA, or the one beside the repository."""
    default = repository.parent / "shared" / "data"
    folder = Path(os.environ.get("UNIMEDI_REAL_DATA") or default)
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}: set UNIMEDI_REAL_DATA to the folder that holds them")
    return folder
