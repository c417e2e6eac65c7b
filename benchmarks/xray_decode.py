# SPDX-License-Identifier: Apache-2.0
"""An X-ray JPEG of 2500 x 3000 pixels to 256: this project's transforms beside MONAI's.

    python benchmarks/xray_decode.py

The picture is synthetic (smooth anatomy, edges and grain, 8-bit grey, quality 92). Peer: ``LoadImage(PIL)`` and
``Resize`` to the same longest side. The difference is to the exact area average over all pixels.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from side_by_side import medians, one_thread, record

one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from monai.transforms import Compose, LoadImaged, Resized, ScaleIntensityRanged  # noqa: E402
from PIL import Image  # noqa: E402
from scipy import ndimage  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from monai_unimedi.transforms import LoadXrayd, ScaleXrayd, XrayToGrayd  # noqa: E402

SIZE = 256
REPEATS = 7


def write_picture(path: Path) -> None:
    """3000 rows, 2500 columns."""
    random = np.random.RandomState(0)
    coarse = ndimage.zoom(random.rand(12, 10), (250, 250), order=3)
    fine = ndimage.gaussian_filter(random.randn(3000, 2500), 1.5) * 60
    ribs = 18 * np.sign(np.sin(np.arange(3000) / 45.0))[:, None]
    Image.fromarray(np.clip(110 * coarse + 60 + fine + ribs, 0, 255).astype(np.uint8)).save(path, quality=92)


def chain(target_size: int | None) -> Compose:
    return Compose([LoadXrayd("image", target_size=target_size), XrayToGrayd("image"), ScaleXrayd("image", SIZE)])


def main() -> None:
    torch.set_num_threads(1)
    peer = Compose(
        [
            LoadImaged("image", reader="PILReader", ensure_channel_first=True),
            Resized("image", SIZE, size_mode="longest"),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        row = {"image": str(Path(folder) / "xray.jpg")}
        write_picture(Path(row["image"]))
        ours, whole = chain(SIZE), chain(None)
        seconds = medians({"here": lambda: ours(row), "peer": lambda: peer(row)}, REPEATS)
        gap = float((ours(row)["image"] - whole(row)["image"]).abs().mean()) * 255
        megabytes = Path(row["image"]).stat().st_size / 1e6
    record(
        "python benchmarks/xray_decode.py",
        f"JPEG 2500x3000 ({megabytes:.1f} MB) to 256",
        f"{seconds['here'] * 1e3:.1f} ms, {gap:.2f} grey levels from the full average",
        f"{seconds['peer'] * 1e3:.1f} ms, MONAI LoadImage(PIL) + Resize",
        f"{seconds['peer'] / seconds['here']:.1f}x",
        "4.5x, under 0.5 grey levels",
    )


if __name__ == "__main__":
    main()
