# SPDX-License-Identifier: Apache-2.0
"""First guesses: a segmentation bundle's own inference, its result as one number a voxel on the image's grid."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
import torch
from monai.transforms import Compose
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from monai_unimedi.root_cause import root_cause

from .devices import chosen_device, device_names, turn_on
from .images import image_file, picture_grid
from .weights import BundleWeights, shown_name

__all__ = ["SegmentationTask", "load_network"]

logger = logging.getLogger(__name__)
TYPES = {"uint8": np.uint8, "uint16": np.uint16, "int16": np.int16}
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
EXTENSIONS = (".nrrd", ".nii.gz", ".nii", ".mha", ".png")


def load_network(weights: BundleWeights, device: str) -> tuple[torch.nn.Module, Any]:
    """The network with its weights on a device, in eval mode, and the parser that built it.

    Raises:
        ValueError: When the weights do not fit the sizes beside them.
    """
    parser = weights.parser()
    parser["device"] = device
    network = parser.get_parsed_content("network_def")
    state = torch.load(weights.file, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"The weights of {weights.folder.name} do not fit their sizes: remove that folder.") from error
    return network.to(device).eval(), parser


class Model:
    """A network, and what its bundle does before and after it."""

    def __init__(self, weights: BundleWeights, device: str) -> None:
        self.device = device
        self.network, parser = load_network(weights, device)
        self.preprocessing = parser.get_parsed_content("preprocessing")
        self.inferer = parser.get_parsed_content("inferer")
        after = parser.get_parsed_content("postprocessing").transforms
        self.to_probabilities, self.to_image_grid = after[0], Compose(list(after[1:-1]))
        self.is_exclusive = weights.classes().is_exclusive
        self.threshold = float(parser.get_parsed_content("threshold"))

    @torch.inference_mode()
    def probabilities(self, path: Path) -> dict[str, Any]:
        """A row with ``image`` as the network sees it and ``pred``, probabilities (classes, X, Y[, Z]) on its grid."""
        try:
            row = dict(self.preprocessing({"image": str(path)}))
        except Exception as error:
            raise ValueError(f"The image could not be read: {root_cause(error)}") from error
        image = torch.as_tensor(row["image"]).as_subclass(torch.Tensor).to(self.device, torch.float32)
        row["pred"] = self.inferer(image[None], self.network)[0].float().cpu()
        return dict(self.to_probabilities(row))

    def numbers(self, path: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """(X, Y[, Z]) uint8 on the file's grid: 0, or the place of the most probable class, from 1; and a CT's
        voxel-to-world matrix (4, 4), RAS, mm."""
        pred = self.to_image_grid(self.probabilities(path))["pred"]
        scores = np.asarray(pred)
        affine = np.asarray(pred.affine, dtype=np.float64) if scores.ndim == 4 else None
        if self.is_exclusive:
            return scores.argmax(0).astype(np.uint8), affine
        best = (scores.argmax(0) + 1).astype(np.uint8)
        return np.where(scores.max(0) > self.threshold, best, np.uint8(0)), affine


class SegmentationTask(InferTask):
    """Segments one CT or one X-ray.

    Args:
        weights: of the bundle.
        dimension: 3 for CTs, 2 for X-rays.
    """

    def __init__(self, weights: BundleWeights, dimension: int) -> None:
        self.weights = weights
        labels = [shown_name(name) for name in weights.classes().names]
        config = {"device": device_names()}
        super().__init__(InferType.SEGMENTATION, labels, dimension, "", config)
        self._models: dict[str, tuple[int, Model]] = {}
        self._loading = threading.Lock()

    def info(self) -> dict[str, Any]:
        """Says in the description where the weights are from."""
        kind = "CTs" if self.dimension == 3 else "X-rays"
        origin = self.weights.stats().get("weights", "")
        return {**super().info(), "description": f"UniMedI segmentation of {kind} (research use). {origin}"}

    def is_valid(self) -> bool:
        return True

    def get_path(self, validate: bool = True) -> str:
        return str(self.weights.file)

    def model(self, device: str) -> Model:
        """The newest weights; those in use stay in use until the new ones are loaded."""
        with self._loading:
            when = self.weights.file.stat().st_mtime_ns
            known = self._models.get(device)
            if known is None or known[0] != when:
                known = (when, Model(self.weights, device))
                self._models[device] = known
            return known[1]

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Segments ``request["image"]``.

        Returns:
            The file with one number a voxel, and ``label_names``: what 1, 2, ... are.

        Raises:
            ValueError: When the image is of the other dimension or cannot be read, or the type of the result is
                unknown.
        """
        started = time.monotonic()
        path = image_file(request["image"], self.dimension)
        device = chosen_device(request.get("device"))
        with turn_on(device):
            waited = time.monotonic() - started
            numbers, affine = self.model(device).numbers(path)
        file = write_labelmap(numbers, affine, request)
        times = {"wait": round(waited, 2), "total": round(time.monotonic() - started, 2)}
        found = {"label_names": self.labels, "latencies": times, "centroids": {}, "use": "research only"}
        return file, found | {"weights": self.weights.stats().get("weights", "")}


def write_labelmap(numbers: np.ndarray, affine: np.ndarray | None, request: Mapping[str, Any]) -> str:
    """Writes numbers (X, Y[, Z]) as the viewer wants them.

    Args:
        numbers: of the classes.
        affine: a CT's voxel-to-world matrix; an X-ray lies where viewers place ``request["image"]``.
        request: of the viewer.

    Raises:
        ValueError: When the viewer wants an unknown type of file or number.
    """
    extension = str(request.get("result_extension") or (".nrrd" if numbers.ndim == 3 else ".png"))
    kind = str(request.get("result_dtype") or "uint8")
    if extension not in EXTENSIONS or kind not in TYPES:
        raise ValueError(
            f"result_extension must be one of {', '.join(EXTENSIONS)} and result_dtype one of {', '.join(TYPES)}, "
            f"got {extension!r} and {kind!r}."
        )
    if affine is None and extension != ".png":
        numbers, affine = numbers[:, :, None], picture_grid(request["image"])
    with tempfile.NamedTemporaryFile(suffix=extension, prefix="segmentation_", delete=False) as file:
        pass
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(numbers.T).astype(TYPES[kind]))
    if affine is not None:
        _place(image, affine)
    SimpleITK.WriteImage(image, file.name, bool(request.get("result_compress", True)))
    return file.name


def _place(image: SimpleITK.Image, affine: np.ndarray) -> None:
    """Spacing, direction and origin of a voxel-to-world matrix in RAS."""
    matrix = _RAS_TO_LPS @ affine
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
