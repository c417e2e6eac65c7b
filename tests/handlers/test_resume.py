# SPDX-License-Identifier: Apache-2.0
"""Stop and resume equals the uninterrupted run, bit for bit; and what happens to the files meanwhile."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from torch import Tensor

from monai_unimedi.handlers import checkpoint_file, resume
from tests.engines.toy_run import ToyRun, same


def stop_at(run: ToyRun, iteration: int) -> ToyRun:
    """Runs and dies at the start of an iteration."""

    def die(engine: Any) -> None:
        if engine.state.iteration == iteration:
            raise KeyboardInterrupt

    run.trainer.add_event_handler(Events.ITERATION_STARTED, die)
    with pytest.raises(KeyboardInterrupt):
        run.run()
    return run


def history(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "seconds"} for line in lines]


CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "two loader workers": {"num_workers": 2},
    "accumulation": {"accumulation_steps": 2},
    "kept slice scores": {"selection_refresh": 3},
    "gradient cache": {"gradient_cache_chunks": 2, "accumulation_steps": 2},
    "bfloat16": {"amp": True},
    "float16 with scaler": {"amp": True, "amp_dtype": "float16"},
}


@pytest.mark.parametrize("case", CASES)
def test_resumed_run_equals_uninterrupted_run(case: str, tmp_path: Path) -> None:
    whole = ToyRun(tmp_path / "whole", **CASES[case]).run()
    for iteration in (3, 4, 11, 13):  # within the first epoch, at its end, at a start, in the middle
        stop_at(ToyRun(tmp_path / "parts", **CASES[case]), iteration)
    last = ToyRun(tmp_path / "parts", **CASES[case]).run()
    assert same(whole.weights(), last.weights())
    assert history(tmp_path / "whole") == history(tmp_path / "parts")
    assert whole.trainer.state.epoch == last.trainer.state.epoch == 4
    assert whole.optimizer.param_groups[0]["lr"] == last.optimizer.param_groups[0]["lr"]


def test_case_without_step_seed_would_differ(tmp_path: Path) -> None:
    """The equality above is not trivial: the toy's dropout draws from the global generator."""
    one = ToyRun(tmp_path / "one").run()
    other = ToyRun(tmp_path / "other", dropout=0.2).run()
    assert not same(one.weights(), other.weights())


def test_steps_after_the_last_checkpoint_are_done_again(tmp_path: Path) -> None:
    whole = ToyRun(tmp_path / "whole").run()
    first = ToyRun(tmp_path / "parts", save_interval=1e9)
    first.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=7), lambda: first.resume.save())
    stop_at(first, 13)
    second = ToyRun(tmp_path / "parts")
    seen: list[int] = []
    second.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: seen.append(engine.state.iteration)
    )
    second.run()
    assert seen == list(range(8, 21))
    assert same(whole.weights(), second.weights())
    assert history(tmp_path / "whole") == history(tmp_path / "parts")


def test_checkpoint_is_written_between_optimizer_steps_only(tmp_path: Path) -> None:
    run = ToyRun(tmp_path, accumulation_steps=2, epoch_length=5)
    saved: list[int] = []
    save = run.resume.save

    def remember() -> None:
        saved.append(run.trainer.state.iteration)
        save()

    run.resume.save = remember  # type: ignore[method-assign]
    run.run()
    assert saved[:6] == [2, 4, 5, 7, 9, 10]


def test_no_kill_costs_more_than_the_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With steps of 7 s and an interval of 20 s, every second step is saved: a third would be lost late."""
    run = ToyRun(tmp_path, save_interval=20.0)
    monkeypatch.setattr(resume.time, "monotonic", lambda: 7.0 * run.trainer.state.iteration)
    saved: list[int] = []
    run.trainer.add_event_handler(Events.ITERATION_STARTED, lambda: saved.append(steps_on_disk(tmp_path)))
    run.run()
    assert sorted(set(saved)) == list(range(0, 20, 2))


def steps_on_disk(folder: Path) -> int:
    path = folder / "resume.pt"
    return torch.load(path, weights_only=True)["step"] if path.exists() else 0


def test_epoch_ends_with_its_checkpoint_after_validation(tmp_path: Path) -> None:
    """A kill during validation does it again: no checkpoint of the epoch's last step exists before."""
    run = ToyRun(tmp_path)
    seen: list[int] = []

    def validate() -> None:
        seen.append(torch.load(tmp_path / "resume.pt", weights_only=True)["step"])

    run.trainer._event_handlers[Events.EPOCH_COMPLETED].insert(0, (validate, (), {}))
    run.run()
    assert seen == [4, 9, 14, 19]


