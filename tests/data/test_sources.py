# SPDX-License-Identifier: Apache-2.0
"""Which rows a run learns from, chooses by and is judged on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_unimedi.data.readable import CollateReadable, ReadableRows
from monai_unimedi.data.sources import (
    clean_reports,
    digests,
    draw_rows,
    find_datalists,
    load_learnt,
    load_test,
    load_training,
    load_unjudged,
    phantom_facts,
    shared_label_names,
)
from monai_unimedi.transforms import RowError


def row(name: str, **more: Any) -> dict[str, Any]:
    return {"image": f"{name}.png", "report": f"The lungs of {name}  are clear.", **more}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write_list(name: str, **sections: Any) -> Path:
        for rows in (rows for key, rows in sections.items() if key != "label_names"):
            for entry in rows:
                (tmp_path / entry["image"]).touch()
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(sections))
        return path

    return write_list


def test_own_lists_come_before_phantoms_and_either_may_be_absent(tmp_path: Path) -> None:
    assert find_datalists("x.json", None, tmp_path, {}) == {"2d": Path("x.json")}
    assert find_datalists(None, "y.json", None) == {"3d": Path("y.json")}


def test_phantoms_are_made_on_first_use_and_only_taken_without_settings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold the phantoms of a training"):
        find_datalists(None, None, tmp_path)
    counts = {"num_training": 2, "num_validation": 1, "num_test": 1, "num_processes": 1}
    made = find_datalists(None, None, tmp_path, counts)
    assert find_datalists(None, None, tmp_path) == made
    facts = phantom_facts(made)
    assert facts is not None
    assert facts["seconds"] > 0
    assert facts["counts"]["training"] == {"2d": 2, "3d": 2}
    assert len(shared_label_names(made)) == 6
    with pytest.raises(ValueError, match="give --datalist_2d, --datalist_3d or both"):
        find_datalists(None, None, None)


def test_an_evaluation_makes_phantoms_only_where_there_are_none(tmp_path: Path) -> None:
    test_only = {"num_training": 0, "num_validation": 0, "num_test": {"2d": 2}, "num_processes": 1}
    made = find_datalists(None, None, tmp_path, phantom_if_none=test_only)
    assert len(load_test({"2d": made["2d"]})["2d"]) == 2
    picture = (tmp_path / "2d" / "test" / "000000.png").read_bytes()
    counts = {"num_training": 1, "num_validation": 1, "num_test": 1, "num_processes": 1}
    trained = find_datalists(None, None, tmp_path, counts)
    assert find_datalists(None, None, tmp_path, phantom_if_none=test_only) == trained
    facts = phantom_facts(trained)
    assert facts is not None and facts["counts"]["training"] == {"2d": 1, "3d": 1}
    assert (tmp_path / "2d" / "test" / "000000.png").read_bytes() == picture


def test_an_evaluation_makes_anew_what_was_left_half_made(tmp_path: Path) -> None:
    (tmp_path / "phantom.json").write_text('{"is_complete": false}')
    test_only = {"num_training": 0, "num_validation": 0, "num_test": {"3d": 1}, "num_processes": 1}
    assert load_test({"3d": find_datalists(None, None, tmp_path, phantom_if_none=test_only)["3d"]})


def test_patients_are_split_off_where_there_is_no_validation_list(write: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = [row(f"a{i}", patient=f"p{i // 2}") for i in range(20)]
    lists = {"2d": write("x", training=rows), "3d": write("y", training=[row("b")], validation=[row("c")])}
    with caplog.at_level(logging.INFO):
        found = load_training(lists)
    sizes = {split: {source: len(part) for source, part in found[split].items()} for split in found}
    assert sizes == {"training": {"2d": 18, "3d": 1}, "validation": {"2d": 2, "3d": 1}}
    patients = [{entry["patient"] for entry in found[split]["2d"]} for split in ("training", "validation")]
    assert patients[0] & patients[1] == set()
    assert "1 of 10 patients" in caplog.text
    assert set(digests(found)) == {"2d.training", "3d.training", "2d.validation", "3d.validation"}
    assert clean_reports({"3d": found["training"]["3d"]}) == ["The lungs of b are clear."]


def test_validation_rows_are_judged_where_there_is_no_test_list(write: Any, caplog: pytest.LogCaptureFixture) -> None:
    lists = {
        "2d": write("x", training=[row("a")], validation=[row("b")]),
        "3d": write("y", training=[row("c")], test=[row("d")]),
    }
    found = load_test(lists)
    assert {source: [entry["id"] for entry in rows] for source, rows in found.items()} == {
        "2d": ["b.png"],
        "3d": ["d.png"],
    }
    assert "2d: no test list" in caplog.text


def test_patient_with_an_x_ray_and_a_ct_is_on_one_side_and_judged_as_trained(write: Any) -> None:
    rows = {name: [row(f"{name}{p}", patient=f"P{p}") for p in range(n)] for name, n in (("x", 40), ("y", 30))}
    lists = {"2d": write("x", training=rows["x"]), "3d": write("y", training=rows["y"], test=[row("z")])}
    found = load_training(lists)
    sides = [{entry["patient"] for part in side.values() for entry in part} for side in found.values()]
    assert not sides[0] & sides[1]
    assert load_test(lists)["2d"] == found["validation"]["2d"]


def test_rows_that_are_judged_are_not_learnt_from(write: Any) -> None:
    lists = {"2d": write("x", training=[row(f"a{i}") for i in range(20)]), "3d": write("y", test=[row("z")])}
    learnt, judged = load_learnt(lists), load_test(lists)
    ids = [{entry["id"] for entry in found["2d"]} for found in (learnt, judged)]
    assert [len(found) for found in ids] == [18, 2] and not ids[0] & ids[1]
    assert learnt == load_training({"2d": lists["2d"]})["training"]
    assert load_learnt({"3d": lists["3d"]}) == {}


def test_constant_answers_are_chosen_on_rows_that_are_not_judged(write: Any) -> None:
    sections = {name: [row(f"{name}{i}") for i in range(3)] for name in ("training", "validation", "test")}
    for left_out, chosen_on in ((), "validation"), (("test",), "training"), (("test", "validation"), "training"):
        lists = {"2d": write("x", **{name: rows for name, rows in sections.items() if name not in left_out})}
        found, judged = load_unjudged(lists, load_learnt(lists))["2d"], load_test(lists)["2d"]
        assert {entry["id"][:-5] for entry in found} == {chosen_on}
        assert not {entry["id"] for entry in found} & {entry["id"] for entry in judged}
    assert load_unjudged({"2d": write("y", validation=sections["validation"])}, {}) == {}


def test_list_without_training_rows_is_named(write: Any) -> None:
    with pytest.raises(ValueError, match=r"x\.json' must have rows under 'training'"):
        load_training({"2d": write("x", test=[row("a")])})


def test_labels_must_be_the_same_in_all_lists(write: Any) -> None:
    names = {name: write(name, training=[row(name)], label_names=[name]) for name in ("x", "y")}
    assert shared_label_names({"2d": names["x"]}) == ["x"]
    with pytest.raises(ValueError, match="must be the same in all datalists"):
        shared_label_names(names)


def test_drawn_rows_have_the_key_and_keep_their_order() -> None:
    rows = {
        "2d": [{"id": i, "label": [1] if i % 2 else None, "lesion_mask": "m"} for i in range(40)],
        "3d": [],
    }
    drawn = draw_rows(rows, "label", 5, seed=1, without=["lesion_mask"])
    assert set(drawn) == {"2d"}
    ids = [entry["id"] for entry in drawn["2d"]]
    assert len(ids) == 5
    assert ids == sorted(ids)
    assert all(i % 2 for i in ids)
    assert all("lesion_mask" not in entry for entry in drawn["2d"])
    assert draw_rows(rows, "label", 5, seed=1) != draw_rows(rows, "label", 5, seed=2)
    assert len(draw_rows(rows, "label")["2d"]) == 20


def test_rows_whose_label_is_not_known_are_not_drawn() -> None:
    labels = [np.array(label, dtype=np.float32) for label in ([1, np.nan], [np.nan, np.nan])]
    drawn = draw_rows({"2d": [{"id": i, "label": label} for i, label in enumerate(labels)]}, "label")
    assert [entry["id"] for entry in drawn["2d"]] == [0]


def test_labels_that_cannot_be_read_are_refused_by_row_and_id(write: Any) -> None:
    rows = [row(f"a{i}", label=[1, -1]) for i in range(20)]
    lists = {"2d": write("x", training=[*rows, row("b", label=[2, 0])], label_names=["m", "n"])}
    assert len(load_training(lists)["training"]["2d"]) == 19
    message = r"1 labels of source '2d', list 'training' do not fit: row 20, id 'b.png': the value of 'm' must be"
    for load in (load_test, load_learnt):
        with pytest.raises(ValueError, match=message):
            load(lists, label_names=["m", "n"])
    lists = {"2d": write("x", training=rows, label_names=["m", "n"])}
    for load in (load_test, load_learnt):
        labels = [entry["label"] for entry in load(lists, label_names=["m", "n"])["2d"]]
        np.testing.assert_array_equal(labels, [[1, np.nan]] * len(labels))


def test_unreadable_rows_are_passed_over_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Rows:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> dict[str, int]:
            if index == 1:
                raise RowError("row 1 is damaged")
            return {"row": index}

    dataset = ReadableRows(Rows())
    collate = CollateReadable(lambda samples: {"rows": [sample["row"] for sample in samples]})
    assert collate([dataset[i] for i in range(len(dataset))]) == {"rows": [0, 2]}
    assert collate([None]) == {}
    assert "row 1 is damaged" in caplog.text
