# SPDX-License-Identifier: Apache-2.0
"""The README holds: its Python runs, its commands name what exists, and no link of it is dead."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from monai_unimedi.__main__ import VERBS
from monai_unimedi.data.phantom import ensure_phantom
from monai_unimedi.data.vocabulary import find_tokenizer
from monai_unimedi.encoder import encoder_card
from monai_unimedi.networks.nets.report_encoder import ReportEncoder, load_tokenizer

README = Path(__file__).resolve().parents[2] / "README.md"
TEXT = README.read_text(encoding="utf-8")
STARTERS = ("make", "python", "torchrun")
ALREADY_THERE = {". .venv/bin/activate"}
PLACEHOLDERS = {"X.json", "Y.json", "MIMIC.json", "BIMCV.json", "DATA", "DICOM"}  # the reader's own


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Lines of the shell blocks, and whatever begins like a command in running text and tables."""
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    inline = [span for span in re.findall(r"`([^`\n]+)`", TEXT) if span.split()[0] in (*STARTERS, ".")]
    return sorted({line for line in lines + inline if line} - ALREADY_THERE)


def test_every_block_has_a_language_that_is_tested() -> None:
    assert set(re.findall(r"^```(\w+)$", TEXT, flags=re.MULTILINE)) == {"bash", "python", "json"}
    assert TEXT.count("```") % 2 == 0


@pytest.mark.parametrize("command", commands())
def test_command_names_what_exists(command: str, repository: Path) -> None:
    words = shlex.split(command)
    if words[0] == "make":
        check_make(words, repository)
    elif "monai.bundle" in words:
        check_bundle(words[words.index("monai.bundle") :], repository)
    elif words[:3] == ["python", "-m", "monai_unimedi"]:
        assert words[3] in VERBS
    else:
        assert words[:2] == ["python", "-m"] and words[2].startswith("benchmarks."), f"no test knows {command!r}"
        module = repository.joinpath(*words[2].split("."))
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file(), words[2]


def check_make(words: list[str], repository: Path) -> None:
    makefile = (repository / "Makefile").read_text()
    for word in words[1:]:
        name, _, value = word.partition("=")
        assert re.search(rf"^{name}{' [?]?=' if value else ':'}", makefile, flags=re.MULTILINE), word
        if name == "ONLY":
            assert list((repository / "tests" / "acceptance").glob(f"*{value}*.py")), word


def check_bundle(words: list[str], repository: Path) -> None:
    """Config files that exist, options that are keys of the first, values that are the reader's or exist."""
    assert words[1:3] == ["run", "--config_file"], words
    files = re.findall(r"[\w./]+\.json", words[3])
    assert files, words[3]
    for file in files:
        assert (repository / file).is_file(), file
    keys = {key for file in files for key in json.loads((repository / file).read_text())}
    for option, value in zip(words[4::2], words[5::2], strict=True):
        assert option.removeprefix("--") in keys, option
        assert value in PLACEHOLDERS or value == "true" or value.isdigit() or value.startswith("output/"), value


def test_links_lead_somewhere(repository: Path) -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        if target.startswith("https://"):
            continue
        assert (repository / path).exists(), target
        assert path or anchor in headings, target


def test_named_options_are_keys(pretrain_bundle: Path) -> None:
    keys: set[str] = set()
    for path in (pretrain_bundle / "configs").glob("*.json"):
        keys |= json.loads(path.read_text()).keys()
    named = {span.split()[0] for span in re.findall(r"`--(\w[^`\n]*)`", TEXT)}
    assert named - {"key"} <= keys


def test_datalist_is_json_of_the_form_that_is_read(tmp_path: Path) -> None:
    from monai_unimedi.data.datalist import load_datalist

    (block,) = blocks("json")
    (tmp_path / "list.json").write_text(block)
    (row,) = load_datalist(tmp_path / "list.json")
    assert {"id", "image", "report", "patient"} <= row.keys()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Path:
    """A folder as `make demo` leaves it, with a model that has not learnt anything."""
    folder = tmp_path_factory.mktemp("demo")
    models = folder / "output" / "demo" / "models"
    models.mkdir(parents=True)
    lists = ensure_phantom(folder / "output" / "phantom", num_training=20, num_validation=2, num_test=5)
    config = repository / "bundles" / "pretrain" / "configs" / "inference.json"
    parser = ConfigParser()
    parser.read_config(str(config))
    sizes: dict[str, Any] = parser.get_parsed_content("sizes")
    (models / "encoder.json").write_text(json.dumps(encoder_card(config, sizes)))
    torch.save(parser.get_parsed_content("network_def").state_dict(), models / "model.pt")
    reports = [row["report"] for row in json.loads(Path(lists["3d"]).read_text())["training"]]
    tokenizer = load_tokenizer(find_tokenizer(None, reports, folder / "vocabulary"))
    tower = ReportEncoder(None, vocab_size=len(tokenizer), hidden_size=32, embed_dim=sizes["embed_dim"])
    tower.save_pretrained(models / "text", tokenizer)
    return folder


def test_three_lines_of_python_run(
    demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (block,) = blocks("python")
    assert len(block.strip().splitlines()) == 3
    monkeypatch.chdir(demo)
    exec(compile(block, str(README), "exec"), {})
    printed = capsys.readouterr().out
    assert re.fullmatch(r"tensor\(\[-?[\d.e-]+, +-?[\d.e-]+\]\)\n", printed)


def test_example_patient_has_what_the_sentences_say(demo: Path) -> None:
    (path,) = re.findall(r'"output/phantom/(3d/test/\d+\.nii)"', blocks("python")[0])
    rows = json.loads((demo / "output" / "phantom" / "datalist_3d.json").read_text())["test"]
    (row,) = (row for row in rows if row["image"] == path)
    assert [(finding["finding"], finding["side"]) for finding in row["findings"]] == [
        ("pleural_effusion", "right")
    ]
