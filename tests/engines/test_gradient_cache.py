# SPDX-License-Identifier: Apache-2.0
"""A batch in chunks gives the gradient, the terms and the state that it gives as a whole."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor

from monai_unimedi.engines import UniMediPretrainer
from monai_unimedi.engines.gradient_cache import GradientCache
from monai_unimedi.handlers import TeacherUpdate
from monai_unimedi.losses import ImageTextLoss, SelfDistillationLoss, UniMediLoss
from tests.engines.test_pretrainer import toy_trainer
from tests.engines.test_ranks import distributed, start_ranks, train_ranks
from tests.engines.toy import ToyDataset, ToyLoss, ToyNetwork, collate, toy_loader
from tests.engines.toy_run import ToyRun, same
from tests.networks.test_unimedi import network as unimedi
from tests.networks.test_unimedi import sources

ROWS = 7  # in two, three or seven chunks
NETWORKS: dict[str, dict[str, Any]] = {
    "whole view": {"contrast_view": "whole"},
    "masked view": {"contrast_view": "masked"},
    "masked view, visible tokens": {"contrast_view": "masked", "visible_only": True},
}


@pytest.fixture
def wholly_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Embeddings and kept scores are float32 by `Tensor.float`, which is to leave float64 as it is here."""

    def at_least_float32(self: Tensor) -> Tensor:
        return self.to(torch.promote_types(self.dtype, torch.float32))

    monkeypatch.setattr(Tensor, "float", at_least_float32)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def batches(dtype: torch.dtype, few: str = "") -> list[dict[str, Any]]:
    """Two batches of real sources, of different rows; two only of the source `few`."""
    whole = sources(2 * ROWS)
    for batch in whole.values():
        batch["image"] = batch["image"].to(dtype)
        batch["row"] = torch.arange(2 * ROWS)
        batch["pair_group"] = torch.arange(2 * ROWS) % 5
    return [
        {source: cut(batch, first, 2 if source == few else ROWS) for source, batch in whole.items()}
        for first in (0, ROWS)
    ]


def cut(rows: dict[str, Any], first: int, count: int) -> dict[str, Any]:
    return {name: value[first : first + count] for name, value in rows.items()}


def train(
    chunks: int,
    dtype: torch.dtype = torch.float64,
    debiased: bool = False,
    loss: Any = None,
    few: str = "",
    **options: Any,
) -> dict[str, Any]:
    """Two steps of the real network and losses; weights, buffers, last gradients and terms."""
    trainer_options = {name: options.pop(name) for name in ("amp", "selection_refresh") if name in options}
    network = unimedi(**options).to(dtype)
    for tower in (network.student, network.teacher):
        tower.selector.debiased = debiased
    loss_options = {"centring": "centre", "joint_contrast": False, **(loss or {})}
    distillation = SelfDistillationLoss(10, centring=loss_options["centring"]).to(dtype)
    objective = UniMediLoss(ImageTextLoss(), distillation, joint_contrast=loss_options["joint_contrast"])
    trainer = UniMediPretrainer(
        device="cpu",
        max_epochs=1,
        train_data_loader=batches(dtype, few),
        network=network,
        optimizer=torch.optim.SGD([each for each in network.parameters() if each.requires_grad], lr=0.1),
        loss_function=objective,
        gradient_cache_chunks=chunks,
        **trainer_options,
    )
    TeacherUpdate(0.9, 0.9).attach(trainer)
    trainer.run()
    assert bool(network.teacher.selector.place_mean.any()) is debiased
    gradients = {name: each.grad for name, each in network.named_parameters() if each.grad is not None}
    return {
        "state": {**network.state_dict(), **objective.state_dict()},
        "gradients": gradients,
        "terms": trainer.state.output[0],
    }


def assert_equal(found: dict[str, Any], expected: dict[str, Any], **tolerance: float) -> None:
    for part in ("state", "gradients"):
        assert found[part].keys() == expected[part].keys()
        for name, value in expected[part].items():
            torch.testing.assert_close(found[part][name], value, msg=lambda text: f"{name}: {text}", **tolerance)  # noqa: B023
    assert found["terms"] == pytest.approx(expected["terms"], abs=1e-5)


@pytest.mark.usefixtures("wholly_float64")
@pytest.mark.parametrize("chunks", [2, 3, 7])
@pytest.mark.parametrize("name", NETWORKS)
def test_float64_equals_one_large_batch(chunks: int, name: str) -> None:
    assert_equal(train(chunks, **NETWORKS[name]), train(1, **NETWORKS[name]), rtol=0, atol=1e-9)


@pytest.mark.usefixtures("wholly_float64")
@pytest.mark.parametrize(
    "options",
    [
        {"loss": {"centring": "sinkhorn"}},
        {"loss": {"joint_contrast": True}},
        {"debiased": True},
        {"debiased": True, "selection_refresh": 3},
    ],
)
def test_what_looks_at_the_whole_batch_sees_all_of_it(options: dict[str, Any]) -> None:
    assert_equal(train(3, **options), train(1, **options), rtol=0, atol=1e-9)


