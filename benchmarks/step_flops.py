# SPDX-License-Identifier: Apache-2.0
"""FLOPs of a training step by part, counted by PyTorch on tensors without memory, as a Markdown table.

    python -m benchmarks.step_flops [--size base] [--refresh 5]

One sample a row: an X-ray of 224 x 224, or a CT of 128 x 128 x 32 with four slices; forward and, where something is
trained, backward; two FLOPs a multiplication and addition. Losses, norms and the optimizer are not counted: they are
no matrix products. Reports have 256 tokens (naive, CLIP) or 96, the longest of the benchmarks' batches.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import training_steps as steps
from monai_unimedi.networks.blocks.token_masking import random_token_mask
from monai_unimedi.networks.nets.unimedi import UniMedI

NAIVE, OURS, WHOLE, CLIP = "naive", "masked", "whole", "plain CLIP"


def gflop(run: Callable[[], Tensor]) -> float:
    """GFLOP of a part, forward and, if it is trained, backward."""
    with FlopCounterMode(display=False) as counter:
        result = run()
        if result.requires_grad:
            result.sum().backward()
    return counter.get_total_flops() / 1e9


def parts(network: UniMedI, source: str) -> dict[str, float]:
    """GFLOP of each part that a step may have, for one sample."""
    shape = (1, 1, 224, 224) if source == "2d" else (1, 1, 128, 128, 32)
    image, vit = torch.rand(shape, device="meta"), network.student.vit
    indices = None if source == "2d" else torch.zeros(1, steps.SLICES, dtype=torch.int64, device="meta")
    is_masked = random_token_mask(torch.zeros(1, dtype=torch.int64), vit.embed(image, indices)[0].shape[1], 0.5)
    num_hidden = int(is_masked.sum())

    def view(visible_only: bool, distill: bool = True) -> Tensor:
        network.visible_only = visible_only
        class_token, hidden = network.masked_view(*vit.embed(image, indices), is_masked, distill)
        return class_token.sum() if hidden is None else class_token.sum() + hidden.sum()

    def teacher(is_pruned: bool) -> Tensor:
        with torch.no_grad():
            if not is_pruned:
                return steps.plain_tokens(network.teacher, image, indices)
            content, position = network.teacher.vit.embed(image, indices)
            return network.teacher.vit.encode_some(content + position, is_masked)

    def whole() -> Tensor:
        content, position = vit.embed(image, indices)
        return vit.encode_some(content + position)

    def heads() -> Tensor:
        tokens = torch.rand(1 + num_hidden, vit.norm.normalized_shape[0], device="meta", requires_grad=True)
        with torch.no_grad():
            network.teacher_head(tokens)
        return network.student_head(tokens)

    found = {f"text {length}": gflop(lambda n=length: _text(network, n)) for length in (steps.PADDED, steps.LONGEST)}
    found["selection"] = gflop(lambda: network.teacher_slice_scores(image)) if source == "3d" else 0.0
    found |= {
        "student": gflop(lambda: steps.plain_tokens(network.student, image, indices)),
        "student [CLS]": gflop(whole),
    }
    found |= {"student, mask tokens": gflop(lambda: _masked(network, image, indices, is_masked))}
    found |= {"student, visible, and predictor": gflop(lambda: view(True))}
    found |= {"teacher": gflop(lambda: teacher(False)), "teacher, its targets": gflop(lambda: teacher(True))}
    return found | {"heads": gflop(heads)}


def _text(network: UniMedI, length: int) -> Tensor:
    ids = torch.zeros(1, length, dtype=torch.int64, device="meta")
    states = network.report_encoder.model(input_ids=ids).last_hidden_state  # no padding: every token counts
    return network.report_encoder.projection(states[:, 0])


def _masked(network: UniMedI, image: Tensor, indices: Tensor | None, is_masked: Tensor) -> Tensor:
    vit = network.student.vit
    content, position = vit.embed(image, indices)
    return vit.encode(torch.where(is_masked.to("meta")[..., None], vit.mask_token, content) + position)


def table(found: dict[str, dict[str, float]], refresh: int) -> str:
    """Rows: parts; columns: steps of both sources."""
    scored = f"slice selection, at one of {refresh} visits"
    forms: dict[str, dict[str, tuple[str, float]]] = {
        NAIVE: {
            "slice selection": ("selection", 1.0),
            "student, whole": ("student", 1.0),
            "student, masked": ("student, mask tokens", 1.0),
            "teacher": ("teacher", 1.0),
            "text": (f"text {steps.PADDED}", 1.0),
            "heads": ("heads", 1.0),
        },
        OURS: {
            scored: ("selection", 1 / refresh),
            "student, masked": ("student, visible, and predictor", 1.0),
            "teacher": ("teacher, its targets", 1.0),
            "text": (f"text {steps.LONGEST}", 1.0),
            "heads": ("heads", 1.0),
        },
    }
    forms[WHOLE] = {**forms[OURS], "student, whole": ("student [CLS]", 1.0)}
    forms[CLIP] = {"student, whole": ("student", 1.0), "text": (f"text {steps.PADDED}", 1.0)}
    forms[f"{CLIP}, unpadded"] = {"student, whole": ("student", 1.0), "text": (f"text {steps.LONGEST}", 1.0)}
    columns = [(form, source) for source in found for form in forms if source == "2d" or CLIP not in form]
    names = list(dict.fromkeys(part for form in forms.values() for part in form))
    lines = ["| GFLOP a sample | " + " | ".join(f"{_SOURCE[s]}, {form}" for form, s in columns) + " |"]
    lines += ["|---" * (len(columns) + 1) + "|"]
    values = {column: _values(forms[column[0]], found[column[1]]) for column in columns}
    for name in names:
        lines.append(f"| {name} | " + " | ".join(_cell(values[column].get(name)) for column in columns) + " |")
    return "\n".join([*lines, "| **sum** | " + " | ".join(f"{sum(values[c].values()):.0f}" for c in columns) + " |"])


_SOURCE = {"2d": "X-ray", "3d": "CT"}


def _values(form: dict[str, tuple[str, float]], found: dict[str, float]) -> dict[str, float]:
    return {name: share * found[part] for name, (part, share) in form.items()}


def _cell(value: float | None) -> str:
    return f"{value:.1f}" if value else ""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=steps.SIZES, default="base")
    parser.add_argument("--refresh", type=int, default=5)
    arguments = parser.parse_args()
    with torch.device("meta"):
        network = steps.unimedi(arguments.size, visible_only=True)
    print(table({source: parts(network, source) for source in ("2d", "3d")}, arguments.refresh))


if __name__ == "__main__":
    main()
