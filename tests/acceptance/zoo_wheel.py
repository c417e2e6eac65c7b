# SPDX-License-Identifier: Apache-2.0
"""Wheel and sdist: whole, clean, and enough in an empty environment for a downloaded bundle and all of its README.

    python tests/acceptance/zoo_wheel.py [ZOO [BUNDLE ...]]

ZOO is what ``zoo build`` wrote (default ``output/zoo``). `python -m build` makes the sdist from the tracked files and
the wheel from the sdist; `twine check --strict` must be content and the wheel must hold every tracked file of the
package. The wheel goes into an empty environment, with what it requires (in the versions of ``constraints.txt``) and no
more. There, in an empty folder, MONAI's stock command downloads the bundles from loopback, and every command of their
READMEs runs as typed, with stand-ins for its placeholders, options that make trainings short and folders of their own
for them; ``--tracking mlflow`` after the installation that the README names. The repository is in reach of none of it.
The last line holds the counts.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from _bundle import OUTPUT, REPOSITORY
from _zoo import clean, contents, install, new_environment, serving, zips
from _zoo_readme import Readme

FOLDER = OUTPUT / "zoo_wheel"
PLACE = FOLDER / "place"
MLFLOW = ("mlflow-skinny", "sqlalchemy", "alembic")


def tracked(*folders: str) -> list[str]:
    words = ["git", "ls-files", "--cached", *folders]
    return subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()


def build() -> Path:
    """Wheel and sdist of the tracked files; returns the wheel."""
    source = FOLDER / "source"
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, source / name)
    tools = new_environment(FOLDER / "tools", "build", "twine")
    execute([str(tools), "-m", "build", "--outdir", str(FOLDER / "dist"), str(source)], FOLDER, "build")
    files = sorted(map(str, (FOLDER / "dist").iterdir()))
    execute([str(tools), "-m", "twine", "check", "--strict", *files], FOLDER, "twine")
    (wheel,) = (FOLDER / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        missing = set(tracked("monai_unimedi")) - set(opened.namelist())
        others = {name for name in opened.namelist() if not name.startswith("monai_unimedi")}
    if len(files) != 2 or missing or others:
        raise SystemExit(f"sdist and wheel must hold the package: {files}, missing {missing}, others {others}")
    print(f"ok   {wheel.name} and its sdist: built, twine check", flush=True)
    return wheel


def execute(words: list[str], folder: Path, name: str, **more: str) -> None:
    """Runs a command out of reach of the repository, its output in a log."""
    log = FOLDER / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        print(*words, file=stream, flush=True)
        done = subprocess.run(words, cwd=folder, env=clean(**more), stdout=stream, stderr=stream, check=False)
    if done.returncode:
        print(*log.read_text(errors="replace").splitlines()[-15:], sep="\n")
        raise SystemExit(f"{name}: ended with {done.returncode}, see {log}")


def download(archive: Path, url: str, python: Path) -> str:
    """By the argument file, its URL turned to loopback."""
    name = archive.stem.split("_v")[0]
    arguments = json.loads((archive.parent / "zoo" / f"{name}.json").read_text())
    file = FOLDER / f"{name}.json"
    file.write_text(json.dumps({**arguments, "url": f"{url}/{archive.name}"}))
    execute([str(python), "-m", "monai.bundle", "download", "--args_file", str(file)], PLACE, f"{name}_download")
    return name


def run_readme(name: str, python: Path) -> int:
    """Runs one README; returns the number of commands."""
    phantoms = FOLDER / "phantoms" / name
    make_phantoms(python, phantoms, "23"[name.endswith("3d")] if name != "unimedi_pretrain" else "both")
    readme = Readme(PLACE, name, phantoms)
    published = contents(PLACE / name / "models")
    for number, line in enumerate(readme.ordered()):
        if "mlflow" in line:
            install(python, *MLFLOW)
        execute(readme.words(line, python), PLACE, f"{name}_{number:02d}")
        print(f"ok   {line}", flush=True)
    for number, block in enumerate(readme.script()):
        execute([str(python), "-c", block], PLACE, f"{name}_python_{number}")
    after = contents(PLACE / name / "models")
    changed = sorted(file for file in published if after.get(file) != published[file])
    if changed:
        raise SystemExit(f"{name}: none of these commands may change its published weights, but {changed} changed")
    return len(readme.lines) + len(readme.python)


def make_phantoms(python: Path, folder: Path, kinds: str) -> None:
    """Few synthetic patients with masks, as the package makes them."""
    counts = {"2": "{'2d': N}", "3": "{'3d': N}", "both": "N"}[kinds]
    few = {"training": 64, "validation": 16, "test": 16}
    given = ", ".join(f"num_{key}={counts.replace('N', str(n))}" for key, n in few.items())
    given += ", training_masks=True"
    code = f"from monai_unimedi.data.phantom import ensure_phantom; ensure_phantom({str(folder)!r}, {given})"
    execute([str(python), "-c", code], FOLDER, f"phantoms_{folder.name}")


def main(argv: list[str]) -> int:
    """Runs all checks; returns 0 where all hold."""
    archives = zips(argv)
    shutil.rmtree(FOLDER, ignore_errors=True)
    PLACE.mkdir(parents=True)
    wheel = build()
    python = new_environment(FOLDER / "environment", str(wheel), "-c", str(REPOSITORY / "constraints.txt"))
    execute([str(python), "-m", "pip", "check"], FOLDER, "pip_check")
    print("ok   the wheel in an empty environment", flush=True)
    with serving(archives[0].parent) as url:
        names = [download(path, url, python) for path in archives]
    chosen = [name for name in names if not argv[1:] or name in argv[1:]]
    counts = {name: run_readme(name, python) for name in chosen}
    shutil.rmtree(FOLDER / "environment")
    shutil.rmtree(FOLDER / "tools")
    print(f"zoo wheel: {sum(counts.values())} commands of {len(counts)} READMEs run with the wheel alone")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
