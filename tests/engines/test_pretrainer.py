# SPDX-License-Identifier: Apache-2.0
"""The step: what is called, how often, and what comes out."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.data import MetaTensor
from monai.engines.utils import IterationEvents
from monai.handlers import MLFlowHandler, StatsHandler, TensorBoardStatsHandler, from_engine
from torch import Tensor

from monai_unimedi.engines import PretrainEvents, UniMediPretrainer
from monai_unimedi.handlers import LossSchedule, TeacherUpdate
from monai_unimedi.losses import ImageTextLoss, UniMediLoss
from tests.engines.toy import ToyLoss, ToyNetwork, toy_loader
from tests.engines.toy_run import ToyRun, same


def toy_trainer(network: ToyNetwork, lr: float = 0.1, **arguments: Any) -> UniMediPretrainer:
    loss = arguments.pop("loss_function", None) or ToyLoss()
    optimizer = torch.optim.SGD([weight for weight in network.parameters() if weight.requires_grad], lr=lr)
    arguments.setdefault("max_epochs", 1)
    loader = arguments.pop("train_data_loader", None) or toy_loader()
    return UniMediPretrainer(
        device="cpu",
        train_data_loader=loader,
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        **arguments,
    )


def test_what_monais_transforms_left_on_an_image_stays_out_of_the_network() -> None:
    (batch, *_) = toy_loader()
    batch = {source: {**inputs, "image": MetaTensor(inputs["image"])} for source, inputs in batch.items()}
    network = ToyNetwork()
    kinds: list[type] = []
    network.register_forward_pre_hook(lambda _, inputs: kinds.extend(type(one["image"]) for one in inputs[0].values()))
    toy_trainer(network, train_data_loader=[batch]).run()
    assert set(kinds) == {Tensor}


@pytest.mark.parametrize("accumulation_steps", [1, 2, 3])
def test_teacher_moves_by_exactly_the_momentum_once_per_optimizer_step(accumulation_steps: int) -> None:
    network = ToyNetwork()
    expected = copy.deepcopy(network.teacher.state_dict())
    trainer = toy_trainer(network, accumulation_steps=accumulation_steps, max_epochs=2)
    moved: list[int] = []

    def follow(engine: Any) -> None:
        moved.append(engine.state.iteration)
        for name, student in network.student.state_dict().items():
            expected[name].lerp_(student, 1 - 0.9)

    trainer.add_event_handler(PretrainEvents.OPTIMIZER_STEPPED, follow)
    TeacherUpdate(0.9, 0.9).attach(trainer)
    trainer.run()
    assert same(expected, network.teacher.state_dict())
    ends = {1: range(1, 11), 2: (2, 4, 5, 7, 9, 10), 3: (3, 5, 8, 10)}
    assert moved == list(ends[accumulation_steps])


def test_accumulated_gradient_is_the_mean_over_micro_steps() -> None:
    network = ToyNetwork(dropout=0.0)
    slow = copy.deepcopy(network)
    trainer = toy_trainer(network, accumulation_steps=3)
    trainer.run()

    loss, sgd = ToyLoss(), torch.optim.SGD([w for w in slow.parameters() if w.requires_grad], lr=0.1)
    batches = list(toy_loader())
    for window in (batches[:3], batches[3:]):  # the last window of the epoch is shorter
        sgd.zero_grad()
        sum(loss(slow(batch))[0] for batch in window).div(len(window)).backward()
        sgd.step()
    for name, value in slow.state_dict().items():
        assert torch.allclose(value, network.state_dict()[name], atol=1e-6), name


def test_output_is_one_flat_dict_of_floats_for_any_monai_handler(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handlers = [StatsHandler(name="curves"), TensorBoardStatsHandler(log_dir=str(tmp_path / "events"))]
    trainer = toy_trainer(ToyNetwork(), train_handlers=handlers)
    fired: list[Any] = []
    trainer.add_event_handler(
        IterationEvents.MODEL_COMPLETED, lambda engine: fired.append(engine.state.output)
    )
    trainer.run()
    output = trainer.state.output[0]
    assert {"loss", "2d_loss_vl", "3d_loss_icl", "lr", "logit_scale", "grad_norm"} <= set(output)
    assert all(type(value) is float for value in output.values())
    assert len(fired) == 5
    assert fired[-1] == [output]
    assert "2d_loss_vl: " in capsys.readouterr().out
    assert list((tmp_path / "events").iterdir())


def test_mlflow_receives_the_loss_as_the_tracking_option_asks(tmp_path: Path) -> None:
    """The handler has the arguments of MONAI's `--tracking mlflow`."""
    for name in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(name)
    handler = MLFlowHandler(
        tracking_uri=f"sqlite:///{tmp_path / 'mlruns.db'}",
        output_transform=from_engine(["loss"], first=True),
        tag_name="train_loss",
        close_on_complete=True,
    )
    toy_trainer(ToyNetwork(), train_handlers=[handler]).run()
    experiment = handler.client.get_experiment_by_name("monai_experiment")
    run = handler.client.search_runs(experiment.experiment_id)[0]
    curve = handler.client.get_metric_history(run.info.run_id, "train_loss")
    assert [point.step for point in curve] == [1, 2, 3, 4, 5]


