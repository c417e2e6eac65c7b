# SPDX-License-Identifier: Apache-2.0
"""Image-text contrast: slow loops, closed forms, shared targets, precision, errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from monai_unimedi.losses import ImageTextLoss


def embeddings(rows: int, size: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Image and text embeddings, leaves of a graph."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(2, rows, size, generator=generator, dtype=torch.float64)
    return [normalize(each, dim=1).to(dtype).requires_grad_() for each in drawn]


def slow_loss(image: Tensor, text: Tensor, scale: float, group: list[int]) -> float:
    """The formula with one term at a time."""
    rows, total = len(group), 0.0
    for queries, keys in ((image.tolist(), text.tolist()), (text.tolist(), image.tolist())):
        for i in range(rows):
            logits = [scale * sum(a * b for a, b in zip(queries[i], keys[j])) for j in range(rows)]
            log_partition = math.log(sum(math.exp(logit) for logit in logits))
            partners = [j for j in range(rows) if group[j] == group[i]]
            for j in partners:
                total -= (logits[j] - log_partition) / len(partners)
    return total / (2 * rows)


@pytest.mark.parametrize("rows", [2, 3, 8])
@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("scale", [1.0, 14.3])
@pytest.mark.parametrize("groups", [1, 2, 100])
def test_equals_slow_loops(rows: int, size: int, scale: float, groups: int) -> None:
    image, text = embeddings(rows, size)
    group = [i % groups for i in range(rows)]
    loss = ImageTextLoss()(image, text, scale, torch.tensor(group))
    assert loss.item() == pytest.approx(slow_loss(image, text, scale, group), abs=1e-10)


def test_gradient_equals_finite_differences() -> None:
    image, text = embeddings(4, 3)
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    group = torch.tensor([0, 1, 0, 2])
    assert torch.autograd.gradcheck(lambda v, t, s: ImageTextLoss()(v, t, s, group), (image, text, scale))


@pytest.mark.parametrize("rows", [2, 7, 32])
def test_equal_embeddings_give_log_n(rows: int) -> None:
    same = normalize(torch.ones(rows, 4), dim=1)
    assert ImageTextLoss()(same, same, 14.3).item() == pytest.approx(math.log(rows), abs=1e-5)


def test_one_group_for_all_gives_log_n_at_the_optimum() -> None:
    same = normalize(torch.ones(6, 4), dim=1).requires_grad_()
    loss = ImageTextLoss()(same, same, 14.3, torch.zeros(6, dtype=torch.long))
    (gradient,) = torch.autograd.grad(loss, same)
    assert loss.item() == pytest.approx(math.log(6), abs=1e-5)
    assert gradient.abs().max() < 1e-5


def test_perfect_alignment_tends_to_zero() -> None:
    eye = torch.eye(8)
    assert ImageTextLoss()(eye, eye, 100.0).item() < 1e-6


def test_two_texts_of_one_group_draw_instead_of_pushing() -> None:
    image = torch.eye(4)[[0, 1, 2]].requires_grad_()
    text = torch.eye(4)[[0, 3, 2]]  # rows 0 and 1: one meaning in two wordings
    (shared,) = torch.autograd.grad(ImageTextLoss()(image, text, 5.0, torch.tensor([7, 7, 1])), image)
    (plain,) = torch.autograd.grad(ImageTextLoss()(image, text, 5.0), image)
    assert shared[0, 3] < 0 < plain[0, 3]  # image 0 and the other wording


def test_identical_text_embeddings_share_without_a_group() -> None:
    """Exactly equal columns make both targets one function: groups matter where wordings differ."""
    image, text = embeddings(5, 4)
    text = text[[0, 0, 2, 3, 2]]
    shared = ImageTextLoss()(image, text, 9.0, torch.tensor([0, 0, 2, 3, 2]))
    plain = ImageTextLoss()(image, text, 9.0)
    assert shared.item() == pytest.approx(plain.item(), abs=1e-12)


def test_groups_are_compared_by_equality_alone() -> None:
    image, text = embeddings(4, 3)
    large = torch.tensor([2**62, 5, 2**62, -(2**62)])
    small = torch.tensor([0, 1, 0, 2])
    assert torch.equal(ImageTextLoss()(image, text, 9.0, large), ImageTextLoss()(image, text, 9.0, small))


def test_no_group_equals_distinct_groups() -> None:
    image, text = embeddings(5, 3)
    assert torch.equal(ImageTextLoss()(image, text, 9.0), ImageTextLoss()(image, text, 9.0, torch.arange(5)))


def test_swapping_image_and_text_changes_nothing_but_shuffling_one_does() -> None:
    image, text = embeddings(6, 4)
    loss = ImageTextLoss()(image, text, 9.0)
    assert ImageTextLoss()(text, image, 9.0).item() == pytest.approx(loss.item(), abs=1e-12)
    assert abs(ImageTextLoss()(image, text.roll(1, 0), 9.0).item() - loss.item()) > 1e-2


def test_temperature_learns() -> None:
    image, text = embeddings(6, 4, dtype=torch.float32)
    scale = torch.tensor(14.0, requires_grad=True)
    ImageTextLoss()(image, text, scale).backward()
    assert scale.grad is not None
    assert scale.grad.abs() > 0


def test_autocast_does_not_change_the_loss() -> None:
    image, text = embeddings(16, 32, dtype=torch.float32)
    expected = ImageTextLoss()(image, text, 100.0)
    with torch.autocast("cpu", torch.bfloat16):
        found = ImageTextLoss()(image, text, 100.0)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_finite(dtype: torch.dtype) -> None:
    image, text = embeddings(16, 32, dtype=dtype)
    loss = ImageTextLoss()(image, text, 100.0)
    gradients = torch.autograd.grad(loss, (image, text))
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_batch_of_one_is_refused() -> None:
    image, text = embeddings(1, 4)
    with pytest.raises(ValueError, match="contrast needs two"):
        ImageTextLoss()(image, text, 14.3)


def test_shapes_must_fit() -> None:
    image, text = embeddings(4, 3)
    with pytest.raises(ValueError, match=r"one shape \(B, E\), got \(4, 3\) and \(3, 3\)"):
        ImageTextLoss()(image, text[:3], 14.3)
    with pytest.raises(ValueError, match=r"one value per row, shape \(4,\), got \(3,\)"):
        ImageTextLoss()(image, text, 14.3, torch.arange(3))
