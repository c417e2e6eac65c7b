# SPDX-License-Identifier: Apache-2.0
"""Where a sentence leads to: labelled points on the slices of a CT or on an X-ray, as Markups of 3D Slicer.

Text in, points out, without any training on places (``monai_unimedi/inferers/grounding.py``). The scores rank the
places of one image for one sentence; they are no probabilities.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from monai_unimedi.data.grounding import report_sentences
from monai_unimedi.root_cause import root_cause
from monai_unimedi.transforms.report import ReportText

from . import RESEARCH_USE
from .cases import SOURCES, Cases
from .devices import chosen_device, device_names, turn_on
from .images import dimension_of, own_file, picture_grid, picture_size
from .strategies import positive_number

__all__ = ["FindingsTask", "find_places", "write_markups"]

SCHEMA = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
MAX_SENTENCES = 20
SHOWN = 60  # characters of a sentence beside its point


def find_places(cases: Cases, image: str, text: str, top: int = 1) -> list[dict[str, Any]]:
    """The places that the sentences of a text lead to.

    Args:
        cases: with the encoder.
        image: path, as the datastore gives it.
        text: a sentence, or a report with or without headings.
        top: places a sentence.

    Returns:
        ``{"sentence", "rank", "score", "position"}`` each, with ``slice`` (from 0, of the file) for a CT; the position
        is in LPS, mm.

    Raises:
        ValueError: When the text is empty or too long, or the image cannot be read.
    """
    if not text.strip():
        raise ValueError('text must be a sentence or a report, such as "Pleural effusion on the right.", it is empty.')
    sentences = report_sentences(ReportText()(text)) or [text.strip()]
    if len(sentences) > MAX_SENTENCES:
        raise ValueError(f"text must have at most {MAX_SENTENCES} sentences, got {len(sentences)}.")
    path = own_file(Path(image))
    dimension = dimension_of(path)
    with turn_on(cases.device):
        seen = _seen(cases, path, SOURCES[dimension])
        plain = torch.as_tensor(seen).as_subclass(torch.Tensor).to(cases.device, torch.float32)
        with torch.inference_mode():
            scores = cases.encoder.ground(plain, sentences).numpy()
    locate = _slices if dimension == 3 else _patches
    found = []
    for sentence, values in zip(sentences, scores):
        places = locate(values, seen, path if str(image) == str(path) else Path(image), cases)
        best = sorted(places, key=lambda one: -one["score"])[:top]
        found += [{"sentence": sentence, "rank": rank, **place} for rank, place in enumerate(best, start=1)]
    return found


def _seen(cases: Cases, path: Path, source: str) -> Any:
    try:
        return cases.encoder.preprocessing[source]({"image": str(path)})["image"]
    except Exception as error:
        raise ValueError(f"The image could not be read: {root_cause(error)}") from error


def _slices(scores: np.ndarray, seen: Any, path: Path, cases: Cases) -> list[dict[str, Any]]:
    """A point in the middle of each slice of the network's that lies in the file."""
    own = np.asarray(seen.meta["original_affine"], dtype=np.float64)
    shape = np.asarray(seen.meta["spatial_shape"], dtype=np.float64)
    to_file = np.linalg.inv(own) @ np.asarray(seen.affine, dtype=np.float64)
    across = int(np.abs(to_file[:3, 2]).argmax())  # the file's axis that counts the network's slices
    places = []
    for number, score in enumerate(scores):
        index = (to_file @ [(seen.shape[1] - 1) / 2, (seen.shape[2] - 1) / 2, number, 1])[:3]
        if not -0.5 <= index[across] <= shape[across] - 0.5:
            continue
        index = np.clip(index, 0, shape - 1)
        world = own @ [*index, 1]
        place = {"slice": int(round(index[across])), "score": round(float(score), 4)}
        places.append(place | {"position": [round(float(x), 3) for x in (-world[0], -world[1], world[2])]})
    return places


def _patches(scores: np.ndarray, seen: Any, path: Path, cases: Cases) -> list[dict[str, Any]]:
    """A point in the middle of the part of each patch that lies on the picture."""
    undo = next(t for t in Compose(cases.encoder.preprocessing["2d"]).flatten().transforms if hasattr(t, "scale"))
    columns, rows = scores.shape
    number = np.arange(1, columns * rows + 1, dtype=np.float32).reshape(columns, rows)
    side = seen.shape[1] // columns, seen.shape[2] // rows
    shown = np.kron(number, np.ones(side, dtype=np.float32))[None]
    shown = np.asarray(undo.scale.restore(shown, list(picture_size(path)), "nearest"))[0]
    grid = picture_grid(path)
    places = []
    for i in range(columns):
        for j in range(rows):
            pixels = np.argwhere(shown == number[i, j])
            if len(pixels):
                world = grid @ [*pixels.mean(0), 0, 1]
                position = [round(float(x), 3) for x in (-world[0], -world[1], world[2])]
                places.append({"score": round(float(scores[i, j]), 4), "position": position})
    return places


def write_markups(places: list[dict[str, Any]]) -> str:
    """A Markups file of 3D Slicer with one point a place."""
    points = []
    for number, place in enumerate(places, start=1):
        sentence = place["sentence"]
        short = sentence if len(sentence) <= SHOWN else f"{sentence[: SHOWN - 3]}..."
        where = f"slice {place['slice'] + 1}, " if "slice" in place else ""
        points.append(
            {
                "id": str(number),
                "label": f"{short} ({where}{place['score']:.2f}; {RESEARCH_USE})",
                "description": f"{sentence} rank {place['rank']}; {RESEARCH_USE}",
                "associatedNodeID": "",
                "position": place["position"],
                "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
                "selected": True,
                "locked": False,
                "visibility": True,
                "positionStatus": "defined",
            }
        )
    node = {"type": "Fiducial", "name": f"findings ({RESEARCH_USE})", "coordinateSystem": "LPS"}
    node |= {"coordinateUnits": "mm", "locked": False, "labelFormat": "%N-%d", "controlPoints": points}
    with tempfile.NamedTemporaryFile(
        "w", suffix=".mrk.json", prefix="findings_research_use_", delete=False, encoding="utf-8"
    ) as file:
        json.dump({"@schema": SCHEMA, "markups": [node]}, file, indent=1)
    return file.name


class FindingsTask(InferTask):
    """Points where the sentences of the options' field ``text`` lead to, in a CT or an X-ray.

    It always returns a file, also for an image without a place: the viewer's client needs one.
    """

    def __init__(self, cases: Cases) -> None:
        config = {"text": "", "topk": 1, "device": device_names()}
        text = f"Where the sentences in the options lead to, as points ({RESEARCH_USE})"
        super().__init__(InferType.DETECTION, [], 3, text, config)
        self.cases = cases

    def is_valid(self) -> bool:
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        started = time.monotonic()
        chosen_device(request.get("device"))
        top = positive_number(request, "topk", 1)
        places = find_places(self.cases, request["image"], str(request.get("text") or ""), top)
        shown = [{name: value for name, value in place.items() if name != "sentence"} for place in places]
        times = {"total": round(time.monotonic() - started, 2)}
        return write_markups(places), {"places": shown, "label_names": [], "latencies": times, "use": "research only"}
