# SPDX-License-Identifier: Apache-2.0
"""Heads that start from sentences, from a tiny pre-training."""

from __future__ import annotations

import json
from pathlib import Path

import monai.bundle
import pytest
import torch
from torch import nn

from monai_unimedi.data.phantom import PROMPTS
from monai_unimedi.encoder import load_encoder
from monai_unimedi.prompted_head import head_prompts, start_head_from_prompts
from tests.bundles.conftest import CONFIGS, SIZES, Bundle

BUNDLES = CONFIGS.parents[1]
NAMES = ["nodule", "pneumothorax", "cardiomegaly"]


def started(trained: Bundle, names: list[str] = NAMES, scale: float = 10.0, **options: str) -> nn.Linear:
    head = nn.Linear(SIZES["hidden_size"], len(names))
    start_head_from_prompts(head, trained.output_dir / "models" / "model.pt", PROMPTS, names, scale, **options)
    return head


@pytest.mark.parametrize("shape", [(5, 1, 72, 72), (5, 1, 48, 48, 16)])
@torch.no_grad()
def test_logits_are_the_zero_shot_scores_up_to_the_length_of_each_embedding(
    trained: Bundle, shape: tuple[int, ...]
) -> None:
    encoder = load_encoder(trained.output_dir / "models")
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    network = encoder.network
    token = network.vit(image, network.select_slices(image, None, None))[:, 0]
    scores = network.project(token) @ encoder.prompts({name: PROMPTS[name] for name in NAMES}).T
    logits = started(trained)(token)
    length = network.projection(token).norm(dim=1, keepdim=True)
    torch.testing.assert_close(logits / logits.norm(), scores * length / (scores * length).norm())
    torch.testing.assert_close(logits, 10 * scores, rtol=0.8, atol=0.05)  # the length is a typical one


def test_rows_are_in_the_order_of_the_classes(trained: Bundle) -> None:
    one, other = started(trained), started(trained, NAMES[::-1])
    assert torch.equal(one.weight, other.weight.flip(0))
    assert not torch.equal(one.weight[0], one.weight[1])
    assert not one.bias.any()


def test_background_starts_at_zero_and_needs_no_prompts(trained: Bundle) -> None:
    head = started(trained, ["Outside", *NAMES], background="Outside")
    assert not head.weight[0].any()
    torch.testing.assert_close(head.weight[1:], started(trained).weight.detach())


@pytest.mark.parametrize("source", ["2d", "3d"])
def test_segmentation_takes_the_first_of_exclusive_classes_for_the_background(source: str) -> None:
    parser = monai.bundle.ConfigParser()
    parser.read_config(BUNDLES / f"segmentation_{source}" / "configs" / "train.json")
    assert parser.get_parsed_content("prompted_presence#background") is None
    parser = monai.bundle.ConfigParser(parser.get())
    parser["class_names"], parser["class_values"], parser["exclusive"] = ["Background", "nodule"], [0, 1], True
    assert parser.get_parsed_content("prompted_presence#background") == "Background"


def test_folder_of_the_checkpoint_will_do(trained: Bundle) -> None:
    head = nn.Linear(SIZES["hidden_size"], len(NAMES))
    start_head_from_prompts(head, trained.output_dir / "models", PROMPTS, NAMES)
    assert torch.equal(head.weight, started(trained).weight)


def test_scale_multiplies(trained: Bundle) -> None:
    torch.testing.assert_close(started(trained, scale=5.0).weight * 2, started(trained).weight)


def test_class_without_prompts_is_refused(trained: Bundle) -> None:
    with pytest.raises(ValueError, match=r"Every class must have prompts, got none for \['fracture'\]"):
        started(trained, ["nodule", "fracture"])


def test_head_of_another_width_is_refused(trained: Bundle) -> None:
    with pytest.raises(ValueError, match=r"encoder's width 32, got 7"):
        start_head_from_prompts(nn.Linear(7, 3), trained.output_dir / "models" / "model.pt", PROMPTS, NAMES)


def test_prompts_are_chosen_where_they_can_be_used(trained: Bundle, tmp_path: Path) -> None:
    checkpoint, usual = trained.output_dir / "models" / "model.pt", {"nodule": PROMPTS["nodule"]}
    assert head_prompts("auto", checkpoint, usual) == head_prompts("auto", checkpoint.parent, usual) == usual
    assert head_prompts("auto", checkpoint, usual, reads_class=False) == {}
    assert head_prompts("auto", None, usual) == head_prompts("auto", "none", usual) == {}
    assert head_prompts("none", checkpoint, usual) == {}
    file = tmp_path / "prompts.json"
    file.write_text(json.dumps({"nodule": "There is a nodule."}))
    assert head_prompts(file, checkpoint, {})["nodule"]["positive"] == ["There is a nodule."]
    for elsewhere in (None, tmp_path / "model.pt"):
        with pytest.raises(ValueError, match=r"with --pretrained the model\.pt of a pre-training that has text/"):
            head_prompts(file, elsewhere, {})
    with pytest.raises(ValueError, match="a head that reads"):
        head_prompts(file, checkpoint, {}, reads_class=False)
