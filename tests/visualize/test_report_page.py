# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_unimedi.metrics import compare_to_floors
from monai_unimedi.visualize import write_report_page

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """Reads a page strictly: every element closed in its order, ids unique; keeps attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open == []
        ids = [attributes["id"] for _, attributes in self.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        self.ids = set(ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()} closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def values(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.elements if name in attributes]

    def having(self, class_name: str) -> int:
        return sum(class_name in value.split() for value in self.values("class"))


def write(folder: Path, test: dict[str, Any], **kwargs: Any) -> tuple[str, Page]:
    settings = {
        "metrics": {},
        "history": None,
        "label_names": [],
        "title": "Evaluation",
        "num_examples": 3,
    } | kwargs
    html = write_report_page(folder / "report.html", test, **settings).read_text(encoding="utf-8")
    return html, Page(html)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, test_arrays: dict[str, Any]) -> tuple[str, Page]:
    from tests.visualize.conftest import LABEL_NAMES, make_history, make_metrics

    metrics = make_metrics()
    return write(
        tmp_path_factory.mktemp("page"), test_arrays, metrics=metrics, history=make_history(),
        label_names=LABEL_NAMES, title="Demo <1>", show_text=True, details={"phantom": True, "device": "cpu"},
        floors=compare_to_floors(metrics),
    )  # fmt: skip


def test_page_loads_nothing(whole: tuple[str, Page]) -> None:
    html, page = whole
    assert "http://" not in html
    assert "https://" not in html
    assert "@import" not in html
    assert all(value.startswith("#") for value in page.values("href"))
    assert page.values("src") == []
    assert all(
        target.startswith(("data:image/png;base64,", "data:image/jpeg;base64,"))
        for target in re.findall(r"url\(([^)]*)\)", html)
    )
    assert "default-src 'none'" in html


def test_links_and_outlines_have_their_targets(whole: tuple[str, Page]) -> None:
    _, page = whole
    assert {value[1:] for value in page.values("href")} <= page.ids


def test_every_section_is_there(whole: tuple[str, Page]) -> None:
    html, page = whole
    assert {
        "floors",
        "training",
        "images-2d",
        "images-3d",
        "reports",
        "crossings",
        "map",
        "figures",
        "settings",
    } <= page.ids
    assert len(html) < 5_000_000
    assert page.having("example") == 6
    assert page.having("crossing") == 3
    assert page.having("curve") == 3


def test_banners_say_what_the_page_is(whole: tuple[str, Page]) -> None:
    _, page = whole
    assert "Research use, not for clinical use." in page.text
    assert "never for clinical accuracy" in page.text
    assert "This page shows report texts." in page.text


@pytest.mark.parametrize("is_debiased", [True, False])
def test_only_debiased_attention_is_said_to_be_less_the_usual(
    tmp_path: Path, test_arrays: dict[str, Any], is_debiased: bool
) -> None:
    _, page = write(tmp_path, test_arrays, details={"debiased": is_debiased})
    for others in ("images", "volumes"):
        assert page.text.count(f"less what it takes there in other {others}") == is_debiased


def test_texts_are_escaped(whole: tuple[str, Page]) -> None:
    html, page = whole
    assert "<b>see above</b>" not in html
    assert "Impression: <b>see above</b> & follow up." in page.text
    assert "Demo <1>" in page.text


def test_every_image_has_a_description(whole: tuple[str, Page]) -> None:
    _, page = whole
    images = [attributes for _, attributes in page.elements if attributes.get("role") == "img"]
    assert images
    assert all(attributes.get("aria-label") for attributes in images)
    ranges = [
        attributes
        for tag, attributes in page.elements
        if tag == "input" and attributes.get("type") == "range"
    ]
    assert all(attributes.get("aria-label") for attributes in ranges)


def test_volume_opens_at_its_best_chosen_slice(whole: tuple[str, Page], test_arrays: dict[str, Any]) -> None:
    _, page = whole
    opened = [
        attributes
        for _, attributes in page.elements
        if attributes.get("aria-label") == "Slice of CT 3d-case-0000"
    ]
    best = str(int(test_arrays["3d"]["slice_scores"][0].argmax()))
    assert opened
    assert {attributes["value"] for attributes in opened} == {best}


def test_each_picture_is_embedded_once(whole: tuple[str, Page]) -> None:
    html, _ = whole
    rules = re.findall(r"\.(p[23]d-\d+) \.image\{", html)
    assert len(rules) == len(set(rules))
    assert rules


def test_texts_are_absent_unless_asked_for(
    tmp_path: Path, test_arrays: dict[str, Any], label_names: list[str]
) -> None:
    html, page = write(tmp_path, test_arrays, label_names=label_names)
    assert "mediastinum" not in html
    assert "small" not in page.text
    assert "This page shows report texts." not in page.text
    assert "2d-case-0000" in page.text


def test_details_of_findings_stay_out_without_texts(
    tmp_path: Path, test_arrays: dict[str, Any], label_names: list[str]
) -> None:
    secret = test_arrays["2d"] | {
        "findings": [[{"finding": "Mr Miller", "side": "sinister"}] for _ in range(40)]
    }
    html, _ = write(tmp_path, {"2d": secret}, label_names=label_names)
    assert "Miller" not in html
    assert "sinister" not in html


@pytest.mark.parametrize("source", ["2d", "3d"])
def test_one_dimension_alone_without_labels_or_masks(
    tmp_path: Path, test_arrays: dict[str, Any], source: str
) -> None:
    needed = (
        "id",
        "image",
        "image_embedding",
        "text_embedding",
        "report",
        "attention",
        "slice_scores",
        "slice_indices",
    )
    arrays = {key: value for key, value in test_arrays[source].items() if key in needed}
    _, page = write(tmp_path, {source: arrays})
    assert f"images-{source}" in page.ids
    assert "crossings" not in page.ids
    assert "no labels" in page.text
    assert "outline" not in page.ids


def test_images_and_embeddings_alone_are_enough(tmp_path: Path, test_arrays: dict[str, Any]) -> None:
    needed = ("id", "image", "image_embedding")
    test = {source: {key: arrays[key] for key in needed} for source, arrays in test_arrays.items()}
    _, page = write(tmp_path, test)
    assert {"images-2d", "images-3d", "crossings", "map"} <= page.ids
    assert not {"reports", "floors", "training", "figures", "settings"} & page.ids


def test_without_floors_there_is_no_such_table(
    tmp_path: Path, test_arrays: dict[str, Any], metrics: dict[str, Any]
) -> None:
    del metrics["phantom"]
    _, page = write(tmp_path, test_arrays, metrics=metrics)
    assert "floors" not in page.ids
    assert "clinical accuracy" not in page.text


def test_single_case_and_identifiers_that_need_escaping(tmp_path: Path, test_arrays: dict[str, Any]) -> None:
    one = {key: value[:1] for key, value in test_arrays["3d"].items()} | {
        "id": ['"><script>alert(1)</script>']
    }
    html, page = write(tmp_path, {"3d": one})
    assert "<script>alert" not in html
    assert "alert(1)" in page.text


def test_values_that_are_not_finite_do_not_break_the_page(
    tmp_path: Path, test_arrays: dict[str, Any]
) -> None:
    broken = dict(test_arrays["3d"])
    broken["attention"] = torch.full_like(broken["attention"], float("nan"))
    broken["slice_scores"] = torch.full_like(broken["slice_scores"], float("nan"))
    figures = {
        "retrieval": {
            "3d": {"image_to_report": {"R@1": {"value": float("nan"), "low": None, "high": None, "count": 0}}}
        }
    }
    _, page = write(
        tmp_path,
        {"3d": broken},
        metrics=figures,
        history=[{"step": 0, "loss": float("nan")}, {"step": 1, "loss": 2.0}],
    )
    assert "images-3d" in page.ids


def test_same_input_gives_the_same_file(
    tmp_path: Path, test_arrays: dict[str, Any], label_names: list[str]
) -> None:
    first, _ = write(tmp_path / "a", test_arrays, label_names=label_names)
    second, _ = write(tmp_path / "b", test_arrays, label_names=label_names)
    assert first == second
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["report.html"]


def test_page_without_any_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'2d' or '3d', got the keys \\['4d'\\]"):
        write(tmp_path, {"4d": {}})
