# SPDX-License-Identifier: Apache-2.0
"""The text tower's step on reports of different length: padded, in groups of like length, packed.

    python -m benchmarks.text_padding [--width 768] [--layers 12] [--batch 32] [--precision float32] [--repeats 5]

Forward and backward of the same weights on the same batch, by turns; lengths are log-normal (median 60 tokens, at most
256, the longest set to 256). ``padded``: to 256 and to the longest of the batch, which is the same here; ``grouped``:
what ``text_call_cost`` does, for several costs of a call; ``packed``: one sequence without any padding and a mask that
keeps reports apart. Before the timing all are compared with the padded form.
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.side_by_side import medians, one_thread, record

one_thread()
import torch  # noqa: E402

from monai_unimedi.networks.nets.length_groups import length_groups  # noqa: E402
from monai_unimedi.networks.nets.report_encoder import ReportEncoder  # noqa: E402

COMMAND = "python -m benchmarks.text_padding"
VOCABULARY, LONGEST = 28_996, 256
COSTS = (0, 4, 16, 64)


def reports(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """``input_ids`` and ``attention_mask`` (B, 256)."""
    generator = torch.Generator().manual_seed(0)
    lengths = (60 * torch.exp(0.6 * torch.randn(batch, generator=generator))).long().clamp(8, LONGEST)
    lengths[0] = LONGEST
    mask = (torch.arange(LONGEST)[None] < lengths[:, None]).long()
    return torch.randint(5, VOCABULARY, mask.shape, generator=generator) * mask, mask


def packed(tower: ReportEncoder, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Pooled states (B, hidden) of all reports in one sequence, each attending to itself alone."""
    keep, lengths = mask.bool(), mask.sum(1)
    owner = torch.arange(len(ids)).repeat_interleave(lengths)
    position = torch.cat([torch.arange(int(length)) for length in lengths])
    blocked = torch.zeros(len(owner), len(owner)).masked_fill_(owner[:, None] != owner, torch.finfo(torch.float32).min)
    model: Any = tower.model
    states = model(
        input_ids=ids[keep][None], position_ids=position[None], attention_mask=blocked[None, None]
    ).last_hidden_state[0]
    total = torch.zeros(len(ids), states.shape[1], dtype=states.dtype).index_add(0, owner, states)
    return total / lengths[:, None]


def main() -> None:
    """Compares, measures and records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    attention = "eager" if given.precision == "bfloat16" else "sdpa"  # the faster of each on a CPU
    tower = ReportEncoder(
        None, VOCABULARY, given.width, given.layers, max(1, given.width // 64), max_tokens=512, pooling="mean",
        attention=attention,
    )  # fmt: skip
    ids, mask = reports(given.batch)

    def step(call_cost: int | None, is_packed: bool = False) -> torch.Tensor:
        tower.call_cost = call_cost
        tower.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=given.precision == "bfloat16"):
            pooled = packed(tower, ids, mask) if is_packed else tower.features(ids, mask)
        pooled.float().square().mean().backward()
        return pooled.detach().float()

    ways = {"padded": lambda: step(None), "packed": lambda: step(None, True)}
    ways |= {f"grouped, call worth {cost}": (lambda cost=cost: step(cost)) for cost in COSTS}  # type: ignore[misc]
    expected = ways["padded"]()
    for name, way in ways.items():
        tolerance = 2e-2 if given.precision == "bfloat16" else 1e-4
        torch.testing.assert_close(way(), expected, atol=tolerance, rtol=tolerance, msg=f"{name} differs")
    seconds = medians(ways, given.repeats)
    lengths = mask.sum(1).tolist()
    for name in (name for name in ways if name != "padded"):
        cost = int(name.rsplit(" ", 1)[1]) if name.startswith("grouped") else None
        groups = [[*range(given.batch)]] if cost is None else length_groups(lengths, cost)
        read = sum(lengths) if cost is None else sum(len(g) * lengths[g[-1]] for g in groups)
        record(
            COMMAND,
            f"text tower {given.width} x {given.layers}, batch {given.batch}, {given.precision}: {name}",
            f"{seconds[name]:.2f} s, {read} tokens in {len(groups)} calls",
            f"{seconds['padded']:.2f} s, padded, {mask.numel()} tokens",
            f"{seconds[name] / seconds['padded']:.2f}x",
            "the cheaper one is the option; equal to the padded form",
        )


if __name__ == "__main__":
    main()
