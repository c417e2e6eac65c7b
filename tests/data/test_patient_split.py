# SPDX-License-Identifier: Apache-2.0
"""Patients held out of one list or of several: together, by the seed, and the same as ever for one list."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from monai_unimedi.data.patient_split import patients_of, split_by_patient, split_sources_by_patient


def row(name: str, patient: str) -> dict[str, Any]:
    return {"id": name, "image": f"{name}.png", "patient": patient}


def patients(count: int) -> list[dict[str, Any]]:
    return [row(f"{p}-{i}", f"p{p}") for p in range(count) for i in range(1 + p % 3)]


def test_split_keeps_patients_together_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    rows = patients(30)
    with caplog.at_level(logging.INFO):
        training, validation = split_by_patient(rows, 0.1, seed=1, source="2d")
    assert len({r["patient"] for r in validation}) == 3
    assert not {r["patient"] for r in training} & {r["patient"] for r in validation}
    assert sorted(r["id"] for r in training + validation) == sorted(r["id"] for r in rows)
    assert "2d: no validation list, 3 of 30 patients" in caplog.text


def test_split_replays_and_depends_on_the_seed_not_the_order() -> None:
    rows = patients(40)
    first = {r["id"] for r in split_by_patient(rows, seed=1)[1]}
    assert first == {r["id"] for r in split_by_patient(rows[::-1], seed=1)[1]}
    assert first != {r["id"] for r in split_by_patient(rows, seed=2)[1]}


def test_split_needs_two_patients() -> None:
    with pytest.raises(ValueError, match="two patients at least, got 1"):
        split_by_patient(patients(1))
    with pytest.raises(ValueError, match="fraction must lie"):
        split_by_patient(patients(3), 1.0)
    assert len(split_by_patient(patients(2), 0.9)[0]) > 0


def test_split_of_one_list_is_the_one_of_published_runs() -> None:
    rows = [row(f"{p}.{i}", str(p)) for p in range(20) for i in range(2)]
    assert patients_of(split_by_patient(rows, 0.2, 0)[1]) == {"0", "2", "5", "6"}
    assert patients_of(split_sources_by_patient({"2d": rows}, {}, 0.2)[1]["2d"]) == {"0", "2", "5", "6"}


def both(first: range, second: range) -> dict[str, list[dict[str, Any]]]:
    return {name: [row(f"{name}{p}", f"P{p}") for p in found] for name, found in (("2d", first), ("3d", second))}


@pytest.mark.parametrize("seed", range(5))
def test_patient_of_two_sources_is_on_one_side(seed: int) -> None:
    training, validation = split_sources_by_patient(both(range(40), range(30)), {}, 0.1, seed)
    sides = [{p for rows in side.values() for p in patients_of(rows)} for side in (training, validation)]
    assert not sides[0] & sides[1]
    assert {name: len(rows) for name, rows in validation.items()} == {"2d": 4, "3d": 3}


def test_sources_without_a_common_patient_are_split_each_as_alone() -> None:
    lists = both(range(40), range(100, 130))
    _, validation = split_sources_by_patient(lists, {}, 0.1, 3)
    assert validation == {name: split_by_patient(rows, 0.1, 3)[1] for name, rows in lists.items()}


def test_drawn_validation_follows_the_list_that_another_source_has() -> None:
    lists = both(range(20), range(40))
    own = [row("v", "P30")]
    training, validation = split_sources_by_patient(lists, {"2d": own}, 0.1)
    assert validation["2d"] == own and training["2d"] == lists["2d"]
    held_out = patients_of(validation["3d"])
    assert "P30" in held_out and len(held_out) == 4
    assert not held_out & patients_of(lists["2d"])


def test_split_that_would_leak_is_refused() -> None:
    lists = both(range(20), range(10))
    with pytest.raises(ValueError, match=r"Splitting 3d needs .* all 10 are learnt from in the other list"):
        split_sources_by_patient(lists, {"2d": [row("v", "P30")]})
    with pytest.raises(ValueError, match="all 2 are held out in the other list"):
        split_sources_by_patient(both(range(20, 30), range(2)), {"2d": [row("v", "P0"), row("w", "P1")]})
