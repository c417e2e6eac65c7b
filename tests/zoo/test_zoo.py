# SPDX-License-Identifier: Apache-2.0
"""Zips: the same bytes twice, weights of phantoms only, and whatever was tampered with is refused."""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_unimedi import __version__
from monai_unimedi.metrics.metrics_file import weight_digests
from monai_unimedi.networks.checkpoints import read_tensors
from monai_unimedi.verbs.zoo import main
from monai_unimedi.zoo.archive import digest, read_sums, unpack, write_sums, write_zip
from monai_unimedi.zoo.build import build
from monai_unimedi.zoo.readme import downloaded
from monai_unimedi.zoo.verify import verify
from monai_unimedi.zoo.weights import read_record

NAME = "unimedi_segmentation_2d"
CARDS = [({"sizes": {"norm_eps": 0.1}}, "norm_eps differ"), ({}, "must hold the sizes")]
OPTIONS = "--seed 1 --phantom#num_training '{'\"'\"'2d'\"'\"': 40}'"
FIGURE = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 9}


class Code:
    """What a malicious checkpoint holds."""

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return print, ("code ran",)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished training's folder, as far as the zoo reads it."""
    folder = tmp_path / "run"
    (folder / "models").mkdir(parents=True)
    torch.save({"weight": torch.arange(4.0), "count": torch.tensor(3)}, folder / "models" / "model.pt")
    (folder / "models" / "encoder.json").write_text(json.dumps({"sizes": {"hidden_size": 128}}))
    record = {"steps": 400, "parameters": 4, "seed": 1, "pretrained": "None", "trained_on": "phantoms"}
    record["options"] = {"seed": 1, "phantom#num_training": {"2d": 40}}
    (folder / "training.json").write_text(json.dumps(record))
    judged = {"segmentation": {"dice_all": FIGURE}, "weights": weight_digests(folder / "models")}
    (folder / "metrics.json").write_text(json.dumps(judged))
    return folder


@pytest.fixture
def zoo(run: Path, tmp_path: Path, repository: Path) -> Path:
    build(tmp_path / "zoo", repository / "bundles", {"segmentation_2d": run}, "https://example.org/zoo/")
    return tmp_path / "zoo"


@pytest.fixture
def archive(zoo: Path) -> Path:
    return next(zoo.glob("*.zip"))


def repack(archive: Path, change: Callable[[Path], None]) -> Path:
    """The zip with its files changed, with sums that fit it."""
    folder = unpack(archive, archive.parent / "unpacked")
    change(folder)
    write_zip(folder, archive)
    return archive


def quick(archive: Path) -> list[str]:
    return verify(archive, {archive.name: digest(archive)}, runs_configs=False)


def test_two_builds_are_the_same_bytes(zoo: Path, run: Path, tmp_path: Path, repository: Path) -> None:
    shutil.copytree(run, tmp_path / "copy")  # other times, another place
    build(tmp_path / "again", repository / "bundles", {"segmentation_2d": tmp_path / "copy"}, "https://example.org/zoo")
    files = [sorted(p.relative_to(f) for p in f.rglob("*") if p.is_file()) for f in (zoo, tmp_path / "again")]
    assert files[0] == files[1]
    assert all((zoo / name).read_bytes() == (tmp_path / "again" / name).read_bytes() for name in files[0])


def test_build_writes_what_the_stock_command_reads(zoo: Path, archive: Path) -> None:
    assert archive.name == f"{NAME}_v0.1.0.zip"
    url = f"https://example.org/zoo/{archive.name}"
    assert json.loads((zoo / "zoo" / f"{NAME}.json").read_text()) == {"name": NAME, "url": url, "bundle_dir": "."}
    info = json.loads((zoo / "models" / "model_info.json").read_text())
    assert info == {archive.stem: {"checksum": digest(archive, "sha1"), "source": url}}
    assert read_sums(zoo / "SHA256SUMS")[archive.name] == digest(archive)
    assert quick(archive)


def test_readme_has_the_card_and_no_path_of_the_repository(archive: Path, tmp_path: Path) -> None:
    text = (unpack(archive, tmp_path / "out") / "docs" / "README.md").read_text()
    for words in ("Apache-2.0", "phantoms only", "research only", "0.500 (0.400 to 0.600) | 9", "hash"):
        assert words in text
    assert f"`python -m monai.bundle run --config_file {NAME}/configs/train.json {OPTIONS}`" in text
    assert "bundles/" not in text


