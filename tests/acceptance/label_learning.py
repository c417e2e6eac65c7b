# SPDX-License-Identifier: Apache-2.0
"""What labels bring, on phantoms: eight against the first guess, and cases chosen by embeddings against random ones.

Three seeds. Every case of the pool has its true label ready; a strategy chooses, the app's own fine-tuning trains from
the pre-trained encoder with a fresh decoder, and the held-out Dice is the mean over the classes that a case has. The
strategies are compared by the labels they need to reach what random ones reach with the most. The numbers depend on
nothing but the seeds; they are the mean of three, with the spread of the seeds beside it.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from _label import APP, ENCODER, LABEL_INFO, NAMES, OUTPUT, REPOSITORY, need_encoder, phantoms, studies_of, true_numbers
from _label import write_label as label_file

sys.path.append(str(APP))
FOLDER = OUTPUT / "learning"
POOL, HELD_OUT, SEEDS = 40, 24, 3
BUDGETS = (4, 6, 8)
OPTIONS = {"max_epochs": 4, "steps_per_epoch": 30, "lr": 0.002, "val_split": 0.25, "device": "cpu"}


def main() -> int:
    from unimedi_label import upstream

    upstream.apply()
    need_encoder()
    rows = phantoms(POOL + HELD_OUT, ("3d",))["3d"]
    pool = {f"ct_{number:03d}": row for number, row in enumerate(rows[:POOL])}
    table: dict[tuple[str, int, int], float] = {}
    first = held_out_dice(first_guess()[0], rows[POOL:])
    print(f"Dice {first:.3f} before any label", flush=True)
    for seed in range(SEEDS):
        orders = {"random": random_order(pool, seed), "embedding_diversity": diverse_order(pool, seed)}
        for strategy, order in orders.items():
            for budget in BUDGETS:
                started = time.monotonic()
                dice = trained(pool, order[:budget], rows[POOL:], f"{strategy}_{seed}_{budget}")
                table[strategy, seed, budget] = dice
                seconds = time.monotonic() - started
                print(f"seed {seed}, {strategy}, {budget} labels: Dice {dice:.3f} ({seconds:.0f} s)", flush=True)
    return report(table, first)


def report(table: dict[tuple[str, int, int], float], first: float) -> int:
    def of(strategy: str, budget: int) -> list[float]:
        return [table[strategy, seed, budget] for seed in range(SEEDS)]

    def mean(strategy: str, budget: int) -> float:
        return statistics.fmean(of(strategy, budget))

    goal = mean("random", BUDGETS[-1])
    needed = next((budget for budget in BUDGETS if mean("embedding_diversity", budget) >= goal), None)
    figures = "; ".join(
        f"{strategy} "
        + ", ".join(f"{mean(strategy, budget):.3f} ({spread(of(strategy, budget))})" for budget in BUDGETS)
        for strategy in ("random", "embedding_diversity")
    )
    eight = statistics.fmean(of("random", 8) + of("embedding_diversity", 8))
    verdict = f"needs {needed}" if needed else "does not reach that"
    print(
        f"label learning: held-out Dice {first:.3f} at first, {eight:.3f} with 8 labels; by {BUDGETS} labels: "
        f"{figures}; random reaches {goal:.3f} with {BUDGETS[-1]}, embedding_diversity {verdict}"
    )
    return int(eight <= first)


def spread(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def random_order(pool: dict[str, Any], seed: int) -> list[str]:
    import numpy as np

    return [list(pool)[place] for place in np.random.default_rng(seed).permutation(len(pool))]


def diverse_order(pool: dict[str, Any], seed: int) -> list[str]:
    """From the seed's first random case on, each the farthest from those before."""
    import numpy as np
    from unimedi_label.strategies import farthest_first

    from monai_unimedi.encoder import load_encoder

    encoder = load_encoder(ENCODER)
    vectors = np.stack([encoder.image(row["image"]).numpy() for row in pool.values()])
    start = list(pool).index(random_order(pool, seed)[0])
    return [list(pool)[place] for place in [start, *farthest_first(vectors, [start], BUDGETS[-1] - 1)]]


def first_guess(folder: Path = FOLDER / "first") -> tuple[Any, Any]:
    """The model that answers before any label, and its weights."""
    from unimedi_label.segmentation import SegmentationTask
    from unimedi_label.weights import BundleWeights

    shutil.rmtree(folder, ignore_errors=True)
    weights = BundleWeights(folder / "weights", REPOSITORY / "bundles" / "segmentation_3d", ENCODER)
    weights.ensure()
    return SegmentationTask(weights, 3), weights


def trained(pool: dict[str, Any], chosen: list[str], held_out: list[Any], name: str) -> float:
    """Held-out Dice after fine-tuning on the labels of the chosen cases."""
    from unimedi_label.studies import Studies
    from unimedi_label.training import FineTuneTask

    folder = FOLDER / name
    task, weights = first_guess(folder)
    studies = studies_of(folder / "studies", {"3d": list(pool.values())})
    store = Studies(str(studies), extensions=["*.nii.gz", "*.nii"], auto_reload=False)
    for case in chosen:
        path = label_file(pool[case], folder / "labels", case)
        store.save_label(case, str(path), "final", {"label_info": LABEL_INFO})
    FineTuneTask(weights, 3)(OPTIONS, store)
    return held_out_dice(task, held_out)


def held_out_dice(task: Any, rows: list[Any]) -> float:
    import numpy as np

    scores = []
    for row in rows:
        truth, _ = true_numbers(row)
        found, _ = task.model("cpu").numbers(Path(row["image"]))
        for place in range(1, len(NAMES) + 1):
            if (truth == place).any():
                both = ((truth == place) & (found == place)).sum()
                scores.append(2 * both / ((truth == place).sum() + (found == place).sum()))
    return float(np.mean(scores))


if __name__ == "__main__":
    sys.exit(main())
