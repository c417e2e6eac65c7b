# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning equals a plain loop, goes on exactly where it stopped, and stops at what is no number."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import SimpleInferer
from torch import Tensor, nn

from monai_unimedi.engines import AutocastEvaluator, Finetuner

Batch = dict[str, Any]


def batches(count: int = 6) -> list[Batch]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 4, 3, generator=generator)
    return [{"image": x, "label": x.sum(1, keepdim=True), "id": [f"row-{i}"] * 4} for i, x in enumerate(images)]


def trainer(network: nn.Module, loader: list[Batch], **options: Any) -> Finetuner:
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return Finetuner("cpu", 2, loader, network, optimizer, nn.MSELoss(), lr_scheduler=schedule, **options)


def test_weights_equal_those_of_a_plain_loop() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    plain = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for batch in batches() * 2:
        optimizer.zero_grad()
        nn.functional.mse_loss(plain(batch["image"]), batch["label"]).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    engine = trainer(network, batches(), clip_norm=1.0)
    engine.run()
    assert torch.equal(network.weight, plain.weight)
    assert set(engine.state.output[0]) == {"loss", "grad_norm", "lr"}


class Seen(nn.MSELoss):
    """Notes what kind of label it is given."""

    def __init__(self, kinds: list[type]) -> None:
        super().__init__()
        self.kinds = kinds

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        self.kinds.append(type(target))
        return super().forward(input, target)


def test_what_monais_transforms_left_on_a_tensor_stays_out_of_network_and_loss() -> None:
    kinds: list[type] = []
    network = nn.Linear(3, 1)
    network.register_forward_hook(lambda _, inputs, __: kinds.append(type(inputs[0])))
    (batch,) = batches(1)
    loader = [batch | {key: MetaTensor(batch[key]) for key in ("image", "label")}]
    engine = trainer(network, loader)
    engine.loss_function = Seen(kinds)
    engine.run()
    assert set(kinds) == {Tensor}


def test_two_halves_accumulated_make_one_step() -> None:
    torch.manual_seed(0)
    whole = nn.Linear(3, 1)
    halves = copy.deepcopy(whole)
    (batch,) = batches(1)
    parts = [{key: value[i : i + 2] for key, value in batch.items()} for i in (0, 2)]
    trainer(whole, [batch]).run()
    trainer(halves, parts, accumulation_steps=2).run()
    assert torch.allclose(whole.weight, halves.weight, atol=1e-6)


def test_state_goes_on_in_the_middle_of_an_epoch() -> None:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    engine = trainer(network, batches())
    engine.state.iteration = 4
    state = engine.state_dict()
    other = trainer(nn.Linear(3, 1), batches())
    other.load_state_dict(state)
    assert (other.state.iteration, other.state.epoch, other.completed_steps) == (4, 0, 4)
    with pytest.raises(ValueError, match="must have the 6 iterations"):
        trainer(nn.Linear(3, 1), batches(5)).load_state_dict(state)


def test_loss_that_is_no_number_names_the_rows() -> None:
    loader = batches(2)
    loader[1]["image"][0] = float("nan")
    with pytest.raises(RuntimeError, match=r"step 2 of 4 .*row-1"):
        trainer(nn.Linear(3, 1), loader).run()


def test_evaluator_computes_in_bfloat16_and_answers_in_float32() -> None:
    seen = []

    class Network(nn.Module):
        def forward(self, image: Tensor) -> Tensor:
            pred = image @ torch.ones(3, 1)
            seen.append(pred.dtype)
            return pred

    for amp in (True, False):
        evaluator = AutocastEvaluator(
            device="cpu",
            val_data_loader=batches(1),
            network=Network(),
            inferer=SimpleInferer(),
            amp=amp,
            decollate=False,
        )
        evaluator.run()
        assert evaluator.state.output["pred"].dtype == torch.float32
    assert seen == [torch.bfloat16, torch.float32]
