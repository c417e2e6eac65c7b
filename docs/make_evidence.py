# SPDX-License-Identifier: Apache-2.0
"""Writes the tables of docs/evidence.md, between their markers, from the results of the evidence's driver.

    python docs/make_evidence.py [--results benchmarks/phantom/results.csv] [--page docs/evidence.md]

Runs that are not in the results stand as missing. ``docs/make_evidence_pictures.py`` makes the page's pictures.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.phantom import evidence  # noqa: E402
from benchmarks.phantom.asked import asked_table  # noqa: E402
from benchmarks.phantom.results import Results, read  # noqa: E402
from benchmarks.phantom.segmentation import PERCENTS, SCRATCH  # noqa: E402
from monai_unimedi.data.phantom import LABEL_NAMES as FINDINGS  # noqa: E402

SELECTORS = {
    "attention": "attention",
    **{name: name for name in ("random", "centre", "uniform", "entropy")},
    "constant": "best constant slices",
}
SENTENCES = {
    "sentence": "the finding's sentence",
    "other_sentence": "the other finding's sentence",
    "other_image": "its sentence on another image",
    "attention": "attention without a sentence",
    "random": "random",
}
NETWORKS = {"trained": "pre-trained", "untrained": "untrained"}
SOURCES = {"2d": "X-ray", "3d": "CT"}
PICTURES = {
    "training": "hit@1 over training, judged on the test phantoms after each epoch",
    "attention": "Attention (red) and lesions (yellow) on the first test CTs, `full` after 3,000 steps, seed 0, the "
    "chosen slice and the largest of the lesion: above those it finds, below those it misses",
    "maps": "Test images in the plane before training and after 3,000 steps, `full`, seed 0, those with one finding",
}
LONG = ("full", "no slices", "no distillation")


def main(words: list[str] | None = None) -> None:
    """Fills the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = REPOSITORY / "benchmarks" / "phantom"
    parser.add_argument("--results", type=Path, default=folder / "results.csv")
    parser.add_argument("--masks", type=Path, default=folder / "segmentation.csv")
    parser.add_argument("--page", type=Path, default=REPOSITORY / "docs" / "evidence.md")
    options = parser.parse_args(words)
    text = options.page.read_text(encoding="utf-8")
    for name, table in tables(read(options.results), read(options.masks)).items():
        text = fill(text, name, table)
    options.page.write_text(text, encoding="utf-8")


def fill(text: str, name: str, table: str) -> str:
    """Replaces what stands between the two markers of a table.

    Raises:
        ValueError: When the page has no such markers.
    """
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", flags=re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"The page must have the markers {begin} and {end}, got none: add them where {name} belongs.")
    return pattern.sub(lambda _: f"{begin}\n\n{table.strip()}\n\n{end}", text)


def tables(lines: Results, masks: Results) -> dict[str, str]:
    """Every block of the page, by name."""
    found = {"runs": runs(lines), "asked": asked_table(lines, masks, "long", FINDINGS)}
    for name, figures in {
        "learning": evidence.LEARNING,
        "awareness": evidence.AWARENESS,
        "space": evidence.SPACE,
    }.items():
        found[f"tier 1 {name}"] = evidence.rows(lines, evidence.TIER_1, "demo", figures)
        found[f"baselines {name}"] = evidence.rows(lines, evidence.BASELINES, "demo", figures)
        found[f"long {name}"] = evidence.rows(lines, LONG, "long", figures)
    found["tier 2"] = evidence.questions(lines, "demo")
    for budget in ("demo", "long"):
        found[f"components {budget}"] = evidence.components(lines, budget)
        found[f"slices {budget}"] = selection(lines, budget)
        found[f"findings {budget}"] = evidence.by_finding(lines, budget, FINDINGS)
        found[f"grounding {budget}"] = grounding(lines, budget)
        found[f"zero-shot {budget}"] = zero_shot(lines, budget)
    found["probes"] = probes(lines, "demo")
    found["masks"] = segmentation(masks, "long")
    return found | {f"picture {name}": picture(name, title) for name, title in PICTURES.items()}


def picture(name: str, title: str) -> str:
    """The link, where the picture has been drawn."""
    path = f"images/evidence_{name}.png"
    return f"![{title}]({path})\n\n{title}." if (REPOSITORY / "docs" / path).is_file() else "(not drawn yet)"


