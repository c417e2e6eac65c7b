# SPDX-License-Identifier: Apache-2.0
"""Reading an epoch: shards beside MONAI's PersistentDataset, X-rays of 256 x 256 and CTs of 128 x 128 x 32.

    python -m benchmarks.epoch_reads

Files are made, converted once by each side, and read in random order in batches of 64 (X-rays) and 8 (CTs),
from the page cache. ``gather`` gives the batch as stored, to be scaled on the device; ``batches of a run``
is the loader of ``train.json``: float images, seeds, reports and token ids, on the CPU.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import medians, one_thread, record

one_thread()

import nibabel  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from monai.data import PersistentDataset  # noqa: E402
from monai.transforms import Compose, EnsureTyped, ScaleIntensityRanged  # noqa: E402
from PIL import Image  # noqa: E402
from torch.utils.data import DataLoader, RandomSampler  # noqa: E402

from monai_unimedi.data.convert import convert_datalist  # noqa: E402
from monai_unimedi.data.datalist import load_datalist  # noqa: E402
from monai_unimedi.data.dataset import SourcesDataset  # noqa: E402
from monai_unimedi.data.shard_steps import conversion_steps  # noqa: E402
from monai_unimedi.data.shards import ShardReader, read_index  # noqa: E402

COUNTS, BATCHES, REPEATS = {"2d": 768, "3d": 64}, {"2d": 64, "3d": 8}, 5
WINDOW = ScaleIntensityRanged("image", -1150, 350, 0, 1, clip=True)
RECIPE: dict[str, Any] = {
    "xray_size": 256, "spacing": [3.0, 3.0, 10.0], "ct_size": [128, 128, 32], "ct_padding": "constant",
    "dtype": "int16", "hu_range": [-1150.0, 350.0],
}  # fmt: skip


def write_files(folder: Path, source: str) -> Path:
    random = np.random.RandomState(0)
    rows = []
    for i in range(COUNTS[source]):
        name = f"{source}-{i}.{'bmp' if source == '2d' else 'nii'}"
        if source == "2d":
            Image.fromarray(random.randint(0, 256, (256, 256), np.uint8)).save(folder / name)
        else:
            volume = random.randint(-1000, 400, (128, 128, 32)).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(volume, np.diag([-3.0, -3.0, 10.0, 1.0])), folder / name)
        rows.append({"image": name, "report": f"Report of patient {i}, clear lungs."})
    path = folder / f"{source}.json"
    path.write_text(json.dumps({"training": rows}))
    return path


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def loader(dataset: Any, source: str) -> DataLoader:
    return DataLoader(dataset, BATCHES[source], sampler=RandomSampler(dataset))


def gather(reader: ShardReader, rows: list[dict[str, Any]], source: str) -> Iterator[torch.Tensor]:
    """One buffer for all batches, as one copies from pinned memory to a device."""
    order = torch.randperm(len(rows)).split(BATCHES[source])
    buffer = reader.gather([rows[i] for i in order[0].tolist()])
    for batch in order:
        yield torch.from_numpy(reader.gather([rows[i] for i in batch.tolist()], out=buffer))


class Requests(torch.utils.data.Dataset):
    """Rows of a `SourcesDataset` as its sampler asks for them."""

    def __init__(self, dataset: SourcesDataset, source: str) -> None:
        self.dataset, self.source = dataset, source

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        return self.dataset.__getitems__([(self.source, row, row) for row in rows])


def measure(folder: Path, source: str, dtype: str) -> None:
    path = write_files(folder, source)
    shards = folder / f"{source}-{dtype}"
    convert_datalist(path, shards, RECIPE | {"dtype": dtype}, jobs=1)
    rows = load_datalist(shards)
    window = [WINDOW] if source == "3d" else []
    steps = [*conversion_steps(read_index(shards)["recipe"]), *window]
    files = [{"image": row["image"]} for row in load_datalist(path)]
    plain = EnsureTyped("image", track_meta=False)  # the peer's faster and smaller form
    peer = PersistentDataset(files, Compose([*steps, plain]), cache_dir=folder / f"peer-{source}")
    dataset, reader = SourcesDataset({source: rows}, {source: steps}, cache_dtype="float32"), ShardReader()
    images = DataLoader(
        Requests(dataset, source), BATCHES[source], shuffle=True,
        collate_fn=lambda samples: torch.stack([sample["image"] for sample in samples]),
    )  # fmt: skip
    seconds = medians(
        {
            "gather": lambda: [None for _ in gather(reader, rows, source)],
            "run": lambda: [None for _ in images],
            "peer": lambda: [None for _ in loader(peer, source)],
        },
        REPEATS,
    )
    rate = {name: len(rows) / value for name, value in seconds.items()}
    disk = size_of(shards) / size_of(folder / f"peer-{source}")
    kind = f"{'X-rays' if source == '2d' else 'CTs'} {dtype}"
    there = f"{rate['peer']:.0f}/s, MONAI PersistentDataset"
    asked = "20x, a quarter of its disk" if source == "2d" else "5x, a quarter of its disk (uint8)"
    command = "python -m benchmarks.epoch_reads"
    here = f"{rate['gather']:.0f}/s, {disk:.2f} of its disk"
    record(command, f"{kind}, gather", here, there, f"{rate['gather'] / rate['peer']:.1f}x", asked)
    here = f"{rate['run']:.0f}/s"
    record(command, f"{kind}, batches of a run", here, there, f"{rate['run'] / rate['peer']:.1f}x", "")


def main() -> None:
    torch.set_num_threads(1)
    for source, dtype in (("2d", "uint8"), ("3d", "int16"), ("3d", "uint8")):
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), source, dtype)


if __name__ == "__main__":
    main()
