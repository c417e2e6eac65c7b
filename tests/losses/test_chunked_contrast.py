# SPDX-License-Identifier: Apache-2.0
"""The contrast in blocks of rows equals the plain form, forwards and backwards, and stores no square."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from monai_unimedi.losses import ImageTextLoss, chunked_contrast


def plain_loss(image: Tensor, text: Tensor, scale: Tensor, group: Tensor) -> Tensor:
    """All logits at once, by autograd."""
    target = (group[:, None] == group).to(image.dtype)
    target = target / target.sum(1, keepdim=True)
    logits = scale * image @ text.T
    both = [-(target * each.log_softmax(1)).sum(1).mean() for each in (logits, logits.T)]
    return sum(both, torch.zeros(())) / 2


def leaves(rows: int, size: int, dtype: torch.dtype, closeness: float = 0.5) -> list[Tensor]:
    """Image and text embeddings that agree in part, as after some training, and the scale."""
    generator = torch.Generator().manual_seed(rows)
    common, image, text = torch.randn(3, rows, size, generator=generator, dtype=torch.float64)
    pair = [normalize(closeness * common + (1 - closeness) * own, dim=1) for own in (image, text)]
    return [each.to(dtype).requires_grad_() for each in (*pair, torch.tensor(14.3))]


def gradients(loss: Any, inputs: list[Tensor], group: Tensor) -> list[Tensor]:
    """The loss and its three gradients."""
    value = loss(*inputs, group)
    return [value.detach(), *torch.autograd.grad(3.0 * value, inputs)]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture
def blocks_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    def choose(rows: int) -> None:
        monkeypatch.setattr(chunked_contrast, "MIN_ROWS", rows)
        monkeypatch.setattr(chunked_contrast, "CHUNK_LOGITS", 1)

    return choose


@pytest.mark.parametrize("rows_at_a_time", [1, 3, 8, 64])
@pytest.mark.parametrize("num_groups", [1, 5, 23])
def test_float64_equals_the_plain_form(rows_at_a_time: int, num_groups: int, blocks_of: Any) -> None:
    blocks_of(rows_at_a_time)
    inputs, group = leaves(23, 7, torch.float64), torch.arange(23) % num_groups
    for found, expected in zip(gradients(ImageTextLoss(), inputs, group), gradients(plain_loss, inputs, group)):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("closeness", [0.0, 0.5, 0.9])
def test_float32_equals_the_plain_form(closeness: float, blocks_of: Any) -> None:
    blocks_of(64)
    group = torch.arange(500) % 400
    found = gradients(ImageTextLoss(), leaves(500, 64, torch.float32, closeness), group)
    expected = gradients(plain_loss, leaves(500, 64, torch.float64, closeness), group)
    assert [relative(each, other) < 1e-4 for each, other in zip(found, expected)] == [True] * 4


def test_gradient_equals_finite_differences_in_blocks(blocks_of: Any) -> None:
    blocks_of(2)
    group = torch.tensor([0, 1, 0, 2, 3])
    assert torch.autograd.gradcheck(lambda *inputs: ImageTextLoss()(*inputs, group), leaves(5, 3, torch.float64))


class LargestTensor(TorchDispatchMode):
    """Counts the numbers of the largest tensor that any operation returns."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return out


def test_nothing_is_larger_than_the_embeddings_or_a_block(blocks_of: Any) -> None:
    blocks_of(16)
    inputs = leaves(256, 8, torch.float32)
    with LargestTensor() as largest:
        ImageTextLoss()(*inputs).backward()
    assert largest.numbers == 16 * 256  # a square has 65,536
    assert all(each.grad is not None for each in inputs)


def test_blocks_keep_their_size_whatever_the_number_of_columns() -> None:
    for rows, columns in ((8192, 8192), (4096, 32768), (512, 262144)):
        _, logits = next(chunked_contrast._blocks(torch.ones(rows, 1), torch.ones(columns, 1), torch.tensor(1.0)))
        assert logits.numel() <= max(chunked_contrast.CHUNK_LOGITS, chunked_contrast.MIN_ROWS * columns)


def test_backward_under_autocast_stays_in_float32() -> None:
    inputs, group = leaves(32, 16, torch.float32), torch.arange(32)
    expected = gradients(ImageTextLoss(), inputs, group)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(ImageTextLoss(), inputs, group)
    assert all(torch.equal(each, other) for each, other in zip(found, expected))


def test_scale_may_be_a_number_or_of_another_type() -> None:
    image, text, scale = leaves(6, 4, torch.float64)
    single = scale.detach().float().requires_grad_()
    ImageTextLoss()(image, text, single).backward()
    assert single.grad is not None
    assert single.grad.dtype == torch.float32
    assert torch.equal(ImageTextLoss()(image, text, float(single.detach())), ImageTextLoss()(image, text, single))


def test_image_and_text_may_be_of_different_types() -> None:
    image, text, scale = leaves(6, 4, torch.float64)
    loss = ImageTextLoss()(image.float(), text, scale)
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(ImageTextLoss()(image, text, scale).item(), abs=1e-6)


def test_nan_is_not_lost(blocks_of: Any) -> None:
    blocks_of(2)
    image, text, scale = leaves(6, 4, torch.float32)
    with torch.no_grad():
        image[3, 1] = float("nan")
    assert ImageTextLoss()(image, text, scale).isnan()
