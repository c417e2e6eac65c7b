# SPDX-License-Identifier: Apache-2.0
"""Exact search of 64 queries in 200,000 embeddings of 512: bfloat16 scan and re-rank beside faiss.

    pip install faiss-cpu && python benchmarks/search.py

Peer: ``faiss.IndexFlatIP``, the same rows and queries, one thread each. Recall is measured against plain
float32 products of all rows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from side_by_side import medians, one_thread, record

one_thread()

import torch  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from monai_unimedi.data.search import EmbeddingIndex  # noqa: E402
from monai_unimedi.precision import has_bfloat16_units  # noqa: E402

ROWS, SIZE, QUERIES, TOP, REPEATS = 200_000, 512, 64, 10, 5


def recall(found: torch.Tensor, expected: torch.Tensor) -> float:
    hits = [len(set(one) & set(other)) for one, other in zip(found.tolist(), expected.tolist())]
    return sum(hits) / expected.numel()


def main() -> None:
    try:
        import faiss
    except ImportError:
        print("skipped: pip install faiss-cpu")
        return
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    rows = torch.nn.functional.normalize(torch.randn(ROWS, SIZE, generator=generator), dim=1)
    queries = torch.nn.functional.normalize(torch.randn(QUERIES, SIZE, generator=generator), dim=1)
    peer = faiss.IndexFlatIP(SIZE)
    peer.add(rows.numpy())
    indexes = {"bfloat16": EmbeddingIndex(rows, True), "float32": EmbeddingIndex(rows, False)}
    seconds = medians(
        {
            "peer": lambda: peer.search(queries.numpy(), TOP),
            **{name: (lambda index=index: index.search(queries, TOP)) for name, index in indexes.items()},
        },
        REPEATS,
    )
    expected = (queries @ rows.T).topk(TOP, dim=1).indices
    for name, index in indexes.items():
        share = recall(index.search(queries, TOP)[1], expected)
        is_default = (name == "bfloat16") == has_bfloat16_units()
        record(
            "python benchmarks/search.py",
            f"200k x 512, 64 queries, {name}{' (chosen on this CPU)' if is_default else ''}",
            f"{seconds[name] * 1e3:.0f} ms, recall {share:.4f}",
            f"{seconds['peer'] * 1e3:.0f} ms, faiss IndexFlatIP",
            f"{seconds['peer'] / seconds[name]:.1f}x",
            "5x, recall 1.0" if name == "bfloat16" else "1x, recall 1.0",
        )


if __name__ == "__main__":
    main()
