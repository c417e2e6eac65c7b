# SPDX-License-Identifier: Apache-2.0
"""The app's numbers on two cores: start, first segmentation, answers under load, many clients, memory.

Limits: up in 30 s; a 128 x 128 x 96 volume segmented in 5 s; ``/info`` in 0.5 s while four inferences run; 200 mixed
requests of 8 clients without a failure; memory within 10 % over 100 inferences.
"""

from __future__ import annotations

import random
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

import requests
from _label import LABEL_INFO, OUTPUT, Server, phantoms, studies_of, write_label

FOLDER = OUTPUT / "speed"
CLIENTS, REQUESTS, INFERENCES = 8, 200, 100
WARM_UP = 20  # inferences before memory is compared


def main() -> int:
    rows = phantoms(10)
    studies = studies_of(FOLDER / "studies", rows)
    large_volume(studies / "large.nii.gz")
    label = write_label(rows["3d"][1], FOLDER / "labels", "ct_001")
    with Server(studies, FOLDER) as server:
        first = timed(lambda: infer(server.url, "large"))
        wait = info_under_load(server.url)
        print(f"up {server.seconds:.1f} s, first segmentation {first:.2f} s, /info {wait:.2f} s", flush=True)
        failures = mixed(server.url, label)
        growth = memory_growth(server)
    limits = {
        f"up after {server.seconds:.1f} s (30)": server.seconds < 30,
        f"first segmentation {first:.2f} s (5)": first < 5,
        f"/info {wait:.2f} s beside four inferences (0.5)": wait < 0.5,
        f"{REQUESTS - len(failures)} of {REQUESTS} mixed requests": not failures,
        f"memory {growth:+.1%} over {INFERENCES} inferences (10 %)": growth < 0.1,
    }
    print(*failures[:5], sep="\n")
    print("label speed: " + "; ".join(f"{text}{'' if holds else ' MISSED'}" for text, holds in limits.items()))
    return int(not all(limits.values()))


def large_volume(path: Path) -> None:
    """128 x 128 x 96 voxels of 3 x 3 x 3.3 mm."""
    import nibabel
    import numpy as np

    values = np.random.default_rng(0).integers(-1000, 300, (128, 128, 96)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-3.0, -3.0, 3.3, 1.0])), path)


def timed(work: Any) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def infer(url: str, image: str, model: str = "segmentation") -> None:
    data = {"params": '{"result_extension": ".nrrd", "result_dtype": "uint8"}'}
    answer = requests.post(f"{url}/infer/{model}?image={image}", data=data, timeout=300)
    answer.raise_for_status()
    assert len(answer.content) > 100


def info_under_load(url: str) -> float:
    """The median wait for ``/info`` while four threads ask for one inference after the other."""
    is_over = threading.Event()

    def keep_busy() -> None:
        while not is_over.is_set():
            infer(url, "large")

    threads = [threading.Thread(target=keep_busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    waits = [timed(lambda: requests.get(f"{url}/info/", timeout=60).raise_for_status()) for _ in range(10)]
    is_over.set()
    for thread in threads:
        thread.join()
    return statistics.median(waits)


def mixed(url: str, label: Path) -> list[str]:
    """Requests of several clients; what failed."""
    kinds = [
        lambda: infer(url, f"ct_{random.randrange(10):03d}"),
        lambda: infer(url, f"xray_{random.randrange(10):03d}", "segmentation_xray"),
        lambda: requests.get(f"{url}/info/", timeout=120).raise_for_status(),
        lambda: requests.get(f"{url}/unimedi/search?text=Nodule.", timeout=120).raise_for_status(),
        lambda: requests.get(f"{url}/unimedi/slices?image=ct_002&text=Nodule.", timeout=120).raise_for_status(),
        lambda: requests.post(f"{url}/activelearning/random", json={}, timeout=120).raise_for_status(),
        lambda: requests.post(
            f"{url}/activelearning/embedding_diversity", json={}, timeout=120
        ).raise_for_status(),
        lambda: save(url, label),
    ]
    failures: list[str] = []

    def client(number: int) -> None:
        choice = random.Random(number)
        for _ in range(REQUESTS // CLIENTS):
            try:
                choice.choice(kinds)()
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def save(url: str, label: Path) -> None:
    import json

    requests.put(
        f"{url}/datastore/label",
        params={"image": "ct_001"},
        files={"label": (label.name, label.read_bytes())},
        data={"params": json.dumps({"label_info": LABEL_INFO})},
        timeout=120,
    ).raise_for_status()


def memory_growth(server: Server) -> float:
    for _ in range(WARM_UP):
        infer(server.url, "large")
    before = server.memory_mb()
    for _ in range(INFERENCES):
        infer(server.url, "large")
    return server.memory_mb() / before - 1


if __name__ == "__main__":
    sys.exit(main())