def run_slowly(folder: Path, **arguments: Any) -> None:
    """What the process to be killed does, in a process group of its own with its loader worker."""
    os.setsid()
    run = ToyRun(folder, num_workers=1, save_interval=0.1, **arguments)
    run.trainer.add_event_handler(Events.ITERATION_STARTED, lambda: time.sleep(0.02))
    run.run()


def test_killed_process_goes_on(tmp_path: Path) -> None:
    folder, arguments = tmp_path / "parts", {"accumulation_steps": 2, "max_epochs": 12}
    process = multiprocessing.get_context("forkserver").Process(target=run_slowly, args=(folder,), kwargs=arguments)
    process.start()
    wait_for(lambda: (folder / "resume.pt").exists() and len(history_lines(folder)) > 3)
    os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    assert not torch.load(folder / "resume.pt", weights_only=True)["trainer"]["is_finished"]
    parts = ToyRun(folder, **arguments).run()
    whole = ToyRun(tmp_path / "whole", **arguments).run()
    assert same(whole.weights(), parts.weights())
    assert history(tmp_path / "whole") == history(folder)


def history_lines(folder: Path) -> list[bytes]:
    return (folder / "history.jsonl").read_bytes().splitlines()


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_finished_run_is_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ToyRun(tmp_path).run()
    before = (tmp_path / "resume.pt").read_bytes()
    again = ToyRun(tmp_path)
    with caplog.at_level(logging.INFO):
        again.run()
    assert "the run is finished" in caplog.text
    assert again.trainer.state.iteration == 20
    assert (tmp_path / "resume.pt").read_bytes() == before


def test_kill_before_the_end_was_recorded_fires_the_end_only(tmp_path: Path) -> None:
    run = ToyRun(tmp_path)
    run.trainer._event_handlers[Events.COMPLETED].clear()  # killed before COMPLETED did anything
    run.run()
    again, ended = ToyRun(tmp_path), []
    again.trainer.add_event_handler(Events.COMPLETED, lambda: ended.append("end"))
    again.trainer.add_event_handler(Events.ITERATION_STARTED, lambda: ended.append("step"))
    again.run()
    assert ended == ["end"]
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["trainer"]["is_finished"]


def test_early_stop_survives_a_kill(tmp_path: Path) -> None:
    run = ToyRun(tmp_path)
    run.trainer._event_handlers[Events.COMPLETED].clear()
    run.trainer._event_handlers[Events.EPOCH_COMPLETED].insert(0, (run.trainer.terminate, (), {}))
    run.run()
    again = ToyRun(tmp_path).run()
    assert again.trainer.state.iteration == 5
    assert again.trainer.is_finished


def test_changed_settings_are_named_in_one_sentence(tmp_path: Path) -> None:
    stop_at(ToyRun(tmp_path), 4)
    with pytest.raises(ValueError, match=r"optimizer\.0\.lr \(was 0\.01, is 0\.02\)") as error:
        ToyRun(tmp_path, lr=0.02).run()
    assert "`--resume false`" in str(error.value)
    assert "another `--output_dir`" in str(error.value)
    assert "\n" not in str(error.value)


def test_resume_false_starts_again_and_keeps_a_backup(tmp_path: Path) -> None:
    stop_at(ToyRun(tmp_path), 8)
    run = ToyRun(tmp_path, resume=False, lr=0.02)
    seen: list[int] = []
    run.trainer.add_event_handler(
        Events.ITERATION_STARTED, lambda engine: seen.append(engine.state.iteration)
    )
    run.run()
    assert seen == list(range(1, 21))
    assert torch.load(tmp_path / "resume.pt.bak", weights_only=True)["step"] == 7
    assert len(history(tmp_path)) == 10


