# SPDX-License-Identifier: Apache-2.0
"""Without the package each bundle's commands end in one line with the remedy.

    python tests/acceptance/zoo_without_package.py [ZOO]

ZOO is what ``zoo build`` wrote (default ``output/zoo``). An environment is made that sees every package of this one but
``monai_unimedi``. There each bundle is trained, trained by ``multi_gpu_train.json``, evaluated, used for inference, and
loaded by `monai.bundle.load`: beside what MONAI says before it runs any config there must be one line, the remedy, and
a status that is not 0. The last line holds the count.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig

from _bundle import OUTPUT
from _zoo import clean, new_environment, said, unpacked, zips

FOLDER = OUTPUT / "zoo_without_package"
REMEDY = "this bundle needs the package monai-unimedi: run pip install PATH, where PATH is its wheel or its repository"


def commands(name: str) -> dict[str, list[str]]:
    """What a user of a bundle types."""
    run = ["-m", "monai.bundle", "run", "--config_file"]
    both = f"['{name}/configs/train.json','{name}/configs/multi_gpu_train.json']"
    load = f"import monai.bundle; monai.bundle.load('{name}', bundle_dir='.', source='github')"
    verbs = {verb: [*run, f"{name}/configs/{verb}.json"] for verb in ("train", "evaluate", "inference")}
    return {**verbs, "multi_gpu_train": [*run, both], "load": ["-c", load]}


def main(argv: list[str]) -> int:
    """Runs all commands; returns 0 where all end as they must."""
    archives = zips(argv)
    shutil.rmtree(FOLDER, ignore_errors=True)
    python = new_environment(FOLDER / "environment")
    environment = clean(PYTHONPATH=sysconfig.get_paths()["purelib"])  # links to editable installs are not followed
    find = "import importlib.util as u, monai; raise SystemExit(bool(u.find_spec('monai_unimedi')))"
    if subprocess.run([python, "-c", find], env=environment, cwd=FOLDER, check=False).returncode:
        raise SystemExit("this environment must have monai, and the package as a link to the repository: make install")
    count = 0
    for bundle in unpacked(archives, FOLDER):
        for name, words in commands(bundle.name).items():
            check([str(python), *words], environment, f"{bundle.name}, {name}")
            count += 1
    print(f"zoo without the package: {count} commands of {len(archives)} bundles end in one line with the remedy")
    return 0


def check(words: list[str], environment: dict[str, str], what: str) -> None:
    done = subprocess.run(words, env=environment, cwd=FOLDER, capture_output=True, text=True, check=False)
    lines = said(done.stdout + done.stderr)
    if done.returncode == 0 or lines != [REMEDY]:
        shown = "\n".join(lines[-12:])
        raise SystemExit(f"{what} must end with {REMEDY!r} alone, but ended with {done.returncode}:\n{shown}")
    print(f"ok   {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
