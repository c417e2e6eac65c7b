# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning on submitted labels: the bundle's own training, and weights that are published only when better.

The cases are split into training and validation by their ids and classes, so that validation can tell better from
worse; what the published weights were trained on is never what they are judged on.
The published weights are judged on the validation cases first; new ones take their place when they are better there.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow
from monailabel.datastore.dicom import DICOMWebDatastore
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.tasks.train import TrainTask

from monai_unimedi.card import trained_min_voxels
from monai_unimedi.root_cause import root_cause

from .devices import chosen_device, device_names
from .images import dimension_of, own_file
from .labels import mask_for_training
from .weights import BundleWeights

__all__ = ["FineTuneTask", "labelled_files", "split_cases"]

logger = logging.getLogger(__name__)
MIN_LABELS = 2
MIN_BATCH = 2  # of the bundle's sampler
METRIC = "val_dice"


def split_cases(
    ids: Sequence[str],
    fraction: float,
    present: Mapping[str, Collection[int]] | None = None,
    trained: Collection[str] = (),
    judged: Collection[str] = (),
) -> tuple[list[str], list[str]]:
    """Training and validation cases, at least one each.

    Dice says nothing of a case in which nothing is drawn, and a class that no training case has cannot be learnt:
    cases whose classes remain in training go to validation first, then others with a class, empty ones last. Among
    equals those of the last validation go first.

    Args:
        ids: at least two.
        fraction: share of validation cases, between 0 and 1.
        present: the classes in each case; all alike where None.
        trained: cases that the weights to be judged have learnt: they stay in training, unless there are no others.
        judged: cases of the last validation.
    """
    order = sorted(ids, key=lambda case: (case not in judged, hashlib.sha256(case.encode()).hexdigest()))
    unseen = [case for case in order if case not in trained] or order
    count = min(max(1, round(len(order) * fraction)), len(order) - 1)
    classes = {case: set(present[case]) if present else {1} for case in order}
    chosen: list[str] = []

    def left(case: str) -> list[set[int]]:
        return [classes[other] for other in order if other != case and other not in chosen]

    for is_fit in (
        lambda case: classes[case] and classes[case] <= set[int]().union(*left(case)),
        lambda case: classes[case] and any(left(case)),
        lambda case: True,
    ):
        for case in unseen:
            if len(chosen) < count and case not in chosen and is_fit(case):
                chosen.append(case)
    return sorted(set(order) - set(chosen)), sorted(chosen)


def labelled_files(datastore: Any) -> list[tuple[str, Path, Path]]:
    """Id, image and submitted label of each labelled case. The names of the files are no ids: they may be links."""
    if isinstance(datastore, DICOMWebDatastore):
        pairs = [(Path(pair["image"]), Path(pair["label"])) for pair in datastore.datalist()]
        return [(datastore._to_id(image.name)[0], image, label) for image, label in pairs]
    return [
        (case, Path(datastore.get_image_uri(case)), Path(datastore.get_label_uri(case, DefaultLabelTag.FINAL)))
        for case in datastore.get_labeled_images()
    ]


