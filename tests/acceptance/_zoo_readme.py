# SPDX-License-Identifier: Apache-2.0
"""The commands of a downloaded bundle's README, as typed, with options added that make them short."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

from _bundle import REPOSITORY, SHORT

sys.path.insert(0, str(REPOSITORY))

from tests.bundles.test_protocols import CORPORA, NETWORK, SIZES, save_tower
from tests.bundles.test_segmentation_readme import own_list
from tests.data.corpora.prepared import prepare

__all__ = ["Readme"]

TINY = {**NETWORK, "xray_size": 32, "ct_size": [32, 32, 16], "batch_2d": 4, "batch_3d": 4}  # of paper.json
TEXTS = ("--image_checkpoint", "$None", "--text_model", "$None")  # it names models of a hub


class Readme:
    """One bundle's, in the folder that holds it.

    Args:
        place: the folder, with ``unimedi_pretrain`` beside the bundle.
        name: of the bundle.
        phantoms: synthetic patients that all its runs share; made by the first of them.
    """

    def __init__(self, place: Path, name: str, phantoms: Path) -> None:
        self.place, self.name, self.phantoms = place, name, phantoms
        self.bundle = name.removeprefix("unimedi_")
        text = (place / name / "docs" / "README.md").read_text()
        blocks = re.findall(r"^```(bash|python)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
        self.lines = [line for kind, block in blocks if kind == "bash" for line in block.splitlines()]
        self.python = [block for kind, block in blocks if kind == "python"]
        self.number = 0

    def ordered(self) -> list[str]:
        """What uses the published weights comes first: a training as typed may write over them."""
        return sorted(self.lines, key=lambda line: "train.json" in line or "ckpt_export" in line)

    def words(self, line: str, python: Path) -> list[str]:
        """The command for this Python, with its stand-ins and short."""
        words = shlex.split(line)
        if words[0] == "torchrun":
            words[words.index("--nproc_per_node") + 1] = "2"
            words = ["python", "-m", "torch.distributed.run", "--standalone", *words[1:]]
        assert words[0] == "python", line
        stand_ins = self._stand_ins(line)
        words = [str(python), *(stand_ins.get(word, word) for word in words[1:])]
        return [*words, *self._options(line)]

    def script(self) -> list[str]:
        """The Python of the README, one string a block."""
        image = next((self.phantoms / "3d" / "test").glob("*.nii"), None)
        return [block.replace("ct.nii.gz", str(image)) for block in self.python]

    def _options(self, line: str) -> list[str]:
        phantoms = ["--phantom_dir", str(self.phantoms)]
        if "evaluate.json" in line:
            return [*phantoms, *(["--probe_rows", "8"] if self.bundle == "pretrain" else [])]
        if "train.json" not in line:
            return []
        self.number += 1
        folder = f"runs/{self.name}/{self.number}"
        options = ["--output_dir", folder, "--model_dir", f"{folder}/models", "--device", "cpu"]
        protocol = self._protocol(line)
        if protocol:
            return [*options, *_words({**NETWORK, **SIZES[self.bundle]}), *self._steps(2)]
        if "paper.json" in line:
            return [*options, *SHORT[:8], *_words(TINY), *TEXTS, "--num_workers", "0", "--head_dim", "32"]
        if self.bundle == "pretrain":
            return [*options, *SHORT, *([] if "datalist" in line else phantoms)]
        return [*options, *self._steps(4), *([] if "--datalist" in line else [*phantoms, *self._few()])]

    def _steps(self, batch: int) -> list[str]:
        return _words({"num_steps": 2, "steps_per_epoch": 2, "history_interval": 1, "batch_size": batch})

    def _few(self) -> list[str]:
        counts = {"training": 48 if self.bundle.startswith("c") else 64, "validation": 8, "test": 8}
        source = self.bundle[-2:]
        return [word for key, n in counts.items() for word in (f"--phantom#num_{key}", str({source: n}))]

    def _protocol(self, line: str) -> str | None:
        return next((n for b, n in CORPORA if b == self.bundle and f"/{n}.json" in line), None)

    def _stand_ins(self, line: str) -> dict[str, str]:
        """What the README calls LIST.json, DATA, IMAGES, MODEL, X.json, Y.json."""
        protocol = self._protocol(line)
        if protocol:
            return self._corpus(protocol)
        found = {"X.json": str(self.phantoms / "datalist_2d.json"), "Y.json": str(self.phantoms / "datalist_3d.json")}
        source = "2d" if self.bundle == "pretrain" else self.bundle[-2:]
        if "train.json" not in line:
            images = _some(self.phantoms / source / "test", self.place / f"images_{self.name}")
            return {"DATA": str(images), "IMAGES": str(images)}
        if self.bundle.startswith("segmentation") and "LIST.json" in line:
            folder = self.place / f"own_{self.name}"
            folder.mkdir(exist_ok=True)
            return dict(zip(("LIST.json", "DATA"), own_list(self.phantoms, source, folder)))
        return {**found, "LIST.json": str(self.phantoms / f"datalist_{source}.json"), "DATA": f"{self.phantoms}/."}

    def _corpus(self, protocol: str) -> dict[str, str]:
        """Made-up files in the official layout, the list that ``prepare`` writes, and a tower of that shape."""
        make, options = CORPORA[self.bundle, protocol]
        folder = self.place / "corpora" / self.name / protocol
        root = make(folder / "root")
        lists = prepare(protocol, root, folder / "lists", *options).output
        tower = save_tower(self.bundle, folder)
        return {"LIST.json": str(lists / f"datalist_{self.bundle[-2:]}.json"), "DATA": str(root), "MODEL": tower}


def _words(options: dict[str, object]) -> list[str]:
    return [word for key, value in options.items() for word in (f"--{key}", json.dumps(value))]


def _some(phantoms: Path, folder: Path) -> Path:
    """Two images without their masks."""
    folder.mkdir(exist_ok=True)
    for path in sorted(path for path in phantoms.iterdir() if "mask" not in path.name)[:2]:
        shutil.copy(path, folder)
    return folder
