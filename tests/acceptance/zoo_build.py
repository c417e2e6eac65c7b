# SPDX-License-Identifier: Apache-2.0
"""``zoo build`` gives the same bytes twice, and what it builds passes ``zoo verify``.

    python tests/acceptance/zoo_build.py [RUNS [SCHEMA]]

RUNS is the folder of the trainings (default ``output``, where `make demo` and `make downstream` write); SCHEMA the
metadata's JSON schema (default ``../shared/schema`` where it lies there, else that check is left out). The second build
runs in another folder, time zone, locale and umask, from copies of trainings and bundles with other times. Every
file must be the same bytes; then each zip of the first is verified. The last line holds the counts.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from _bundle import OUTPUT, REPOSITORY, copy_bundles
from _zoo import clean, contents

FOLDER = OUTPUT / "zoo_build"
BUNDLES = ("pretrain", "classification_2d", "classification_3d", "segmentation_2d", "segmentation_3d")
OTHER = {"TZ": "Pacific/Auckland", "LC_ALL": "C", "OMP_NUM_THREADS": "2"}


def zoo(words: list[str], folder: Path, umask: int = 0o022, **more: str) -> str:
    """Runs ``zoo WORDS``; returns what it printed."""
    where = {"cwd": folder, "env": clean(PYTHONPATH=str(REPOSITORY), **more), "umask": umask}
    command = [sys.executable, "-m", "monai_unimedi", "zoo", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **where)
    if done.returncode:
        raise SystemExit(f"zoo {words[0]}: {done.stdout.strip() or done.stderr.strip().splitlines()[-1]}")
    return done.stdout


def build(root: Path, runs: Path, output: Path, umask: int = 0o022, **more: str) -> dict[str, bytes]:
    """Builds all bundles, from the folder beside the trainings, which their records name; returns the files."""
    named = [f"{name}={runs / ('demo' if name == 'pretrain' else f'downstream/{name}')}" for name in BUNDLES]
    options = [word for run in named for word in ("--run", run)]
    words = ["build", "--output", str(output), "--bundles", str(root / "bundles"), "--url", "https://example.org/zoo"]
    zoo([*words, *options], runs.parent, umask, **more)
    return contents(output)


def copied(runs: Path, folder: Path) -> Path:
    """The trainings in another place, with other times."""
    left_out = shutil.ignore_patterns("phantom", "tensorboard", "resume_*")
    for name in ("demo", *(f"downstream/{name}" for name in BUNDLES[1:])):
        shutil.copytree(runs / name, folder / name, ignore=left_out)
    for path in folder.rglob("*"):
        os.utime(path, (10**9, 10**9))
    return folder


def main(argv: list[str]) -> int:
    """Builds twice and verifies; returns 0 where all holds."""
    runs = Path(argv[0]).resolve() if argv else REPOSITORY / "output"
    schema = Path(argv[1]) if argv[1:] else next((REPOSITORY.parent / "shared" / "schema").glob("*.json"), None)
    shutil.rmtree(FOLDER, ignore_errors=True)
    other = copy_bundles(FOLDER / "other")
    copied(runs, other / "output")
    files = [
        build(REPOSITORY, runs, FOLDER / "zoo"),
        build(other, other / "output", FOLDER / "again", 0o077, **OTHER),
    ]
    if files[0] != files[1]:
        names = sorted(name for name in files[0].keys() | files[1].keys() if files[0].get(name) != files[1].get(name))
        raise SystemExit(f"two builds must be byte-identical, these are not: {', '.join(names)}")
    print(f"ok   two builds: {len(files[0])} files, {sum(map(len, files[0].values())):,} bytes", flush=True)
    named = ["--schema", str(schema)] if schema else []
    done = zoo(["verify", *map(str, sorted((FOLDER / "zoo").glob("*.zip"))), *named], REPOSITORY)
    print(done.strip())
    with_schema = "" if schema else ", without the schema"
    print(f"zoo build: {len(files[0])} files byte-identical, {done.count(': ok (')} bundles verified{with_schema}")
    return int(done.count(": ok (") != len(BUNDLES))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
