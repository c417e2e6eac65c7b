# SPDX-License-Identifier: Apache-2.0
"""What labels bring, on phantoms: eight against the first guess, and cases chosen by embeddings against random ones.

Every case of the pool has its true label ready; a strategy chooses, the app's own fine-tuning, with its own defaults,
trains from the pre-trained encoder with a fresh decoder, and the held-out Dice is the mean over the classes that a case
has. Eight labels in CTs and in X-rays; the strategies in X-rays, where a training takes a fifth of the time, by the
labels they need to reach what random ones reach with the most: means of three seeds, the seeds' spread beside them.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from _label import APP, ENCODER, LABEL_INFO, NAMES, OUTPUT, REPOSITORY, need_encoder, phantoms, studies_of, true_numbers
from _label import write_label as label_file

sys.path.append(str(APP))
FOLDER = OUTPUT / "learning"
POOL, SEEDS = 40, 3
HELD_OUT = {"3d": 16, "2d": 60}
BUDGETS = (4, 8, 12)
BUNDLES = {"3d": ("segmentation_3d", 3), "2d": ("segmentation_2d", 2)}


def main() -> int:
    from unimedi_label import upstream

    upstream.apply()
    need_encoder()
    cts = Learning("3d")
    before, after = cts.first, cts.with_labels(random_order(cts.pool, 0)[:8], "ct")
    print(f"CTs, 8 labels: Dice {before:.3f} to {after:.3f}", flush=True)
    xrays = Learning("2d")
    table: dict[tuple[str, int, int], float] = {}
    for seed in range(SEEDS):
        orders = {"random": random_order(xrays.pool, seed), "embedding_diversity": diverse_order(xrays.pool, seed)}
        for strategy, order in orders.items():
            for budget in BUDGETS:
                dice = xrays.with_labels(order[:budget], f"{strategy}_{seed}_{budget}")
                table[strategy, seed, budget] = dice
                print(f"X-rays, seed {seed}, {strategy}, {budget} labels: Dice {dice:.3f}", flush=True)
    return report(table, xrays.first, (before, after))


def report(table: dict[tuple[str, int, int], float], first: float, cts: tuple[float, float]) -> int:
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
        f"label learning: held-out Dice with 8 labels: CTs {cts[0]:.3f} to {cts[1]:.3f}, X-rays {first:.3f} to "
        f"{eight:.3f}; X-rays by {BUDGETS} labels: {figures}; random reaches {goal:.3f} with {BUDGETS[-1]}, "
        f"embedding_diversity {verdict}"
    )
    return int(eight <= first or cts[1] <= cts[0])


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


class Learning:
    """Phantoms of one kind: a pool to label and cases held out.

    Args:
        kind: "3d" or "2d".
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        rows = phantoms(POOL + HELD_OUT[kind], (kind,))[kind]
        name = "ct" if kind == "3d" else "xray"
        self.pool = {f"{name}_{number:03d}": row for number, row in enumerate(rows[:POOL])}
        self.held_out = rows[POOL:]
        self.first = held_out_dice(self._start("first")[0], self.held_out)

    def _start(self, name: str) -> tuple[Any, Any]:
        """The model that answers before any label, and its weights."""
        from unimedi_label.segmentation import SegmentationTask
        from unimedi_label.weights import BundleWeights

        bundle, dimension = BUNDLES[self.kind]
        folder = FOLDER / f"{self.kind}_{name}"
        shutil.rmtree(folder, ignore_errors=True)
        weights = BundleWeights(folder / "weights", REPOSITORY / "bundles" / bundle, ENCODER)
        weights.ensure()
        return SegmentationTask(weights, dimension), weights

    def with_labels(self, chosen: list[str], name: str) -> float:
        """Held-out Dice after fine-tuning on the labels of the chosen cases."""
        from unimedi_label.studies import Studies
        from unimedi_label.training import FineTuneTask

        task, weights = self._start(name)
        folder = weights.folder.parent
        studies = studies_of(folder / "studies", {self.kind: list(self.pool.values())})
        store = Studies(str(studies), extensions=["*.nii.gz", "*.nii", "*.png"], auto_reload=False)
        for case in chosen:
            path = label_file(self.pool[case], folder / "labels", case)
            store.save_label(case, str(path), "final", {"label_info": LABEL_INFO})
        FineTuneTask(weights, BUNDLES[self.kind][1])({"device": "cpu"}, store)
        return held_out_dice(task, self.held_out)


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