class FineTuneTask(TrainTask):
    """Trains one bundle on the labels of the datastore.

    Args:
        weights: of the bundle; read at the start, replaced at the end when the new ones are better.
        dimension: 3 for CTs, 2 for X-rays.
    """

    def __init__(self, weights: BundleWeights, dimension: int) -> None:
        kind = "CTs" if dimension == 3 else "X-rays"
        super().__init__(f"Fine-tune the segmentation of {kind} on the submitted labels (research use)")
        self.weights, self.dimension = weights, dimension

    def config(self) -> dict[str, Any]:
        return {
            "max_epochs": 10, "steps_per_epoch": 20, "batch_size": 4, "lr": 0.0005, "val_split": 0.25,
            "device": device_names(),
        }  # fmt: skip

    def stats(self) -> dict[str, Any]:
        return self.weights.stats()

    def __call__(self, request: Mapping[str, Any], datastore: Any) -> dict[str, Any]:
        """Trains and publishes if better.

        Returns:
            The stats: ``best_metric`` (Dice on the validation cases) of the published weights among them.

        Raises:
            ValueError: When fewer than two cases of the dimension have a usable label, or an option is wrong.
        """
        started = time.time()
        options = {**self.config(), **{k: v for k, v in request.items() if k in self.config()}}
        folder = self.weights.folder / "training"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        cases, present, refused = self._masks(datastore, folder / "masks")
        if len(cases) < MIN_LABELS:
            why = f"; refused: {'; '.join(refused)}" if refused else ""
            raise ValueError(f"Fine-tuning needs at least {MIN_LABELS} labelled images, got {len(cases)}{why}")
        lists = self._datalist(folder, cases, present, float(options["val_split"]))
        options["batch_size"] = max(MIN_BATCH, min(int(options["batch_size"]), len(lists["training"])))
        try:
            before, after, epoch = self._run(folder, options)
        except RuntimeError as error:
            raise root_cause(error) from error
        is_better = after is not None and (before is None or after > before)
        if is_better:
            origin = f"fine-tuned on {len(lists['training'])} labels"
            _carry_over(folder / "models" / "encoder.json", self.weights)
            self.weights.publish(folder / "models", {"weights": origin})
        self.weights.remember_split(*(_ids(lists[name]) for name in ("training", "validation")), is_better)
        stats = self._facts(started, lists, refused, before, after, epoch, is_better)
        shutil.rmtree(folder, ignore_errors=True)
        return stats

    def _facts(
        self, started: float, lists: Mapping[str, Any], refused: list[str], before: float | None, after: float | None,
        epoch: int, is_better: bool,
    ) -> dict[str, Any]:  # fmt: skip
        run = {
            "start_ts": int(started), "total_time": round(time.time() - started, 1), "epoch": epoch,
            "labels": {name: len(rows) for name, rows in lists.items()}, "refused": refused,
            "before": before, "after": after, "published": is_better,
        }  # fmt: skip
        best = after if is_better else before
        history = [*self.weights.stats().get("history", []), run]
        logger.warning("validation Dice %s before, %s after: %s", before, after, "published" if is_better else "kept")
        return self.weights.update_stats(
            **{name: run[name] for name in ("start_ts", "total_time", "epoch")},
            best_metric=best or 0.0, published=is_better, history=history[-100:],
        )  # fmt: skip

    def _masks(self, datastore: Any, folder: Path) -> tuple[dict[str, dict[str, str]], dict[str, list[int]], list[str]]:
        """Rows by case, the classes in each, and what was refused and why."""
        classes, is_exclusive = self.weights.classes()
        cases: dict[str, dict[str, str]] = {}
        present: dict[str, list[int]] = {}
        refused: list[str] = []
        for number, (case, stored, label) in enumerate(labelled_files(datastore)):
            image = own_file(stored)
            try:
                if dimension_of(image) != self.dimension:
                    continue
                info = datastore.get_label_info(case, "final")
                target = folder / f"{number:06d}"
                found = mask_for_training(image, label, info, classes, is_exclusive, target)
                suffix = ".png" if self.dimension == 2 else ".nii.gz"
                cases[case] = {"id": case, "patient": case, "image": str(image), "mask": str(target) + suffix}
                present[case] = found
            except (ValueError, OSError) as error:
                refused.append(f"{case}: {error}")
        return cases, present, [*datastore.refused, *refused]

    def _datalist(
        self,
        folder: Path,
        cases: Mapping[str, dict[str, str]],
        present: Mapping[str, Collection[int]],
        val_split: float,
    ) -> dict[str, Any]:
        if not 0 < val_split < 1:
            raise ValueError(f"val_split must lie between 0 and 1, got {val_split}.")
        classes, is_exclusive = self.weights.classes()
        key = "label" if is_exclusive else "lesion_mask"
        names = {"labels": dict(enumerate(["background", *classes]))} if is_exclusive else {"label_names": classes}
        lists: dict[str, Any] = {}
        split = split_cases(list(cases), val_split, present, **self.weights.split())
        for section, ids in zip(("training", "validation"), split):
            lists[section] = [
                {key if name == "mask" else name: value for name, value in cases[case].items()} for case in ids
            ]
        rows = lists["training"]
        twice = [{**row, "id": f"{row['id']}_again"} for row in rows] if len(rows) < MIN_BATCH else []
        content = {**names, **lists, "training": rows + twice}
        (folder / "datalist.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
        return lists

    def _run(self, folder: Path, options: Mapping[str, Any]) -> tuple[float | None, float | None, int]:
        """Validation Dice of the published weights and of the best new ones, and the epochs run."""
        steps, epochs = int(options["steps_per_epoch"]), int(options["max_epochs"])
        if not (1 <= steps <= 10_000 and 1 <= epochs <= 10_000):
            raise ValueError(f"max_epochs and steps_per_epoch must be 1 to 10,000, got {epochs} and {steps}.")
        sizes = self.weights.sizes()
        changes = {
            **sizes, "class_values": list(range(len(sizes["class_names"]))),  # what ``mask_for_training`` writes
            "bundle_root": str(self.weights.bundle), "output_dir": str(folder / "output"),
            "model_dir": str(folder / "models"), "datalist": str(folder / "datalist.json"), "dataset_dir": "/",
            "device": chosen_device(options["device"]), "pretrained": None, "resume": False,
            "num_steps": steps * epochs, "steps_per_epoch": steps, "batch_size": int(options["batch_size"]),
            "lr": float(options["lr"]), "history_interval": steps, "checked": None, "save_interval": 0,
        }  # fmt: skip
        workflow = ConfigWorkflow(
            str(self.weights.bundle / "configs" / "train.json"), logging_file=False, workflow_type="train", **changes
        )
        workflow.initialize()
        network = workflow.parser.get_parsed_content("network")
        network.load_state_dict(torch.load(self.weights.file, map_location="cpu", weights_only=True))
        validator = workflow.parser.get_parsed_content("validate::evaluator")
        validator.run()
        before = _dice(validator)
        best = workflow.parser.get_parsed_content("best_model")
        validator.state.best_metric, validator.state.best_metric_epoch = -1, -1
        workflow.run()
        trainer = workflow.parser.get_parsed_content("train::trainer")
        workflow.finalize()
        return before, best.best_metric, int(trainer.state.epoch)


def _ids(rows: Sequence[Mapping[str, str]]) -> list[str]:
    return [row["id"] for row in rows]


def _carry_over(card: Path, weights: BundleWeights) -> None:
    """The masks of a training here have numbers of their own; the network's owner keeps his. Lesions that were known
    to be small stay known."""
    content = json.loads(card.read_text(encoding="utf-8"))
    content["sizes"]["class_values"] = list(weights.sizes()["class_values"])
    before, found = trained_min_voxels(weights.folder), content.get("min_voxels")
    if isinstance(before, list) and isinstance(found, list):
        content["min_voxels"] = [min(pair) if all(pair) else max(pair) for pair in zip(before, found, strict=True)]
    card.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _dice(validator: Any) -> float | None:
    value = validator.state.metrics.get(METRIC)
    return None if value is None or value != value else float(value)
