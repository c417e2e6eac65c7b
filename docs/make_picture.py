# SPDX-License-Identifier: Apache-2.0
"""The README's picture: the first X-ray and the first CT of a report page, by a headless Chromium.

    python docs/make_picture.py [output/demo/report.html] [docs/images/report.png]

The page itself chooses its cases without looking at a result; the picture takes the first of each dimension.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

HIDDEN = "main > section:not(#images-2d):not(#images-3d), nav, footer, .example ~ .example"
STYLE = f"<style>{HIDDEN} {{ display: none !important }}</style>"
WIDTH, HEIGHT, MARGIN = 1280, 2400, 24  # pixels


def main(page: str = "output/demo/report.html", picture: str = "docs/images/report.png") -> None:
    """Renders, crops and writes.

    Raises:
        SystemExit: When there is no Chromium.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("the picture is rendered by Chromium, found none: install it")
    with tempfile.TemporaryDirectory() as folder:
        short, shot = Path(folder) / "page.html", Path(folder) / "page.png"
        short.write_text(Path(page).read_text(encoding="utf-8") + STYLE, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        options += [f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={shot}"]
        subprocess.run([browser, *options, short.as_uri()], check=True, capture_output=True)
        with Image.open(shot) as opened:
            image = opened.convert("RGB")
    background = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    _, _, _, bottom = ImageChops.difference(image, background).getbbox() or (0, 0, 0, image.height - MARGIN)
    cropped = image.crop((0, 0, WIDTH, min(bottom + MARGIN, image.height)))
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    cropped.save(picture, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
