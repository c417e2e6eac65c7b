# SPDX-License-Identifier: Apache-2.0
"""One gloo rank of ``test_two_ranks.py``: ``two_rank_worker.py RANK WORLD_SIZE FOLDER``.

Reads ``case.pt`` from the folder, does three steps of every loss on its share of the rows through
``DistributedDataParallel``, and writes ``rank_RANK.pt``. With WORLD_SIZE 1 it is the run to compare with.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.parallel import DistributedDataParallel

from monai_unimedi.losses import ImageTextLoss, SelfDistillationLoss, UniMediLoss, chunked_contrast


class Towers(nn.Module):
    """The least that yields every tensor of the losses, float64."""

    def __init__(self, size: int, prototypes: int) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(size, size), nn.Linear(size, size)
        self.head = nn.Linear(size, prototypes, bias=False)
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, batch: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
        return {source: self.outputs(rows) for source, rows in batch.items()}

    def outputs(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        tokens = self.image(rows["tokens"])  # (B, 1 + M, C), [CLS] first
        logits = self.head(tokens)
        outputs = {
            "image_embedding": normalize(tokens[:, 0], dim=1),
            "text_embedding": normalize(self.text(rows["text"]), dim=1),
            "logit_scale": self.scale.exp(),
            "student_class": logits[:, 0],
            "student_patches": logits[:, 1:],
            "teacher_class": rows["teacher"][:, 0],
            "teacher_patches": rows["teacher"][:, 1:],
        }
        return {**outputs, "pair_group": rows["pair_group"]} if "pair_group" in rows else outputs


def steps(case: dict[str, Any], rank: int, world_size: int) -> dict[str, Any]:
    """Three optimizer steps on this rank's rows; terms and gradients of each, and the final state."""
    torch.manual_seed(0)
    towers: nn.Module = Towers(case["size"], case["prototypes"]).double()
    if world_size > 1:
        towers = DistributedDataParallel(towers)
    distillation = SelfDistillationLoss(case["prototypes"], centring=case["centring"]).double()
    loss = UniMediLoss(ImageTextLoss(), distillation, joint_contrast=case["joint_contrast"])
    optimizer = torch.optim.SGD(towers.parameters(), lr=0.05)
    history = []
    for batch in case["batches"]:
        share = {
            source: {name: tensor.chunk(world_size)[rank] for name, tensor in rows.items()}
            for source, rows in batch.items()
        }
        optimizer.zero_grad()
        value, terms = loss(towers(share))
        value.backward()
        gradients = {name: parameter.grad for name, parameter in towers.named_parameters()}
        history.append(
            {"terms": terms, "gradients": [g.clone() for g in gradients.values() if g is not None]}
        )
        optimizer.step()
    return {"history": history, "weights": list(towers.parameters()), "buffers": dict(loss.named_buffers())}


def weighted_gradients(rank: int, world_size: int) -> list[Tensor]:
    """Gradients of this rank's embeddings where rank r's loss has the factor r + 1; of all rows in one process."""
    generator = torch.Generator().manual_seed(9)
    pair = normalize(torch.randn(2, 8, 5, generator=generator, dtype=torch.float64), dim=2)
    group = torch.arange(8) % 5
    if world_size > 1:
        image, text = (each.chunk(world_size)[rank].clone().requires_grad_() for each in pair)
        loss = (rank + 1) * ImageTextLoss()(image, text, 9.0, group.chunk(world_size)[rank])
    else:
        image, text = (each.clone().requires_grad_() for each in pair)
        same = (group[:, None] == group).double()
        logits, target = 9.0 * image @ text.T, same / same.sum(1, keepdim=True)
        by_row = -sum((target * each.log_softmax(1)).sum(1) for each in (logits, logits.T)) / 2
        loss = by_row[:4].mean() + 2 * by_row[4:].mean()
    return list(torch.autograd.grad(loss, (image, text)))


def uneven_message(rank: int) -> str:
    """What a rank says when the others hold another number of rows."""
    rows = normalize(torch.ones(2 + rank, 3), dim=1)
    try:
        ImageTextLoss()(rows, rows, 1.0)
    except ValueError as error:
        return str(error)
    return ""


def main(rank: int, world_size: int, folder: Path) -> None:
    if world_size > 1:
        store = dist.FileStore(str(folder / "store"), world_size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
    cases = torch.load(folder / "case.pt", weights_only=True)
    if world_size > 1:  # several blocks a rank, against one in one process
        patch.multiple(chunked_contrast, MIN_ROWS=3, CHUNK_LOGITS=1).start()
    found: dict[str, Any] = {"cases": [steps(case, rank, world_size) for case in cases]}
    found["weighted"] = weighted_gradients(rank, world_size)
    if world_size > 1:
        found["uneven"] = uneven_message(rank)
        one = normalize(torch.ones(1, 3), dim=1)  # one row a rank: two over both
        found["one_row_each"] = ImageTextLoss()(one, one, 1.0)
        dist.destroy_process_group()
    torch.save(found, folder / f"rank_{rank}.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
