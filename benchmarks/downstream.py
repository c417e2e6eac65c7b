# SPDX-License-Identifier: Apache-2.0
"""Pre-trained against scratch on phantoms: classification, by the bundles' own commands, paired over seeds and cases.

    python benchmarks/downstream.py --pretrained output/demo/models/model.pt

Every run trains the same architecture for the same number of steps on the same labels and is judged on the same
unseen phantoms; only the encoder's start differs. A run that is finished is not done again, one that was killed goes
on. Writes ``results.json`` and ``tables.md`` (for docs/downstream.md) below ``--output``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from paired import paired_auroc

REPOSITORY = Path(__file__).resolve().parents[1]
STARTS = ("pretrained", "scratch")


def main() -> None:
    """Runs what is missing, then writes the tables."""
    options = parse()
    results: list[dict[str, Any]] = []
    for dimension in options.dimensions:
        for fraction in options.fractions:
            runs = {
                start: [run(options, dimension, fraction, seed, start) for seed in options.seeds] for start in STARTS
            }
            results.append(compare(options, dimension, fraction, runs))
            print(line(results[-1]), flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.output / "tables.md").write_text(tables(results, options))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--pretrained", type=Path, required=True, help="model.pt of a pre-training of the default sizes")
    add("--output", type=Path, default=REPOSITORY / "output" / "downstream")
    add("--dimensions", nargs="+", default=["2d", "3d"], choices=("2d", "3d"))
    add("--fractions", nargs="+", type=float, default=[1, 10, 100], help="percent of the labels")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2])
    add("--threads", type=int, default=max(1, (os.cpu_count() or 2)), help="of computation")
    add("--options", nargs="*", default=[], help="further options of train.json, such as --options num_steps=100")
    return parser.parse_args()


def run(options: argparse.Namespace, dimension: str, fraction: float, seed: int, start: str) -> dict[str, Any]:
    """Trains and judges one model; the metrics and where they lie."""
    folder = options.output / dimension / f"{fraction:g}" / f"{start}_{seed}"
    if not (folder / "metrics.json").is_file():
        places = {"output_dir": folder, "model_dir": folder / "models", "phantom_dir": phantoms(options, dimension)}
        weights = options.pretrained.resolve() if start == "pretrained" else "none"
        own = {"pretrained": weights, "label_fraction": f"{fraction:g}", "seed": seed}
        own |= dict(option.split("=", 1) for option in options.options)
        command(dimension, "train", {**places, **own}, options.threads)
        command(dimension, "evaluate", places, options.threads)
    metrics = json.loads((folder / "metrics.json").read_text())
    training = json.loads((folder / "training.json").read_text())
    return {"folder": folder, "metrics": metrics, "seconds": training["seconds"], "steps": training["steps"]}


def phantoms(options: argparse.Namespace, dimension: str) -> Path:
    """One set a dimension for all runs."""
    return options.output / "phantom" / dimension


def command(dimension: str, config: str, given: Mapping[str, Any], threads: int) -> None:
    """Runs one of the bundle's configs, its output in a log.

    Raises:
        SystemExit: When it fails; names the log.
    """
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    file = f"bundles/classification_{dimension}/configs/{config}.json"
    log = Path(given["output_dir"]) / f"{config}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    with log.open("w") as stream:
        done = subprocess.run(
            [sys.executable, "-m", "monai.bundle", "run", "--config_file", file, *words],
            cwd=REPOSITORY, env=environment, stdout=stream, stderr=stream, check=False,
        )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{config} ended with {done.returncode}, see {log}")


def compare(
    options: argparse.Namespace, dimension: str, fraction: float, runs: Mapping[str, Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Both starts' means and their paired difference, over all findings and for each."""
    names, labels = truth(phantoms(options, dimension) / f"datalist_{dimension}.json")
    scores = {
        start: torch.stack([predictions(run["folder"], list(labels), names) for run in found])
        for start, found in runs.items()
    }
    label = torch.tensor(list(labels.values()))
    both = (scores["pretrained"], scores["scratch"])
    return {
        "dimension": dimension,
        "fraction": fraction,
        "seeds": len(options.seeds),
        "steps": runs["pretrained"][0]["steps"],
        "seconds": {start: [run["seconds"] for run in found] for start, found in runs.items()},
        "auroc": {start: [auroc(run["metrics"]) for run in found] for start, found in runs.items()},
        "difference": paired_auroc(*both, label),
        "by_finding": {
            name: paired_auroc(*(start[:, :, i : i + 1] for start in both), label[:, i : i + 1])
            for i, name in enumerate(names)
        },
    }


def auroc(metrics: Mapping[str, Any]) -> float:
    """Mean over findings."""
    return float(metrics["classification"]["auroc"]["value"])


def truth(datalist: Path) -> tuple[list[str], dict[str, list[int]]]:
    """Names of the findings, and the test rows' labels by id."""
    content = json.loads(datalist.read_text())
    return content["label_names"], {row["id"]: row["label"] for row in content["test"]}


def predictions(folder: Path, ids: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """(N, F) in the order of the ids and names."""
    content = json.loads((folder / "predictions.json").read_text())
    return torch.tensor([[content[name][finding] for finding in names] for name in ids])


def interval(figure: Mapping[str, float]) -> str:
    """``+0.123 (0.100 to 0.140)``."""
    return f"{figure['value']:+.3f} ({figure['low']:+.3f} to {figure['high']:+.3f})"


def mean(values: Sequence[float]) -> float:
    """Over seeds."""
    return sum(values) / len(values)


def line(result: Mapping[str, Any]) -> str:
    """One line for the terminal."""
    values = ", ".join(f"{start} {mean(found):.3f}" for start, found in result["auroc"].items())
    return f"{result['dimension']} at {result['fraction']:g} %: {values}, difference {interval(result['difference'])}"


def tables(results: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> str:
    """The results in Markdown."""
    name = f"python benchmarks/downstream.py --pretrained {options.pretrained.name}"
    lines = [
        f"Mean AUROC over findings on unseen phantoms, {len(options.seeds)} seeds; the difference is paired over",
        f"seeds and cases, with its 95 % interval. `{name}`",
        "",
        "| images | labels | pre-trained | from scratch | difference | steps | seconds of training |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        auroc = " | ".join(f"{mean(result['auroc'][start]):.3f}" for start in STARTS)
        seconds = mean([mean(found) for found in result["seconds"].values()])
        cells = f"{result['dimension']} | {result['fraction']:g} % | {auroc} | {interval(result['difference'])}"
        lines.append(f"| {cells} | {result['steps']} | {seconds:.0f} |")
    findings = list(results[0]["by_finding"])
    lines += ["", "The difference by finding:", "", f"| images | labels | {' | '.join(findings)} |"]
    lines.append("|---|---|" + "---|" * len(findings))
    for result in results:
        cells = " | ".join(interval(figure) for figure in result["by_finding"].values())
        lines.append(f"| {result['dimension']} | {result['fraction']:g} % | {cells} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
