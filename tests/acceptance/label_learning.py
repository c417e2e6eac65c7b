# SPDX-License-Identifier: Apache-2.0
"""What labels bring, on phantoms: eight against the first guess, and cases chosen by embeddings against random ones.

Three seeds. Every case of the pool has its true label ready; a strategy chooses, the app's own fine-tuning trains from
the pre-trained encoder with a fresh decoder, and the held-out Dice is the mean over the classes that a case has. The
strategies are compared by the labels they need to reach what random ones reach with the most.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from _label import APP, ENCODER, LABEL_INFO, NAMES, OUTPUT, REPOSITORY, need_encoder, phantoms, studies_of, true_numbers
from _label import write_label as label_file

sys.path.append(str(APP))
FOLDER = OUTPUT / "learning"
POOL, HELD_OUT, SEEDS = 40, 24, 3
BUDGETS = (4, 8, 12)
OPTIONS = {"max_epochs": 8, "steps_per_epoch": 25, "lr": 0.001, "val_split": 0.25, "device": "cpu"}


def main() -> int:
    from unimedi_label import upstream

    upstream.apply()
    need_encoder()
    rows = phantoms(POOL + HELD_OUT, ("3d",))["3d"]
    pool = {f"ct_{number:03d}": row for number, row in enumerate(rows[:POOL])}
    table: dict[tuple[str, int, int], float] = {}
    first: list[float] = []
    for seed in range(SEEDS):
        orders = {"random": random_order(pool, seed), "embedding_diversity": diverse_order(pool, seed)}
        for strategy, order in orders.items():
            for budget in BUDGETS:
                before, after = trained(pool, order[:budget], rows[POOL:], f"{strategy}_{seed}_{budget}")
                first.append(before)
                table[strategy, seed, budget] = after
                print(f"seed {seed}, {strategy}, {budget} labels: Dice {before:.3f} to {after:.3f}", flush=True)
    return report(table, sum(first) / len(first))


def report(table: dict[tuple[str, int, int], float], first: float) -> int:
    def mean(strategy: str, budget: int) -> float:
        return sum(table[strategy, seed, budget] for seed in range(SEEDS)) / SEEDS

    goal = mean("random", BUDGETS[-1])
    needed = next((budget for budget in BUDGETS if mean("embedding_diversity", budget) >= goal), None)
    figures = "; ".join(
        f"{strategy} {', '.join(f'{mean(strategy, budget):.3f}' for budget in BUDGETS)}"
        for strategy in ("random", "embedding_diversity")
    )
    eight = mean("random", 8)
    verdict = f"needs {needed}" if needed else "does not reach that"
    print(
        f"label learning: held-out Dice {first:.3f} at first, {eight:.3f} with 8 labels; by {BUDGETS} labels: "
        f"{figures}; random reaches {goal:.3f} with {BUDGETS[-1]}, embedding_diversity {verdict}"
    )
    return int(eight <= first)


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


def trained(pool: dict[str, Any], chosen: list[str], held_out: list[Any], name: str) -> tuple[float, float]:
    """Held-out Dice before and after fine-tuning on the labels of the chosen cases."""
    from unimedi_label.segmentation import SegmentationTask
    from unimedi_label.studies import Studies
    from unimedi_label.training import FineTuneTask
    from unimedi_label.weights import BundleWeights

    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    studies = studies_of(folder / "studies", {"3d": list(pool.values())})
    store = Studies(str(studies), extensions=["*.nii.gz", "*.nii"], auto_reload=False)
    for case in chosen:
        path = label_file(pool[case], folder / "labels", case)
        store.save_label(case, str(path), "final", {"label_info": LABEL_INFO})
    weights = BundleWeights(folder / "weights", REPOSITORY / "bundles" / "segmentation_3d", ENCODER)
    weights.ensure()
    task = SegmentationTask(weights, 3)
    before = held_out_dice(task, held_out)
    FineTuneTask(weights, 3)(OPTIONS, store)
    return before, held_out_dice(task, held_out)


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
