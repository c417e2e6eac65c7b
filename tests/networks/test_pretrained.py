# SPDX-License-Identifier: Apache-2.0
"""Converted weights give the source model's own output, and nothing unmatched passes in silence."""

from __future__ import annotations

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification, ViTModel

from monai_unimedi.networks.nets.image_encoder import UniMediImageEncoder
from monai_unimedi.networks.nets.unified_vit import UnifiedViT
from monai_unimedi.networks.pretrained import load_encoder_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES: dict[str, Any] = {
    "patch_size": (8, 8),
    "patch_depth": 4,
    "grid_size": (4, 4),
    "num_depths": 6,
    "hidden_size": 32,
    "mlp_dim": 64,
    "num_layers": 3,
    "num_heads": 4,
}


def network(**options: Any) -> UnifiedViT:
    torch.manual_seed(7)
    return UnifiedViT(**(SIZES | options)).eval()


def image_encoder(**options: Any) -> UniMediImageEncoder:
    torch.manual_seed(8)
    return UniMediImageEncoder(**(SIZES | {"embed_dim": 16, "num_selected_slices": 2} | options)).eval()


def hugging_face_model(image_size: int = 32, **options: Any) -> ViTModel:
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        patch_size=8,
        image_size=image_size,
        initializer_range=0.2,
        **options,
    )
    return randomised(ViTModel(config))


