# SPDX-License-Identifier: Apache-2.0
"""A classification head that starts from sentences: before its first step it is the zero-shot classifier.

The zero-shot score of a finding, :math:`s = d^\\top W z / \\lVert W z \\rVert` with the prompts' direction :math:`d`,
the projection :math:`W` and the final-norm [CLS] token :math:`z`, is linear in :math:`z` but for the norm of
:math:`W z`, which hardly varies: the final layer norm fixes :math:`z`'s. So :math:`w = a\\, W^\\top d / c` with
:math:`c^2 = \\mathbb{E} \\lVert W z \\rVert^2` is a linear head with about :math:`a` times the zero-shot scores as
logits (the start of WiSE-FT, arXiv 2109.01903, section 3).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from monai_unimedi.encoder import load_encoder
from monai_unimedi.inferers.zero_shot import load_prompts

__all__ = ["head_prompts", "start_head_from_prompts"]

logger = logging.getLogger(__name__)

Prompts = Mapping[str, Mapping[str, Sequence[str]]]


def head_prompts(
    given: str | os.PathLike, checkpoint: str | os.PathLike | None, usual: Prompts, reads_class: bool = True
) -> Prompts:
    """The prompts that a head starts from; none where it starts from random weights.

    Args:
        given: a prompt file, ``none``, or ``auto``: the usual ones where the checkpoint has a report tower.
        checkpoint: that the encoder starts from, None or ``none`` where it starts from random weights.
        usual: prompts of the data at hand, empty where there are none.
        reads_class: whether the head reads [CLS]; another one cannot start from prompts.

    Raises:
        ValueError: When a file is given, but the training does not start from a pre-training with its report tower,
            or its head does not read [CLS].
    """
    word = str(given).lower()
    has_tower = checkpoint is not None and (_folder(checkpoint) / "text").is_dir()
    if word == "auto":
        return usual if has_tower and reads_class else {}
    if word in ("none", ""):
        return {}
    if not has_tower or not reads_class:
        raise ValueError(
            "Prompts must go with --pretrained the model.pt of a pre-training that has text/ beside it, and with a "
            f"head that reads [CLS], got pretrained {checkpoint}: leave --prompts out, or give such a training."
        )
    return load_prompts(Path(given))


def start_head_from_prompts(
    head: nn.Linear | None,
    checkpoint: str | os.PathLike,
    prompts: Prompts,
    class_names: Sequence[str],
    scale: float = 10.0,
    background: str | None = None,
) -> None:
    """Sets the head's weights to the prompts' directions, its bias to 0.

    Args:
        head: from [CLS] to one logit a class; None where the network is another one, without such a head.
        checkpoint: ``model.pt`` of a pre-training, with its ``encoder.json`` and ``text/`` beside it; or their folder.
        prompts: as ``load_prompts`` gives them.
        class_names: of the head's rows.
        scale: :math:`a`, logits for a similarity of 1.
        background: the class that needs no prompts; without them its row starts at 0.

    Raises:
        FileNotFoundError: When the report tower does not lie beside the checkpoint.
        ValueError: When there is no head, a class has no prompts, or the head is of another width.
    """
    if head is None:
        raise ValueError("The network must have a head that reads [CLS], this one has none: give --prompts none.")
    missing = [name for name in class_names if name not in prompts and name != background]
    if missing:
        raise ValueError(f"Every class must have prompts, got none for {missing}: add them to the prompt file.")
    encoder = load_encoder(_folder(checkpoint))
    tower, named = encoder.network, [name for name in class_names if name in prompts]
    directions = dict(zip(named, encoder.prompts({name: prompts[name] for name in named})))
    nothing = torch.zeros(tower.projection.out_features)
    direction = torch.stack([directions.get(name, nothing) for name in class_names])
    weight = direction @ tower.projection.weight.detach() / typical_norm(tower.projection.weight, tower.vit.norm)
    if weight.shape != head.weight.shape:
        raise ValueError(
            f"The head must have the encoder's width {weight.shape[1]}, got {head.weight.shape[1]}: build the network "
            "with the checkpoint's sizes."
        )
    with torch.no_grad():
        head.weight.copy_(scale * weight)
        head.bias.zero_()
    logger.info("the head starts from the prompts of %s", ", ".join(named))


def typical_norm(projection: Tensor, norm: nn.LayerNorm) -> float:
    """Root mean square of the length of a projected token: what the layer norm gives has unit variance before its
    own weight and bias."""
    spread = (projection * norm.weight).square().sum() + (projection @ norm.bias).square().sum()
    return float(spread.detach().sqrt())


def _folder(checkpoint: str | os.PathLike) -> Path:
    path = Path(checkpoint)
    return path if path.is_dir() else path.parent
