# SPDX-License-Identifier: Apache-2.0
"""Our losses equal named peers in value and gradient, by tensors that ``benchmarks/make_golden.py`` made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_unimedi.losses import ImageTextLoss, SelfDistillationLoss

GOLDEN = Path(__file__).parent / "golden"


def golden(name: str) -> dict[str, Any]:
    stored: dict[str, Any] = torch.load(GOLDEN / f"{name}.pt", weights_only=True)
    return stored


def assert_equal(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-10)


def distillation(stored: dict[str, Any], **options: Any) -> SelfDistillationLoss:
    temperatures = {name: stored[name] for name in ("student_temperature", "teacher_temperature")}
    return SelfDistillationLoss(stored["inputs"]["student"].shape[-1], **temperatures, **options).double()


def class_losses(loss: SelfDistillationLoss, student: Tensor, teacher: Tensor) -> Tensor:
    """L_icl of each step over rows (steps, rows, K); the patches are rows that do not matter."""
    patches = torch.zeros(1, 1, student.shape[-1])
    terms = [
        loss(source="2d", student_class=s, teacher_class=t, student_patches=patches, teacher_patches=patches)
        for s, t in zip(student, teacher)
    ]
    return torch.stack([term["loss_icl"] for term in terms])


def test_image_text_loss_equals_open_clip_on_distinct_texts() -> None:
    stored = golden("open_clip_clip_loss")
    inputs, outputs = stored["inputs"], stored["outputs"]
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in inputs.items()}
    loss = ImageTextLoss()(**leaves)
    loss.backward()
    assert_equal(loss, outputs["loss"])
    for name, leaf in leaves.items():
        assert leaf.grad is not None
        assert_equal(leaf.grad, outputs[f"gradient_{name}"])


def test_class_term_equals_lightly_dino_loss_over_three_steps() -> None:
    """Rows: view 1 of the student against view 0 of the teacher, then the other way round."""
    stored = golden("lightly_dino_loss")
    student = stored["inputs"]["student"].clone().requires_grad_()
    loss = distillation(stored)
    found = class_losses(loss, student.flip(1).flatten(1, 2), stored["inputs"]["teacher"].flatten(1, 2))
    found.sum().backward()
    assert_equal(found, stored["outputs"]["loss"])
    assert_equal(student.grad, stored["outputs"]["gradient_student"])
    torch.testing.assert_close(loss.get_buffer("centre_2d_class"), stored["outputs"]["centre"])


def test_patch_term_equals_lightly_ibot_patch_loss_over_three_steps() -> None:
    stored = golden("lightly_ibot_patch_loss")
    inputs, outputs = stored["inputs"], stored["outputs"]
    student = inputs["student"].clone().requires_grad_()
    loss = distillation(stored)
    found = []
    for s, t, is_masked in zip(student, inputs["teacher"], inputs["is_masked"]):
        cls = torch.zeros(len(s), s.shape[-1])
        patches = {"student_patches": s, "teacher_patches": t, "is_masked": is_masked}
        found.append(loss(source="3d", student_class=cls, teacher_class=cls, **patches)["loss_pcl"])
    torch.stack(found).sum().backward()
    assert_equal(torch.stack(found), outputs["loss"])
    assert_equal(student.grad, outputs["gradient_student"])
    torch.testing.assert_close(loss.get_buffer("centre_3d_patches"), outputs["centre"])


def test_sinkhorn_targets_equal_lightly_sinkhorn() -> None:
    stored = golden("lightly_sinkhorn")
    student = stored["inputs"]["student"].clone().requires_grad_()
    loss = distillation(stored, centring="sinkhorn")
    found = class_losses(loss, student.flatten(1, 2), stored["inputs"]["teacher"].flatten(1, 2))
    found.sum().backward()
    assert_equal(found, stored["outputs"]["loss"])
    assert_equal(student.grad, stored["outputs"]["gradient_student"])


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.pt")), ids=lambda path: path.stem)
def test_golden_files_are_small_and_name_their_peer(path: Path) -> None:
    assert path.stat().st_size < 200_000
    assert golden(path.stem)["versions"]["peer"]