def randomised(module: Any) -> Any:
    """Weights, biases and norms all away from zero and one, so that every one of them matters."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


def source_input(image: Tensor) -> Tensor:
    """(B, 1, columns, rows) in [0, 1] as the source wants it: (B, 3, rows, columns), normalised."""
    rgb = image.transpose(2, 3).expand(-1, 3, -1, -1)
    return (rgb - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def assert_equal_to_source(own: UnifiedViT, image: Tensor, expected: Tensor) -> None:
    """Our tokens run over columns first, the source's over rows first."""
    with torch.no_grad():
        tokens = own(image)
    columns, rows = image.shape[2] // 8, image.shape[3] // 8
    grid = tokens[:, 1:].reshape(-1, columns, rows, tokens.shape[2]).transpose(1, 2).flatten(1, 2)
    torch.testing.assert_close(tokens[:, 0], expected[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(grid, expected[:, 1:], atol=1e-5, rtol=0)


class ReferenceBlock(nn.Module):
    """A transformer block with timm's names."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = nn.ModuleDict({"qkv": nn.Linear(width, 3 * width), "proj": nn.Linear(width, width)})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 2 * width), "fc2": nn.Linear(2 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.attn["qkv"](self.norm1(x)).chunk(3, -1)
        mixed = []
        for part in range(self.heads):
            s = slice(part * q.shape[2] // self.heads, (part + 1) * q.shape[2] // self.heads)
            weight = (q[..., s] @ k[..., s].transpose(1, 2) / (s.stop - s.start) ** 0.5).softmax(-1)
            mixed.append(weight @ v[..., s])
        x = x + self.attn["proj"](torch.cat(mixed, -1))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class ReferenceViT(nn.Module):
    """A vision transformer with timm's names, written out plainly."""

    def __init__(self, grid: tuple[int, int] = (4, 4), width: int = 32) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 8, 8)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], width))
        self.blocks = nn.ModuleList([ReferenceBlock(width, 4) for _ in range(3)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 10)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def test_hugging_face_output_is_reproduced() -> None:
    source, own = hugging_face_model(), network()
    summary = load_encoder_weights(own, source.state_dict(), mean=MEAN, std=STD)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert_equal_to_source(own, image, source(source_input(image)).last_hidden_state)
    assert summary["layout"] == "huggingface"
    assert summary["fresh"] == ["mask_token", "tokenizer.depth", "tokenizer.kind"]
    assert summary["left_out"] == ["pooler.dense.weight", "pooler.dense.bias"]
    assert summary["resampled"] == summary["unmatched"] == []
    assert "norm_eps=1e-12" in summary["notes"][0]
    assert {module.eps for module in own.modules() if isinstance(module, nn.LayerNorm)} == {1e-12}


def test_timm_output_is_reproduced() -> None:
    source, own = randomised(ReferenceViT()), network()
    summary = load_encoder_weights(own, {"state_dict": source.state_dict()}, mean=MEAN, std=STD)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert_equal_to_source(own, image, source.forward_features(source_input(image)))
    assert summary["layout"] == "timm"
    assert summary["left_out"] == ["head.weight", "head.bias"]
    assert summary["notes"] == ["the checkpoint does not say its num_heads: the network's 4 were taken"]


def test_output_of_the_real_timm_is_reproduced() -> None:
    timm = pytest.importorskip("timm", reason="timm is part of the extra [peers]")
    torch.manual_seed(0)
    source = randomised(
        timm.models.vision_transformer.VisionTransformer(
            img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=4, mlp_ratio=2
        )
    )
    own = network()
    load_encoder_weights(own, source.state_dict(), mean=MEAN, std=STD)
    image = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert_equal_to_source(own, image, source.forward_features(source_input(image)))


@pytest.mark.parametrize("classifier", [False, True])
def test_hugging_face_folder_says_normalisation_and_eps_itself(tmp_path: Path, classifier: bool) -> None:
    source = hugging_face_model(layer_norm_eps=1e-3)
    saved: Any = source
    if classifier:
        saved = ViTForImageClassification(source.config)
        saved.vit.load_state_dict({k: v for k, v in source.state_dict().items() if "pooler" not in k})
    saved.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    own = network()
    load_encoder_weights(own, tmp_path)
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert_equal_to_source(own, image, source(source_input(image)).last_hidden_state)
    with pytest.raises(ValueError, match="num_heads must be the checkpoint's 4, got 2"):
        load_encoder_weights(network(num_heads=2), tmp_path)


def test_timm_folder_says_normalisation_itself(tmp_path: Path) -> None:
    source, own = randomised(ReferenceViT()), network()
    save_file(source.state_dict(), tmp_path / "model.safetensors")
    card: dict[str, Any] = {"architecture": "vit_base_patch16_224", "model_args": {"num_heads": 4}}
    card |= {"pretrained_cfg": {"mean": MEAN, "std": STD}}
    (tmp_path / "config.json").write_text(json.dumps(card))
    load_encoder_weights(own, str(tmp_path))
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert_equal_to_source(own, image, source.forward_features(source_input(image)))


@pytest.mark.parametrize("heads", [3, 6, 12])
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224.augreg_in21k", "deit_tiny_distilled_patch16_224", "other", ""])
def test_timm_weights_load_into_a_network_of_their_number_of_heads_only(tmp_path: Path, heads: int, name: str) -> None:
    path = tmp_path / "model.safetensors"
    save_file(ReferenceViT(width=192).state_dict(), path)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    own = network(hidden_size=192, mlp_dim=384, num_heads=heads)
    given = tmp_path if name else path
    if heads == 3:
        assumed = ["num_heads 3 was assumed, as timm's models of width 192 have"]
        notes = load_encoder_weights(own, given, mean=MEAN, std=STD)["notes"]
        assert notes == (assumed if name in ("other", "") else [])
        return
    with pytest.raises(ValueError, match=f"num_heads must be the checkpoint's 3, got {heads}") as caught:
        load_encoder_weights(own, given, mean=MEAN, std=STD)
    assert ("was assumed" in str(caught.value)) == (name in ("other", ""))


def test_number_of_heads_in_a_timm_card_goes_before_the_models_name(tmp_path: Path) -> None:
    save_file(ReferenceViT(width=64).state_dict(), tmp_path / "model.safetensors")
    card: dict[str, Any] = {"architecture": "vit_tiny_patch16_224", "model_args": {"num_heads": 4}}
    (tmp_path / "config.json").write_text(json.dumps(card))
    sizes: dict[str, Any] = {"hidden_size": 64, "mlp_dim": 128}
    assert load_encoder_weights(network(**sizes), tmp_path, mean=MEAN, std=STD)["notes"] == []
    with pytest.raises(ValueError, match=r"num_heads must be the checkpoint's 4, got 1\."):
        load_encoder_weights(network(num_heads=1, **sizes), tmp_path, mean=MEAN, std=STD)


def test_oblong_position_grid_needs_its_image_size() -> None:
    source, own = randomised(ReferenceViT(grid=(3, 5))), network(grid_size=(5, 3))
    with pytest.raises(ValueError, match=r"image_size must give the \(rows, columns\)"):
        load_encoder_weights(own, source.state_dict(), mean=MEAN, std=STD)
    summary = load_encoder_weights(own, source.state_dict(), mean=MEAN, std=STD, image_size=(24, 40))
    image = torch.rand(1, 1, 40, 24)
    with torch.no_grad():
        assert_equal_to_source(own, image, source.forward_features(source_input(image)))
    assert summary["resampled"] == []


def test_other_grid_resamples_the_transposed_positions() -> None:
    source, own = hugging_face_model(), network(grid_size=(6, 5))
    summary = load_encoder_weights(own, source.state_dict(), mean=MEAN, std=STD)
    assert summary["resampled"] == ["tokenizer.position: (1, 32, 4, 4) to (1, 32, 6, 5)"]
    table = source.embeddings.position_embeddings[:, 1:].reshape(1, 4, 4, 32).permute(0, 3, 2, 1)
    expected = F.interpolate(table, size=(6, 5), mode="bicubic", antialias=True)
    torch.testing.assert_close(own.tokenizer.position, expected)


def test_volume_constant_along_z_has_the_patches_of_its_slice() -> None:
    own = network()
    load_encoder_weights(own, hugging_face_model().state_dict(), mean=MEAN, std=STD)
    image = torch.rand(1, 1, 32, 32)
    flat = own.tokenizer.image_patch(image)
    deep = own.tokenizer.volume_patch(image.unsqueeze(-1).expand(-1, -1, -1, -1, 8))
    torch.testing.assert_close(deep, flat.unsqueeze(-1).expand_as(deep), atol=1e-4, rtol=0)


def test_kind_of_xrays_is_set_to_zero_and_said() -> None:
    own = network()
    nn.init.ones_(own.tokenizer.kind)
    summary = load_encoder_weights(own, hugging_face_model().state_dict(), mean=MEAN, std=STD)
    assert not own.tokenizer.kind[0].any()
    assert own.tokenizer.kind[1:].all()
    assert "kind embedding of X-rays" in summary["notes"][1]


@pytest.mark.parametrize("form", ["model", "resume", "file"])
def test_own_weights_load_into_any_network_with_a_tower(tmp_path: Path, form: str) -> None:
    source = randomised(image_encoder())
    content: Any = source.state_dict()
    if form == "resume":
        both = {f"student.{key}": value for key, value in content.items()}
        both |= {f"teacher.{key}": torch.zeros_like(value) for key, value in content.items()}
        content = {"network": {**both, "log_scale": torch.zeros(())}, "step": 3, "optimizer": {"state": {}}}
    if form == "file":
        torch.save(content, tmp_path / "model.pt")
        content = str(tmp_path / "model.pt")
    downstream = nn.ModuleDict({"encoder": image_encoder(), "head": nn.Linear(32, 2)})
    summary = load_encoder_weights(downstream, content)
    assert summary["layout"] == "unimedi"
    assert summary["fresh"] == ["head.weight", "head.bias"]
    assert len(summary["left_out"]) == (len(source.state_dict()) + 1 if form == "resume" else 0)
    volume = torch.rand(1, 1, 32, 32, 8)
    with torch.no_grad():
        assert torch.equal(downstream["encoder"](volume), source(volume))


def test_own_weights_of_another_number_of_heads_are_refused(tmp_path: Path) -> None:
    torch.save(image_encoder().state_dict(), tmp_path / "model.pt")
    load_encoder_weights(image_encoder(), tmp_path / "model.pt")
    (tmp_path / "encoder.json").write_text(json.dumps({"sizes": {"num_heads": 8}}))
    with pytest.raises(ValueError, match="num_heads must be the checkpoint's 8, got"):
        load_encoder_weights(image_encoder(), str(tmp_path / "model.pt"))


def test_bare_tower_takes_a_towers_weights_and_gives_them() -> None:
    source, own = randomised(image_encoder()), network()
    summary = load_encoder_weights(own, source.state_dict())
    assert summary["fresh"] == []
    assert sorted(summary["left_out"]) == ["projection.weight", "selector.place_mean", "xray_usual"]
    summary = load_encoder_weights(image_encoder(), own.state_dict())
    assert sorted(summary["fresh"]) == ["projection.weight", "selector.place_mean", "xray_usual"]


def test_branch_chooses_student_or_teacher() -> None:
    source = randomised(image_encoder()).state_dict()
    both = {f"student.{key}": value for key, value in source.items()}
    both |= {f"teacher.{key}": torch.zeros_like(value) for key, value in source.items()}
    own = image_encoder()
    load_encoder_weights(own, both, branch="teacher")
    assert not any(value.any() for value in own.state_dict().values())
    with pytest.raises(ValueError, match=r"branch 'other', got several: 'student\.vit\.', 'teacher\.vit\.'"):
        load_encoder_weights(own, both, branch="other")


def test_own_tables_of_another_size_are_resampled() -> None:
    source, own = randomised(network()), network(grid_size=(6, 6), num_depths=12)
    summary = load_encoder_weights(own, source.state_dict())
    assert [line.split(":")[0] for line in summary["resampled"]] == ["tokenizer.position", "tokenizer.depth"]


def broken(change: str) -> dict[str, Tensor]:
    weights = dict(randomised(ReferenceViT()).state_dict())
    if change == "additional":
        weights["blocks.0.ls1.gamma"] = torch.ones(32)
    elif change == "deeper":
        weights["blocks.3.norm1.weight"] = torch.ones(32)
    elif change == "missing":
        del weights["blocks.1.attn.qkv.bias"]
    elif change == "wider":
        weights = dict(randomised(ReferenceViT(width=64)).state_dict())
    return weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("additional", r"but 1 entries do not: blocks\.0\.ls1\.gamma \(checkpoint only\)"),
        ("deeper", r"but 1 entries do not: blocks\.3\.norm1\.weight \(checkpoint only\)"),
        ("missing", r"but 1 entries do not: blocks\.1\.attention\.qkv\.bias \(network only\)"),
        ("wider", r"cls_token \(checkpoint \(1, 1, 64\), network \(1, 1, 32\)\).*blocks\.2\.norm2\.weight"),
    ],
)
def test_anything_unmatched_raises_lists_the_keys_and_changes_nothing(change: str, message: str) -> None:
    own = network()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_encoder_weights(own, broken(change), mean=MEAN, std=STD)
    assert all(torch.equal(before[key], value) for key, value in own.state_dict().items())


