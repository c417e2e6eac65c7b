# SPDX-License-Identifier: Apache-2.0
"""The fingerprint holds what a user can change, and says what was changed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from monai.optimizers import WarmupCosineSchedule

from monai_unimedi.handlers import fingerprint
from monai_unimedi.handlers.fingerprint import check_fingerprint
from tests.engines.toy import ToyLoss, ToyNetwork


def test_settings_modules_optimizer_and_lists_are_in_it() -> None:
    network = ToyNetwork(dropout=0.2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.3, weight_decay=0.05)
    settings = {"seed": 1, "image": {"size": [48, 48, 16]}}
    values = fingerprint(settings, network, optimizer, ToyLoss(), {"2d": "0a1b"})
    expected = {
        "seed": 1,
        "image.size": [48, 48, 16],
        "datalist.2d": "0a1b",
        "optimizer": "AdamW",
        "optimizer.0.lr": 0.3,
        "optimizer.0.weight_decay": 0.05,
        "network.num_prototypes": 7,
        "network.student.dropout.p": 0.2,
        "loss.teacher_temperature": 0.05,
    }
    assert {name: values[name] for name in expected} == expected
    assert not [name for name in values if "training" in name]


def test_schedule_does_not_change_it() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    schedule = WarmupCosineSchedule(optimizer, warmup_steps=5, t_total=10)
    before = fingerprint({}, optimizer=optimizer)
    optimizer.step()
    schedule.step()
    assert fingerprint({}, optimizer=optimizer) == before


def test_architecture_changes_it() -> None:
    one, other = ToyNetwork(), ToyNetwork()
    other.student.hidden = torch.nn.Linear(16, 9)
    values = [fingerprint({}, network) for network in (one, other)]
    changed = {name for name in values[0] if values[0][name] != values[1][name]}
    assert changed == {"network tensors", "network.student.hidden.out_features"}


def test_recomputed_activations_and_new_options_at_none_do_not_stop_a_run() -> None:
    saved = {"lr": 0.1, "network.text.layer.0.gradient_checkpointing": True}
    check_fingerprint(saved, {"lr": 0.1, "tokens_3d": None}, Path("resume.pt"))
    with pytest.raises(ValueError, match=r"tokens_3d .was absent, is 100"):
        check_fingerprint(saved, {"lr": 0.1, "tokens_3d": 100}, Path("resume.pt"))


def test_one_sentence_names_all_changes() -> None:
    saved = {"lr": 0.1, "gone": 1, "sizes": (1, 2)}
    present = {"lr": 0.2, "sizes": [1, 2], "new": "x"}
    with pytest.raises(ValueError, match="can go on") as error:
        check_fingerprint(saved, present, Path("output/resume.pt"))
    assert str(error.value) == (
        "The run saved in output/resume.pt can go on with the settings it began with only, but lr (was 0.1, "
        "is 0.2), new (was absent, is 'x'), gone (was 1, is absent) changed: give `--resume false` to start "
        "it again, or another `--output_dir` to keep both."
    )
    check_fingerprint(saved, saved, Path("output/resume.pt"))


def test_many_changes_are_counted() -> None:
    many = {str(number): number for number in range(30)}
    with pytest.raises(ValueError, match=r"7 \(was 7, is absent\) and 22 more changed"):
        check_fingerprint(many, {}, Path("resume.pt"))


def test_same_weights_at_another_place_go_on_and_others_at_the_same_place_are_named() -> None:
    one, other = "a.pt (SHA-256 0123456789abcdef)", "a.pt (SHA-256 fedcba9876543210)"
    check_fingerprint({"pretrained": one}, {"pretrained": "b" + one}, Path("resume.pt"))
    check_fingerprint({"pretrained": "a.pt"}, {"pretrained": one}, Path("resume.pt"))  # of before there were digests
    message = re.escape(f"pretrained (was '{one}', is '{other}') changed")
    with pytest.raises(ValueError, match=message):
        check_fingerprint({"pretrained": one}, {"pretrained": other}, Path("resume.pt"))
    for saved in (None, "none", "b.pt"):
        with pytest.raises(ValueError, match="pretrained"):
            check_fingerprint({"pretrained": saved}, {"pretrained": one}, Path("resume.pt"))
    with pytest.raises(ValueError, match="is None"):
        check_fingerprint({"pretrained": one}, {"pretrained": None}, Path("resume.pt"))
