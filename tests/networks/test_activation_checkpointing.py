# SPDX-License-Identifier: Apache-2.0
"""Activations that are computed again give the gradients of those that are kept, dropout included."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from monai_unimedi.losses import UniMediLoss
from monai_unimedi.losses.distillation_loss import SelfDistillationLoss
from monai_unimedi.losses.image_text_loss import ImageTextLoss
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from monai_unimedi.networks.nets.report_encoder import ReportEncoder
from monai_unimedi.networks.nets.unimedi import UniMedI
from tests.networks.test_image_encoder import SMALL
from tests.networks.test_unimedi import sources

HEADS = {"head_dim": 32, "bottleneck_dim": 16, "num_prototypes": 10}


def model(is_on: bool, num_frozen_layers: int = 0, **options: object) -> UniMedI:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_layers": 3, "num_heads": 2, "embed_dim": SMALL["embed_dim"]}
    text = ReportEncoder(vocab_size=60, dropout=0.2, num_frozen_layers=num_frozen_layers, **sizes)
    tower = UniMediImageEncoder(**SMALL)
    return UniMedI(tower, text, activation_checkpointing=is_on, **(HEADS | options)).train()


def step(network: UniMedI, autocast: bool = False) -> tuple[dict[str, Tensor], int, Tensor]:
    """Gradients, numbers kept for the backward pass, and the next random number."""
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    loss = UniMediLoss(ImageTextLoss(), SelfDistillationLoss(HEADS["num_prototypes"]), 1.0)
    torch.manual_seed(5)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            outputs = network(sources())
        value, _ = loss(outputs)
    value.backward()
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return gradients, sum(kept), torch.rand(4)


@pytest.mark.parametrize("options", [{}, {"visible_only": True, "contrast_view": "masked"}])
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_and_random_numbers_are_those_of_kept_activations(options: dict[str, object], autocast: bool) -> None:
    (plain, kept, drawn), (again, kept_again, drawn_again) = (
        step(model(is_on, **options), autocast) for is_on in (False, True)
    )
    assert plain.keys() == again.keys()
    for name, gradient in plain.items():
        assert torch.equal(again[name], gradient), name
    assert torch.equal(drawn, drawn_again)
    assert kept_again < kept / 2


def test_dropout_of_the_second_pass_is_that_of_the_first() -> None:
    one, other = (step(model(True))[0] for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    without = model(True)
    for module in without.report_encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    name = "report_encoder.projection.weight"
    assert not torch.equal(step(without)[0][name], one[name])  # dropout takes part


def test_frozen_layers_stay_without_gradient() -> None:
    (plain, kept, _), (again, kept_again, _) = (step(model(is_on, 2)) for is_on in (False, True))
    assert plain.keys() == again.keys()
    assert not [name for name in again if "embeddings" in name or "layer.0." in name or "layer.1." in name]
    assert all(torch.equal(again[name], gradient) for name, gradient in plain.items())
    assert kept_again < kept


def test_weights_names_and_scripted_tower_are_the_same() -> None:
    plain, again = model(False), model(True)
    assert plain.state_dict().keys() == again.state_dict().keys()
    image = torch.rand(2, 1, 48, 48, 16)
    scripted = torch.jit.script(again.student.eval())
    torch.testing.assert_close(scripted(image), plain.student.eval()(image))


def test_no_warning_of_the_text_library() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step(model(True))