def test_lenient_loading_lists_what_it_skips(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        summary = load_encoder_weights(network(), broken("additional"), mean=MEAN, std=STD, strict=False)
    assert summary["unmatched"] == ["blocks.0.ls1.gamma (checkpoint only)"]
    assert "blocks.0.ls1.gamma" in caplog.text


def test_other_architectures_are_refused_with_their_keys() -> None:
    with pytest.raises(ValueError, match=r"none of its 2 tensors .* it holds weight, bias\."):
        load_encoder_weights(network(), nn.Conv2d(3, 4, 3).state_dict())
    with pytest.raises(ValueError, match="it holds no tensor"):
        load_encoder_weights(network(), {})
    weights = broken("")
    del weights["pos_embed"]
    with pytest.raises(ValueError, match="lacks positions"):
        load_encoder_weights(network(), weights, mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="network must hold one image tower, got 0 in a Linear"):
        load_encoder_weights(nn.Linear(2, 2), network().state_dict())
    with pytest.raises(ValueError, match="network must hold one image tower, got 2"):
        load_encoder_weights(nn.ModuleList([network(), network()]), network().state_dict())


def test_normalisation_must_be_known() -> None:
    weights = broken("")
    with pytest.raises(
        ValueError, match="mean and std of the checkpoint's image normalisation must be given"
    ):
        load_encoder_weights(network(), weights)
    with pytest.raises(ValueError, match="each of the checkpoint's 3 channels, got 1 and 1"):
        load_encoder_weights(network(), weights, mean=(0.5,), std=(0.5,))
    with pytest.raises(ValueError, match="std must be positive"):
        load_encoder_weights(network(), weights, mean=MEAN, std=(0.2, 0.2, 0.0))
    with pytest.raises(ValueError, match="mean, std must stay None"):
        load_encoder_weights(network(), network().state_dict(), mean=MEAN, std=STD)


class Payload:
    """Would create a file when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_files_that_run_code_are_refused(tmp_path: Path) -> None:
    torch.save({"weights": Payload(tmp_path / "ran")}, tmp_path / "model.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    for name in ("model.pt", "plain.pt"):
        with pytest.raises(ValueError, match="was not loaded because it may run code"):
            load_encoder_weights(network(), tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["this is text", "hello world", "Xylo", "some", "(a)", "all", "quit", "", "{}"])
def test_a_file_of_text_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "this.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"checkpoint .*this\.txt (is damaged or not a file of weights|must hold)"):
        load_encoder_weights(network(), path)


def test_a_missing_file_is_not_asked_for_on_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_: pytest.fail("asked"))
    with pytest.raises(FileNotFoundError, match=r"checkpoint 'output/model\.pt' must be a file"):
        load_encoder_weights(network(), "output/model.pt")


def test_weights_of_another_size_name_the_options(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "model.pt")
    (tmp_path / "encoder.json").write_text(json.dumps({"sizes": {"hidden_size": 48, "patch_size": [4, 4], "lr": 1}}))
    with pytest.raises(ValueError, match=r"checkpoint's sizes --patch_size '\[4, 4\]' --hidden_size '48', or choose"):
        load_encoder_weights(network(hidden_size=64), tmp_path / "model.pt")


def test_damaged_and_absent_files_are_refused(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "model.pt")
    content = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "half.safetensors").write_bytes(content[:100])
    for name in ("half.pt", "half.safetensors"):
        with pytest.raises(ValueError, match="damaged"):
            load_encoder_weights(network(), tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"must hold one of model\.safetensors"):
        load_encoder_weights(network(), tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="must be a file, a folder or a Hugging Face id"):
        load_encoder_weights(network(), "no-such-owner/no-such-model")