def runs(lines: Results) -> str:
    """What was run, by which commits, and what is missing."""
    known = {(line["row"], line["seed"], line["budget"], line["seconds"]) for line in lines}
    commits = sorted({line["commit"] for line in lines})
    hours = sum(float(seconds) for *_, seconds in known) / 3600
    names = [name for name in (*evidence.TIER_1, *evidence.BASELINES[1:]) if name != evidence.SEPARATE]
    second = [name for choices in evidence.QUESTIONS.values() for name in choices.values() if name not in names]
    sentences = [
        f"{len(known)} runs, {hours:.1f} hours of one core, by the commits {', '.join(commits) or 'none yet'}.",
        evidence.missing_runs(lines, names, (0, 1, 2), "demo", "Tier 1, three seeds"),
        evidence.missing_runs(lines, second, (0,), "demo", "Tier 2, one seed"),
        evidence.missing_runs(lines, LONG, (0, 1, 2), "long", "Three rows of tier 1, three seeds"),
    ]
    return "\n\n".join(sentences)


def selection(lines: Results, budget: str) -> str:
    """How slices are chosen, for all lesions and small ones."""
    subsets = {"all": "all", "small": "small"}
    figures = {
        f"{title}, hit@{k}": f"slice_selection.{subset}.{{}}.hit@{k}"
        for subset, title in subsets.items()
        for k in (1, 2, 4)
    }
    figures |= {
        f"{title}, precision@4": f"slice_selection.{subset}.{{}}.precision@4" for subset, title in subsets.items()
    }
    return evidence.against(lines, budget, SELECTORS, figures)


def grounding(lines: Results, budget: str) -> str:
    """Which sentence leads to a finding's mask."""
    figures = {
        f"{name}, hit@{k}": f"grounding.{source}.{{}}.hit@{k}" for source, name in SOURCES.items() for k in (1, 4)
    }
    return evidence.against(lines, budget, SENTENCES, figures)


def zero_shot(lines: Results, budget: str) -> str:
    """Both polarities, each alone, the gap, and each finding."""
    names = {
        "auroc": "both polarities",
        "auroc_positive": "positive prompts alone",
        "auroc_negative": "negative prompts alone",
    }
    names |= {"negation_gap": "negation gap"} | {f"by_finding.{name}": name.replace("_", " ") for name in FINDINGS}
    paths = {name: f"zero_shot.{source}.{{}}" for source, name in SOURCES.items()}
    body = [
        [title, *(evidence.shown(evidence.cells(lines, "full", budget, path.format(name))) for path in paths.values())]
        for name, title in names.items()
    ]
    return evidence.markdown(["AUROC", *paths], body)


def probes(lines: Results, budget: str) -> str:
    """AUROC and calibration of linear probes, beside the untrained network's."""
    figures = {
        f"{name}, {p} %": f"linear_probe.{{}}.{source}.{p}" for source, name in SOURCES.items() for p in PERCENTS
    }
    ece = {f"{name}, {p} %": f"calibration.{{}}.{source}.{p}.ece" for source, name in SOURCES.items() for p in PERCENTS}
    brier = {
        f"{name}, {p} %": f"calibration.{{}}.{source}.{p}.brier" for source, name in SOURCES.items() for p in PERCENTS
    }
    kinds = {
        "AUROC": figures,
        "expected calibration error (lower is better)": ece,
        "Brier score (lower is better)": brier,
    }
    return "\n\n".join(
        f"{title}:\n\n{evidence.against(lines, budget, NETWORKS, paths)}" for title, paths in kinds.items()
    )


def segmentation(masks: Results, budget: str) -> str:
    """Dice over the positives, against scratch."""
    figures = {
        f"{name}, {p} %": f"segmentation.{source}.{p}.dice_positives"
        for source, name in SOURCES.items()
        for p in PERCENTS
    }
    body = []
    for row in (SCRATCH, *LONG):
        text = []
        for path in figures.values():
            own, scratch = (evidence.of_row(masks, name, budget, path) for name in (row, SCRATCH))
            text.append(
                evidence.shown(own) + (f"<br>{evidence.gained(own, scratch)}" if own and row != SCRATCH else "")
            )
        body.append([row, *text])
    return evidence.markdown(["encoder", *figures], body)


if __name__ == "__main__":
    main()
