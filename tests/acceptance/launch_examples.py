# SPDX-License-Identifier: Apache-2.0
"""The launch examples of docs/several_gpus.md run as they stand: torchrun, torchrun on two machines, Slurm.

    python tests/acceptance/launch_examples.py

Each is given to a shell in a copy of the repository's bundles, with options for tiny lengths behind it. "Two
machines" are two launchers on this machine's loopback, each with its own number of processes. For Slurm, the
variables of a job of one machine are set by hand, ``scontrol`` and ``srun`` are stand-ins that print this machine's
name and run the rest of their line. The last line holds the number of examples that ran.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys

from _bundle import OUTPUT, REPOSITORY, SHORT, copy_bundles

FOLDER = OUTPUT / "launch_examples"
PAGE = REPOSITORY / "docs" / "several_gpus.md"
LENGTHS = [*SHORT, "--num_steps", "2", "--steps_per_epoch", "2", "--phantom_dir", str(FOLDER / "phantom")]
STAND_INS = {
    "scontrol": "#!/bin/sh\necho localhost\n",
    "srun": '#!/bin/sh\nexec "$@"\n',
    "torchrun": f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m torch.distributed.run "$@"\n',
}
TIMEOUT = 1200.0  # seconds for an example


def main() -> int:
    """Returns 0 where all examples trained."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    tools = FOLDER / "tools"
    tools.mkdir(parents=True)
    for name, text in STAND_INS.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    one, two = blocks("bash")
    (script,) = blocks("sbatch")
    ran = [example("one", [one], 4), example("two", [on_loopback(two)] * 2, 2), slurm(script)]
    print(f"launch_examples: {sum(ran)} of 3 ran as they stand: torchrun, torchrun on two machines, Slurm")
    return int(not all(ran))


def blocks(kind: str) -> list[str]:
    """The page's blocks of one language."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


def on_loopback(line: str) -> str:
    """The host is this machine, its port a free one, and each launcher has one process."""
    return line.replace("HOST:29500", f"localhost:{free_port()}").replace("--nproc_per_node 4", "--nproc_per_node 1")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def example(name: str, lines: list[str], ranks: int, variables: dict[str, str] | None = None) -> bool:
    """Runs lines side by side; tells whether they were one training of so many ranks."""
    root = copy_bundles(FOLDER / name)
    path = f"{REPOSITORY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}".rstrip(os.pathsep)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    environment |= {"PATH": f"{FOLDER / 'tools'}{os.pathsep}{os.environ['PATH']}", **(variables or {})}
    running = []
    for number, line in enumerate(lines):
        log = (FOLDER / f"{name}-{number}.log").open("wb")
        words = ["bash", "-c", f"{line.strip()} {shlex.join(LENGTHS)}"] if variables is None else shlex.split(line)
        running.append(subprocess.Popen(words, cwd=root, env=environment, stdout=log, stderr=log))
    try:
        statuses = [process.wait(TIMEOUT) for process in running]
    finally:
        for process in running:
            process.terminate()
    found = sorted(root.rglob("history.jsonl"))
    steps = [json.loads(line)["step"] for path in found for line in path.read_text().splitlines() if '"loss"' in line]
    said = "".join((FOLDER / f"{name}-{number}.log").read_text(errors="replace") for number in range(len(lines)))
    ends = len(re.findall(r"UniMediPretrainer - INFO - Engine run finished", said))
    print(f"{name}: exit {statuses}, steps {steps}, processes that finished {ends} of {ranks}", flush=True)
    return statuses == [0] * len(lines) and steps == [1, 2] and ends == ranks


def slurm(script: str) -> bool:
    """`bash -n`, then the script with the variables of a job of one machine and two processes."""
    path = FOLDER / "pretrain.sh"
    path.write_text(script.replace(":29500", f":{free_port()}"))
    if subprocess.run(["bash", "-n", str(path)], check=False).returncode:
        return False
    variables = {
        "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "localhost", "SLURM_GPUS_ON_NODE": "2",
    }  # fmt: skip
    return example("slurm", [shlex.join(["bash", str(path), *LENGTHS])], 2, variables)


if __name__ == "__main__":
    sys.exit(main())
