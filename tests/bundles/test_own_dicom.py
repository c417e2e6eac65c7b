# SPDX-License-Identifier: Apache-2.0
"""The README's lines from a folder of DICOM files to a pre-training run: they run, at tiny sizes."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from monai_unimedi.__main__ import main
from tests.bundles.conftest import SIZES, TINY, Bundle
from tests.data.corpora.files import ct_series, table, xray

PHANTOM_FREE = {key: value for key, value in TINY.items() if not key.startswith("phantom#")}


def lines(repository: Path) -> list[list[str]]:
    """The commands of the README's first block on the reader's own data."""
    text = (repository / "README.md").read_text(encoding="utf-8").split("## Your own data")[1]
    (block, *_) = re.findall(r"^```bash\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for line in block.splitlines()]


def hospital(folder: Path) -> None:
    """Ten patients' X-rays and CTs with a table of reports."""
    rows = []
    for number in range(10):
        xray(folder / "DICOM" / f"{number}.dcm", number)
        ct_series(folder / "DICOM" / f"ct{number}", number)
        rows += [
            {
                "AccessionNumber": f"{letter}{number:04d}",
                "Report": f"FINDINGS: The lungs are clear, case {number}.",
            }
            for letter in "AB"
        ]
    table(folder / "REPORTS.csv", rows)


def test_three_lines_lead_from_dicom_to_a_model(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare, estimate, train = lines(repository)
    hospital(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert prepare[:3] == ["python", "-m", "monai_unimedi"]
    assert main(prepare[3:]) == 0
    summary = json.loads(Path("output/mine/lists/summary.json").read_text())
    assert summary["kept"] == 20 and set(summary["datalists"]) == {"2d", "3d"}

    assert estimate == [*train, "--dry_run", "true"]
    options = {key.removeprefix("--"): value for key, value in zip(train[6::2], train[7::2], strict=True)}
    assert set(options) == {"datalist_2d", "datalist_3d", "dataset_dir", "output_dir", "model_dir"}
    bundle = Bundle(Path("output/mine"), Path("no_phantoms"))
    bundle.places |= options
    tiny = PHANTOM_FREE | {"batch_2d": 4, "batch_3d": 4, "spacing": [2.0, 2.0, 3.0], "num_steps": 2}
    bundle.train(**tiny, dry_run=True)
    assert not Path("output/mine/models/model.pt").exists()
    bundle.train(**tiny)
    state = torch.load("output/mine/models/model.pt", weights_only=True)
    assert len(state) > 10 and not Path("no_phantoms").exists()
    assert SIZES["hidden_size"] in {size for tensor in state.values() for size in tensor.shape}
