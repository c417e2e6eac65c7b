# SPDX-License-Identifier: Apache-2.0
"""Fifteen minutes under load with clients killed at random: no hang, no lost label, no partial file.

Clients are processes that ask without end; every few seconds one is killed in the middle of what it does and another
takes its place. Each label that the server acknowledged must be there at the end, in the file it was sent as.
UNIMEDI_SOAK_SECONDS shortens it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import requests
from _label import LABEL_INFO, OUTPUT, Server, phantoms, studies_of, true_numbers

FOLDER = OUTPUT / "soak"
SECONDS = float(os.environ.get("UNIMEDI_SOAK_SECONDS") or 900)
CLIENTS = 6
KILL_EVERY = 3.0
CASES = 30
LONGEST = 120.0  # seconds for an answer


def main() -> int:
    if len(sys.argv) > 1:
        return ask_without_end(sys.argv[1], int(sys.argv[2]))
    rows = phantoms(CASES, ("3d",))
    studies = studies_of(FOLDER / "studies", rows)
    shutil.rmtree(FOLDER / "sent", ignore_errors=True)
    make_labels(rows["3d"], FOLDER / "labels")
    with Server(studies, FOLDER) as server:
        kills, slowest = soak(server.url)
        lost = lost_labels(server.url)
        store = json.loads((studies / "datastore_v2.json").read_text())
        partial = [path for path in studies.rglob("*") if path.name.endswith(".part")]
    broken = [path for path in (studies / "labels").rglob("*.nii.gz") if not is_whole(path)]
    sent = len(list((FOLDER / "sent").glob("*.json")))
    holds = not (lost or partial or broken) and slowest < LONGEST and sent > 0 and len(store["objects"]) == CASES
    print(*lost[:5], *partial[:5], *broken[:5], sep="\n")
    print(
        f"soak: {SECONDS:.0f} s, {CLIENTS} clients, {kills} kills, {sent} labels acknowledged, {len(lost)} lost, "
        f"{len(partial) + len(broken)} partial files, slowest /info {slowest:.1f} s"
    )
    return int(not holds)


def make_labels(rows: list[dict[str, Any]], folder: Path) -> None:
    """Four versions of each case's label, which differ in one voxel."""
    import nibabel

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for number, row in enumerate(rows):
        numbers, affine = true_numbers(row)
        for version in range(4):
            numbers[0, 0, version] = 1
            nibabel.save(nibabel.Nifti1Image(numbers, affine), folder / f"ct_{number:03d}_{version}.nii.gz")


def soak(url: str) -> tuple[int, float]:
    """Kills and replaces clients until the time is over; how many, and the slowest answer to ``/info``."""
    (FOLDER / "sent").mkdir(parents=True, exist_ok=True)
    clients = [start_client(url, number) for number in range(CLIENTS)]
    ended, kills, slowest = time.monotonic() + SECONDS, 0, 0.0
    try:
        while time.monotonic() < ended:
            time.sleep(random.uniform(0.2, 2 * KILL_EVERY))
            place = random.randrange(CLIENTS)
            clients[place].kill()
            clients[place].wait()
            kills += 1
            clients[place] = start_client(url, CLIENTS + kills)
            started = time.monotonic()
            requests.get(f"{url}/info/", timeout=LONGEST).raise_for_status()
            slowest = max(slowest, time.monotonic() - started)
    finally:
        for client in clients:
            client.kill()
            client.wait()
    return kills, slowest


def start_client(url: str, number: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, __file__, url, str(number)])


def ask_without_end(url: str, number: int) -> int:
    """One client: labels with a note of each that was acknowledged, inference, searches."""
    choice = random.Random(number)
    session = requests.Session()
    for turn in range(100_000):
        case = f"ct_{choice.randrange(CASES):03d}"
        kind = choice.random()
        try:
            if kind < 0.4:
                send_label(session, url, case, choice.randrange(4), f"{number}_{turn}")
            elif kind < 0.7:
                session.post(f"{url}/infer/segmentation?image={case}", timeout=LONGEST)
            elif kind < 0.8:
                with Path(FOLDER / "studies" / f"{case}.nii").open("rb") as file:
                    session.post(f"{url}/infer/segmentation", files={"file": ("a.nii", file)}, timeout=LONGEST)
            elif kind < 0.9:
                session.post(f"{url}/activelearning/random", json={}, timeout=LONGEST)
            else:
                session.get(f"{url}/unimedi/search?text=Nodule.", timeout=LONGEST)
        except requests.RequestException:
            time.sleep(0.2)
    return 0


def send_label(session: requests.Session, url: str, case: str, version: int, name: str) -> None:
    """Each client has a tag of its own for a case, so that what it sent last is what must be there."""
    content = (FOLDER / "labels" / f"{case}_{version}.nii.gz").read_bytes()
    tag = f"of_{name.split('_')[0]}"
    note = FOLDER / "sent" / f"{tag}__{case}.json"
    aside = note.with_suffix(".part")
    aside.write_text("open")  # a client killed here may or may not have been heard
    answer = session.put(
        f"{url}/datastore/label",
        params={"image": case, "tag": tag},
        files={"label": ("label.nii.gz", content)},
        data={"params": json.dumps({"label_info": LABEL_INFO, "client_id": name})},
        timeout=LONGEST,
    )
    if answer.ok:
        aside.write_text(json.dumps({"case": case, "tag": tag, "sha": hashlib.sha256(content).hexdigest()}))
        aside.replace(note)


def lost_labels(url: str) -> list[str]:
    """Acknowledged labels that the server does not have as they were sent."""
    lost = []
    for note in sorted((FOLDER / "sent").glob("*.json")):
        if note.with_suffix(".part").exists():
            continue  # a later one was under way when its client was killed
        sent = json.loads(note.read_text())
        answer = requests.get(
            f"{url}/datastore/label", params={"label": sent["case"], "tag": sent["tag"]}, timeout=LONGEST
        )
        if not answer.ok or hashlib.sha256(answer.content).hexdigest() != sent["sha"]:
            lost.append(f"{sent['case']} {sent['tag']}: {answer.status_code}")
    return lost


def is_whole(path: Path) -> bool:
    import nibabel
    import numpy as np

    try:
        return bool(np.asarray(nibabel.load(path).dataobj).size)
    except Exception:
        return False


if __name__ == "__main__":
    sys.exit(main())
