# SPDX-License-Identifier: Apache-2.0
"""Golden tensors of the losses, from named peers on CPU: ``python -m benchmarks.make_golden [--check]``.

Needs the ``[peers]`` environment. Without an option it writes ``tests/losses/golden/<name>.pt``; with
``--check`` it computes the peers' figures again from the stored inputs and compares (``make peers``).
``tests/losses/test_golden.py`` holds our losses to the same files, without the peers.

Where the definitions coincide: ``open_clip.ClipLoss`` is the image-text loss when all texts are distinct.
lightly's ``DINOLoss`` over two views leaves out equal views, so that its two cross pairs are two rows of the
[CLS] term. Its ``IBOTPatchLoss`` is the patch term with a mask, and its ``sinkhorn`` gives the targets of
``centring="sinkhorn"``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, normalize

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "losses" / "golden"
STEPS, ROWS, PROTOTYPES = 3, 6, 16
STUDENT_TEMPERATURE, TEACHER_TEMPERATURE = 0.125, 0.0625  # exact also where a peer holds them in float32

Tensors = dict[str, Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Normal numbers, float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def contrast_inputs() -> Tensors:
    """Distinct texts, (B, E) each, and the scale."""
    image, text = (normalize(draw(24, 16, seed=seed), dim=1) for seed in (0, 1))
    return {"image_embedding": image, "text_embedding": text, "logit_scale": torch.tensor(1 / 0.07).double()}


def open_clip_clip_loss(inputs: Tensors) -> Tensors:
    """Value, and gradient of every input."""
    from open_clip.loss import ClipLoss

    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    loss = ClipLoss()(leaves["image_embedding"], leaves["text_embedding"], leaves["logit_scale"])
    loss.backward()
    return {"loss": loss.detach()} | {f"gradient_{name}": _gradient(leaf) for name, leaf in leaves.items()}


def class_inputs() -> Tensors:
    """Prototype logits of [CLS]: (steps, 2 views, B, K)."""
    shape = (STEPS, 2, ROWS, PROTOTYPES)
    return {"student": draw(*shape, seed=2) * 0.3, "teacher": draw(*shape, seed=3) * 0.3}


def lightly_dino_loss(inputs: Tensors) -> Tensors:
    """Values (steps,) and student gradients while the centre moves, and the centre (K,) at the end."""
    from lightly.loss import DINOLoss

    peer = DINOLoss(PROTOTYPES, teacher_temp=TEACHER_TEMPERATURE, student_temp=STUDENT_TEMPERATURE).double()
    student = inputs["student"].clone().requires_grad_()
    losses = [peer(list(t), list(s)) for t, s in zip(inputs["teacher"], student, strict=True)]
    torch.stack(losses).sum().backward()
    return {
        "loss": torch.stack(losses).detach(),
        "gradient_student": _gradient(student),
        "centre": peer.center.flatten(),
    }


def patch_inputs() -> Tensors:
    """Prototype logits of patches (steps, B, N, K), and a mask (steps, B, N) with uneven counts."""
    patches = 8
    hidden = [1, 2, 4, 8, 2, 4]  # powers of two: the peer's weights are float32, exact for these alone
    order = draw(STEPS, ROWS, patches, seed=4).argsort(dim=-1)
    shape = (STEPS, ROWS, patches, PROTOTYPES)
    return {
        "student": draw(*shape, seed=5) * 0.3,
        "teacher": draw(*shape, seed=6) * 0.3,
        "is_masked": order < torch.tensor(hidden)[:, None],
    }


def lightly_ibot_patch_loss(inputs: Tensors) -> Tensors:
    """Values (steps,) and student gradients while the centre moves, and the centre (K,) at the end."""
    from lightly.loss import IBOTPatchLoss

    peer = IBOTPatchLoss(PROTOTYPES, TEACHER_TEMPERATURE, STUDENT_TEMPERATURE).double()
    student = inputs["student"].clone().requires_grad_()
    losses = [
        peer(t[mask], s[mask], mask[:, :, None])
        for t, s, mask in zip(inputs["teacher"], student, inputs["is_masked"], strict=True)
    ]
    torch.stack(losses).sum().backward()
    return {
        "loss": torch.stack(losses).detach(),
        "gradient_student": _gradient(student),
        "centre": peer.center.value.flatten(),
    }


def lightly_sinkhorn(inputs: Tensors) -> Tensors:
    """Cross-entropy (steps,) to the peer's balanced targets over all rows of both views, and its gradient."""
    from lightly.loss.swav_loss import sinkhorn

    student = inputs["student"].clone().requires_grad_()
    losses = []
    for t, s in zip(inputs["teacher"].flatten(1, 2), student.flatten(1, 2), strict=True):
        target = sinkhorn(t, iterations=3, epsilon=TEACHER_TEMPERATURE)
        losses.append(-(target * log_softmax(s / STUDENT_TEMPERATURE, dim=-1)).sum(dim=-1).mean())
    torch.stack(losses).sum().backward()
    return {"loss": torch.stack(losses).detach(), "gradient_student": _gradient(student)}


CASES: dict[str, tuple[Callable[[], Tensors], Callable[[Tensors], Tensors], str]] = {
    "open_clip_clip_loss": (contrast_inputs, open_clip_clip_loss, "open_clip_torch"),
    "lightly_dino_loss": (class_inputs, lightly_dino_loss, "lightly"),
    "lightly_ibot_patch_loss": (patch_inputs, lightly_ibot_patch_loss, "lightly"),
    "lightly_sinkhorn": (class_inputs, lightly_sinkhorn, "lightly"),
}


def write() -> None:
    """Draws the inputs, asks the peers, stores both with the versions."""
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for name, (inputs, peer, package) in CASES.items():
        drawn = inputs()
        versions = {"peer": f"{package} {version(package)}", "torch": str(torch.__version__)}
        temperatures = {
            "student_temperature": STUDENT_TEMPERATURE,
            "teacher_temperature": TEACHER_TEMPERATURE,
        }
        stored = {"versions": versions, **temperatures, "inputs": drawn, "outputs": peer(drawn)}
        torch.save(stored, GOLDEN / f"{name}.pt")
        print(f"wrote {name}: {versions['peer']}")


def check() -> bool:
    """Asks the installed peers again, prints the largest difference of each case; True when all agree."""
    agree = True
    for name, (_, peer, package) in CASES.items():
        stored = torch.load(GOLDEN / f"{name}.pt", weights_only=True)
        found = peer(stored["inputs"])
        differences = [(found[key] - value).abs().max().item() for key, value in stored["outputs"].items()]
        agree &= max(differences) < 1e-9
        verdict = "equal" if max(differences) < 1e-9 else "DIFFERENT"
        peers = f"{stored['versions']['peer']} stored, {version(package)} live"
        print(f"{verdict:9} {name}: {peers}, largest difference {max(differences):.1e}")
    return agree


def _gradient(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Golden tensors of the losses, from named peers.")
    parser.add_argument("--check", action="store_true", help="compare with the stored tensors, write nothing")
    if parser.parse_args(arguments).check:
        return 0 if check() else 1
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main())
