# SPDX-License-Identifier: Apache-2.0
"""The weights that a model answers with: those of its bundle, or the pre-trained encoder with a fresh decoder.

``<model_dir>/<name>/`` holds ``model.pt`` and ``encoder.json`` (its sizes and classes), as the bundle's training
writes them, ``stats.json``: where the weights are from and what each fine-tuning did, and ``split.json``: the cases
that they have learnt. Files are replaced by renaming, so that an answer never comes from half of one.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from monai.bundle import ConfigParser

from monai_unimedi.data.embeddings import weights_digest
from monai_unimedi.networks.pretrained import load_encoder_weights

from . import RESEARCH_USE

__all__ = ["BundleWeights", "bundle_folder", "shown_name", "write_whole"]

logger = logging.getLogger(__name__)
PARTS = ("encoder.json", "model.pt")
FRESH = "pre-trained encoder, fresh decoder: not trained to segment yet"


def shown_name(name: str) -> str:
    """A class's name as viewers show it."""
    return f"{name} ({RESEARCH_USE})"


def write_whole(path: Path, content: str) -> None:
    """Writes aside, then renames."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    aside.write_text(content, encoding="utf-8")
    aside.replace(path)


class Classes(NamedTuple):
    """What a network's channels are: names without the background, and whether one excludes the others."""

    names: list[str]
    is_exclusive: bool


def bundle_folder(bundles: Path, name: str) -> Path:
    """Of a bundle under its name in the repository or, downloaded from the zoo, under `unimedi_` and that name."""
    downloaded = bundles / f"unimedi_{name}"
    return downloaded if downloaded.is_dir() and not (bundles / name).is_dir() else bundles / name


