# SPDX-License-Identifier: Apache-2.0
"""The network of each published bundle as TorchScript, `torch.export` and ONNX, with a dynamic batch.

    python tests/acceptance/zoo_export.py [ZOO]

ZOO is what ``zoo build`` wrote (default ``output/zoo``). In an environment with the published wheel and its extra
``export`` alone, ``zoo export`` runs on each unpacked bundle as its page says, and must find every graph within 1e-4 of
the network, on batches of 1, 2 and 5. A process without torch then reads each ONNX file: its input must be called
``image``, with a free batch, its output ``pred``. The last line holds the count and the largest difference.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from _bundle import OUTPUT, REPOSITORY
from _zoo import clean, new_environment, unpacked, zips

FOLDER = OUTPUT / "zoo_export"
KINDS = {"eager", "TorchScript", "torch.export", "ONNX"}
READ = """
import json, sys
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
(image,), (pred,) = session.get_inputs(), session.get_outputs()
counts = [session.run(None, {"image": numpy.zeros((n, *image.shape[1:]), "float32")})[0].shape[0] for n in (1, 3)]
print(json.dumps([image.name, pred.name, isinstance(image.shape[0], str), counts, "torch" in sys.modules]))
"""


def main(argv: list[str]) -> int:
    """Exports all; returns 0 where every graph is the network's."""
    archives = zips(argv)
    shutil.rmtree(FOLDER, ignore_errors=True)
    (wheel,) = archives[0].parent.glob("*.whl")
    constraints = REPOSITORY / "constraints.txt"
    python = new_environment(FOLDER / "environment", f"{wheel}[export]", "-c", str(constraints))
    gaps = [gap for bundle in unpacked(archives, FOLDER) for gap in export(python, bundle)]
    shutil.rmtree(FOLDER / "environment")
    shown = f"{len(gaps)} graphs of {len(archives)} bundles, at most {max(gaps):.1e} from the network"
    print(f"zoo export: {shown}, batches of 1, 2 and 5")
    return 0


def export(python: Path, bundle: Path) -> list[float]:
    """Exports one bundle; returns the difference of each graph."""
    words = [str(python), "-m", "monai_unimedi", "zoo", "export", bundle.name]
    done = subprocess.run(words, cwd=FOLDER, env=clean(), capture_output=True, text=True, check=False)
    print(done.stdout, flush=True)
    lines = [line for line in done.stdout.splitlines() if any(f" {kind} " in line for kind in KINDS)]
    graphs = [line for line in lines if " eager " not in line]
    shapes = 2 if bundle.name.endswith("pretrain") else 1
    if done.returncode or len(graphs) != 3 * shapes:
        raise SystemExit(f"{bundle.name}: zoo export must find {3 * shapes} graphs equal, said {done.stderr[-600:]}")
    for path in sorted((bundle / "models").glob("*.onnx")):
        words = [str(python), "-c", READ, str(path)]
        read = subprocess.run(words, env=clean(), capture_output=True, text=True, check=True).stdout
        if json.loads(read) != ["image", "pred", True, [1, 3], False]:
            raise SystemExit(f"{path.name} of {bundle.name} must take any batch of `image` and give `pred`: {read}")
    return [float(line.split()[-3]) for line in graphs]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
