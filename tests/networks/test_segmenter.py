# SPDX-License-Identifier: Apache-2.0
"""Segmentation networks: sizes of any patch, tokens in their place, weights of the encoder, frozen parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from monai_unimedi.networks.blocks.upsampling import upsampling_factors
from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from monai_unimedi.networks.nets.segmenter import DECODERS, UniMediSegmenter, skip_layers
from monai_unimedi.networks.pretrained import load_encoder_weights

TINY: dict[str, Any] = {
    "grid_size": (2, 2), "num_depths": 4, "hidden_size": 16, "mlp_dim": 32, "num_layers": 4, "num_heads": 2,
}  # fmt: skip


def segmenter(spatial_dims: int, **changes: Any) -> UniMediSegmenter:
    torch.manual_seed(0)
    sizes = {"patch_size": (12, 12), "patch_depth": 8, "feature_size": 4, "out_channels": 3, **TINY, **changes}
    return UniMediSegmenter(spatial_dims, **sizes).eval()


@pytest.mark.parametrize(
    ("patch", "stages"),
    [
        ((16, 16), [(2, 2)] * 4),
        ((16, 16, 16), [(2, 2, 2)] * 4),
        ((16, 16, 4), [(2, 2, 2), (2, 2, 2), (2, 2, 1), (2, 2, 1)]),
        ((12, 12, 8), [(3, 3, 2), (2, 2, 2), (2, 2, 2)]),
        ((14, 14, 1), [(7, 7, 1), (2, 2, 1)]),
    ],
)
def test_factors_undo_the_patch_and_leave_a_fine_depth_alone(
    patch: tuple[int, ...], stages: list[tuple[int, ...]]
) -> None:
    assert upsampling_factors(patch) == stages


def test_twelve_layers_and_four_stages_read_the_layers_of_unetr() -> None:
    assert [layer + 1 for layer in skip_layers(12, 4)] == [3, 6, 9, 12]
    with pytest.raises(ValueError, match="a layer for each of the decoder's 4 stages"):
        skip_layers(3, 4)


@pytest.mark.parametrize("decoder", [None, *DECODERS])
@pytest.mark.parametrize(
    ("spatial_dims", "patch", "depth", "size"),
    [
        (2, (12, 12), 8, (24, 36)),
        (2, (16, 16), 4, (32, 16)),
        (2, (14, 14), 1, (28, 42)),
        (3, (12, 12), 8, (24, 36, 16)),
        (3, (16, 16), 4, (32, 16, 8)),
    ],
)
def test_logits_have_the_size_of_the_image_for_any_patch(
    spatial_dims: int, patch: tuple[int, int], depth: int, size: tuple[int, ...], decoder: str | None
) -> None:
    network = segmenter(spatial_dims, patch_size=patch, patch_depth=depth, decoder=decoder)
    assert network(torch.rand(2, 1, *size)).shape == (2, 3, *size)


@pytest.mark.parametrize("decoder", [None, *DECODERS])
@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (24, 24)), (3, (24, 24, 16))])
def test_batch_equals_each_sample_alone_and_the_script_equals_the_network(
    spatial_dims: int, size: tuple[int, ...], decoder: str | None
) -> None:
    network = segmenter(spatial_dims, num_selected_slices=2, decoder=decoder)
    image = torch.rand(3, 1, *size)
    together = network(image)
    for index in range(3):
        torch.testing.assert_close(network(image[index : index + 1])[0], together[index], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.jit.script(network)(image), together)


def test_token_grids_lie_as_the_patches_lie_in_the_image() -> None:
    network = segmenter(3)
    tokens = network.encoder.vit(image := torch.rand(1, 1, 24, 36, 16))
    grid = network.tokens(image)[1][0]
    assert grid.shape == (1, 16, 2, 3, 2)
    torch.testing.assert_close(grid[0, :, 1, 2, 0], tokens[0, 1 + (1 * 3 + 2) * 2 + 0])


def test_slices_tokens_change_the_result_and_are_not_decoded() -> None:
    without, beside = segmenter(3), segmenter(3, num_selected_slices=2)
    beside.load_state_dict(without.state_dict())
    image = torch.rand(1, 1, 24, 24, 16)
    assert beside.tokens(image)[1][0].shape == without.tokens(image)[1][0].shape
    assert not torch.allclose(beside(image), without(image))


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_pretrained_tower_fills_the_encoder_and_changes_the_output(spatial_dims: int) -> None:
    network = segmenter(spatial_dims)
    torch.manual_seed(1)
    tower = UniMediImageEncoder(patch_size=(12, 12), patch_depth=8, embed_dim=8, **TINY)
    image = torch.rand(1, 1, *((24, 24) if spatial_dims == 2 else (24, 24, 16)))
    before = network(image)
    summary = load_encoder_weights(network, tower.state_dict())
    assert all(key.startswith(("decoder.", "presence.")) for key in summary["fresh"])
    assert summary["left_out"] == ["projection.weight"]
    assert torch.equal(network.encoder.vit.cls_token, tower.vit.cls_token)
    assert not torch.allclose(network(image), before)


@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (24, 36)), (3, (24, 24, 16))])
def test_class_token_adds_to_every_voxel_of_a_channel_alike(spatial_dims: int, size: tuple[int, ...]) -> None:
    network, image = segmenter(spatial_dims), torch.rand(2, 1, *size)
    before = network(image)
    torch.nn.init.normal_(network.presence.weight)
    shift = (network(image) - before).flatten(2)
    expected = network.presence(network.encoder.vit(image)[:, 0])
    torch.testing.assert_close(shift, expected[..., None].expand_as(shift), atol=1e-5, rtol=1e-4)


def test_weights_of_another_size_are_refused() -> None:
    tower = UniMediImageEncoder(patch_size=(12, 12), patch_depth=8, **{**TINY, "hidden_size": 32})
    with pytest.raises(ValueError, match="must match the network's image tower"):
        load_encoder_weights(segmenter(2), tower.state_dict())


def test_frozen_encoder_gets_no_gradient_and_stays_in_eval() -> None:
    network = segmenter(2, frozen=True).train()
    assert not network.encoder.training
    assert network.decoder.training
    network(torch.rand(1, 1, 24, 24)).sum().backward()
    assert all(parameter.grad is None for parameter in network.encoder.parameters())
    assert any(parameter.grad is not None for parameter in network.decoder.parameters())


def test_prior_is_the_first_probability() -> None:
    network = segmenter(2, prior=0.01)
    torch.nn.init.zeros_(network.decoder.get_submodule("out.conv.conv").get_parameter("weight"))
    torch.testing.assert_close(network(torch.rand(1, 1, 24, 24)).sigmoid(), torch.full((1, 3, 24, 24), 0.01))


@pytest.mark.parametrize("decoder", list(DECODERS))
@pytest.mark.parametrize(("spatial_dims", "size"), [(2, (24, 24)), (3, (24, 24, 16))])
def test_every_part_of_the_decoder_is_used(spatial_dims: int, size: tuple[int, ...], decoder: str) -> None:
    network = segmenter(spatial_dims, decoder=decoder).train()
    network(torch.rand(2, 1, *size)).square().mean().backward()
    assert [name for name, p in network.decoder.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("spatial_dims", "kind"), [(2, "ProgressiveUpsampling"), (3, "UnetrDecoder")])
def test_decoder_is_the_protocols_unless_another_is_named(spatial_dims: int, kind: str) -> None:
    assert type(segmenter(spatial_dims).decoder).__name__ == kind
    assert type(segmenter(spatial_dims, decoder="hybrid").decoder).__name__ == "HybridDecoder"


def test_hybrid_decoder_needs_the_last_layer_alone_and_reads_its_tokens() -> None:
    network = segmenter(2, decoder="hybrid", num_layers=1)
    assert network.layers == [0]
    image = torch.rand(1, 1, 24, 24)
    grids = network.tokens(image)[1]
    assert not torch.allclose(network.decoder(image, grids), network.decoder(image, [-grids[0]]))


@pytest.mark.parametrize("factor", [2, 3, 5, 7])
@pytest.mark.parametrize("direction", ["down", "up"])
def test_hybrid_decoders_strides_see_their_own_block_of_pixels_and_leave_none_out(factor: int, direction: str) -> None:
    decoder = segmenter(2, decoder="hybrid", patch_size=(factor, factor)).decoder
    convolution = decoder.down[0][0].conv if direction == "down" else decoder.last_up.conv
    given = torch.rand(1, convolution.in_channels, *([4 * factor] * 2 if direction == "down" else [4, 4]))
    for block in range(4):  # of the coarse side
        given.requires_grad_(True)
        result = convolution(given)
        if direction == "down":
            (gradient,) = torch.autograd.grad(result[..., block, :].sum(), given)
            rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
        else:
            shift = torch.zeros_like(given)
            shift[..., block, :] = 1
            rows = (convolution(given + shift) - result).abs().sum((0, 1, 3)).nonzero().flatten()
        own = set(range(block * factor, (block + 1) * factor))
        assert own <= set(rows.tolist())
        assert set(rows.tolist()) <= own | {block * factor - 1 if factor == 2 else block * factor}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spatial_dims": 4}, "must be 2"),
        ({"spatial_dims": 2, "prior": 1.0}, "probability"),
        ({"spatial_dims": 2, "decoder": "unet"}, "decoder must be one of unetr, setr_pup, hybrid, got 'unet'"),
    ],
)
def test_bad_arguments_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segmenter(**changes)
    with pytest.raises(ValueError, match="3 spatial axes"):
        segmenter(3)(torch.rand(1, 1, 24, 24))
    with pytest.raises(ValueError, match="layers must ascend"):
        segmenter(2).encoder.vit.hidden_states(torch.rand(1, 1, 24, 24), [2, 1])