def test_float32_equals_one_large_batch() -> None:
    found, expected = train(3, torch.float32), train(1, torch.float32)
    for name, value in expected["gradients"].items():
        assert (found["gradients"][name] - value).norm() <= 1e-4 * value.norm() + 1e-9, name


def test_bfloat16_autocast_learns_as_one_large_batch_does() -> None:
    """Each pass casts the weights anew: those cast without graph would stop the gradient."""
    found, expected = train(3, torch.float32, amp=True), train(1, torch.float32, amp=True)
    assert found["gradients"].keys() == expected["gradients"].keys()
    for name, value in expected["gradients"].items():
        assert (found["gradients"][name] - value).norm() <= 0.05 * value.norm() + 1e-6, name


def joined(parts: list[Any]) -> dict[str, dict[str, Tensor]]:
    return {
        source: {
            name: torch.cat([part[source][name] for part in parts]) if value.ndim else value
            for name, value in named.items()
        }
        for source, named in parts[0].items()
    }


def test_dropout_is_replayed() -> None:
    """The reference keeps the graphs of all chunks, under the same draws."""
    network, batch = ToyNetwork(dropout=0.5), next(iter(toy_loader()))
    inputs = {source: {name: value for name, value in rows.items() if name != "id"} for source, rows in batch.items()}
    cache, slow = GradientCache(inputs, None, 2), copy.deepcopy(network)
    torch.manual_seed(5)
    ToyLoss()(joined([slow(chunk) for chunk, _ in cache.chunks]))[0].backward()
    drawn = torch.rand(1)
    torch.manual_seed(5)
    ToyLoss()(cache.outputs(lambda chunk, _: network(chunk)))[0].backward()
    torch.rand(3)  # whoever draws in between is not heard
    cache.backward(lambda chunk, _: network(chunk), lambda is_last: nullcontext())
    for (name, found), expected in zip(network.named_parameters(), slow.parameters()):
        if expected.grad is not None:
            torch.testing.assert_close(found.grad, expected.grad, rtol=1e-5, atol=1e-8, msg=name)
    assert torch.equal(torch.rand(1), drawn)  # and the next step draws what it would have drawn


def test_graph_holds_one_chunk_at_a_time() -> None:
    network, seen = ToyNetwork(), []
    network.student.hidden.register_forward_hook(
        lambda module, args, output: seen.append((len(args[0]), output.requires_grad))
    )
    toy_trainer(network, gradient_cache_chunks=2, epoch_length=1).run()
    of_source = [(2, False), (2, False)]
    assert seen == [*of_source, *of_source, *[(rows, True) for rows, _ in (*of_source, *of_source)]]


def test_teacher_reads_each_row_once() -> None:
    network, calls = ToyNetwork(), []
    network.teacher.hidden.register_forward_hook(lambda module, args, output: calls.append(len(args[0])))
    toy_trainer(network, gradient_cache_chunks=2, epoch_length=1).run()
    assert calls == [4, 2, 2, 2, 2]  # scores of the volumes, then the targets of both sources by chunk


@pytest.mark.parametrize(("refresh", "scored"), [(1, 40), (2, 24), (5, 8)])
def test_slice_scores_are_computed_as_often_as_without_chunks(refresh: int, scored: int) -> None:
    network = ToyNetwork()
    options = {"selection_refresh": refresh, "max_epochs": 2, "loss_function": ToyLoss(distillation_weight=0.0)}
    toy_trainer(network, gradient_cache_chunks=2, **options).run()
    assert network.scored_rows == scored


@pytest.mark.parametrize("options", [{"accumulation_steps": 3}, {"amp": True, "amp_dtype": "float16"}])
def test_chunks_are_cut_within_an_accumulated_micro_batch(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    one, other = ToyNetwork(dropout=0.0), ToyNetwork(dropout=0.0)
    other.load_state_dict(one.state_dict())
    for trainer in (toy_trainer(one, gradient_cache_chunks=2, **options), toy_trainer(other, **options)):
        if trainer.scaler is not None:  # at its first scale rounding decides which steps overflow and are left out
            trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 1024.0})
        trainer.run()
    for name, value in other.state_dict().items():
        torch.testing.assert_close(one.state_dict()[name], value, rtol=0, atol=2e-3 if "amp" in options else 1e-6)