class BundleWeights:
    """Weights of one segmentation bundle.

    Args:
        folder: where they lie; made by `ensure`.
        bundle: the bundle's folder.
        encoder: folder of the pre-trained encoder, used where the bundle has no weights.
        labels: classes that exclude each other, in place of the bundle's own; the decoder then starts fresh.
        trained: folder of the bundle's trained weights; its own ``models`` where None.
    """

    def __init__(
        self,
        folder: Path,
        bundle: Path,
        encoder: Path | None = None,
        labels: Sequence[str] | None = None,
        trained: Path | None = None,
    ) -> None:
        self.folder, self.bundle, self.encoder = Path(folder), Path(bundle), encoder
        self.trained = Path(trained) if trained else self.bundle / "models"
        self.labels = list(labels) if labels else None
        self.file, self.card = self.folder / "model.pt", self.folder / "encoder.json"
        self.stats_file, self.split_file = self.folder / "stats.json", self.folder / "split.json"

    def ensure(self) -> None:
        """Puts the first weights in place, and those of another start in place of ones that were not fine-tuned.

        Raises:
            FileNotFoundError: When the bundle has no weights and there is no pre-trained encoder.
            ValueError: When the folder's weights are of other labels.
        """
        is_trained = self.labels is None and all((self.trained / name).is_file() for name in PARTS)
        source = self.trained if is_trained else self.encoder
        start = weights_digest(source) if source is not None and (source / "model.pt").is_file() else ""
        if self.file.is_file() and self.card.is_file():
            self._check_labels()
            if not self._is_replaced(start, is_trained):
                return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.split_file.unlink(missing_ok=True)
        if is_trained:
            self.publish(self.trained, {"weights": self._trained(), "start": start})
        else:
            self._start_fresh(start)

    def _trained(self) -> str:
        return f"trained bundle {self.bundle.name}"

    def _is_replaced(self, start: str, is_trained: bool) -> bool:
        """Whether weights of the start that is now asked for go in place of those that are there."""
        stats = self.stats()
        known = stats.get("weights")
        if not start or stats.get("start") == start:
            return False
        if known == FRESH or (known == self._trained() and is_trained):
            return True
        logger.warning(
            "%s keeps its weights (%s), which began elsewhere than from those that are asked for now: to begin anew "
            "name another --conf model_dir, or move that folder away.",
            self.folder.name, known or "their origin is not known",
        )  # fmt: skip
        return False

    def _check_labels(self) -> None:
        if self.labels is not None and self.classes().names != self.labels:
            raise ValueError(
                f"The weights in {self.folder.name} are of the labels {', '.join(self.classes().names)}, wanted are "
                f"{', '.join(self.labels)}: name another --conf model_dir, or move that folder away."
            )

    def _start_fresh(self, start: str) -> None:
        if self.encoder is None or not (self.encoder / "encoder.json").is_file():
            raise FileNotFoundError(
                f"{self.bundle.name} has no trained weights and there is no pre-trained encoder: run `make demo`, "
                "or name the folder that a pre-training wrote: --conf encoder MODELS."
            )
        sizes = self._fresh_sizes()
        torch.manual_seed(0)
        network = self.parser(sizes).get_parsed_content("network_def")
        load_encoder_weights(network, self.encoder / "model.pt")
        network.start_at(None if sizes["exclusive"] else 0.02)
        aside = self.folder / "fresh"
        aside.mkdir(exist_ok=True)
        torch.save(network.state_dict(), aside / "model.pt")
        (aside / "encoder.json").write_text(json.dumps({"sizes": sizes}, indent=2) + "\n", encoding="utf-8")
        self.publish(aside, {"weights": FRESH, "start": start})
        shutil.rmtree(aside)

    def _fresh_sizes(self) -> dict[str, Any]:
        assert self.encoder is not None
        given = json.loads((self.encoder / "encoder.json").read_text(encoding="utf-8"))["sizes"]
        config = json.loads((self.bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
        names = set(config["sizes"]) - {"num_selected_slices"}
        sizes = {name: config[name] for name in config["sizes"]} | {n: v for n, v in given.items() if n in names}
        if "roi_size" in names:
            sizes["roi_size"] = given.get("ct_size", sizes["roi_size"])
        if self.labels is not None:
            count = len(self.labels) + 1
            sizes |= {"class_names": ["background", *self.labels], "class_values": list(range(count))}
            sizes |= {"exclusive": True, "out_channels": count}
        return sizes

    def sizes(self) -> dict[str, Any]:
        """Top-level values of the bundle's configs."""
        return dict(json.loads(self.card.read_text(encoding="utf-8"))["sizes"])

    def classes(self) -> Classes:
        """Of the network's channels."""
        sizes = self.sizes()
        is_exclusive = bool(sizes["exclusive"])
        return Classes([str(name) for name in sizes["class_names"]][int(is_exclusive) :], is_exclusive)

    def parser(self, sizes: dict[str, Any] | None = None) -> ConfigParser:
        """The bundle's ``inference.json`` with the sizes of the weights."""
        parser = ConfigParser()
        parser.read_config(str(self.bundle / "configs" / "inference.json"))
        for name, value in (self.sizes() if sizes is None else sizes).items():
            parser[name] = value
        parser["model_dir"] = str(self.folder)  # whose card says what is a speck
        return parser

    def stats(self) -> dict[str, Any]:
        """What is known of them; ``weights`` says where they are from."""
        try:
            return dict(json.loads(self.stats_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}

    def update_stats(self, **facts: Any) -> dict[str, Any]:
        """Adds to them."""
        stats = self.stats() | facts
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.stats_file, json.dumps(stats, indent=1) + "\n")
        return stats

    def split(self) -> dict[str, list[str]]:
        """``trained``: the cases that the weights have learnt; ``judged``: those of the last validation."""
        try:
            return dict(json.loads(self.split_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {"trained": [], "judged": []}

    def remember_split(self, training: Sequence[str], validation: Sequence[str], is_published: bool) -> None:
        """Keeps who was on which side of a training; weights that are not published leave nothing learnt."""
        learnt = {*self.split()["trained"], *(training if is_published else ())}
        content = {"trained": sorted(learnt), "judged": sorted(validation)}
        write_whole(self.split_file, json.dumps(content, indent=1) + "\n")

    def publish(self, source: Path, facts: dict[str, Any]) -> None:
        """Takes the weights of a folder for its own; the ones before stay in ``previous/``."""
        if self.file.is_file():
            before = self.folder / "previous"
            before.mkdir(exist_ok=True)
            for path in (self.file, self.card):
                shutil.copyfile(path, before / path.name)
        for name in PARTS:  # the file that is watched comes last
            aside = self.folder / f".{name}.part"
            shutil.copyfile(source / name, aside)
            aside.replace(self.folder / name)
        self.update_stats(**facts)
