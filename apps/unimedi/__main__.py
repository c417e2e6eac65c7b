# SPDX-License-Identifier: Apache-2.0
"""``python apps/unimedi --studies FOLDER``: starts the server, on this machine only unless told otherwise."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

APP = Path(__file__).resolve().parent
sys.path[:0] = [str(APP)]


def main(argv: list[str]) -> int:
    """Hands the arguments to ``monailabel start_server``."""
    parser = _parser()
    arguments, others = parser.parse_known_args(argv)
    if bool(arguments.studies) == arguments.demo:
        parser.error("name --studies, or --demo for synthetic patients")
    hosts = [name for name in (os.environ.get("UNIMEDI_LABEL_HOSTS"), *arguments.name) if name]
    if arguments.host not in ("127.0.0.1", "localhost", "::1"):
        hosts += [] if arguments.host in ("0.0.0.0", "::") else [arguments.host]
        if not hosts:
            print("Beyond this machine the server must know its name: --name SERVER.", file=sys.stderr)
            return 2
    if hosts:
        os.environ["UNIMEDI_LABEL_HOSTS"] = ",".join(hosts)
    from unimedi_label import upstream

    upstream.apply()
    if arguments.demo:
        from unimedi_label.demo import demo_studies

        arguments.studies = str(demo_studies(APP.parents[1] / "output" / "label"))
    from monailabel.main import Main

    sys.argv = ["monailabel", "start_server", "--app", str(APP), "--studies", arguments.studies]
    sys.argv += ["--host", arguments.host, "--port", str(arguments.port)]
    for key in ("encoder", "trained", "model_dir", "labels", "labels_xray"):
        if getattr(arguments, key):
            sys.argv += ["--conf", key, getattr(arguments, key)]
    sys.argv += ["--uvicorn_app", "unimedi_label.server:app", *others]
    Main(loglevel="WARNING").run()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python apps/unimedi",
        description="Starts the UniMedI app of MONAI Label. For research. Not a medical device, not for clinical use. "
        "Further options are those of `monailabel start_server`.",
    )
    add = parser.add_argument
    add("--studies", metavar="S", help="folder of images, or address of a DICOMweb server")
    add("--demo", action="store_true", help="synthetic patients in output/label/studies, made on first use")
    add("--host", default="127.0.0.1", help="address to listen on (default %(default)s: this machine only)")
    add("--port", type=int, default=8000, help="default %(default)s")
    add("--name", action="append", default=[], metavar="SERVER", help="name under which other machines ask for it")
    add("--encoder", metavar="M", help="folder that a pre-training wrote (default output/demo/models, of `make demo`)")
    add("--trained", metavar="M", help="folder that `make downstream` wrote (default: what lies in bundles/*/models)")
    add("--model_dir", metavar="M", help="where the models' weights go (default apps/unimedi/model)")
    add("--labels", metavar="A,B", help="classes of one's own for CTs, in place of the bundle's")
    add("--labels_xray", metavar="A,B", help="the same for X-rays")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