def test_negatives_are_those_of_the_whole_batch() -> None:
    """Accumulated halves of a batch are contrasted within each half only: another, smaller loss."""
    first: dict[str, list[float]] = {}
    for name, options in {"whole": {}, "chunks": {"gradient_cache_chunks": 2}, "halves": {"batch_size": 2}}.items():
        torch.manual_seed(0)
        loader = toy_loader(2, batch_size=options.pop("batch_size", 4))
        trainer = toy_trainer(ToyNetwork(dropout=0.0), lr=0.0, train_data_loader=loader, **options)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, _keep, first.setdefault(name, []))
        trainer.run()
    assert first["chunks"] == pytest.approx(first["whole"], abs=1e-6)
    assert sum(first["halves"]) / 2 < first["whole"][0] - 0.3


def _keep(engine: Any, losses: list[float]) -> None:
    losses.append(engine.state.output[0]["2d_loss_vl"])


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_two_ranks_in_chunks_equal_one_process_without(accumulation_steps: int, tmp_path: Path) -> None:
    arguments = {"accumulation_steps": accumulation_steps, "selection_refresh": 3, "max_epochs": 2, "epoch_length": 4}
    start_ranks(train_ranks, tmp_path, {**arguments, "gradient_cache_chunks": 2})
    one = ToyRun(tmp_path / "one", dropout=0.0, **arguments).run()
    weights = [torch.load(tmp_path / f"weights-{rank}.pt", weights_only=True) for rank in range(2)]
    assert same(*weights)
    for name, value in one.weights().items():
        assert torch.allclose(value, weights[0][name], atol=1e-5), name


def test_a_source_of_few_rows_leaves_the_chunks_of_the_others_as_small_as_asked() -> None:
    rows = {"2d": {"image": torch.rand(10, 1)}, "3d": {"image": torch.rand(2, 1)}}
    cache = GradientCache(rows, {"3d": torch.rand(2, 2)}, 4)
    found = [{source: len(inputs["image"]) for source, inputs in chunk.items()} for chunk, _ in cache.chunks]
    assert found == [{"2d": 3}, {"2d": 3}, {"2d": 2, "3d": 1}, {"2d": 2, "3d": 1}]
    for source, inputs in rows.items():
        parts = [chunk[source]["image"] for chunk, _ in cache.chunks if source in chunk]
        assert torch.equal(torch.cat(parts), inputs["image"])
    assert [list(scores) for _, scores in cache.chunks if scores is not None] == [[], [], ["3d"], ["3d"]]


@pytest.mark.usefixtures("wholly_float64")
@pytest.mark.parametrize("few", ["2d", "3d"])
@pytest.mark.parametrize("options", [NETWORKS["whole view"], {"debiased": True, "selection_refresh": 3}])
def test_float64_equals_one_large_batch_where_a_source_has_fewer_rows(few: str, options: dict[str, Any]) -> None:
    assert_equal(train(5, few=few, **options), train(1, few=few, **options), rtol=0, atol=1e-9)


def test_more_chunks_than_rows_go_row_by_row() -> None:
    network = ToyNetwork(dropout=0.0)
    networks = [network, copy.deepcopy(network)]
    for network, chunks in zip(networks, (1, 5)):
        toy_trainer(network, gradient_cache_chunks=chunks).run()
    for one, other in zip(*(network.parameters() for network in networks)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def uneven(start: int, ranks: int) -> dict[str, dict[str, Any]]:
    """One rank's share of eight X-rays and four CTs."""
    rows = collate([ToyDataset()[source, row, row] for source, count in (("2d", 8), ("3d", 4)) for row in range(count)])
    return {
        source: cut(inputs, start * count // ranks, count // ranks)
        for (source, inputs), count in zip(rows.items(), (8, 4))
    }


def train_uneven_ranks(rank: int, folder: Path) -> None:
    network = ToyNetwork(dropout=0.0)
    network.load_state_dict(torch.load(folder / "start.pt"))
    toy_trainer(distributed(network), train_data_loader=[uneven(rank, 2)], gradient_cache_chunks=3).run()
    torch.save(network.state_dict(), folder / f"uneven-{rank}.pt")


def test_two_ranks_equal_one_process_where_a_source_has_fewer_rows_than_chunks(tmp_path: Path) -> None:
    network = ToyNetwork(dropout=0.0)
    torch.save(network.state_dict(), tmp_path / "start.pt")
    start_ranks(train_uneven_ranks, tmp_path)
    toy_trainer(network, train_data_loader=[uneven(0, 1)]).run()
    for rank in range(2):
        for name, value in torch.load(tmp_path / f"uneven-{rank}.pt").items():
            torch.testing.assert_close(value, network.state_dict()[name], rtol=0, atol=1e-5, msg=name)


def test_a_tensor_that_is_not_of_rows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"source '3d' must have one entry a row, got \{'image': 4, 'row': 3\}"):
        GradientCache({"3d": {"image": torch.zeros(4, 1), "row": torch.zeros(3)}}, None, 2)


def test_no_chunk_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gradient_cache_chunks must be 1 \(no cache\) or more, got 0"):
        toy_trainer(ToyNetwork(), gradient_cache_chunks=0)
