# SPDX-License-Identifier: Apache-2.0
"""A trained model in three lines of Python.

    from monai_unimedi.encoder import load_encoder
    encoder = load_encoder("output/demo/models")
    print(encoder.image("ct.nii.gz") @ encoder.text("Large nodule in the right upper zone."))

``models/`` holds all it takes: ``model.pt`` (image tower), ``text/`` (report tower with its tokenizer) and
``encoder.json``, the card, which says how the tower is built and how files become its input.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from torch import Tensor

from monai_unimedi.data.discover import source_of
from monai_unimedi.device import usable_device
from monai_unimedi.inferers.grounding import GroundingInferer, sentence_directions
from monai_unimedi.inferers.zero_shot import ZeroShotInferer, embed_prompts, embed_sentences
from monai_unimedi.networks.checkpoints import check_published, read_tensors
from monai_unimedi.networks.nets.report_encoder import ReportEncoder, load_tokenizer
from monai_unimedi.networks.pretrained import OWN_CARD, load_encoder_weights
from monai_unimedi.root_cause import root_cause

__all__ = ["ImageTextEncoder", "check_sizes", "encoder_card", "load_encoder"]

BLOCKS = ("network_def", "preprocessing")
TARGETS = ("monai.transforms.", "monai_unimedi.transforms.", "monai_unimedi.networks.nets.image_encoder.")


def encoder_card(
    inference_config: str | os.PathLike, sizes: Mapping[str, Any], split: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What has to lie beside the weights: the sizes, and the inference's blocks with these sizes put in.

    Args:
        inference_config: the bundle's ``inference.json``; its ``network_def`` and ``preprocessing`` hold
            references (``@name``, ``@sizes::name``) to top-level values and sizes, and no expressions.
        sizes: top-level values of the training.
        split: how its validation rows were drawn, see :func:`monai_unimedi.card.trained_split`.
    """
    config = json.loads(Path(inference_config).read_text(encoding="utf-8")) | dict(sizes)
    config["sizes"] = {name: config[name] for name in config.get("sizes", {})}
    blocks = {name: _resolved(config[name], config) for name in BLOCKS}
    return {"format": 1, "sizes": dict(sizes), **({"split": dict(split)} if split else {}), **blocks}


def check_sizes(model_dir: str | os.PathLike, sizes: Mapping[str, Any]) -> None:
    """Compares a config's sizes with those that the model was trained with, and published files with their sums.

    Raises:
        FileNotFoundError: When there is no model.
        ValueError: When they differ; names the options to give. A folder without a card is not checked. When
            ``model.pt`` may run code: MONAI's loader refuses it too, in many lines.
    """
    check_published(model_dir)
    weights = Path(model_dir) / "model.pt"
    if not weights.is_file():
        raise FileNotFoundError(
            f"{weights} must hold the trained network, but there is no such file: train first, or give --model_dir."
        )
    read_tensors(weights)
    path = Path(model_dir) / OWN_CARD
    trained = json.loads(path.read_text(encoding="utf-8"))["sizes"] if path.is_file() else {}
    wrong = {name: value for name, value in trained.items() if name in sizes and sizes[name] != value}
    if wrong:
        options = " ".join(f"--{name} '{json.dumps(value)}'" for name, value in wrong.items())
        raise ValueError(
            f"The sizes must be those that the model in {model_dir} was trained with, but "
            f"{', '.join(wrong)} differ: give {options}, or the overlay that the training had."
        )


def load_encoder(model_dir: str | os.PathLike, device: str | torch.device = "cpu") -> ImageTextEncoder:
    """Loads what a training wrote into its ``model_dir``.

    Args:
        model_dir: folder with ``model.pt``, ``encoder.json`` and, for sentences, ``text/``.
        device: where to compute.

    Raises:
        FileNotFoundError: When a file is missing.
        ValueError: When the card is of a downstream training or holds more than transforms and the image tower, the
            weights do not fit, a file is not the one that was published, or there is no such device.
    """
    path = Path(model_dir) / OWN_CARD
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} must say how the model is built, but there is no such file; name the folder that a "
            "training wrote (--model_dir)."
        )
    place = usable_device(device)
    check_published(path.parent)
    card = json.loads(path.read_text(encoding="utf-8"))
    if absent := [name for name in BLOCKS if name not in card]:
        raise ValueError(
            f"{path} must describe a pre-trained image tower with its text space, but has no {' and no '.join(absent)}"
            ": it may be of a downstream training; name the folder that a pre-training wrote (--model_dir)."
        )
    blocks = {name: card[name] for name in BLOCKS}
    _refuse_code(blocks, path)
    parser = ConfigParser(blocks)
    network = parser.get_parsed_content("network_def")
    load_encoder_weights(network, path.parent / "model.pt")
    return ImageTextEncoder(network, parser.get_parsed_content("preprocessing"), path.parent / "text", place)


