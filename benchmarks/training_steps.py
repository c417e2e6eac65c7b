# SPDX-License-Identifier: Apache-2.0
"""The training steps that the ratios compare: this package's, a plain CLIP step, open_clip's, the naive recipe.

All in the bundle's precision on this CPU (``PRECISION``) with the optimizer of ``paper.json``; the towers of one size
are the same in every step: a ViT-B/16 and a BERT of its width and depth (``base``), or smaller ones to develop with.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from monai_unimedi.engines import SelectionCache, UniMediPretrainer
from monai_unimedi.handlers import TeacherUpdate
from monai_unimedi.losses.distillation_loss import SelfDistillationLoss
from monai_unimedi.losses.image_text_loss import ImageTextLoss
from monai_unimedi.losses.unimedi_loss import UniMediLoss
from monai_unimedi.networks.blocks.token_masking import random_token_mask
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from monai_unimedi.networks.nets.report_encoder import ReportEncoder
from monai_unimedi.networks.nets.unimedi import UniMedI
from monai_unimedi.optimizers import split_by_decay
from monai_unimedi.precision import has_bfloat16_units

__all__ = ["PRECISION", "SIZES", "batch", "clip_step", "naive_trainer", "open_clip_step", "trainer", "unimedi_step"]

SIZES = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}  # width and heads; 12 layers each
VOCABULARY, PADDED, SHORTEST, LONGEST = 28_996, 256, 40, 96  # tokens; 16.6 GFLOP a report at ViT-B when padded to 96
PROTOTYPES, SLICES = 8192, 4
PRECISION = "bfloat16" if has_bfloat16_units() else "float32"

Batch = dict[str, dict[str, Any]]


def image_encoder(size: str) -> UniMediImageEncoder:
    """The image tower of ``paper.json`` at one of the sizes."""
    width, heads = SIZES[size]
    return UniMediImageEncoder(hidden_size=width, mlp_dim=4 * width, num_heads=heads, num_selected_slices=SLICES)


def report_encoder(size: str) -> ReportEncoder:
    """A BERT of the same width; attention as the bundle's README advises for the device."""
    width, heads = SIZES[size]
    attention = "sdpa" if torch.cuda.is_available() or PRECISION == "float32" else "eager"
    return ReportEncoder(None, VOCABULARY, width, 12, heads, max_tokens=PADDED, pooling="cls", attention=attention)


