# SPDX-License-Identifier: Apache-2.0
"""The sum of the losses: its arithmetic, what is skipped, names, schedules, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from monai_unimedi.losses import ImageTextLoss, SelfDistillationLoss, UniMediLoss

PROTOTYPES = 8
LOGITS = ("student_class", "teacher_class", "student_patches", "teacher_patches")


def output(rows: int, seed: int, distil: bool = True) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "image_embedding": normalize(torch.randn(rows, 6, generator=generator), dim=1),
        "text_embedding": normalize(torch.randn(rows, 6, generator=generator), dim=1),
        "logit_scale": torch.tensor(14.3),
        "pair_group": torch.arange(rows) // 2,
    }
    if distil:
        for name in LOGITS:
            shape = (rows, PROTOTYPES) if name.endswith("class") else (rows, 5, PROTOTYPES)
            tensors[name] = torch.randn(shape, generator=generator)
    return tensors


def make(**options: Any) -> UniMediLoss:
    return UniMediLoss(ImageTextLoss(), SelfDistillationLoss(PROTOTYPES), **options)


def parts(outputs: dict[str, dict[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Each source's terms from the single losses."""
    distillation = SelfDistillationLoss(PROTOTYPES)
    terms = {}
    for source, given in outputs.items():
        terms[source] = distillation(source=source, **{name: given[name] for name in LOGITS})
        terms[source]["loss_vl"] = ImageTextLoss()(*list(given.values())[:4])
    return terms


def test_contrast_has_a_weight_and_none_leaves_images_alone() -> None:
    outputs = {"2d": output(6, 0)}
    outputs["2d"]["text_embedding"].requires_grad_()
    loss, terms = make(distillation_weight=0.3, contrast_weight=0.5)(outputs)
    distilled = 0.3 * (terms["loss_icl"] + terms["loss_pcl"])
    assert loss.item() == pytest.approx((0.5 * terms["loss_vl"] + distilled).item(), rel=1e-6)
    loss, terms = make(distillation_weight=1.0, contrast_weight=0.0)(outputs)
    assert loss.item() == pytest.approx((terms["loss_icl"] + terms["loss_pcl"]).item(), rel=1e-6)
    loss.backward()
    gradient = outputs["2d"]["text_embedding"].grad
    assert gradient is not None and not gradient.any()
    with pytest.raises(ValueError, match="weights must be >= 0"):
        make(contrast_weight=-1.0)


def test_sum_is_the_mean_over_sources() -> None:
    outputs = {"2d": output(6, 0), "3d": output(4, 1)}
    loss, terms = make(distillation_weight=0.3)(outputs)
    expected = parts(outputs)
    of_source = [t["loss_vl"] + 0.3 * (t["loss_icl"] + t["loss_pcl"]) for t in expected.values()]
    assert loss.item() == pytest.approx((of_source[0] + of_source[1]).item() / 2, rel=1e-6)
    assert terms["loss"].item() == loss.item()
    for name in ("loss_vl", "loss_icl", "loss_pcl"):
        by_source = [terms[f"{source}_{name}"].item() for source in outputs]
        assert by_source == pytest.approx([expected[source][name].item() for source in outputs], rel=1e-6)
        assert terms[name].item() == pytest.approx(sum(by_source) / 2, rel=1e-6)


def test_source_weights_weigh_the_mean() -> None:
    outputs = {"2d": output(6, 0), "3d": output(4, 1)}
    loss, _ = make(source_weights={"3d": 3.0})(outputs)
    expected = [t["loss_vl"] + 0.3 * (t["loss_icl"] + t["loss_pcl"]) for t in parts(outputs).values()]
    assert loss.item() == pytest.approx((expected[0] + 3 * expected[1]).item() / 4, rel=1e-6)


def test_terms_are_flat_detached_scalars() -> None:
    outputs = {"2d": output(6, 0), "3d": output(4, 1)}
    outputs["2d"]["image_embedding"].requires_grad_()
    loss, terms = make()(outputs)
    assert loss.requires_grad
    assert all(term.ndim == 0 and not term.requires_grad for term in terms.values())
    kinds = ("class", "patches")
    entropies = {f"teacher_{which}entropy_{kind}" for which in ("", "mean_") for kind in kinds}
    losses = {"loss_vl", "loss_icl", "loss_pcl"}
    named = {f"{source}_{name}" for source in outputs for name in losses | entropies}
    assert set(terms) == {"loss"} | losses | named


