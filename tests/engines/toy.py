# SPDX-License-Identifier: Apache-2.0
"""A network, a loss and a data source of a few hundred numbers, with the interfaces of the real ones."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from monai_unimedi.engines.distributed import rank, world_size

ROWS = {"2d": 10, "3d": 8}
NUM_SLICES = 6
Request = tuple[str, int, int]


class ToySampler:
    """Yields, per step, the requests of both sources; its only state is the step at which it goes on."""

    def __init__(self, epoch_length: int, batch_size: int = 4) -> None:
        self.epoch_length = epoch_length
        self.batch_size = batch_size // world_size()
        self.step = 0

    def set_step(self, step: int) -> None:
        self.step = step

    def __len__(self) -> int:
        return self.epoch_length

    def __iter__(self) -> Iterator[list[Request]]:
        for step in range(self.step, (self.step // self.epoch_length + 1) * self.epoch_length):
            yield [request for source in ROWS for request in self.requests(source, step)]

    def requests(self, source: str, step: int) -> list[Request]:
        first = (step * world_size() + rank()) * self.batch_size
        order = torch.randperm(ROWS[source], generator=torch.Generator().manual_seed(3)).tolist()
        places = range(first, first + self.batch_size)
        return [(source, order[place % ROWS[source]], 100 * place) for place in places]


class ToyDataset(Dataset[dict[str, Any]]):
    """A sample is a pure function of its request."""

    def __getitem__(self, request: Request) -> dict[str, Any]:
        source, row, sample_seed = request
        generator = torch.Generator().manual_seed(row)
        size = (1, 4, 4) if source == "2d" else (1, 4, 4, NUM_SLICES)
        image = torch.rand(size, generator=generator)
        noise = torch.rand(size, generator=torch.Generator().manual_seed(sample_seed))
        return {
            "source": source,
            "image": image + 0.1 * noise,
            "input_ids": torch.randint(0, 20, (5,), generator=generator),
            "pair_group": torch.tensor(row),
            "row": torch.tensor(row),
            "id": f"{source}-{row}",
        }


def collate(samples: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    batch: dict[str, dict[str, Any]] = {}
    for source in ROWS:
        rows = [sample for sample in samples if sample["source"] == source]
        if rows:
            names = ("image", "input_ids", "pair_group", "row")
            batch[source] = {name: torch.stack([row[name] for row in rows]) for name in names}
            batch[source]["id"] = [row["id"] for row in rows]
    return batch


def toy_loader(epoch_length: int = 5, num_workers: int = 0, batch_size: int = 4) -> DataLoader[Any]:
    sampler: Any = ToySampler(epoch_length, batch_size)
    return DataLoader(ToyDataset(), batch_sampler=sampler, collate_fn=collate, num_workers=num_workers)


class ToyTower(nn.Module):
    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(16, 8)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(8, 6)

    def features(self, image: Tensor) -> Tensor:
        """(B, 1, X, Y) or (B, 1, X, Y, S) to (B, 8) or (B, S, 8)."""
        flat = image.flatten(1, 3) if image.ndim == 4 else image.flatten(1, 3).transpose(1, 2)
        return torch.tanh(self.hidden(flat))


class ToyNetwork(nn.Module):
    """Calls as `UniMedI`: `network(sources, distill=..., slice_scores=...)`."""

    scores_slices = True

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.num_prototypes = 7
        self.student = ToyTower(dropout)
        self.student_head = nn.Linear(8, self.num_prototypes)
        self.report_encoder = nn.Embedding(20, 6)
        self.log_scale = nn.Parameter(torch.tensor(1.0))
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.student_head).requires_grad_(False)
        self.scored_rows = 0

    def train(self, mode: bool = True) -> ToyNetwork:
        super().train(mode)
        self.teacher.eval()
        return self

    @torch.no_grad()
    def update_teacher(self, momentum: float) -> None:
        for mine, theirs in ((self.teacher, self.student), (self.teacher_head, self.student_head)):
            for slow, fast in zip(mine.parameters(), theirs.parameters(), strict=True):
                slow.lerp_(fast, 1 - momentum)

    def freeze_last_layer(self, is_frozen: bool) -> None:
        self.student_head.requires_grad_(not is_frozen)

    @torch.no_grad()
    def teacher_slice_scores(self, image: Tensor, num_parts: int = 1) -> Tensor:
        self.scored_rows += len(image)
        return self.teacher.features(image).norm(dim=-1).softmax(-1)

    def pooled(self, tower: ToyTower, image: Tensor, scores: Tensor | None) -> Tensor:
        features = tower.features(image)
        if image.ndim == 5:
            scores = self.teacher_slice_scores(image) if scores is None else scores
            features = (features * scores[..., None].to(features.dtype)).sum(1)
        return features

    def forward(
        self,
        sources: dict[str, Any],
        distill: bool = True,
        slice_scores: dict[str, Tensor] | None = None,
        targets: bool = True,
    ) -> dict[str, dict[str, Tensor]]:
        outputs = {}
        for source, inputs in sources.items():
            scores = (slice_scores or {}).get(source)
            pooled = self.pooled(self.student, inputs["image"], scores)
            output = {
                "image_embedding": F.normalize(self.student.projection(self.student.dropout(pooled)), dim=1),
                "text_embedding": F.normalize(self.report_encoder(inputs["input_ids"]).mean(1), dim=1),
                "logit_scale": self.log_scale.exp(),
                "pair_group": inputs["pair_group"],
            }
            if distill:
                output["student_class"] = self.student_head(pooled)
            if distill and targets:
                with torch.no_grad():
                    output["teacher_class"] = self.teacher_head(self.pooled(self.teacher, inputs["image"], scores))
            outputs[source] = output
        return outputs


def gathered(rows: Tensor) -> Tensor:
    return torch.cat(all_gather(rows)) if world_size() > 1 else rows


class ToyLoss(nn.Module):
    """Calls as `UniMediLoss`: outputs to (scalar, flat dict of scalars)."""

    centre: Tensor

    def __init__(self, distillation_weight: float = 0.3) -> None:
        super().__init__()
        self.distillation_weight = distillation_weight
        self.teacher_temperature = 0.05
        self.register_buffer("centre", torch.zeros(7))

    def contrast(self, output: dict[str, Tensor]) -> Tensor:
        image, text = output["image_embedding"].float(), output["text_embedding"].float()
        group, groups = output["pair_group"], gathered(output["pair_group"])
        target = (group[:, None] == groups).float()
        target = target / target.sum(1, keepdim=True)
        to_text = output["logit_scale"] * image @ gathered(text).T
        to_image = output["logit_scale"] * text @ gathered(image).T
        return (F.cross_entropy(to_text, target) + F.cross_entropy(to_image, target)) / 2

    def distillation(self, output: dict[str, Tensor]) -> Tensor:
        teacher = output["teacher_class"].detach().float()
        target = ((teacher - self.centre) / self.teacher_temperature).softmax(1)
        mean = teacher.mean(0)
        if world_size() > 1:
            dist.all_reduce(mean)
        self.centre = 0.9 * self.centre + 0.1 * mean / world_size()
        return -(target * (output["student_class"].float() / 0.1).log_softmax(1)).sum(1).mean()

    def forward(self, outputs: dict[str, dict[str, Tensor]]) -> tuple[Tensor, dict[str, Tensor]]:
        terms, loss = {}, torch.zeros(())
        for source, output in outputs.items():
            terms[f"{source}_loss_vl"] = self.contrast(output)
            loss = loss + terms[f"{source}_loss_vl"]
            if "student_class" in output:
                terms[f"{source}_loss_icl"] = self.distillation(output)
                loss = loss + self.distillation_weight * terms[f"{source}_loss_icl"]
        return loss, {"loss": loss, **terms}
