# SPDX-License-Identifier: Apache-2.0
"""UnifiedViT, its tokenizer, the [CLS] row and the shipped image tower."""

from __future__ import annotations

import pytest
import torch

from monai_unimedi.networks.blocks.encoder_block import EncoderBlock
from monai_unimedi.networks.blocks.image_tokenizer import depth_at, resample_position
from monai_unimedi.networks.blocks.usual_attention import usual_attention
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder

SMALL = {
    "patch_size": (12, 12),
    "patch_depth": 4,
    "grid_size": (4, 4),
    "num_depths": 8,
    "hidden_size": 24,
    "mlp_dim": 48,
    "num_layers": 3,
    "num_heads": 2,
    "embed_dim": 16,
    "num_selected_slices": 2,
}


@pytest.fixture
def encoder() -> UniMediImageEncoder:
    torch.manual_seed(0)
    return UniMediImageEncoder(**SMALL).eval()


@pytest.mark.parametrize("shape", [(3, 1, 48, 48), (3, 1, 72, 36), (3, 1, 48, 48, 16), (2, 1, 36, 48, 8)])
def test_batch_equals_each_sample_alone(encoder: UniMediImageEncoder, shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    alone = torch.cat([encoder(image[i : i + 1]) for i in range(len(image))])
    torch.testing.assert_close(encoder(image), alone, atol=1e-6, rtol=0)
    torch.testing.assert_close(encoder(image).norm(dim=1), torch.ones(len(image)))


@pytest.mark.parametrize("shape", [(2, 1, 48, 60), (2, 1, 48, 48, 16)])
def test_scripted_tower_equals_eager(encoder: UniMediImageEncoder, shape: tuple[int, ...]) -> None:
    scripted, image = torch.jit.script(encoder), torch.rand(shape)
    torch.testing.assert_close(scripted(image), encoder(image))
    torch.testing.assert_close(scripted.attention_map(image), encoder.attention_map(image))
    torch.testing.assert_close(scripted.features(image), encoder.features(image))


def test_blocks_and_in_plane_positions_are_shared_by_both_dimensions(encoder: UniMediImageEncoder) -> None:
    for image in (torch.rand(2, 1, 48, 48), torch.rand(2, 1, 48, 48, 16)):
        encoder.zero_grad()
        encoder(image).sum().backward()
        assert encoder.vit.blocks[0].attention.qkv.weight.grad.abs().sum() > 0
        assert encoder.vit.tokenizer.position.grad.abs().sum() > 0


def test_position_on_the_same_grid_is_the_identity_and_other_grids_keep_constants() -> None:
    table = torch.rand(1, 5, 4, 4)
    assert resample_position(table, [4, 4]) is table
    constant = torch.full((1, 5, 4, 4), 0.7)
    torch.testing.assert_close(resample_position(constant, [7, 3]), torch.full((1, 5, 7, 3), 0.7))


def test_depth_embedding_is_linear_between_rows_and_constant_beyond() -> None:
    table = torch.arange(4.0)[:, None]
    height = torch.tensor([0.125, 0.25, 0.375, 0.0, 1.0])
    torch.testing.assert_close(depth_at(table, height)[:, 0], torch.tensor([0.0, 0.5, 1.0, 0.0, 3.0]))


def test_slice_tokens_equal_x_ray_tokens_of_the_same_pixels(encoder: UniMediImageEncoder) -> None:
    volume = torch.rand(1, 1, 48, 48, 16)
    content, _ = encoder.vit.tokenizer.slices(volume, torch.tensor([[5]]))
    expected, _ = encoder.vit.tokenizer.images(volume[..., 5])
    torch.testing.assert_close(content, expected)


def test_volume_tokens_are_three_dimensional(encoder: UniMediImageEncoder) -> None:
    volume = torch.rand(1, 1, 48, 48, 16)
    before, _ = encoder.vit.tokenizer.volumes(volume)
    volume[0, 0, :12, :12, 4:8] += 1
    changed = (encoder.vit.tokenizer.volumes(volume)[0] - before).abs().sum(-1)[0] > 1e-6
    assert changed.nonzero().flatten().tolist() == [1]  # x = 0, y = 0, z = 1


def test_attention_in_bfloat16_is_the_same_with_and_without_gradient() -> None:
    torch.manual_seed(2)
    block = EncoderBlock(24, 48, 2).eval()
    q, k, v = (torch.randn(3, 2, 70, 12) for _ in range(3))
    expected = block.attention.attend(q, k, v)
    half = [part.bfloat16() for part in (q, k, v)]
    with torch.autocast("cpu", torch.bfloat16):
        fused = block.attention.attend(*half)
        plain = block.attention.attend(half[0].requires_grad_(), *half[1:])
    assert plain.requires_grad
    torch.testing.assert_close(fused.float(), expected, rtol=0.02, atol=0.01)
    torch.testing.assert_close(plain.float(), expected, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("patches", [0, 5])
@pytest.mark.parametrize("qkv_bias", [True, False])
def test_wanted_tokens_equal_those_of_the_whole_pass_and_so_do_gradients(patches: int, qkv_bias: bool) -> None:
    vit = UniMediImageEncoder(**SMALL | {"qkv_bias": qkv_bias}).double().vit
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    tokens = torch.randn(3, 12, 24, dtype=torch.float64, requires_grad=True)
    is_wanted = torch.rand(3, 12).argsort(1) < patches
    parameters = [tokens, *vit.blocks.parameters(), vit.norm.weight]
    every = vit.encode(tokens)
    plain = torch.cat([every[:, :1], every[:, 1:][is_wanted].reshape(3, patches, 24)], 1)
    some = vit.encode_some(tokens, is_wanted if patches else None)
    torch.testing.assert_close(some, plain, rtol=1e-12, atol=1e-12)
    weight = torch.randn_like(plain)
    expected = torch.autograd.grad((plain * weight).sum(), parameters)
    torch.testing.assert_close(torch.autograd.grad((some * weight).sum(), parameters), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("num_groups", [1, 4])
def test_class_row_equals_the_row_of_the_full_matrix(num_groups: int) -> None:
    torch.manual_seed(1)
    block, x = EncoderBlock(24, 48, 2).eval(), torch.randn(2, 17, 24)
    q, k, _ = block.attention.heads(block.norm1(x))
    rows = []
    for b in range(2):
        for h in range(2):
            logits = q[b, h] @ k[b, h].T / 12**0.5
            rows.append(torch.cat([part.softmax(0) for part in logits[0, 1:].chunk(num_groups)]))
    expected = torch.stack(rows).reshape(2, 2, 16).mean(1)
    out, row = block.forward_with_class_row(x, num_groups)
    torch.testing.assert_close(row, expected)
    torch.testing.assert_close(out, block(x))
    torch.testing.assert_close(block.class_row(x, num_groups), expected)


def test_contribution_is_the_part_of_the_update_that_a_patch_brings() -> None:
    torch.manual_seed(1)
    block, x = EncoderBlock(24, 48, 2).eval(), torch.randn(2, 17, 24)
    q, k, v = block.attention.heads(block.norm1(x))
    weight = block.attention.out.weight
    for b in range(2):
        attention = torch.stack([(q[b, h, 0] @ k[b, h, 1:].T / 12**0.5).softmax(0) for h in range(2)])
        parts = [weight @ torch.cat([attention[h, n] * v[b, h, 1 + n] for h in range(2)]) for n in range(16)]
        update = torch.stack(parts).sum(0)
        expected = torch.stack([part @ update / update.norm() for part in parts])
        row = block.class_row(x, weighting="contribution")[b]
        torch.testing.assert_close(row, expected.clamp(min=0))
        torch.testing.assert_close(expected.sum(), update.norm())  # nothing is left over
    torch.testing.assert_close(block.forward_with_class_row(x, 1, "contribution")[1][1], row)


def test_patch_without_value_has_attention_and_no_contribution() -> None:
    torch.manual_seed(1)
    block, x = EncoderBlock(24, 48, 2).eval(), torch.randn(1, 5, 24)
    q, k, v = block.attention.heads(block.norm1(x))
    v[:, :, 3] = 0
    row = block.attention.class_row(q, k, 1)
    assert row[0, :, 2].min() > 0 and block.attention.contributions(row, v)[0, 2] == 0


def test_contributions_are_of_single_precision_under_autocast() -> None:
    torch.manual_seed(1)
    block, v = EncoderBlock(24, 48, 2).eval(), torch.randn(3, 2, 9, 12)
    row = torch.rand(3, 2, 8).softmax(-1)
    expected = block.attention.contributions(row, v)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(block.attention.contributions(row, v), expected)


def test_contributions_score_slices_and_maps_sum_to_one(encoder: UniMediImageEncoder) -> None:
    weighed = UniMediImageEncoder(**SMALL, score_weighting="contribution").eval()
    weighed.load_state_dict(encoder.state_dict())
    for image in (torch.rand(2, 1, 48, 48), torch.rand(2, 1, 48, 48, 8)):
        attention = weighed.attention_map(image)
        assert attention.min() >= 0 and not torch.allclose(attention, encoder.attention_map(image))
        torch.testing.assert_close(attention.flatten(1).sum(1), torch.ones(2))
    torch.testing.assert_close(weighed.slice_scores(image), attention.mean((1, 2)))
    torch.testing.assert_close(torch.jit.script(weighed).slice_scores(image), attention.mean((1, 2)))
    with pytest.raises(ValueError, match="score_weighting must be one of"):
        UniMediImageEncoder(**SMALL, score_weighting="norm")


def test_no_layers_contributions_outweigh_the_others_in_volumes(encoder: UniMediImageEncoder) -> None:
    weighed = UniMediImageEncoder(**SMALL, score_weighting="contribution").eval()
    weighed.load_state_dict(encoder.state_dict())
    volume = torch.rand(2, 1, 48, 48, 8)
    content, position = weighed.vit.tokenizer.slices(volume, torch.arange(8)[None].expand(2, -1))
    x, shares = weighed.vit.with_class(content + position), []
    for block in weighed.vit.blocks:
        x, row = block.forward_with_class_row(x, weighting="contribution")
        shares.append(row / row.sum(1, keepdim=True))
    expected = torch.stack(shares).mean(0).reshape(2, 8, 4, 4).permute(0, 2, 3, 1)
    torch.testing.assert_close(weighed.attention_map(volume), expected)


def test_only_a_training_with_seeds_explores_slices() -> None:
    explorer = UniMediImageEncoder(**{**SMALL, "num_selected_slices": 2}, explored_share=1.0)
    volume, seeds = torch.rand(4, 1, 48, 48, 8), torch.arange(4)
    scores = torch.arange(8.0).expand(4, -1)
    best = torch.tensor([6, 7]).expand(4, -1)
    for network in (explorer, torch.jit.script(explorer)):
        assert not torch.equal(network.train().select_slices(volume, scores, seeds), best)
        assert torch.equal(network.select_slices(volume, scores, None), best)
        assert torch.equal(network.eval().select_slices(volume, scores, seeds), best)


def test_debiased_maps_are_what_exceeds_the_usual_volume(encoder: UniMediImageEncoder) -> None:
    debiased = UniMediImageEncoder(**SMALL, debiased=True).eval()
    debiased.load_state_dict(encoder.state_dict())
    usual, seen = torch.rand(4, 1, 48, 48, 8), torch.rand(2, 1, 48, 48, 8)
    debiased.selector.place_mean.copy_(debiased.selector.places(encoder.attention_map(usual)).mean(0))
    mean = usual_attention(debiased.selector.place_mean, [4, 4, 8]) / 128
    above = (encoder.attention_map(seen) - mean).clamp(min=0)
    expected = above / above.sum((1, 2, 3), keepdim=True)
    for network in (debiased, torch.jit.script(debiased)):
        torch.testing.assert_close(network.attention_map(seen), expected, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(network.slice_scores(seen), expected.mean((1, 2)), atol=1e-6, rtol=1e-4)


def test_debiased_maps_are_what_exceeds_the_usual_xray(encoder: UniMediImageEncoder) -> None:
    debiased = UniMediImageEncoder(**SMALL, debiased=True).eval()
    debiased.load_state_dict(encoder.state_dict())
    usual, seen = torch.rand(4, 1, 48, 48), torch.rand(2, 1, 48, 48)
    torch.testing.assert_close(debiased.attention_map(seen), encoder.attention_map(seen))  # nothing is known yet
    debiased.xray_usual.copy_(debiased.relative_xray_attention(usual).mean(0))
    above = (encoder.attention_map(seen) - encoder.attention_map(usual).mean(0)).clamp(min=0)
    expected = above / above.sum((1, 2), keepdim=True)
    for network in (debiased, torch.jit.script(debiased)):
        torch.testing.assert_close(network.attention_map(seen), expected, atol=1e-6, rtol=1e-4)


def test_weights_from_before_xrays_had_a_usual_attention_load(encoder: UniMediImageEncoder) -> None:
    state = encoder.state_dict()
    del state["xray_usual"]
    assert not UniMediImageEncoder(**SMALL).load_state_dict(state).missing_keys
    assert "xray_usual" not in state


def test_attention_map_is_the_mean_over_layers_of_the_joint_softmax(encoder: UniMediImageEncoder) -> None:
    volume = torch.rand(2, 1, 48, 48, 8)
    every = torch.arange(8)[None].expand(2, -1)
    content, position = encoder.vit.tokenizer.slices(volume, every)
    x, rows = encoder.vit.with_class(content + position), []
    for block in encoder.vit.blocks:
        x, row = block.forward_with_class_row(x)
        rows.append(row)
    expected = torch.stack(rows).mean(0).reshape(2, 8, 4, 4).permute(0, 2, 3, 1)
    attention = encoder.attention_map(volume)
    torch.testing.assert_close(attention, expected)
    torch.testing.assert_close(attention.sum((1, 2, 3)), torch.ones(2))
    torch.testing.assert_close(encoder.slice_scores(volume), expected.mean((1, 2)))


def test_scores_of_chosen_layers_are_the_mean_of_those_rows_alone(encoder: UniMediImageEncoder) -> None:
    chosen = UniMediImageEncoder(**SMALL, score_layers=[1]).eval()
    chosen.load_state_dict(encoder.state_dict())
    volume = torch.rand(2, 1, 48, 48, 8)
    content, position = encoder.vit.tokenizer.slices(volume, torch.arange(8)[None].expand(2, -1))
    x = encoder.vit.blocks[0](encoder.vit.with_class(content + position))
    expected = encoder.vit.blocks[1].class_row(x).reshape(2, 8, 16).mean(2)
    torch.testing.assert_close(chosen.slice_scores(volume), expected)
    torch.testing.assert_close(torch.jit.script(chosen).slice_scores(volume), expected)
    assert UniMediImageEncoder(**SMALL, score_layers="null").score_layers == [0, 1, 2]
    for wrong in ([3], [], "last", 1):
        with pytest.raises(ValueError, match="must be a list of layers from 0 to 2, such as"):
            UniMediImageEncoder(**SMALL, score_layers=wrong)


def test_patch_that_does_not_divide_the_image_is_an_error(encoder: UniMediImageEncoder) -> None:
    with pytest.raises(ValueError, match="multiple of the patch 12x12, got 50x48"):
        encoder(torch.rand(1, 1, 50, 48))
    with pytest.raises(ValueError, match="multiple of patch_depth 4, got 6 slices"):
        encoder(torch.rand(1, 1, 48, 48, 6))


def test_more_slices_than_the_volume_has_is_an_error() -> None:
    encoder = UniMediImageEncoder(**(SMALL | {"num_selected_slices": 9}))
    with pytest.raises(ValueError, match="k = 9 and 8 slices"):
        encoder(torch.rand(1, 1, 48, 48, 8))
