# SPDX-License-Identifier: Apache-2.0
"""Cross-dimension self-distillation L_icl + L_pcl: the student's masked view against the EMA teacher's whole
view.

The form is that of DINO (Caron et al. 2021) on [CLS] and of iBOT (Zhou et al. 2022) on the masked patches;
the paper is He et al., "Unified Medical Image Pre-training in Language-Guided Common Semantic Space",
section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_unimedi.losses.across_ranks import max_over_ranks, sum_over_ranks

__all__ = ["SelfDistillationLoss"]

SINKHORN_ITERATIONS = 3


class SelfDistillationLoss(nn.Module):
    r"""Cross-entropy of the student's prototype distribution to the teacher's, on [CLS] and on the masked
    patches.

    .. math::
        p_t = \mathrm{softmax}\big((z_t - c) / T_t\big), \qquad
        L_{icl} = -\sum p_{t,cls} \log p_{s,cls}, \qquad
        L_{pcl} = -\frac{1}{|M|} \sum_{j \in M} \sum p_{t,j} \log p_{s,j}, \qquad
        c \leftarrow m\,c + (1 - m)\,\bar z_t

    There is one centre c per source and token kind. It is updated after its use, in training mode only, with
    the mean over all ranks. Beside it stands the running mean of the teacher's distribution (same momentum
    m, uniform at the start): its entropy tells a collapse. It is given over the largest that it can have: log K, or
    what confident rows, all different, leave in a mean that remembers. With n rows a step over all ranks these have
    the weights :math:`(1 - m) m^j / n`, j steps back, of entropy
    :math:`\log n - \log(1 - m) - \frac{m}{1 - m} \log m`, which is log n + 3.25 for m = 0.9.

    Args:
        num_prototypes: K, the number of logits per token.
        sources: names for which centres are kept.
        student_temperature: T_s.
        teacher_temperature: T_t; a plain attribute, which a schedule may set.
        centre_momentum: m, in [0, 1).
        centring: ``"centre"`` as above, or ``"sinkhorn"``: three Sinkhorn-Knopp iterations over the rows of
            all ranks in place of the centre.

    Raises:
        ValueError: When an argument is out of its range.
    """

    def __init__(
        self,
        num_prototypes: int,
        sources: Sequence[str] = ("2d", "3d"),
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        centre_momentum: float = 0.9,
        centring: str = "centre",
    ) -> None:
        super().__init__()
        if num_prototypes < 2:
            raise ValueError(f"num_prototypes must be 2 or more, got {num_prototypes}")
        if min(student_temperature, teacher_temperature) <= 0:
            raise ValueError(f"temperatures must be > 0, got {student_temperature} and {teacher_temperature}")
        if not 0 <= centre_momentum < 1:
            raise ValueError(f"centre_momentum must be in [0, 1), got {centre_momentum}")
        if centring not in ("centre", "sinkhorn"):
            raise ValueError(f"centring must be 'centre' or 'sinkhorn', got {centring!r}")
        self.num_prototypes = num_prototypes
        self.sources = tuple(sources)
        self.student_temperature = student_temperature
        self.teacher_temperature = teacher_temperature
        self.centre_momentum = centre_momentum
        self.centring = centring
        for source in self.sources:
            for kind in ("class", "patches"):
                self.register_buffer(f"centre_{source}_{kind}", torch.zeros(num_prototypes))
                self.register_buffer(
                    f"distribution_{source}_{kind}", torch.full((num_prototypes,), 1.0 / num_prototypes)
                )

    def forward(
        self,
        *,
        source: str,
        student_class: Tensor,
        teacher_class: Tensor,
        student_patches: Tensor,
        teacher_patches: Tensor,
        is_masked: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Both terms and the teacher's entropies, in float32 or better.

        Args:
            source: whose centres to use.
            student_class: (B, K), prototype logits before temperature.
            teacher_class: (B, K), the same of the teacher; detached here.
            student_patches: (B, N, K); only the masked tokens, or all of them with ``is_masked``.
            teacher_patches: (B, N, K), the same tokens; detached here.
            is_masked: (B, N), bool, True = hidden from the student: only these tokens count.

        Returns:
            Scalars: ``loss_icl``; ``loss_pcl`` (mean over the masked tokens of each row, then over rows);
            detached, for ``<kind>`` in ``class``, ``patches``: ``teacher_entropy_<kind>`` (mean entropy of the
            teacher's distributions over log K; 1 = uniform targets) and ``teacher_mean_entropy_<kind>`` (entropy of
            their running mean over the largest of confident rows; towards 0 = collapse onto a few prototypes, above 1
            = rows that are not confident, as at the start).

        Raises:
            ValueError: When the source is unknown, or the shapes do not fit, or no token is masked.
        """
        if source not in self.sources:
            raise ValueError(f"source must be one of {self.sources}, got {source!r}; name it in `sources`")
        _check_pair("class", student_class, teacher_class, 2, self.num_prototypes)
        _check_pair("patches", student_patches, teacher_patches, 3, self.num_prototypes)
        loss_icl, class_entropies = self._term(source, "class", student_class, teacher_class)
        student, teacher, weight = _masked_rows(student_patches, teacher_patches, is_masked)
        loss_pcl, patch_entropies = self._term(source, "patches", student, teacher, weight)
        return {"loss_icl": loss_icl, "loss_pcl": loss_pcl, **class_entropies, **patch_entropies}

    def _term(
        self, source: str, kind: str, student: Tensor, teacher: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of rows (T, K), weighted by (T,) or averaged, and entropies; moves the centre."""
        teacher = _at_least_float32(teacher.detach())
        target = self._teacher_distribution(source, kind, teacher)
        log_student = (_at_least_float32(student) / self.student_temperature).log_softmax(dim=-1)
        cross_entropy = -(target * log_student).sum(dim=-1)
        loss = cross_entropy.mean() if weight is None else (weight * cross_entropy).sum()
        return loss, self._follow(source, kind, teacher, target)

    @torch.no_grad()
    def _teacher_distribution(self, source: str, kind: str, teacher: Tensor) -> Tensor:
        """Targets p_t of rows (T, K), each summing to one."""
        if self.centring == "sinkhorn":
            return _sinkhorn(teacher / self.teacher_temperature)
        centre = self.get_buffer(f"centre_{source}_{kind}")
        return ((teacher - centre) / self.teacher_temperature).softmax(dim=-1)

    @torch.no_grad()
    def _follow(self, source: str, kind: str, teacher: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Moves centre and running distribution by the means over all ranks; returns the two entropies."""
        centre = self.get_buffer(f"centre_{source}_{kind}")
        distribution = self.get_buffer(f"distribution_{source}_{kind}")
        entropy = torch.special.entr(target).sum()
        count = entropy.new_tensor(len(target))
        total = sum_over_ranks(torch.cat([teacher.sum(0), target.sum(0), entropy[None], count[None]]))
        mean = total / total[-1]
        mean_logits, mean_target, mean_entropy = mean[: len(centre)], mean[len(centre) : -2], mean[-2]
        if self.training:
            step = 1 - self.centre_momentum
            centre.lerp_(mean_logits.to(centre), step)
            distribution.lerp_(mean_target.to(distribution), step)
        log_k = math.log(self.num_prototypes)
        share = ((total[-1].log() + _entropy_of_memory(self.centre_momentum)) / log_k).clamp(1e-6, 1)
        return {
            f"teacher_entropy_{kind}": mean_entropy / log_k,
            f"teacher_mean_entropy_{kind}": torch.special.entr(distribution).sum() / log_k / share,
        }


def _entropy_of_memory(momentum: float) -> float:
    """Of the weights (1 - m) m^j that a running mean of momentum m gives to the steps j = 0, 1, ... before."""
    return -math.log1p(-momentum) - (momentum / (1 - momentum) * math.log(momentum) if momentum else 0.0)


def _sinkhorn(logits: Tensor) -> Tensor:
    """Rows (T, K) that use all prototypes equally over all ranks; in logarithms, so nothing underflows."""
    for _ in range(SINKHORN_ITERATIONS):
        largest = max_over_ranks(logits.amax(dim=0))
        logits = logits - largest - sum_over_ranks((logits - largest).exp().sum(dim=0)).log()
        logits = logits.log_softmax(dim=1)
    return logits.exp()


def _masked_rows(
    student: Tensor, teacher: Tensor, is_masked: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Masked tokens as rows (T, K), (T, K), and weights (T,) that give every sample the same say."""
    if is_masked is None:
        return student.flatten(0, 1), teacher.flatten(0, 1), None
    if is_masked.shape != student.shape[:2] or is_masked.dtype != torch.bool:
        raise ValueError(
            f"is_masked must be bool of shape {tuple(student.shape[:2])}, got {is_masked.dtype} of shape "
            f"{tuple(is_masked.shape)}"
        )
    count = is_masked.sum(dim=1)
    if not bool((count > 0).all()):
        raise ValueError(f"is_masked must hide at least one token of every row, got {count.tolist()} by row")
    of_row = 1 / (count * len(count)).to(torch.promote_types(student.dtype, torch.float32))
    weight = of_row[:, None].expand_as(is_masked)[is_masked]
    return student[is_masked], teacher[is_masked], weight


def _at_least_float32(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check_pair(kind: str, student: Tensor, teacher: Tensor, ndim: int, num_prototypes: int) -> None:
    if student.shape != teacher.shape or student.ndim != ndim or student.shape[-1] != num_prototypes:
        wanted = ("B", "N", str(num_prototypes)) if ndim == 3 else ("B", str(num_prototypes))
        raise ValueError(
            f"student_{kind} and teacher_{kind} must both be ({', '.join(wanted)}), got "
            f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        )
    if student.numel() == 0:
        raise ValueError(
            f"student_{kind} must hold at least one token, got {tuple(student.shape)}; raise the mask ratio"
        )