@pytest.mark.parametrize("line", ["see bundles/", "run `make demo`", "pip install -e ."])
def test_words_that_hold_in_the_repository_only_stop_the_build(line: str) -> None:
    with pytest.raises(ValueError, match="must not speak of the repository"):
        downloaded(line)


@pytest.mark.parametrize("trained_on", ["other data", None])
def test_weights_that_saw_patients_are_not_published(
    run: Path, tmp_path: Path, repository: Path, trained_on: str | None
) -> None:
    record = json.loads((run / "training.json").read_text()) | {"trained_on": trained_on}
    (run / "training.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="never published"):
        build(tmp_path / "zoo", repository / "bundles", {"segmentation_2d": run}, "https://example.org")
    assert not (tmp_path / "zoo").exists()


def change(path: Path, **entries: Any) -> None:
    """Some entries of a JSON file; None removes one."""
    content = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


@pytest.fixture
def started(run: Path, tmp_path: Path) -> dict[str, Path]:
    """A pre-training, and a run that began with it."""
    shutil.copytree(run, tmp_path / "pretrain")
    start = tmp_path / "pretrain" / "models" / "model.pt"
    change(run / "training.json", pretrained=str(start), pretrained_sha256=digest(start))
    return {"pretrain": tmp_path / "pretrain", "segmentation_2d": run}


def test_a_start_from_unknown_weights_is_not_published(run: Path, tmp_path: Path, repository: Path) -> None:
    change(run / "training.json", pretrained=str(run / "models" / "model.pt"), pretrained_sha256="0" * 64)
    with pytest.raises(ValueError, match="must start from the pre-trained weights published beside it"):
        build(tmp_path / "zoo", repository / "bundles", {"segmentation_2d": run}, "https://example.org")


def test_a_start_that_was_replaced_since_is_not_published(started: dict[str, Path]) -> None:
    start = started["pretrain"] / "models" / "model.pt"
    assert read_record(started["segmentation_2d"], start)
    torch.save({"weight": torch.rand(4)}, start)
    with pytest.raises(ValueError, match="must start from the pre-trained weights published beside it"):
        read_record(started["segmentation_2d"], start)


def test_a_start_without_digest_is_not_published(started: dict[str, Path]) -> None:
    change(started["segmentation_2d"] / "training.json", pretrained_sha256=None)
    with pytest.raises(ValueError, match=r"has no pretrained_sha256.*train it again"):
        read_record(started["segmentation_2d"], started["pretrain"] / "models" / "model.pt")


def test_a_training_without_its_options_is_not_published(run: Path) -> None:
    change(run / "training.json", options=None)
    with pytest.raises(ValueError, match="must record the options that it was run with"):
        read_record(run)


@pytest.mark.parametrize("name", ["model.pt", "text/model.safetensors"])
def test_figures_of_other_weights_are_not_published(run: Path, name: str) -> None:
    (run / "models" / "text").mkdir()
    (run / "models" / "text" / "model.safetensors").write_bytes(b"judged")
    change(run / "metrics.json", weights=weight_digests(run / "models"))
    assert read_record(run)
    (run / "models" / name).write_bytes(b"other")
    with pytest.raises(ValueError, match=f"models/{name} is not the file that was judged: evaluate it again"):
        read_record(run)


def test_figures_without_digests_are_not_published(run: Path) -> None:
    change(run / "metrics.json", weights=None)
    with pytest.raises(ValueError, match="has no digests: evaluate it again"):
        read_record(run)


@pytest.mark.parametrize(("card", "words"), CARDS)
def test_sizes_that_no_shape_shows_are_compared(
    run: Path, tmp_path: Path, repository: Path, archive: Path, card: dict[str, Any], words: str
) -> None:
    def exchange(folder: Path) -> None:
        (folder / "models" / "encoder.json").write_text(json.dumps(card))
        (folder / "models" / "SHA256SUMS").unlink()
        write_sums(folder / "models" / "SHA256SUMS", list((folder / "models").iterdir()))

    (run / "models" / "encoder.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=words):
        build(tmp_path / "other", repository / "bundles", {"segmentation_2d": run}, "https://example.org")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match=words):
        verify(repack(archive, exchange), None)


def test_other_files_are_not_written_over(run: Path, tmp_path: Path, repository: Path) -> None:
    with pytest.raises(ValueError, match="must be empty or an earlier zoo"):
        build(run, repository / "bundles", {"segmentation_2d": run}, "https://example.org")


def test_a_file_beside_an_earlier_zoo_is_not_removed(zoo: Path, run: Path, repository: Path) -> None:
    (zoo / "mine.txt").write_text("")
    with pytest.raises(ValueError, match="must be empty or an earlier zoo"):
        build(zoo, repository / "bundles", {"segmentation_2d": run}, "https://example.org")
    (zoo / "mine.txt").unlink()
    assert build(zoo, repository / "bundles", {"segmentation_2d": run}, "https://example.org")


def test_wheel_is_published_with_its_sum(run: Path, tmp_path: Path, repository: Path) -> None:
    wheels = [tmp_path / f"monai_unimedi-{version}-py3-none-any.whl" for version in (__version__, "9.9.9")]
    for path in wheels:
        path.write_bytes(b"wheel")
    runs = {"segmentation_2d": run}
    build(tmp_path / "zoo", repository / "bundles", runs, "https://example.org", wheels[0])
    assert read_sums(tmp_path / "zoo" / "SHA256SUMS")[wheels[0].name] == digest(wheels[0])
    with pytest.raises(ValueError, match="the wheel must be"):
        build(tmp_path / "other", repository / "bundles", runs, "https://example.org", wheels[1])


def test_corrupted_zip_is_refused(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    sums = str(archive.parent / "SHA256SUMS")
    assert main(["verify", str(archive), "--sums", sums]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "its SHA-256 differs" in line
    with pytest.raises(ValueError, match="is damaged"):
        quick(archive)


def test_swapped_weights_are_refused_in_the_zip_and_at_load(archive: Path) -> None:
    def swap(folder: Path) -> None:
        torch.save({"weight": torch.zeros(4)}, folder / "models" / "model.pt")

    repack(archive, swap)
    with pytest.raises(ValueError, match="is not the file that was published"):
        quick(archive)
    with pytest.raises(ValueError, match="is not the file that was published"):
        read_tensors(archive.parent / "unpacked" / NAME / "models" / "model.pt")


@pytest.mark.parametrize("name", ["../evil.json", f"{NAME}/../../evil.json", "/evil.json", "other/evil.json"])
def test_path_outside_the_folder_is_refused(archive: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(name, "{}")
    with pytest.raises(ValueError, match="a path outside its folder"):
        quick(archive)
    assert not list(tmp_path.rglob("evil.json"))


def test_program_in_the_zip_is_refused(archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr(f"{NAME}/scripts/run.py", "")
    with pytest.raises(ValueError, match="a kind of file that no bundle needs"):
        quick(archive)


def test_code_in_a_checkpoint_is_refused_and_not_run(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def plant(folder: Path) -> None:
        models = folder / "models"
        (models / "model.pt").write_bytes(pickle.dumps(Code()))
        (models / "SHA256SUMS").unlink()
        write_sums(models / "SHA256SUMS", list(models.iterdir()))

    repack(archive, plant)
    for check in (quick, lambda path: read_tensors(path.parent / "unpacked" / NAME / "models" / "model.pt")):
        with pytest.raises(ValueError, match="may run code"):
            check(archive)
    assert "code ran" not in capsys.readouterr().out


def test_version_without_changelog_is_refused(archive: Path) -> None:
    def renumber(folder: Path) -> None:
        path = folder / "configs" / "metadata.json"
        path.write_text(path.read_text().replace('"version": "0.1.0"', '"version": "0.10.0"'))

    with pytest.raises(ValueError, match=r"one digit each.*changelog has no entry"):
        quick(repack(archive, renumber))


def test_readme_that_names_what_is_not_there_is_refused(archive: Path) -> None:
    def remove(folder: Path) -> None:
        (folder / "configs" / "rsna.json").unlink()

    with pytest.raises(ValueError, match=r"names configs/rsna\.json"):
        quick(repack(archive, remove))
