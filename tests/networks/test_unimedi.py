# SPDX-License-Identifier: Apache-2.0
"""The training module: views, teacher, masks and the dictionary that the losses read."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from monai_unimedi.networks.blocks.heads import DistillationHead
from monai_unimedi.networks.blocks.usual_attention import usual_attention
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from monai_unimedi.networks.nets.unified_vit import UnifiedViT
from monai_unimedi.networks.nets.unimedi import UniMedI
from tests.networks.test_image_encoder import SMALL


class WordMean(nn.Module):
    """A report tower small enough for a test: the mean of word vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, SMALL["embed_dim"])

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        weight = attention_mask[..., None].float()
        return F.normalize((self.words(input_ids) * weight).sum(1) / weight.sum(1), dim=-1)


def network(**arguments: object) -> UniMedI:
    torch.manual_seed(0)
    heads = {"head_dim": 32, "bottleneck_dim": 16, "num_prototypes": 10}
    return UniMedI(UniMediImageEncoder(**SMALL), WordMean(), **(heads | arguments))


def sources(batch: int = 3) -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    text = {
        "input_ids": torch.randint(0, 50, (batch, 6)),
        "attention_mask": torch.ones(batch, 6, dtype=torch.long),
        "sample_seed": torch.arange(batch) + 5,
        "pair_group": torch.arange(batch),
    }
    return {
        "2d": {"image": torch.rand(batch, 1, 48, 48), **text},
        "3d": {"image": torch.rand(batch, 1, 48, 48, 16), **text},
    }


def part(batch: dict[str, dict[str, torch.Tensor]], rows: slice) -> dict[str, dict[str, torch.Tensor]]:
    return {name: {key: value[rows] for key, value in source.items()} for name, source in batch.items()}


@pytest.mark.parametrize("visible_only", [False, True])
@pytest.mark.parametrize("contrast_view", ["whole", "masked"])
def test_forward_returns_the_documented_shapes(contrast_view: str, visible_only: bool) -> None:
    out = network(contrast_view=contrast_view, visible_only=visible_only)(sources())
    assert "slice_indices" not in out["2d"] and out["3d"]["slice_indices"].shape == (3, 2)
    assert out["3d"]["slice_scores"].shape == (3, 16)
    for name, num_tokens in (("2d", 16), ("3d", 16 * 4 + 2 * 16)):
        one, hidden = out[name], num_tokens // 2
        assert one["is_masked"].shape == (3, num_tokens) and one["is_masked"].sum(1).eq(hidden).all()
        assert one["student_patches"].shape == one["teacher_patches"].shape == (3, hidden, 10)
        assert one["student_class"].shape == one["teacher_class"].shape == (3, 10)
        torch.testing.assert_close(one["image_embedding"].norm(dim=1), torch.ones(3))
        assert torch.equal(one["pair_group"], torch.arange(3))


@pytest.mark.parametrize("visible_only", [False, True])
def test_batch_equals_each_sample_alone(visible_only: bool) -> None:
    model, batch = network(visible_only=visible_only), sources()
    whole = model(batch)
    for i in range(3):
        alone = model(part(batch, slice(i, i + 1)))
        for name in batch:
            for key in set(whole[name]) - {"logit_scale"}:
                torch.testing.assert_close(whole[name][key][i : i + 1], alone[name][key], atol=1e-5, rtol=1e-5)