@pytest.mark.parametrize(
    ("launch", "restarts", "goes_on"), [("a", 0, True), ("b", 1, False), ("none", 1, True), ("none", 0, False)]
)
def test_restarted_launch_goes_on_with_the_run_it_began_anew(
    launch: str, restarts: int, goes_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none" if launch == "none" else "a")
    stop_at(ToyRun(tmp_path, resume=False), 8)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", launch)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(restarts))
    run = ToyRun(tmp_path, resume=False)
    assert run.resume.restore() is goes_on
    assert run.trainer.state.iteration == (7 if goes_on else 0)
    assert (tmp_path / "resume.pt.bak").exists() is not goes_on


def test_launch_that_begins_anew_passes_over_a_damaged_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    (tmp_path / "resume.pt").write_bytes(b"half a file")
    assert ToyRun(tmp_path, resume=False).resume.restore() is False
    assert (tmp_path / "resume.pt.bak").exists()


def test_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = ToyRun(tmp_path / "whole").run()
    stop_at(ToyRun(tmp_path / "parts"), 8)
    path = tmp_path / "parts" / "resume.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    run = ToyRun(tmp_path / "parts")
    run.resume.restore()
    assert "damaged" in caplog.text
    assert run.trainer.state.iteration == 6
    run.trainer.run()
    assert same(whole.weights(), run.weights())
    assert all(torch.load(file, weights_only=True) for file in (tmp_path / "parts").glob("resume*.pt"))


def test_flipped_byte_is_noticed(tmp_path: Path) -> None:
    stop_at(ToyRun(tmp_path, keep_last=1), 8)
    content = bytearray((tmp_path / "resume.pt").read_bytes())
    weight = torch.load(tmp_path / "resume.pt", weights_only=True)["objects"]["network"][
        "teacher.hidden.weight"
    ]
    content[content.index(weight.numpy().tobytes()) + 5] ^= 1
    (tmp_path / "resume.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"only damaged files.*`--resume false`"):
        ToyRun(tmp_path).run()


def test_leftovers_of_a_killed_save_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".resume.pt.1234.part").write_bytes(b"half")
    ToyRun(tmp_path).run()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "history.jsonl",
        "resume.pt",
        "resume_00000019.pt",
    ]


@pytest.mark.parametrize("keep_last", [1, 3])
def test_last_n_checkpoints_are_kept(keep_last: int, tmp_path: Path) -> None:
    ToyRun(tmp_path, keep_last=keep_last).run()
    steps = sorted(torch.load(path, weights_only=True)["step"] for path in tmp_path.glob("resume*.pt"))
    assert steps == list(range(21 - keep_last, 21))


def test_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ToyRun(tmp_path)

    def fill_disk() -> None:
        monkeypatch.setattr(checkpoint_file.os, "fsync", no_space)

    run.trainer.add_event_handler(Events.ITERATION_STARTED(once=7), fill_disk)
    with pytest.raises(OSError, match=r"No space left.*the one saved before is untouched.*same command"):
        run.run()
    assert torch.load(tmp_path / "resume.pt", weights_only=True)["step"] == 6
    assert not list(tmp_path.glob(".*"))


def test_write_that_fails_halfway_leaves_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    checkpoint_file.save_tensors(path, {"a": torch.ones(10)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OSError, match="could not be written"):
            checkpoint_file.save_tensors(path, {"a": torch.ones(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]
    assert len(torch.load(path, weights_only=True)["a"]) == 10


def no_space(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


def test_checkpoint_refuses_what_weights_only_cannot_load() -> None:
    with pytest.raises(TypeError, match=r"got a set at checkpoint\.a\[1\]"):
        checkpoint_file.plain({"a": [1, {2}]})
    nested = checkpoint_file.plain({"a": (torch.ones(2, requires_grad=True), None)})
    assert isinstance(nested["a"][0], Tensor)
    assert not nested["a"][0].requires_grad