class LossWithNan(ToyLoss):
    def forward(self, outputs: dict[str, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        loss, terms = super().forward(outputs)
        loss = loss * float("nan") if float(self.centre.abs().sum()) > 0.5 else loss
        return loss, {**terms, "loss": loss}


def test_nan_loss_stops_with_step_and_rows_and_leaves_the_weights() -> None:
    network, loss = ToyNetwork(), LossWithNan()
    trainer = toy_trainer(network, loss_function=loss)
    before: dict[str, Tensor] = {}
    trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda: before.update(copy.deepcopy(network.state_dict()))
    )
    loss.centre = torch.ones(7)
    with pytest.raises(
        RuntimeError, match=r"step 1 of 5 .*loss = nan, .* in the batch of 2d: 2d-\d.*3d: 3d-\d"
    ):
        trainer.run()
    assert same(before, network.state_dict())


def test_infinite_gradient_stops_too() -> None:
    network = ToyNetwork()
    network.student.hidden.weight.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(RuntimeError, match="grad_norm = "):
        toy_trainer(network).run()


def test_float16_scaler_skips_an_overflow_without_moving_the_teacher() -> None:
    torch.manual_seed(0)  # other weights can overflow by themselves
    network = ToyNetwork()
    hook = network.student.hidden.weight.register_hook(lambda gradient: gradient * float("inf"))
    trainer = toy_trainer(network, amp=True, amp_dtype="float16")
    steps: list[int] = []
    trainer.add_event_handler(
        PretrainEvents.OPTIMIZER_STEPPED, lambda engine: steps.append(engine.state.iteration)
    )
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: hook.remove())
    trainer.run()
    assert steps == [3, 4, 5]


def test_gradient_is_clipped_and_its_norm_reported_before_that() -> None:
    network = ToyNetwork(dropout=0.0)
    trainer = toy_trainer(network, lr=1.0, clip_norm=0.01, epoch_length=1)
    before = copy.deepcopy(network.state_dict())
    trainer.run()
    moved = sum(float((value - before[name]).square().sum()) for name, value in network.state_dict().items())
    assert moved**0.5 == pytest.approx(0.01, rel=1e-3)
    assert trainer.state.output[0]["grad_norm"] > 0.01


def test_distillation_is_asked_for_only_with_a_weight() -> None:
    trainer = toy_trainer(ToyNetwork(), loss_function=ToyLoss(distillation_weight=0.0))
    trainer.run()
    assert "2d_loss_icl" not in trainer.state.output[0]


def test_bfloat16_is_used_inside_the_network() -> None:
    network, seen = ToyNetwork(), []
    network.student.hidden.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    toy_trainer(network, amp=True).run()
    assert set(seen) == {torch.bfloat16}


@pytest.mark.parametrize(("refresh", "scored"), [(1, 40), (2, 24), (5, 8)])
def test_slice_scores_are_computed_at_every_nth_visit(refresh: int, scored: int) -> None:
    """Ten steps of four volumes each: five visits to each of the eight volumes."""
    network = ToyNetwork()
    trainer = toy_trainer(
        network, selection_refresh=refresh, max_epochs=2, loss_function=ToyLoss(distillation_weight=0.0)
    )
    trainer.run()
    assert network.scored_rows == scored


def test_batch_of_one_is_refused_with_its_row() -> None:
    batch = {"2d": {"image": torch.zeros(1, 1, 4, 4), "id": ["case-7"]}}
    with pytest.raises(ValueError, match=r"at least two rows of source '2d'.*got 1 \(case-7\).*batch size"):
        toy_trainer(ToyNetwork(), train_data_loader=[batch]).run()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accumulation_steps": 0}, "accumulation_steps must be 1 or more, got 0"),
        ({"amp_dtype": "float8"}, "amp_dtype must be 'bfloat16' or 'float16', got 'float8'"),
        ({"selection_refresh": 0}, "selection_refresh must be 1"),
        ({"train_data_loader": iter(())}, "give epoch_length"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        toy_trainer(ToyNetwork(), **arguments)


def test_training_time_adds_up_over_starts(tmp_path: Path) -> None:
    run = ToyRun(tmp_path).run()
    seconds = run.trainer.train_seconds
    assert seconds > 0
    again = ToyRun(tmp_path).run()
    assert again.trainer.train_seconds == pytest.approx(seconds, rel=0.5)


def test_without_a_distillation_loss_the_network_is_not_asked_for_it() -> None:
    network, asked = ToyNetwork(), []
    network.register_forward_pre_hook(lambda _, inputs, options: asked.append(options["distill"]), with_kwargs=True)
    loss = UniMediLoss(ImageTextLoss())
    trainer = toy_trainer(network, loss_function=loss, train_handlers=[LossSchedule(loss, start=0, ramp=0)])
    trainer.run()
    assert asked == [False] * 5
    assert loss.distillation_weight == 0.3  # as the schedule set it
    assert trainer.state.output[0]["distillation_weight"] == 0.0