def unimedi(size: str, visible_only: bool) -> UniMedI:
    """The training module, its heads scaled with the width from those of ``paper.json``."""
    width = SIZES[size][0]
    heads = {"head_dim": 2048 * width // 768, "bottleneck_dim": 256 * width // 768, "num_prototypes": prototypes(size)}
    return UniMedI(image_encoder(size), report_encoder(size), "masked", 0.5, visible_only, **heads)


def prototypes(size: str) -> int:
    """Prototypes of the distillation head."""
    return PROTOTYPES * SIZES[size][0] // 768


def adamw(network: nn.Module) -> torch.optim.AdamW:
    """The optimizer of ``paper.json``."""
    return torch.optim.AdamW(split_by_decay(network, 0.05), lr=2e-5, betas=(0.9, 0.999), fused=True)


def batch(source: str, rows: int, padded: bool) -> Batch:
    """Random images and reports of one source.

    Args:
        source: ``2d``, X-rays of 224 x 224, or ``3d``, CTs of 128 x 128 x 32.
        rows: B; the reports have 40 to 96 tokens, whatever B is.
        padded: reports to 256 tokens, else to the longest.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (rows, 1, 224, 224) if source == "2d" else (rows, 1, 128, 128, 32)
    lengths = torch.linspace(SHORTEST, LONGEST, rows).round().long()
    real = torch.arange(PADDED if padded else LONGEST) < lengths[:, None]
    ids = torch.randint(5, VOCABULARY, real.shape, generator=generator)
    return {
        source: {
            "image": torch.rand(shape, generator=generator),
            "input_ids": ids * real,
            "attention_mask": real.long(),
            "sample_seed": torch.arange(rows),
            "pair_group": torch.arange(rows),
            "row": torch.arange(rows),
            "id": [str(row) for row in range(rows)],
        }
    }


def trainer(network: nn.Module, data: Batch) -> UniMediPretrainer:
    """The engine of the bundle with the losses, the clipping and the teacher of ``paper.json``."""
    distillation = SelfDistillationLoss(network.get_parameter("student_head.prototypes").shape[0])
    return UniMediPretrainer(
        device="cpu",
        max_epochs=10,
        epoch_length=100,
        train_data_loader=[data],
        network=network,
        optimizer=adamw(network),
        loss_function=UniMediLoss(ImageTextLoss(), distillation),
        amp=PRECISION == "bfloat16",
        clip_norm=1.0,
        selection_refresh=10**9,
        train_handlers=[TeacherUpdate()],
    )


def unimedi_step(
    engine: UniMediPretrainer, data: Batch, view: str = "whole", scored: bool = False
) -> Callable[[], object]:
    """One step of an engine, distillation and teacher update included.

    Args:
        engine: of ``trainer`` or ``naive_trainer``.
        data: of ``batch``.
        view: ``contrast_view``.
        scored: a step that scores the slices of its CTs, else one that has kept their scores.
    """
    cache = engine.selection_cache

    def step() -> object:
        engine.network.contrast_view = view
        engine.selection_cache = SelectionCache(2) if scored else cache
        engine.state.iteration = 1
        return engine._iteration(engine, data)

    return step


class PlainClip(nn.Module):
    """Both towers of this package, every token encoded, and a temperature."""

    def __init__(self, size: str) -> None:
        super().__init__()
        self.image, self.text = image_encoder(size), report_encoder(size)
        self.log_scale = nn.Parameter(torch.tensor(2.66))

    def forward(self, image: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """image: (B, 1, X, Y); ids, mask: (B, L). Returns both embeddings (B, E) and the scale."""
        return self.image.project(plain_tokens(self.image, image)[:, 0]), self.text(ids, mask), self.log_scale.exp()


def plain_tokens(encoder: UniMediImageEncoder, image: Tensor, indices: Tensor | None = None) -> Tensor:
    """Every final token (B, 1 + N, C) through every block."""
    content, position = encoder.vit.embed(image, indices)
    x = encoder.vit.with_class(content + position)
    for block in encoder.vit.blocks:
        x = block(x)
    return encoder.vit.norm(x)


def info_nce(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
    """Plain symmetric InfoNCE of embeddings (B, E)."""
    logits, target = scale * image.float() @ text.float().T, torch.arange(len(image))
    return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2


def clip_step(size: str) -> Callable[[Batch], Callable[[], object]]:
    """A plain CLIP step with this package's towers: takes a batch, gives the step."""
    network = PlainClip(size).train()
    optimizer = adamw(network)

    def of(data: Batch) -> Callable[[], object]:
        x = data["2d"]
        return lambda: _plain(optimizer, lambda: network(x["image"], x["input_ids"], x["attention_mask"]), info_nce)

    return of


def open_clip_step(size: str) -> Callable[[Batch], Callable[[], object]]:
    """The same with open_clip's own ViT, text tower and loss.

    Raises:
        ImportError: When open_clip (``pip install ".[peers]"``) does not import.
    """
    import open_clip
    from transformers import BertConfig

    width, heads = SIZES[size]
    text = {"hf_model_pretrained": False, "hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}
    sizes = {"hidden_size": width, "num_attention_heads": heads, "intermediate_size": 4 * width}
    rest = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": PADDED}
    with tempfile.TemporaryDirectory() as folder:
        BertConfig(vocab_size=VOCABULARY, **sizes, **rest).save_pretrained(folder)
        vision = open_clip.CLIPVisionCfg(layers=12, width=width, head_width=64, patch_size=16, image_size=224)
        network = open_clip.CustomTextCLIP(512, vision, open_clip.CLIPTextCfg(hf_model_name=folder, **text)).train()
    with contextlib.suppress(AttributeError):
        network.text.transformer.set_attn_implementation(report_encoder("tiny").model.config._attn_implementation)
    optimizer, loss = adamw(network), open_clip.ClipLoss()

    def of(data: Batch) -> Callable[[], object]:
        image, ids = data["2d"]["image"].expand(-1, 3, -1, -1).contiguous(), data["2d"]["input_ids"]
        return lambda: _plain(optimizer, lambda: network(image, ids)[:3], loss)

    return of


def _plain(optimizer: torch.optim.Optimizer, forward: Callable[[], Any], loss: Callable[..., Tensor]) -> float:
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=PRECISION == "bfloat16"):
        outputs = forward()
    value = loss(*(output.float() for output in outputs))
    value.backward()
    optimizer.step()
    return value.item()


class NaiveUniMedI(UniMedI):
    """The recipe as one would write it down: selection, whole student, masked student, whole teacher, all tokens."""

    def encode_pair(  # type: ignore[override]
        self, image: Tensor, input_ids: Tensor, attention_mask: Tensor, sample_seed: Tensor, *unused: Any
    ) -> dict[str, Tensor]:
        """Arguments and result as :meth:`UniMedI.encode_pair`; nothing is cached or left out."""
        out = {"text_embedding": self.report_encoder(input_ids, attention_mask), "logit_scale": self.logit_scale}
        indices = None
        if image.ndim == 5:
            out["slice_scores"] = self.teacher_slice_scores(image)
            indices = self.student.select_slices(image, out["slice_scores"], sample_seed)
        whole = plain_tokens(self.student, image, indices)
        out["image_embedding"] = self.student.project(whole[:, 0])
        is_masked = random_token_mask(sample_seed, whole.shape[1] - 1, self.mask_ratio)
        masked = self._masked_tokens(image, indices, is_masked)
        with torch.no_grad():
            target = plain_tokens(self.teacher, image, indices)
        heads = (("student", self.student_head, masked), ("teacher", self.teacher_head, target))
        for name, head, tokens in heads:
            out[f"{name}_class"] = head(tokens[:, 0])
            out[f"{name}_patches"] = head(tokens[:, 1:][is_masked].reshape(len(image), -1, tokens.shape[2]))
        return {key: value.detach() if key.startswith("teacher") else value for key, value in out.items()}

    def _masked_tokens(self, image: Tensor, indices: Tensor | None, is_masked: Tensor) -> Tensor:
        vit = self.student.vit
        content, position = vit.embed(image, indices)
        x = vit.with_class(torch.where(is_masked[..., None], vit.mask_token.to(content.dtype), content) + position)
        for block in vit.blocks:
            x = block(x)
        return vit.norm(x)


def naive_trainer(size: str, data: Batch) -> UniMediPretrainer:
    """The engine with the naive recipe, its slices scored at every step."""
    network = unimedi(size, visible_only=False)
    network.__class__ = NaiveUniMedI
    engine = trainer(network, data)
    engine.selection_cache = SelectionCache(1)
    return engine
