# SPDX-License-Identifier: Apache-2.0
"""Which way of asking a trained model what a sentence is about leads to the right place most often.

    python -m benchmarks.sentence_selector MODELS [MODELS ...] --split validation --count 1000

draws phantoms of the split's seed range, keeps those with two findings, and prints hit@1 of each candidate with its
95 % interval over patients, by the rule of ``monai_unimedi.metrics.grounding`` (findings that share no place), beside
what the sentence of the other finding and the same sentence on another patient's image reach. Candidates are compared
on ``validation``; figures to quote come from ``test``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from monai_unimedi.data.grounding import report_sentences
from monai_unimedi.data.phantom import LABEL_NAMES, generate_ct, generate_xray, seed_sequence, stated_finding
from monai_unimedi.encoder import ImageTextEncoder, load_encoder
from monai_unimedi.inferers.grounding import patch_effects, sentence_scores, slice_effects
from monai_unimedi.metrics.grounding import grounding

CT_SHAPE, CT_SPACING, HU_RANGE = (48, 48, 16), (8.0, 8.0, 20.0), (-1150.0, 350.0)
COLUMNS = ("other_sentence", "other_image", "attention", "random")
Candidate = Callable[[Any, Tensor, Tensor], Tensor]  # network, image (1, C, X, Y[, S]), directions (N, E)


def draw(source: str, split: str, count: int) -> dict[str, Any]:
    """Evaluation arrays of the phantoms with two findings among the first `count` of the split."""
    found = []
    for index in range(count):
        seed = seed_sequence(0, split, source, index)
        phantom = generate_ct(seed, CT_SHAPE, CT_SPACING) if source == "3d" else generate_xray(seed)
        if len(phantom["findings"]) > 1:
            found.append(phantom)
    image = torch.stack([torch.from_numpy(one["image"]) for one in found]).float()[:, None]
    low, high = HU_RANGE if source == "3d" else (0.0, 255.0)
    return {
        "image": ((image - low) / (high - low)).clamp(0, 1),
        "lesion_mask": torch.stack([torch.from_numpy(one["lesion_mask"]) for one in found]),
        "report": [one["report"] for one in found],
    }


def patch_tokens(network: Any, image: Tensor) -> tuple[Tensor, int]:
    """All patches of an X-ray; of a CT its volume tokens (how many: second) and the patches of all slices."""
    tokenizer = network.vit.tokenizer
    if image.ndim == 4:
        return sum(tokenizer.images(image)), 0
    volume = sum(tokenizer.volumes(image))
    slices = sum(tokenizer.slices(image, torch.arange(image.shape[4])[None]))
    return torch.cat([volume, slices], 1), volume.shape[1]


def by_place(patches: Tensor, image: Tensor, network: Any) -> Tensor:
    """Scores of patches (N, P) as (N, S), the mean over a slice's patches, or (N, gx, gy)."""
    if image.ndim == 5:
        return patches.unflatten(1, (image.shape[4], -1)).mean(2)
    return patches.unflatten(1, (image.shape[2] // network.vit.tokenizer.patch_x, -1))


def attention_of(block: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Attention (B, H, L, L) and values (B, H, L, C / H) of a block."""
    q, k, v = block.attention.heads(block.norm1(x))
    return ((q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5).softmax(-1), v


def with_and_without(network: Any, image: Tensor, directions: Tensor) -> Tensor:
    effects = slice_effects(image, network) if image.ndim == 5 else patch_effects(image, network)
    return sentence_scores(effects, directions)[0]


def contribution(network: Any, image: Tensor, directions: Tensor) -> Tensor:
    """What each patch adds to [CLS] in all blocks, through the final norm's scale, along the sentence."""
    tokens, first = patch_tokens(network, image)
    x, added = network.vit.with_class(tokens), torch.zeros(())
    for block in network.vit.blocks:
        attention, v = attention_of(block, x)
        mixed = (attention[:, :, 0, :, None] * v).transpose(1, 2).flatten(2)
        added = added + mixed @ block.attention.out.weight.T
        x = block(x)
    centred = (added - added.mean(-1, keepdim=True)) / x[:, :1].std(-1, keepdim=True, unbiased=False)
    projected = (centred * network.vit.norm.weight) @ network.projection.weight.T
    return by_place(directions @ projected[0, 1 + first :].T, image, network)


def value_path(network: Any, image: Tensor, directions: Tensor) -> Tensor:
    """The last block with values in place of attention (MaskCLIP, arXiv 2112.01071), projected."""
    tokens, first = patch_tokens(network, image)
    x = network.vit.with_class(tokens)
    *before, last = network.vit.blocks
    for block in before:
        x = block(x)
    x = x + last.attention.out(attention_of(last, x)[1].transpose(1, 2).flatten(2))
    x = x + last.mlp(last.norm2(x))
    embedding = F.normalize(network.projection(network.vit.norm(x)), dim=-1)
    return by_place(directions @ embedding[0, 1 + first :].T, image, network)


def gradient(network: Any, image: Tensor, directions: Tensor) -> Tensor:
    """Relevance of the [CLS] rows: attention times the gradient of the sentence's score, where positive."""
    tokens, first = patch_tokens(network, image)
    with torch.enable_grad():
        x, rows = network.vit.with_class(tokens.expand(len(directions), -1, -1)).requires_grad_(), []
        for block in network.vit.blocks:
            attention, v = attention_of(block, x)
            rows.append(attention)
            x = x + block.attention.out((attention @ v).transpose(1, 2).flatten(2))
            x = x + block.mlp(block.norm2(x))
        score = (network.project(network.vit.norm(x)[:, 0]) * directions).sum()
        slopes = torch.autograd.grad(score, rows)
    relevance = sum((row * slope)[:, :, 0].clamp(min=0).mean(1) for row, slope in zip(rows, slopes))
    return by_place(relevance[:, 1 + first :].detach(), image, network)


CANDIDATES: dict[str, tuple[Candidate, bool]] = {  # True: the empty text taken away
    "with and without the place": (with_and_without, True),
    "with and without, empty text left in": (with_and_without, False),
    "gradient on the [CLS] rows": (gradient, True),
    "gradient, empty text left in": (gradient, False),
    "contribution to [CLS]": (contribution, True),
    "last block's value path": (value_path, True),
}


@torch.no_grad()
def judge(
    encoder: ImageTextEncoder, arrays: dict[str, Any], candidate: Candidate, is_relative: bool
) -> tuple[dict[str, dict[str, float]], float]:
    """Figures ``hit@1`` by selector, and seconds an image."""
    empty = encoder.text("") if is_relative else torch.zeros(())
    grounded: dict[int, list[dict[str, Any]]] = {}
    started, count = time.perf_counter(), len(arrays["report"])
    for row, report in enumerate(arrays["report"]):
        stated = [(s, stated_finding(s)) for s in report_sentences(report)]
        stated = [(sentence, name) for sentence, name in stated if name]
        directions = encoder.texts([sentence for sentence, _ in stated]) - empty
        own, other = (
            candidate(encoder.network, arrays["image"][[at]], directions) for at in (row, (row + 1) % count)
        )
        grounded[row] = [
            {"finding": LABEL_NAMES.index(name), "scores": scores, "other_scores": elsewhere}
            for (_, name), scores, elsewhere in zip(stated, own, other)
        ]
    seconds = (time.perf_counter() - started) / (2 * count)
    source = "3d" if arrays["image"].ndim == 5 else "2d"
    figures = dict(grounding({source: {**arrays, "grounding": grounded}}, LABEL_NAMES, seed=0))
    apart = {path[2]: figure for path, figure in figures.items() if (path[0], path[-1]) == ("grounding", "hit@1")}
    return apart, seconds


def attend(encoder: ImageTextEncoder, arrays: dict[str, Any]) -> dict[str, Any]:
    """The arrays with plain attention, which knows no sentence."""
    with torch.no_grad():
        maps = torch.cat([encoder.network.attention_map(part) for part in arrays["image"].split(32)])
    if maps.ndim == 3:
        return {**arrays, "attention": maps}
    return {**arrays, "slice_scores": encoder.network.selector.scores(maps)}


def text_of(figure: dict[str, float]) -> str:
    return f"{figure['value']:.2f} ({figure['low']:.2f} to {figure['high']:.2f}), {figure['count']} images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="MODELS", help="folders that trainings wrote")
    parser.add_argument("--split", default="validation", choices=("validation", "test"))
    parser.add_argument("--count", type=int, default=1000, help="phantoms drawn of each dimension")
    parser.add_argument("--only", metavar="TEXT", default="", help="candidates whose name holds it")
    arguments = parser.parse_args()
    for source, kind in (("3d", "CT"), ("2d", "X-ray")):
        arrays = draw(source, arguments.split, arguments.count)
        print(f"\n{kind}s with two findings: {len(arrays['report'])} ({arguments.split}); hit@1")
        print("| model | candidate | its sentence | other sentence | other image | attention | random | ms |")
        print("|---|---|---|---|---|---|---|---|")
        for number, folder in enumerate(arguments.models):
            encoder = load_encoder(folder)
            known = attend(encoder, arrays)
            for name, (candidate, is_relative) in CANDIDATES.items():
                if arguments.only in name:
                    found, seconds = judge(encoder, known, candidate, is_relative)
                    cells = [number, name, text_of(found["sentence"])]
                    cells += [f"{found[column]['value']:.2f}" for column in COLUMNS]
                    print("|", *(f"{cell} |" for cell in cells), f"{1000 * seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
