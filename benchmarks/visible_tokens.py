# SPDX-License-Identifier: Apache-2.0
"""Half of the tokens against all of them: forward and backward of the image tower.

    python -m benchmarks.visible_tokens [--size base] [--batch 2] [--repeats 5] [--precision bfloat16]

197 tokens are those of an X-ray of 224 x 224, 513 those of a CT of 128 x 128 x 32 without slices. Both passes embed the
whole image; one then draws its mask and encodes what is visible.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

from benchmarks.side_by_side import one_thread, ratio, record, turns

one_thread()

import torch  # noqa: E402

from benchmarks import training_steps as steps  # noqa: E402
from monai_unimedi.networks.blocks.token_masking import random_token_mask  # noqa: E402

GOALS = {"2d": (197, "1.75x"), "3d": (513, "1.85x")}


def passes(size: str, source: str, batch: int, is_half: bool) -> Callable[[], None]:
    """Forward and backward."""
    data, vit = steps.batch(source, batch, padded=False)[source], steps.image_encoder(size).vit

    def run() -> None:
        vit.zero_grad(set_to_none=True)
        content, position = vit.embed(data["image"])
        tokens = content + position
        if is_half:
            is_masked = random_token_mask(data["sample_seed"], tokens.shape[1], 0.5)
            tokens = tokens[~is_masked].reshape(batch, -1, tokens.shape[2])
        vit.encode(tokens).float().square().mean().backward()

    return run


def main() -> None:
    """Takes turns, prints and records the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=steps.SIZES, default="base")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--precision", choices=("bfloat16", "float32"), default="bfloat16")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for source, (length, goal) in GOALS.items():
        functions = {name: passes(arguments.size, source, arguments.batch, name == "half") for name in ("half", "all")}
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.precision == "bfloat16"):
            seconds = turns(functions, arguments.repeats)
        record(
            f"python -m benchmarks.visible_tokens --size {arguments.size} --precision {arguments.precision}",
            f"half of {length} tokens visible, forward and backward, batch {arguments.batch}",
            f"{statistics.median(seconds['half']):.2f} s CPU",
            f"{statistics.median(seconds['all']):.2f} s CPU, all tokens",
            ratio(seconds["all"], seconds["half"]),
            goal,
            is_kept=arguments.size == "base",
        )


if __name__ == "__main__":
    main()
