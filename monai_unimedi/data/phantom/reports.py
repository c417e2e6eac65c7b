# SPDX-License-Identifier: Apache-2.0
"""Template reports: findings and impression with synonyms, hedges, negations and sentences without bearing.

Side, zone and size of a present finding are always said. The wording is drawn from a stream of its own:
it tells nothing else about the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["build_prompts", "stated_finding", "write_report"]

NOUNS = {
    "nodule": ("nodule", "pulmonary nodule", "round nodule", "solid nodule"),
    "consolidation": (
        "consolidation",
        "airspace consolidation",
        "dense consolidation",
        "focal consolidation",
    ),
    "ground_glass": ("ground glass opacity", "ground glass attenuation", "hazy ground glass opacity"),
    "pleural_effusion": ("pleural effusion", "loculated effusion", "effusion"),
    "pneumothorax": ("pneumothorax", "loculated pneumothorax"),
}
SIZE_WORDS = {"small": ("small", "minor", "little"), "large": ("large", "extensive", "big")}
ZONE_WORDS = {"upper": ("upper zone", "upper lung zone"), "middle": ("middle zone", "mid zone"),
              "lower": ("lower zone", "lower lung zone")}  # fmt: skip
PRESENT = (
    "There is a {size} {noun} in the {side} {zone}.",
    "{size} {noun} is seen in the {side} {zone}.",
    "{size} {noun} at the {side} {zone}.",
    "The {side} {zone} shows a {size} {noun}.",
    "Within the {side} {zone} there is {size} {noun}.",
    "In the {side} {zone}, findings suggest a {size} {noun}.",
    "{size} {noun} is noted on the {side}, in the {zone}.",
    "Appearances are most consistent with a {size} {noun} in the {side} {zone}.",
)
CONCLUSION = (
    "{size} {noun}, {side} {zone}.",
    "{size} {side} {zone} {noun}.",
    "Likely {size} {noun} in the {side} {zone}.",
    "{size} {noun} in the {side} {zone}.",
    "Probable {size} {noun} of the {side} {zone}.",
)
CARDIOMEGALY = (
    "The heart is enlarged.",
    "Cardiomegaly is present.",
    "The cardiac silhouette is enlarged.",
    "There is cardiomegaly.",
    "The heart size is increased.",
)
CARDIOMEGALY_CONCLUSION = ("Cardiomegaly.", "Enlarged heart, cardiomegaly.", "Likely cardiomegaly.")
NEGATIONS = {
    "nodule": ("No nodule.", "No pulmonary nodule is seen.", "There is no nodule."),
    "consolidation": ("No consolidation.", "No airspace consolidation.", "There is no focal consolidation."),
    "ground_glass": ("No ground glass opacity.", "There is no ground glass opacity."),
    "pleural_effusion": ("No pleural effusion.", "There is no pleural effusion.", "No effusion is seen."),
    "pneumothorax": ("No pneumothorax.", "There is no pneumothorax.", "No evidence of pneumothorax."),
    "cardiomegaly": (
        "The heart is normal in size.",
        "Heart size is within normal limits.",
        "No cardiomegaly.",
    ),
}
NEUTRAL = (
    "Comparison with the prior study is not available.",
    "The trachea is midline.",
    "The visualised bones are unremarkable.",
    "Degenerative change of the spine.",
    "The upper abdomen is unremarkable.",
    "The patient is slightly rotated.",
    "The study is of diagnostic quality.",
    "No displaced rib fracture.",
)
NORMAL = (
    "The lungs are clear.",
    "Both lungs are well expanded and clear.",
    "Clear lungs on both sides.",
    "No focal abnormality of the lungs.",
)
NORMAL_CONCLUSION = (
    "No acute abnormality.",
    "Normal chest.",
    "No acute cardiopulmonary disease.",
    "Normal study.",
)


def _pick(options: Sequence[str], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _sentence(template: str, **words: str) -> str:
    text = template.format(**words).replace(" a extensive", " an extensive")
    return text[0].upper() + text[1:]


def _state(
    finding: dict[str, Any], rng: np.random.Generator, templates: Sequence[str], heart: Sequence[str]
) -> str:
    if finding["finding"] == "cardiomegaly":
        return _pick(heart, rng)
    return _sentence(
        _pick(templates, rng),
        noun=_pick(NOUNS[finding["finding"]], rng),
        side=finding["side"],
        zone=_pick(ZONE_WORDS[finding["zone"]], rng),
        size=_pick(SIZE_WORDS[finding["size"]], rng),
    )


def write_report(findings: Sequence[dict[str, Any]], rng: np.random.Generator) -> str:
    """Write a report.

    Args:
        findings: those present, with `finding`, `side`, `zone`, `size`.
        rng: source of the wording.

    Returns:
        "Findings: ... Impression: ...", one line.
    """
    present = {f["finding"] for f in findings}
    absent = [name for name in NEGATIONS if name not in present]
    count = rng.integers(1, 4) if findings else rng.integers(2, 5)
    sentences = [_state(f, rng, PRESENT, CARDIOMEGALY) for f in findings] or [_pick(NORMAL, rng)]
    sentences += [_pick(NEGATIONS[absent[i]], rng) for i in rng.permutation(len(absent))[:count]]
    sentences += [NEUTRAL[i] for i in rng.permutation(len(NEUTRAL))[: rng.integers(0, 3)]]
    body = " ".join(sentences[i] for i in rng.permutation(len(sentences)))
    conclusion = [_state(f, rng, CONCLUSION, CARDIOMEGALY_CONCLUSION) for f in findings]
    return f"Findings: {body} Impression: {' '.join(conclusion) or _pick(NORMAL_CONCLUSION, rng)}"


def stated_finding(sentence: str) -> str | None:
    """The finding that a sentence of a phantom's report states to be there; None where it denies or says nothing."""
    if any(sentence in denials for denials in NEGATIONS.values()):
        return None
    if sentence in CARDIOMEGALY + CARDIOMEGALY_CONCLUSION:
        return "cardiomegaly"
    words = sentence.lower()
    return next((name for name, nouns in NOUNS.items() if any(noun in words for noun in nouns)), None)