def test_one_source_alone_is_its_own_mean() -> None:
    outputs = {"3d": output(4, 1)}
    _, terms = make()(outputs)
    assert terms["loss_vl"].item() == pytest.approx(ImageTextLoss()(*list(outputs["3d"].values())[:4]).item())


@pytest.mark.parametrize("reason", ["weight 0", "no logits", "no distillation loss"])
def test_distillation_is_skipped_and_its_centres_rest(reason: str) -> None:
    outputs = {"2d": output(6, 0, distil=reason != "no logits")}
    loss = make(distillation_weight=0.0 if reason == "weight 0" else 0.3)
    if reason == "no distillation loss":
        loss = UniMediLoss(ImageTextLoss())
    value, terms = loss(outputs)
    assert set(terms) == {"loss", "loss_vl", "2d_loss_vl"}
    assert value.item() == terms["loss_vl"].item()
    assert not any(buffer.any() for name, buffer in loss.named_buffers() if "centre" in name)


def test_schedule_sets_weight_and_teacher_temperature() -> None:
    outputs, loss = {"2d": output(6, 0)}, make(distillation_weight=0.0)
    loss.distillation_weight = 0.5
    loss.teacher_temperature = 0.07
    assert loss.teacher_temperature == 0.07
    assert loss.distillation_loss is not None
    assert loss.distillation_loss.teacher_temperature == 0.07
    value, terms = loss(outputs)
    expected = terms["loss_vl"] + 0.5 * (terms["loss_icl"] + terms["loss_pcl"])
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)


def test_joint_contrast_is_one_contrast_over_all_rows() -> None:
    outputs = {"2d": output(6, 0), "3d": output(4, 1)}
    _, terms = make(joint_contrast=True)(outputs)
    names = ("image_embedding", "text_embedding", "pair_group")
    image, text, group = (torch.cat([outputs[source][name] for source in outputs]) for name in names)
    expected = ImageTextLoss()(image, text, 14.3, group)
    assert terms["loss_vl"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert "2d_loss_vl" not in terms
    assert "2d_loss_icl" in terms


def test_joint_contrast_compares_groups_across_sources() -> None:
    outputs = {"2d": output(3, 0), "3d": output(3, 1)}
    for given in outputs.values():
        given["pair_group"] = torch.arange(3)
    shared = make(joint_contrast=True)(outputs)[1]["loss_vl"]
    outputs["3d"]["pair_group"] = torch.arange(3) + 3
    assert abs((make(joint_contrast=True)(outputs)[1]["loss_vl"] - shared).item()) > 1e-3


def test_gradient_reaches_every_tensor_of_the_student() -> None:
    outputs = {"2d": output(6, 0), "3d": output(4, 1)}
    for given in outputs.values():
        for name in given.keys() - {"pair_group"}:
            given[name].requires_grad_()
    make()(outputs)[0].backward()
    for given in outputs.values():
        reached = {name for name, tensor in given.items() if tensor.grad is not None and tensor.grad.any()}
        assert reached == given.keys() - {"pair_group", "teacher_class", "teacher_patches"}


def test_bad_outputs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one source"):
        make()({})
    given = output(4, 0)
    with pytest.raises(ValueError, match=r"outputs\['2d'\] must hold .* missing: logit_scale"):
        make()({"2d": {name: given[name] for name in given if name != "logit_scale"}})
    with pytest.raises(ValueError, match="missing: teacher_class"):
        make()({"2d": {name: given[name] for name in given if name != "teacher_class"}})
    ungrouped = {name: given[name] for name in given if name != "pair_group"}
    with pytest.raises(ValueError, match=r"every source or none, got it with \['2d'\] only"):
        make(joint_contrast=True)({"2d": given, "3d": ungrouped})
    with pytest.raises(ValueError, match="contrast needs two"):
        make()({"2d": output(1, 0)})
    with pytest.raises(ValueError, match="a source with a weight > 0"):
        make(source_weights={"2d": 0.0})({"2d": given})


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="weights must be >= 0"):
        make(distillation_weight=-0.1)
    with pytest.raises(ValueError, match="needs a distillation_loss"):
        _ = UniMediLoss(ImageTextLoss()).teacher_temperature
