# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, read from the imports; and the sizes and names that keep the layout readable.

The table is the one of CONTRIBUTING.md. Imports inside functions count too, except in the verbs, which may
import everything that way.
"""

from __future__ import annotations

import ast
import configparser
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LIBRARY = REPOSITORY / "monai_unimedi"
FILES = sorted(LIBRARY.rglob("*.py"))
MAX_LINES = 300
EVERYWHERE = {"torch", "numpy", "tqdm", "monai.utils", "monai.config"}
OPEN_NAMES = {
    *("monai_unimedi", "monai_unimedi.file_digest.file_digest"),
    *(f"monai_unimedi.precision.{name}" for name in ("autocast_dtype", "has_bfloat16_units")),
    "monai_unimedi.device.usable_device",
    *(f"monai_unimedi.{name}" for name in ("__version__", "is_on", "require")),
}

# layer -> what it may import beside the standard library and EVERYWHERE; the longest matching layer holds.
MAY_IMPORT: dict[str, set[str]] = {
    "networks.blocks": {"monai.networks", "monai_unimedi.networks.blocks"},
    "networks.nets": {
        *("monai", "transformers", "tokenizers", "safetensors"),
        *("monai_unimedi.networks.blocks", "monai_unimedi.networks.nets"),
    },
    "networks": {  # pretrained.py and the files it is made of: they work on any module, by key
        *("monai", "transformers", "safetensors", "huggingface_hub", "monai_unimedi.networks.blocks"),
        *(f"monai_unimedi.networks.{name}" for name in ("pretrained", "checkpoints", "conversion")),
    },
    "losses": {"monai", "monai_unimedi.losses"},
    "metrics": {"monai", "scipy", "sklearn", "monai_unimedi.metrics"},
    "transforms": {
        *("monai", "tokenizers", "scipy", "monai_unimedi.transforms", "monai_unimedi.data"),
        *("itk", "nibabel", "pydicom", "PIL", "isal"),  # readers
    },
    "data": {
        *("monai.transforms", "monai.data", "monai_unimedi.data", "monai_unimedi.transforms"),
        *("transformers", "tokenizers", "itk", "nibabel", "pydicom", "PIL"),
        *("scipy", "pyarrow", "joblib", "psutil", "filelock", "highdicom"),
    },
    "optimizers": {"monai", "monai_unimedi.optimizers"},
    "engines": {"monai", "ignite", "monai_unimedi.engines", "monai_unimedi.handlers"},
    "handlers": {"monai", "ignite", "psutil", "monai_unimedi.handlers", "monai_unimedi.engines"},
    "inferers": {"monai", "monai_unimedi.networks.blocks", "monai_unimedi.inferers"},
    "visualize": {
        *("monai.visualize", "monai_unimedi.visualize"),
        *("matplotlib", "contourpy", "jinja2", "PIL", "scipy", "sklearn", "threadpoolctl", "tensorboard"),
    },
    "encoder": {
        *("monai.bundle", "monai_unimedi.data", "monai_unimedi.inferers", "monai_unimedi.networks"),
        "monai_unimedi.root_cause",
    },
    "card": {"monai_unimedi.networks.pretrained"},
    "prompted_head": {"monai_unimedi.encoder", "monai_unimedi.inferers"},
    "zoo": {
        *("monai.bundle", "safetensors", "packaging", "onnx", "onnxruntime", "onnxscript"),
        *("monai_unimedi.zoo", "monai_unimedi.networks.checkpoints"),
        *("monai_unimedi.encoder", "monai_unimedi.metrics.metrics_file"),
    },
    "": set(),
}
UNRESTRICTED = ("__main__", "verbs")
DISTRIBUTIONS = {
    "ignite": "pytorch-ignite",
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
}
NOT_CREATED = {"utils", "common", "helpers", "misc"}


def module_name(path: Path) -> str:
    """Returns the dotted name below the package: ``networks.nets.unimedi``."""
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path: Path) -> Iterator[str]:
    """Yields each imported dotted name, ``from a import b`` as ``a.b``; relative ones made absolute."""
    package = ["monai_unimedi", *path.relative_to(LIBRARY).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def layer_of(module: str) -> str:
    """Returns the longest layer of the table that holds the module."""
    return max((layer for layer in MAY_IMPORT if within(module, layer)), key=len)


def within(name: str, prefix: str) -> bool:
    return prefix == "" or name == prefix or name.startswith(prefix + ".")


def is_allowed(name: str, allowed: set[str]) -> bool:
    if name.split(".")[0] in sys.stdlib_module_names or name in OPEN_NAMES:
        return True
    return any(within(name, prefix) for prefix in allowed)


def violations(path: Path) -> list[str]:
    module = module_name(path)
    if module.split(".")[0] in UNRESTRICTED:
        return []
    allowed = MAY_IMPORT[layer_of(module)] | EVERYWHERE
    return [name for name in imported_names(path) if not is_allowed(name, allowed)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_module_imports_only_what_its_layer_may(path: Path) -> None:
    assert violations(path) == [], f"{path.name}: layer {layer_of(module_name(path))!r} may not import these"


@pytest.mark.parametrize(
    ("module", "name", "holds"),
    [
        ("networks.blocks.heads", "torch.nn", True),
        ("networks.blocks.heads", "monai.networks.blocks.MLPBlock", True),
        ("networks.blocks.heads", "monai.losses.DiceLoss", False),
        ("networks.blocks.heads", "monai_unimedi.losses.UniMediLoss", False),
        ("networks.nets.unimedi", "monai_unimedi.networks.blocks.heads.Head", True),
        ("networks.pretrained", "monai_unimedi.networks.nets.UnifiedViT", False),
        ("losses.image_text_loss", "monai_unimedi.networks.nets.UnifiedViT", False),
        ("engines.pretrainer", "monai_unimedi.losses.UniMediLoss", False),
        ("handlers.teacher_update", "monai_unimedi.__version__", True),
        ("inferers.zero_shot", "monai_unimedi.networks.blocks.heads", True),
        ("data.check", "monai_unimedi.visualize.report_page", False),
        ("visualize.report_page", "ignite.engine", False),
        ("data.collate", "json", True),
    ],
)
def test_table_decides_as_written(module: str, name: str, holds: bool) -> None:
    assert is_allowed(name, MAY_IMPORT[layer_of(module)] | EVERYWHERE) is holds


def test_relative_and_nested_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LIBRARY", tmp_path)
    path = tmp_path / "losses" / "some.py"
    path.parent.mkdir()
    lines = ["from . import other", "from ..networks.nets import vit", "def f():", "    import ignite.engine"]
    path.write_text("\n".join(lines))
    assert set(imported_names(path)) == {
        "monai_unimedi.losses.other",
        "monai_unimedi.networks.nets.vit",
        "ignite.engine",
    }


def test_every_imported_package_is_a_declared_dependency() -> None:
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    optional = (setup["options.extras_require"][name] for name in ("dicom", "export", "cluster", "seg"))
    entries = " ".join([setup["options"]["install_requires"], *optional]).split()
    declared = {re.split(r"[<>=]", entry)[0] for entry in entries}
    tops = {name.split(".")[0] for path in FILES for name in imported_names(path)}
    tops -= {*sys.stdlib_module_names, "monai_unimedi", "torchvision"}
    assert {DISTRIBUTIONS.get(name, name) for name in tops} - declared == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(LIBRARY)))
def test_file_is_short_and_begins_with_licence_and_docstring(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MAX_LINES
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert ast.get_docstring(ast.parse(text)), "a module says in its first lines what it is"


def test_no_drawer_for_leftovers() -> None:
    names = {path.stem for path in LIBRARY.rglob("*") if path.suffix == ".py" or path.is_dir()}
    words = {word for name in names for word in name.split("_")}
    assert not words & NOT_CREATED
    assert not list(REPOSITORY.glob("bundles/*/scripts"))


def class_names(path: Path) -> set[str]:
    return set(re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))


def test_no_class_is_named_like_one_of_monai() -> None:
    spec = importlib.util.find_spec("monai")
    assert spec is not None
    assert spec.origin is not None
    theirs: set[str] = set().union(*(class_names(path) for path in Path(spec.origin).parent.rglob("*.py")))
    ours: set[str] = set().union(*(class_names(path) for path in FILES))
    assert len(theirs) > 500
    assert ours & theirs == set()
    assert [name for name in ours if name.startswith(("Base", "Abstract"))] == []


def test_bundle_targets_of_ours_are_dotted_names() -> None:
    ours: set[str] = set().union(*(class_names(path) for path in FILES))
    for path in REPOSITORY.glob("bundles/*/configs/*.json"):
        targets = set(re.findall(r'"_target_"\s*:\s*"([^"$@]+)"', path.read_text()))
        assert targets & ours == set(), f"{path}: write the whole dotted name"
