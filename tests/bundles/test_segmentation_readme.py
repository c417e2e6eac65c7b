# SPDX-License-Identifier: Apache-2.0
"""Every command of the segmentation READMEs runs at a tiny size; their keys and files exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ckpt_export, verify_net_in_out

from monai_unimedi.__main__ import main
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from tests.bundles.test_segmentation import (  # noqa: F401 - the fixture
    BUNDLES,
    DIMENSIONS,
    SIZES,
    TOWER,
    SegmentationBundle,
    another,
    segmented,
)

ELSEWHERE = ("torchrun", "rsna.json", "siim.json", "btcv.json", "msd.json")  # test_segmentation.py
OTHERS = {"key", "root", "bundle_root", "nproc_per_node", "config_file", "meta_file", "filepath", "ckpt_file"}


def readme(source: str) -> str:
    return (BUNDLES / f"segmentation_{source}" / "docs" / "README.md").read_text()


def commands(source: str) -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", readme(source), flags=re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines()]


def own_list(phantom: Path, source: str, folder: Path) -> tuple[str, str]:
    """A datalist of numbered masks: where any finding of the phantoms is."""
    import nibabel
    import numpy as np
    from PIL import Image

    content = json.loads((phantom / f"datalist_{source}.json").read_text())
    lists: dict[str, Any] = {"labels": {"0": "background", "1": "lung"}}
    for section, rows in (("training", content["training"]), ("validation", content["test"])):
        for row in rows:
            path = phantom / row["lesion_mask"]
            target = folder / f"any_{path.parent.name}_{path.name}"
            if source == "2d":
                Image.fromarray((np.asarray(Image.open(path)) > 0).astype(np.uint8)).save(target)
            else:
                mask: Any = nibabel.load(path)
                nibabel.save(nibabel.Nifti1Image((np.asarray(mask.dataobj) > 0).astype(np.uint8), mask.affine), target)
            image = str(phantom / row["image"])
            lists.setdefault(section, []).append({"id": row["id"], "image": image, "label": str(target)})
    (folder / "LIST.json").write_text(json.dumps(lists))
    return str(folder / "LIST.json"), str(folder)


def test_commands_run(segmented: SegmentationBundle, tmp_path: Path) -> None:  # noqa: F811
    torch.manual_seed(0)
    tower = UniMediImageEncoder(
        patch_size=(12, 12), patch_depth=8, grid_size=(6, 6), num_depths=16, embed_dim=8, **TOWER
    )
    torch.save(tower.state_dict(), tmp_path / "encoder.pt")
    phantom = Path(segmented.phantom["phantom_dir"])
    images = tmp_path / "images"
    images.mkdir()
    first = next(p for p in sorted((phantom / segmented.source / "test").iterdir()) if "mask" not in p.name)
    (images / first.name).write_bytes(first.read_bytes())
    listed, folder = own_list(phantom, segmented.source, tmp_path)
    places = {"output/demo/models/model.pt": str(tmp_path / "encoder.pt"), "LIST.json": listed}
    for number, line in enumerate(c for c in commands(segmented.source) if not any(word in c for word in ELSEWHERE)):
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", "monai.bundle"]
        verb, rest = words[3], words[4:]
        if verb != "run":
            given = dict(zip((w.removeprefix("--") for w in rest[1::2]), rest[2::2], strict=True))
            given = {name: str(BUNDLES.parent / value) for name, value in given.items()}
            model = {"ckpt_file": str(segmented.output_dir / "models/model.pt"), "filepath": str(tmp_path / "model.ts")}
            given |= {name: value for name, value in model.items() if name in given}
            {"verify_net_in_out": verify_net_in_out, "ckpt_export": ckpt_export}[verb](rest[0], **given, **SIZES)
            continue
        given = dict(zip((w.removeprefix("--") for w in rest[::2]), rest[1::2], strict=True))
        names = re.findall(r"configs/(\w+)\.json", given.pop("config_file"))
        values: dict[str, Any] = {name: places.get(value, value) for name, value in given.items()}
        for name in ("class_names", "class_values"):
            values |= {name: json.loads(values[name].replace("'", '"'))} if name in values else {}
        values |= {"out_channels": int(values["out_channels"])} if "out_channels" in values else {}
        if names[0] == "train":
            values |= {"dataset_dir": folder} if "dataset_dir" in values else {}
            another(segmented, tmp_path / str(number)).train(*names[1:], **values)
        elif names[0] == "evaluate":
            segmented.evaluate(**values)
        else:
            assert names == ["inference"]
            values = {"dataset_dir": str(images), "output_dir": str(tmp_path / "masks")}
            segmented.workflow("inference", kind="infer", **{**SIZES, **values}).run()


def test_check_of_the_text_says_that_a_list_of_masks_may_start(
    segmented: SegmentationBundle,  # noqa: F811
    tmp_path: Path,
) -> None:
    (command,) = re.findall(r"`python -m\s+monai_unimedi (check [^`]*)`", readme(segmented.source))
    path, _ = own_list(Path(segmented.phantom["phantom_dir"]), segmented.source, tmp_path)
    assert main([{"LIST.json": path}.get(word, word) for word in command.split()]) == 0


@pytest.mark.parametrize("source", DIMENSIONS)
def test_every_key_and_file_of_the_readme_exists(source: str) -> None:
    text = readme(source)
    configs = BUNDLES / f"segmentation_{source}" / "configs"
    keys = {key for path in configs.glob("*.json") for key in json.loads(path.read_text())} | OTHERS
    assert set(re.findall(r"--(\w+)", text)) - keys == set()
    rows = re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named - keys == set()
    assert all((BUNDLES.parent / path).is_file() for path in re.findall(r"bundles/\w+/configs/\w+\.json", text))
