# SPDX-License-Identifier: Apache-2.0
"""A bundle's network as TorchScript, `torch.export` and ONNX with a dynamic batch, each compared with the network."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_unimedi.zoo.weights import read_weights

__all__ = ["export_bundle", "format_rows"]

CLOSE = 1e-4  # largest difference from the network's output, fp32
BATCHES = (1, 2, 5)  # compared; none but the second was seen by the export
MAX_BATCH = 4096

Run = Callable[[Tensor], Tensor]


def export_bundle(folder: Path, output: Path, repeats: int = 20) -> list[dict[str, Any]]:
    """Writes ``model.ts``, ``model.pt2`` and ``model.onnx`` for each shape that the metadata names.

    A bundle that takes X-rays and CTs gets ``model_xray.*`` beside ``model.*``: a graph has one number of dimensions.
    Runs the bundle's configs.

    Args:
        folder: of the bundle.
        output: where the files go.
        repeats: timed runs of a batch of one, of which the median counts; the kinds take turns.

    Returns:
        Rows ``{"input", "kind", "file", "difference", "milliseconds", "holds"}``; `eager` is the network itself.

    Raises:
        ImportError: When ``onnx``, ``onnxscript`` or ``onnxruntime`` is missing.
        ValueError: When the weights are not the bundle's.
    """
    _require_onnx()
    output.mkdir(parents=True, exist_ok=True)
    network = _network(folder)
    formats = json.loads((folder / "configs" / "metadata.json").read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = []
    for suffix, key in (("", "network_data_format"), ("_xray", "xray_data_format")):
        if key in formats:
            shape = formats[key]["inputs"]["image"]["spatial_shape"]
            runs = dict(_exports(network, shape, output / f"model{suffix}"))
            rows += _compared(runs, shape, repeats)
    return rows


def format_rows(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table."""
    lines = [f"{'input':<14} {'kind':<14} {'difference':>10} {'ms':>9}  file"]
    for row in rows:
        mark = "" if row["holds"] else f"  FAIL: over {CLOSE}"
        numbers = f"{row['difference']:10.1e} {row['milliseconds']:9.2f}"
        lines.append(f"{row['input']:<14} {row['kind']:<14} {numbers}  {row['file']}{mark}")
    return "\n".join(lines)


def _network(folder: Path) -> torch.nn.Module:
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(folder / "configs" / "inference.json"))
    network: torch.nn.Module = parser.get_parsed_content("network_def")
    network.load_state_dict(read_weights(folder / "models" / "model.pt"))
    return network.eval()


def _exports(network: torch.nn.Module, shape: Sequence[int], stem: Path) -> Iterator[tuple[tuple[str, str], Run]]:
    """Kind and file, and what runs it."""
    import onnxruntime

    image = torch.rand(2, 1, *shape)
    yield ("eager", ""), network
    script = stem.with_suffix(".ts")
    torch.jit.script(network).save(str(script))
    yield ("TorchScript", script.name), torch.jit.load(str(script)).eval()
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with torch.no_grad():  # where a network switches gradients off, the saved graph would not load
        program = torch.export.export(network, (image,), dynamic_shapes=({0: batch},))
    torch.export.save(program, stem.with_suffix(".pt2"))
    yield ("torch.export", f"{stem.name}.pt2"), torch.export.load(stem.with_suffix(".pt2")).module()
    path = stem.with_suffix(".onnx")
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["pred"]}
    exported = torch.onnx.export(program, (image,), dynamo=True, verbose=False, **names)
    assert exported is not None  # with dynamo it never is
    exported.save(path)
    session = onnxruntime.InferenceSession(str(path), _options(), providers=["CPUExecutionProvider"])
    yield ("ONNX", path.name), lambda image: torch.from_numpy(session.run(None, {"image": image.numpy()})[0])


def _options() -> Any:
    """As many threads as torch has, so that times compare."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return options


def _compared(runs: dict[tuple[str, str], Run], shape: Sequence[int], repeats: int) -> Iterator[dict[str, Any]]:
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(size, 1, *shape, generator=generator) for size in BATCHES]
    with torch.no_grad():
        expected = [runs[("eager", "")](image) for image in images]
        gaps = {key: max(_gap(run(x), y) for x, y in zip(images, expected)) for key, run in runs.items()}
        times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
        for _ in range(repeats):
            for key, run in runs.items():
                start = time.perf_counter()
                run(images[0])
                times[key].append(1000 * (time.perf_counter() - start))
    name = " x ".join(map(str, shape))
    for (kind, file), gap in gaps.items():
        milliseconds = statistics.median(times[(kind, file)]) if repeats else float("nan")
        found = {"difference": gap, "milliseconds": milliseconds, "holds": gap <= CLOSE}
        yield {"input": name, "kind": kind, "file": file, **found}


def _gap(one: Tensor, other: Tensor) -> float:
    """The largest difference; infinite where the shapes differ."""
    return float((one - other).abs().max()) if one.shape == other.shape else float("inf")


def _require_onnx() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ImportError(f"export needs {', '.join(missing)}: run pip install 'monai-unimedi[export]'")
