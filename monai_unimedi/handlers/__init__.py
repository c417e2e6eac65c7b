# SPDX-License-Identifier: Apache-2.0
"""Handlers of the pre-training: teacher, schedules, exact resume, best model, curves and stops."""

from __future__ import annotations

from .best_model import BestModel
from .cases import CaseRecorder
from .collapse_stop import CollapseStop
from .early_stop import EarlyStop
from .embedding_saver import EmbeddingSaver
from .fingerprint import fingerprint
from .history import History, read_history
from .loss_schedule import LossSchedule
from .prediction_saver import PredictionSaver
from .progress import EvaluationProgress, Progress
from .resume import ResumeCheckpoint
from .step_profile import StepProfile
from .step_seed import StepSeed
from .teacher_update import TeacherUpdate
from .training_record import TrainingRecord, peak_memory_gb
from .xray_usual import XrayUsualAttention

__all__ = [
    "BestModel",
    "CaseRecorder",
    "CollapseStop",
    "EarlyStop",
    "EmbeddingSaver",
    "EvaluationProgress",
    "History",
    "LossSchedule",
    "PredictionSaver",
    "Progress",
    "ResumeCheckpoint",
    "StepProfile",
    "StepSeed",
    "TeacherUpdate",
    "TrainingRecord",
    "XrayUsualAttention",
    "fingerprint",
    "peak_memory_gb",
    "read_history",
]