def build_prompts() -> dict[str, dict[str, list[str]]]:
    """Zero-shot prompts in report form, to be ensembled: per finding `positive` and `negative`.

    Positive prompts are made for each side, zone and size, so that their mean says the finding alone;
    negative ones for normal chests and for each other finding, so that their mean says its absence alone.
    They are kept in `prompts.json`.
    """
    positive = {name: _positive_prompts(name) for name in NEGATIONS}
    prompts = {}
    for name, negations in NEGATIONS.items():
        others = [
            p for other in NEGATIONS if other != name for p in (positive[other][0], positive[other][-1])
        ]
        negative = [
            f"Findings: {normal} {negations[i % len(negations)]} Impression: {NORMAL_CONCLUSION[i]}"
            for i, normal in enumerate(NORMAL)
        ]
        negative += [p.replace(" Impression:", f" {negations[0]} Impression:") for p in others]
        prompts[name] = {"positive": positive[name], "negative": negative}
    return prompts


def _positive_prompts(name: str) -> list[str]:
    if name == "cardiomegaly":
        pairs = zip(CARDIOMEGALY, CARDIOMEGALY_CONCLUSION)
        return [f"Findings: {sentence} Impression: {conclusion}" for sentence, conclusion in pairs]
    noun = NOUNS[name][0]
    return [
        f"Findings: There is a {size} {noun} in the {side} {zone} zone. "
        f"Impression: {size.capitalize()} {noun} in the {side} {zone} zone."
        for side in ("left", "right")
        for zone in ZONE_WORDS
        for size in SIZE_WORDS
    ]