def plain_masked_view(
    self: UniMedI, content: torch.Tensor, position: torch.Tensor, is_masked: torch.Tensor, distill: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Every token through every block, and the predictor too."""
    vit, width = self.student.vit, content.shape[2]
    if not self.visible_only:
        encoded = vit.encode(torch.where(is_masked[..., None], vit.mask_token, content) + position)
        return encoded[:, 0], encoded[:, 1:][is_masked].reshape(len(content), -1, width)
    encoded = vit.encode((content + position)[~is_masked].reshape(len(content), -1, width))
    hidden = (vit.mask_token + position).expand_as(content)[is_masked].reshape(len(content), -1, width)
    assert self.predictor is not None
    return encoded[:, 0], self.predictor(torch.cat([encoded, hidden], 1))[:, encoded.shape[1] :]


def plain_some(self: UnifiedViT, tokens: torch.Tensor, is_wanted: torch.Tensor | None = None) -> torch.Tensor:
    """Every token through every block, then those that are wanted."""
    every = self.encode(tokens)
    patches = [] if is_wanted is None else [every[:, 1:][is_wanted].reshape(len(every), -1, every.shape[2])]
    return torch.cat([every[:, :1], *patches], 1)


@pytest.mark.parametrize("distill", [True, False])
@pytest.mark.parametrize("visible_only", [False, True])
@pytest.mark.parametrize("contrast_view", ["whole", "masked"])
def test_tokens_that_enter_no_loss_are_left_out_and_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, contrast_view: str, visible_only: bool, distill: bool
) -> None:
    model = network(contrast_view=contrast_view, visible_only=visible_only).double()
    batch = {n: {k: v.double() if k == "image" else v for k, v in s.items()} for n, s in sources().items()}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def run() -> tuple[dict[str, dict[str, torch.Tensor]], tuple[torch.Tensor, ...]]:
        out = model(batch, distill=distill)
        torch.manual_seed(2)
        parts = [(v * torch.randn_like(v)).sum() for o in out.values() for v in o.values() if v.requires_grad]
        return out, torch.autograd.grad(sum(parts), parameters, materialize_grads=True, allow_unused=True)

    fast, fast_gradients = run()
    monkeypatch.setattr(UniMedI, "masked_view", plain_masked_view)
    monkeypatch.setattr(UnifiedViT, "encode_some", plain_some)
    plain, gradients = run()
    for name, expected in plain.items():
        torch.testing.assert_close(fast[name], expected, rtol=1e-6, atol=1e-6)  # embeddings are float32
    torch.testing.assert_close(fast_gradients, gradients, rtol=1e-4, atol=1e-5)


def test_masked_contrast_and_whole_contrast_differ_and_whole_ignores_the_mask() -> None:
    batch = sources()
    other = {name: source | {"sample_seed": source["sample_seed"] + 100} for name, source in batch.items()}
    whole, masked = network(contrast_view="whole"), network(contrast_view="masked")
    torch.testing.assert_close(whole(batch)["2d"]["image_embedding"], whole(other)["2d"]["image_embedding"])
    assert (masked(batch)["2d"]["image_embedding"] - masked(other)["2d"]["image_embedding"]).abs().max() > 1e-4


def test_hidden_pixels_do_not_reach_the_student_class_token() -> None:
    model, batch = network(), sources()
    before = model(batch)["2d"]
    hidden = before["is_masked"].reshape(3, 4, 4).repeat_interleave(12, 1).repeat_interleave(12, 2)[:, None]
    batch["2d"]["image"] = torch.where(hidden, torch.rand(3, 1, 48, 48), batch["2d"]["image"])
    after = model(batch)["2d"]
    torch.testing.assert_close(before["student_class"], after["student_class"])
    assert (before["teacher_class"] - after["teacher_class"]).abs().max() > 1e-5


def test_gradient_reaches_the_student_and_never_the_teacher() -> None:
    model = network()
    out = model(sources())
    sum(v.square().sum() for o in out.values() for v in o.values() if v.requires_grad).backward()
    assert all(p.grad is None for m in (model.teacher, model.teacher_head) for p in m.parameters())
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def test_teacher_moves_by_exactly_the_momentum_and_stays_in_eval() -> None:
    model = network()
    model.train()
    assert not model.teacher.training and model.student.training
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(1.0)
    before = [p.clone() for p in model.teacher.parameters()]
    model.update_teacher(0.9)
    for old, new in zip(before, model.teacher.parameters()):
        torch.testing.assert_close(new, old + 0.1)
    model.reset_teacher()
    torch.testing.assert_close(model.teacher.state_dict(), model.student.state_dict())


def test_given_scores_replace_the_teachers_pass() -> None:
    model, batch = network(), sources()
    scores = torch.zeros(3, 16)
    scores[:, [2, 9]] = 1
    out = model(batch, distill=False, slice_scores={"3d": scores})["3d"]
    assert out["slice_indices"].tolist() == [[2, 9]] * 3 and "student_class" not in out


def test_training_moves_the_mean_attention_of_both_towers_where_the_teacher_scores() -> None:
    model, batch = network(), sources()
    usual = model.teacher.volume_attention(batch["3d"]["image"]).mean(0)
    for tower in (model.student, model.teacher):
        tower.selector.debiased = True
    model.eval()(batch, distill=False)
    model.train()(batch, distill=False, slice_scores={"3d": torch.rand(3, 16)})
    model.update_teacher(0.9)
    assert not model.teacher.selector.place_mean.any()
    model(batch, distill=False)
    assert not model.teacher.selector.place_mean.any()
    model.update_teacher(0.9)
    for tower in (model.student, model.teacher):
        torch.testing.assert_close(usual_attention(tower.selector.place_mean, list(usual.shape)), usual * usual.numel())


@pytest.mark.parametrize(("rule", "num_slices"), [("uniform", 2), ("none", 2), ("attention", 0)])
def test_rules_without_scores_spare_the_teachers_pass(rule: str, num_slices: int) -> None:
    model = network()
    assert model.scores_slices
    arguments = SMALL | {"slice_rule": rule, "num_selected_slices": num_slices}
    model = UniMedI(UniMediImageEncoder(**arguments), WordMean(), head_dim=8, bottleneck_dim=4, num_prototypes=4)
    assert not model.scores_slices and "slice_scores" not in model(sources())["3d"]


def test_the_temperature_is_held_at_its_least_and_comes_back() -> None:
    model = network(temperature=0.01)
    assert model.logit_scale.item() == pytest.approx(100, rel=1e-6)
    optimizer = torch.optim.SGD([model.log_scale], lr=1.0)
    for sign, expected in ((-1, 100), (1, 100 * torch.e**-100)):  # towards a larger scale, then a smaller one
        optimizer.zero_grad()
        (sign * model.logit_scale).backward()
        optimizer.step()
        assert model.logit_scale.item() == pytest.approx(expected, rel=1e-4, abs=1e-30)


def test_a_frozen_last_layer_gets_no_gradient() -> None:
    model = network()
    model.freeze_last_layer(True)
    model(sources())["2d"]["student_class"].sum().backward()
    assert model.student_head.prototypes.grad is None and model.student_head.mlp[0].weight.grad is not None


def test_head_logits_are_cosines_to_unit_prototypes() -> None:
    head = DistillationHead(8, 16, 4, 6)
    x = torch.randn(5, 8)
    bottleneck = head.mlp(x)
    for j in range(6):
        expected = F.cosine_similarity(bottleneck, head.prototypes[j][None], dim=1)
        torch.testing.assert_close(head(x)[:, j], expected)


def test_prototype_logits_are_of_single_precision_under_autocast() -> None:
    torch.manual_seed(0)
    head, x = DistillationHead(32, 16, 64, 6), torch.randn(5, 32)
    with torch.autocast("cpu", torch.bfloat16):
        found = head(x)
        bottleneck = head.mlp(x)
    assert bottleneck.dtype == torch.bfloat16 and found.dtype == torch.float32
    expected = F.cosine_similarity(bottleneck.float()[:, None], head.prototypes[None], dim=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("key", "value"), [("contrast_view", "half"), ("mask_ratio", 1.0), ("temperature", 0.005)])
def test_unknown_settings_are_errors(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=key):
        network(**{key: value})
