# SPDX-License-Identifier: Apache-2.0
"""The MONAI Label app: segmentation of CTs and X-rays from the pre-trained encoder, and search in words."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

APP = Path(__file__).resolve().parent
if str(APP) not in sys.path:
    sys.path.append(str(APP))

from unimedi_label import upstream  # noqa: E402

upstream.apply()

import torch  # noqa: E402
from monailabel.config import settings  # noqa: E402
from monailabel.interfaces import app as monailabel_app  # noqa: E402
from monailabel.interfaces.app import MONAILabelApp  # noqa: E402
from monailabel.interfaces.tasks.batch_infer import BatchInferTask  # noqa: E402
from monailabel.tasks.activelearning.random import Random  # noqa: E402
from unimedi_label.cases import Cases  # noqa: E402
from unimedi_label.checks import one_sentence  # noqa: E402
from unimedi_label.devices import chosen_device  # noqa: E402
from unimedi_label.findings import FindingsTask  # noqa: E402
from unimedi_label.guess_dice import GuessDice  # noqa: E402
from unimedi_label.images import dimension_of  # noqa: E402
from unimedi_label.scoring import Novelty, UncertaintyScore  # noqa: E402
from unimedi_label.segmentation import SegmentationTask  # noqa: E402
from unimedi_label.strategies import EmbeddingDiversity, SimilarCase, TextSearch, Uncertainty  # noqa: E402
from unimedi_label.studies import RemoteStudies, Studies, UnreadableSeriesError  # noqa: E402
from unimedi_label.training import FineTuneTask  # noqa: E402
from unimedi_label.weights import BundleWeights, bundle_folder  # noqa: E402

import monai_unimedi  # noqa: E402

__all__ = ["UniMediLabel"]

logger = logging.getLogger(__name__)
ROOT = APP.parents[1]
MODELS = {"segmentation": ("segmentation_3d", 3, "labels"), "segmentation_xray": ("segmentation_2d", 2, "labels_xray")}
ENCODERS = (ROOT / "output" / "demo" / "models", ROOT / "bundles" / "pretrain" / "models")
REMOTE_LIMIT = 200  # series downloaded for embeddings at a request


class UniMediLabel(MONAILabelApp):
    """What `MONAILabelApp` asks for.

    ``conf``: ``encoder`` (folder of a pre-training), ``trained`` (folder that `make downstream` wrote), ``bundles``,
    ``model_dir``, ``labels`` and ``labels_xray`` (names with commas: classes of one's own, which exclude each other).
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        self.cases: Cases
        self.options = dict(conf or {})
        model_dir = Path(self.options.get("model_dir") or Path(app_dir) / "model").resolve()
        self.weights = {name: self._weights(name, model_dir) for name in MODELS}
        for weights in self.weights.values():
            weights.ensure()
        shown = [f"{name} (research use)" for one in self.weights.values() for name in one.classes().names]
        super().__init__(
            app_dir=app_dir,
            studies=studies,
            conf=dict(conf or {}),
            name=f"UniMedI {monai_unimedi.__version__} (research use)",
            description="Segmentation of CTs and X-rays from a pre-trained encoder, and cases found by words",
            version=monai_unimedi.__version__,
            labels=list(dict.fromkeys(shown)),
        )

    def _weights(self, name: str, model_dir: Path) -> BundleWeights:
        bundle, _, key = MODELS[name]
        labels = [one.strip() for one in self.options.get(key, "").split(",") if one.strip()]
        bundles = Path(self.options.get("bundles") or ROOT / "bundles").resolve()
        folder = bundle_folder(bundles, bundle)
        given = self.options.get("trained")
        trained = (Path(given).resolve() / bundle if given else folder) / "models"
        found = trained if trained.is_dir() else None
        return BundleWeights(model_dir / name, folder, self._encoder(), labels, found)

    def _encoder(self) -> Path:
        given = self.options.get("encoder")
        found = [Path(given).resolve()] if given else [path for path in ENCODERS if (path / "encoder.json").is_file()]
        if not found or not (found[0] / "encoder.json").is_file():
            raise FileNotFoundError(
                "The app needs a pre-trained encoder: run `make demo`, or name the folder that a pre-training wrote: "
                "--conf encoder MODELS."
            )
        return found[0]

    def init_datastore(self) -> Any:
        is_job = "server_mode" not in self.options and _is_job()
        if self.studies.startswith(("http://", "https://")):
            self.studies = self.studies.rstrip("/").strip()
            store = self.init_remote_datastore()
            folder, limit = Path(store._datastore_path), REMOTE_LIMIT
        else:
            folder, limit = Path(self.studies), 1_000_000
            store = Studies(
                self.studies,
                extensions=settings.MONAI_LABEL_DATASTORE_FILE_EXT,
                auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD and not is_job,
                read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY or is_job,
            )
        self.cases = Cases(self._encoder(), store, folder / ".unimedi", chosen_device(), limit)
        return store

    def _init_dicomweb_datastore(self) -> Any:
        before = monailabel_app.DICOMWebDatastore
        monailabel_app.DICOMWebDatastore = RemoteStudies
        try:
            return super()._init_dicomweb_datastore()
        finally:
            monailabel_app.DICOMWebDatastore = before

    def _download_dcmqi_tools(self) -> None:
        """Taken from the package ``dcmqi``: MONAI Label downloads it from a code host."""
        if not shutil.which("itkimage2segimage"):
            logger.warning("itkimage2segimage is missing: labels cannot be stored as DICOM SEG; pip install dcmqi")

    def on_init_complete(self) -> None:
        """Loads what the first answers need, beside the server's start."""
        super().on_init_complete()
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()

    def _warm_up(self) -> None:
        for task in self.segmenters.values():
            task.model(chosen_device())
        self.cases.encoder.text("warm up")

    def init_infers(self) -> dict[str, Any]:
        self.segmenters = {name: SegmentationTask(self.weights[name], MODELS[name][1]) for name in MODELS}
        return {**self.segmenters, "findings": FindingsTask(self.cases)}

    def init_trainers(self) -> dict[str, Any]:
        return {name: FineTuneTask(self.weights[name], MODELS[name][1]) for name in MODELS}

    def init_strategies(self) -> dict[str, Any]:
        score = UncertaintyScore({task.dimension: task for task in self.segmenters.values()}).score
        ours = [TextSearch(self.cases), SimilarCase(self.cases), EmbeddingDiversity(self.cases), Uncertainty(score)]
        return {"random": Random(), **{strategy.name: strategy for strategy in ours}}

    def init_scoring_methods(self) -> dict[str, Any]:
        models = {task.dimension: task for task in self.segmenters.values()}
        return {"dice": GuessDice(models), "novelty": Novelty(self.cases), "uncertainty": UncertaintyScore(models)}

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]:
        """The first that can be read: a series is left out from when it could not."""
        for _ in self.datastore().list_images():
            with contextlib.suppress(UnreadableSeriesError):
                return dict(super().next_sample(request))
        return {}

    def init_batch_infer(self) -> Callable[..., Any]:
        return OfItsKind({name: MODELS[name][1] for name in MODELS})