class ImageTextEncoder:
    """Embeds files and sentences in one space; a dot product of two embeddings is their similarity.

    Args:
        network: the image tower.
        preprocessing: by source (``2d``, ``3d``), transforms of ``{"image": path}``.
        text_folder: the report tower; read at the first sentence.
        device: where to compute.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        preprocessing: Mapping[str, Any],
        text_folder: str | os.PathLike,
        device: str | torch.device = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.network: Any = network.to(self.device).eval()
        self.preprocessing = dict(preprocessing)
        self.text_folder = Path(text_folder)

    def image(self, path: str | os.PathLike) -> Tensor:
        """Embedding (E,), L2-normalised, of an X-ray (PNG, JPEG, DICOM file, ...) or a CT (NIfTI, NRRD, MHA,
        DICOM folder)."""
        with torch.inference_mode():
            return self.network(self.read(path)[None])[0].float().cpu().clone()

    def embed(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor | list[Tensor] | None]:
        """Embeddings (B, E) of images of one dimension that `read` or a dataset gave, and ``slice_scores``
        (B, S) of CTs, computed once for both; on the CPU. CTs may be of several shapes: those of one shape are
        embedded together, and where S differs the scores are a list of B rows."""
        rows_of: dict[torch.Size, list[int]] = {}
        for row, image in enumerate(images):
            rows_of.setdefault(image.shape, []).append(row)
        parts = [self._embed_alike([images[row] for row in rows]) for rows in rows_of.values()]
        if len(parts) == 1:
            return parts[0]
        places = [row for rows in rows_of.values() for row in rows]
        order = sorted(range(len(places)), key=places.__getitem__)
        embeddings = torch.cat([part for part, _ in parts])[order]
        if any(part is None for _, part in parts):
            return embeddings, None
        scores = [row for _, part in parts if part is not None for row in part]
        in_order = [scores[place] for place in order]
        return embeddings, torch.stack(in_order) if len({row.shape for row in in_order}) == 1 else in_order

    def _embed_alike(self, images: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """As `embed`, of images of one shape."""
        batch = torch.stack(list(images)).to(self.device)
        with torch.inference_mode():
            scores = self.network.slice_scores(batch) if batch.ndim == 5 else None
            indices = self.network.select_slices(batch, scores, None)
            embeddings = self.network.project(self.network.vit(batch, indices)[:, 0])
        return embeddings.float().cpu(), None if scores is None else scores.float().cpu()

    def text(self, sentence: str) -> Tensor:
        """Embedding (E,), L2-normalised, of a report or a sentence."""
        return self.texts([sentence])[0]

    def texts(self, sentences: Sequence[str]) -> Tensor:
        """Embeddings (N, E), L2-normalised."""
        tower, tokenizer = self._text_tower
        return embed_sentences(sentences, tower, tokenizer, tokenizer.model_max_length)

    def prompts(self, prompts: Mapping[str, Mapping[str, Sequence[str]]]) -> Tensor:
        """One direction (F, E) a finding of `load_prompts`: its dot product with an image's embedding is
        sim(positive) - sim(negative), larger = more likely present."""
        tower, tokenizer = self._text_tower
        return ZeroShotInferer(embed_prompts(prompts, tower, tokenizer, tokenizer.model_max_length)).direction

    def ground(self, image: Tensor, sentences: Sequence[str]) -> Tensor:
        """Where each of N sentences leads to in an image that `read` gave: scores (N, S) of a CT's slices,
        (N, gx, gy) of an X-ray's patches, larger = rather about this place."""
        tower, tokenizer = self._text_tower
        directions = sentence_directions(sentences, tower, tokenizer, tokenizer.model_max_length)
        return GroundingInferer(directions)(image[None].to(self.device), self.network)[0].float().cpu()

    def slices(self, path: str | os.PathLike) -> Tensor:
        """``slice_scores`` (S,) of a CT after preprocessing: how much the model attends to each axial slice,
        from inferior to superior.

        Raises:
            ValueError: When the file is an X-ray.
        """
        image = self.read(path)
        if image.ndim != 4:
            raise ValueError(f"Only a CT has slices, {os.fspath(path)!r} is an X-ray.")
        with torch.inference_mode():
            return self.network.slice_scores(image[None])[0].float().cpu().clone()

    def read(self, path: str | os.PathLike) -> Tensor:
        """The network's input: (1, X, Y) or (1, X, Y, Z), float32 in [0, 1].

        Raises:
            ValueError: When the file is of no known kind, or cannot be read.
        """
        source = source_of(path)
        try:
            row = self.preprocessing[source]({"image": os.fspath(path)})
        except Exception as error:
            raise ValueError(f"{os.fspath(path)!r} could not be read: {root_cause(error)}") from error
        image = torch.as_tensor(row["image"]).as_subclass(Tensor)
        return image.to(self.device, torch.float32)

    @cached_property
    def _text_tower(self) -> tuple[ReportEncoder, Any]:
        tower = ReportEncoder.from_folder(self.text_folder).to(self.device).eval()
        return tower, load_tokenizer(self.text_folder)


def _resolved(node: Any, config: Mapping[str, Any]) -> Any:
    """A copy with references replaced by what they name."""
    if isinstance(node, dict):
        return {key: _resolved(value, config) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolved(value, config) for value in node]
    if not (isinstance(node, str) and node.startswith("@")):
        return node
    name, *keys = node[1:].split("::")
    found = config[name]
    for key in keys:
        found = found[int(key)] if isinstance(found, list) else found[key]
    return _resolved(found, config)


def _refuse_code(blocks: Mapping[str, Any], path: Path) -> None:
    """A card names transforms and the tower: data, where a config could run anything."""
    for key, value in _strings(blocks):
        is_allowed = value.startswith(TARGETS) if key == "_target_" else value[:1] not in ("$", "%", "@")
        if not is_allowed:
            raise ValueError(
                f"{path} must name transforms and the image tower only, got {value!r} at {key!r}; "
                "do not load it unless you know where it is from."
            )


def _strings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _strings(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value, key)
