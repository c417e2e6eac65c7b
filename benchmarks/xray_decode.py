# SPDX-License-Identifier: Apache-2.0
"""An X-ray JPEG of 2500 x 3000 pixels to 256: this project's transforms beside MONAI's.

    python -m benchmarks.xray_decode

Synthetic pictures (smooth anatomy, edges and grain, 8 bits, quality 92), grey and, as many published X-rays are,
grey in three channels; and the largest real JPEG X-ray beside the repository, where there is one. The bytes of a
JPEG have to be decoded whatever the size asked for, which bounds the gain. Peer: ``LoadImage(PIL)`` and ``Resize``
to the same longest side. The difference is to the exact area average over all pixels.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from benchmarks.side_by_side import medians, one_thread, record

one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from monai.transforms import Compose, LoadImaged, Resized, ScaleIntensityRanged  # noqa: E402
from PIL import Image  # noqa: E402
from scipy import ndimage  # noqa: E402

from monai_unimedi.transforms import LoadXrayd, ScaleXrayd, XrayToGrayd  # noqa: E402

SIZE = 256
REPEATS = 7


def write_picture(path: Path, grain: float, mode: str = "L") -> None:
    """3000 rows, 2500 columns; the more grain, the more bytes."""
    random = np.random.RandomState(0)
    coarse = ndimage.zoom(random.rand(12, 10), (250, 250), order=3)
    fine = ndimage.gaussian_filter(random.randn(3000, 2500), 1.5) * grain
    ribs = 18 * np.sign(np.sin(np.arange(3000) / 45.0))[:, None]
    Image.fromarray(np.clip(110 * coarse + 60 + fine + ribs, 0, 255).astype(np.uint8)).convert(mode).save(
        path, quality=92
    )


def largest_real_xray() -> Path | None:
    """The JPEG of most pixels among the real X-rays."""
    data = Path(os.environ.get("UNIMEDI_REAL_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
    pictures = {path: Image.open(path) for path in sorted((data / "covid_cxr").glob("**/*.jp*g"))}
    pixels = {path: np.prod(image.size) for path, image in pictures.items() if image.format == "JPEG"}
    return max(pixels, key=pixels.__getitem__, default=None)


def chain(target_size: int | None) -> Compose:
    return Compose([LoadXrayd("image", target_size=target_size), XrayToGrayd("image"), ScaleXrayd("image", SIZE)])


def peer(**options: object) -> Compose:
    """MONAI's transforms to the same longest side."""
    return Compose(
        [
            LoadImaged("image", reader="PILReader", ensure_channel_first=True),
            Resized("image", SIZE, size_mode="longest", **options),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
        ]
    )


def measure(path: Path, name: str) -> None:
    """Writes the rows of one picture."""
    as_written, gaussian = peer(), peer(mode="bilinear", anti_aliasing=True)
    ours, whole = chain(SIZE), chain(None)
    row = {"image": str(path)}
    seconds = medians({"here": lambda: ours(row), "peer": lambda: as_written(row)}, REPEATS)
    seconds |= medians({"gaussian": lambda: gaussian(row)}, 1)
    gap = float((ours(row)["image"] - whole(row)["image"]).abs().mean()) * 255
    width, height = Image.open(path).size
    figure = f"{name} {width}x{height} ({path.stat().st_size / 1e6:.1f} MB) to {SIZE}"
    here = f"{seconds['here'] * 1e3:.1f} ms, {gap:.2f} grey levels from the full average"
    for kind, words, asked in (
        ("peer", "LoadImage(PIL) + Resize", "4.5x, under 0.5 grey levels"),
        ("gaussian", "LoadImage(PIL) + Resize(anti_aliasing=True)", ""),
    ):
        record(
            "python -m benchmarks.xray_decode",
            f"{figure}, {'as written' if kind == 'peer' else 'both anti-aliased'}",
            here,
            f"{seconds[kind] * 1e3:.1f} ms, MONAI {words}",
            f"{seconds[kind] / seconds['here']:.1f}x",
            asked,
        )


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name, grain, mode in (("grey JPEG", 60.0, "L"), ("grey JPEG", 15.0, "L"), ("RGB JPEG", 15.0, "RGB")):
            path = Path(folder) / "xray.jpg"
            write_picture(path, grain, mode)
            measure(path, name)
    real = largest_real_xray()
    if real is not None:
        measure(real, f"real X-ray, {Image.open(real).mode} JPEG")


if __name__ == "__main__":
    main()