class OfItsKind(BatchInferTask):
    """First guesses for the images of a model's dimension; on GPUs where there are any, else on the CPU.

    Args:
        dimensions: of the models; others take every image.
    """

    def __init__(self, dimensions: Mapping[str, int]) -> None:
        self.dimensions = dict(dimensions)

    def get_images(self, request: dict[str, Any], datastore: Any) -> list[str]:
        wanted = self.dimensions.get(str(request.get("model")))
        return [case for case in super().get_images(request, datastore) if self._fits(datastore, case, wanted)]

    def _fits(self, datastore: Any, case: str, wanted: int | None) -> bool:
        try:
            return wanted in (None, dimension_of(datastore.get_image_uri(case)))
        except (ValueError, OSError):
            return False

    def __call__(self, request: dict[str, Any], datastore: Any, infer: Callable[..., Any]) -> Any:
        request["multi_gpu"] = bool(request.get("multi_gpu", True)) and torch.cuda.is_available()
        request["max_workers"] = 1

        def one(task: dict[str, Any], store: Any) -> dict[str, Any]:
            try:
                return dict(infer(task, store))
            except (ValueError, OSError) as error:  # the others are not held up
                return {"error": one_sentence(error)}

        return super().__call__(request, datastore, one)


def _is_job() -> bool:
    """Whether this is a process that the server started for training, scoring or many images."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return getattr(spec, "name", "") == "monailabel.interfaces.utils.app"
