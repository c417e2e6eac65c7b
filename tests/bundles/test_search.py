# SPDX-License-Identifier: Apache-2.0
"""The verbs embed and search over files, folders, datalists and shards of one collection."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_unimedi.__main__ import main
from monai_unimedi.data.convert import convert_datalist
from monai_unimedi.data.discover import discover
from monai_unimedi.data.embeddings import read_embeddings
from monai_unimedi.encoder import load_encoder
from tests.bundles.conftest import Bundle
from tests.bundles.test_shards import RECIPE

SENTENCE = "Large nodule in the right upper zone."


@pytest.fixture(scope="module")
def collection(trained: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three X-rays, two CTs and their datalists."""
    folder, phantom = tmp_path_factory.mktemp("collection"), Path(trained.places["phantom_dir"])
    for source, ending, count in (("2d", "png", 3), ("3d", "nii", 2)):
        rows = []
        for i in range(count):
            shutil.copy(phantom / source / "test" / f"{i:06d}.{ending}", folder / f"{source}-{i}.{ending}")
            rows.append(
                {"image": f"{source}-{i}.{ending}", "report": "Clear lungs here.", "id": f"{source}-{i}"}
            )
        (folder / f"{source}.json").write_text(json.dumps({"training": rows}))
    return folder


def embed(trained: Bundle, output: Path, *inputs: str) -> int:
    checkpoint = str(trained.output_dir / "models" / "model.pt")
    return main(["embed", "--checkpoint", checkpoint, "--output", str(output), *inputs])


def test_folder_becomes_a_table(trained: Bundle, collection: Path, tmp_path: Path) -> None:
    assert embed(trained, tmp_path / "e.parquet", str(collection), "--batch_size", "2") == 0
    table = read_embeddings(tmp_path / "e.parquet")
    assert table.paths == ["2d-0.png", "2d-1.png", "2d-2.png", "3d-0.nii", "3d-1.nii"]
    assert table.dimensions == ["2d"] * 3 + ["3d"] * 2
    encoder = load_encoder(trained.output_dir / "models")
    for path, embedding in zip(table.paths, table.embeddings):
        assert np.allclose(embedding, encoder.image(collection / path).numpy(), atol=1e-5)


def test_datalists_and_shards_give_the_same_table(trained: Bundle, collection: Path, tmp_path: Path) -> None:
    lists = [str(collection / f"{source}.json") for source in ("2d", "3d")]
    assert embed(trained, tmp_path / "l.parquet", *lists) == 0
    for source, path in zip(("2d", "3d"), lists):
        convert_datalist(path, tmp_path / source, RECIPE, jobs=1)
    assert embed(trained, tmp_path / "s.parquet", str(tmp_path / "2d"), str(tmp_path / "3d")) == 0
    one, other = (read_embeddings(tmp_path / f"{name}.parquet") for name in "ls")
    assert one[:3] == other[:3]
    assert one.ids[0] == "2d-0"
    assert np.allclose(one.embeddings, other.embeddings, atol=1e-4)


def test_rows_that_label_fractions_repeat_are_embedded_once(trained: Bundle, collection: Path, tmp_path: Path) -> None:
    content = json.loads((collection / "2d.json").read_text())
    first, second, third = content["training"]
    content = {"training_1": [second], "training": [first, second], "training_50_seed3": [first], "test": [third]}
    datalist = tmp_path / "fractions.json"
    datalist.write_text(json.dumps(content))
    convert_datalist(str(datalist), tmp_path / "shards", RECIPE, dataset_dir=str(collection), jobs=1)
    assert embed(trained, tmp_path / "l.parquet", str(datalist), "--dataset_dir", str(collection)) == 0
    assert embed(trained, tmp_path / "s.parquet", str(tmp_path / "shards")) == 0
    for name in "ls":
        assert read_embeddings(tmp_path / f"{name}.parquet").ids == ["2d-0", "2d-1", "2d-2"]
    assert [row["id"] for row in discover(tmp_path / "shards")["2d"]] == ["2d-0", "2d-1", "2d-2"]


def test_one_line_for_one_file(trained: Bundle, collection: Path, tmp_path: Path) -> None:
    assert embed(trained, tmp_path / "e.parquet", str(collection / "3d-0.nii")) == 0
    assert read_embeddings(tmp_path / "e.parquet").paths == ["3d-0.nii"]


def test_search_by_text_image_and_id(
    trained: Bundle, collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lists = [str(collection / f"{source}.json") for source in ("2d", "3d")]
    assert embed(trained, tmp_path / "e.parquet", *lists) == 0
    models = str(trained.output_dir / "models")
    words = ["search", str(tmp_path / "e.parquet"), "--checkpoint", models, "--top", "2", "--json"]
    queries = ["--text", SENTENCE, "--image", str(collection / "2d-1.png"), "--id", "3d-0"]
    capsys.readouterr()
    assert main([*words, *queries]) == 0
    text, image, row = json.loads(capsys.readouterr().out)
    encoder, table = load_encoder(models), read_embeddings(tmp_path / "e.parquet")
    expected = table.embeddings @ encoder.text(SENTENCE).numpy()
    assert text["hits"][0]["id"] == table.ids[int(expected.argmax())]
    assert text["hits"][0]["similarity"] == pytest.approx(float(expected.max()), abs=1e-5)
    assert image["hits"][0]["id"] == "2d-1"
    assert [len(found["hits"]) for found in (text, image, row)] == [2, 2, 2]
    assert "3d-0" not in [hit["id"] for hit in row["hits"]]
    assert main([*words[:-1], "--id", "3d-0", "--dimension", "2d"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "id: 3d-0"
    assert [line.split()[2] for line in lines[1:]] == ["2d", "2d"]


def test_wrong_searches_stop_with_a_sentence(
    trained: Bundle, collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert embed(trained, tmp_path / "e.parquet", str(collection / "2d-0.png")) == 0
    other = shutil.copytree(trained.output_dir / "models", tmp_path / "other")
    with (other / "model.pt").open("ab") as file:
        file.write(b"\0")
    for words, said in (
        (["--id", "nobody"], "must be in the table, got 'nobody'"),
        (["--text", SENTENCE, "--checkpoint", str(other)], "must be the one that made the table"),
        (["--id", "2d-0.png", "--dimension", "3d"], "must have rows of dimension 3d"),
    ):
        assert main(["search", str(tmp_path / "e.parquet"), *words]) == 2
        assert said in capsys.readouterr().err
    assert (
        embed(trained, tmp_path / "f.parquet", str(collection / "2d-0.png"), str(collection / "2d-0.png"))
        == 2
    )
    assert "must be named once" in capsys.readouterr().err
    for words, said in (([], "name what to search for"), (["--id", "2d-0.png", "--top", "0"], "--top must be 1 or")):
        with pytest.raises(SystemExit) as stopped:
            main(["search", str(tmp_path / "e.parquet"), *words])
        assert stopped.value.code == 2 and said in capsys.readouterr().err


def test_wrong_options_stop_with_a_sentence(
    trained: Bundle, collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, table = str(collection / "2d-0.png"), tmp_path / "e.parquet"
    assert embed(trained, table, image) == 0
    downstream = tmp_path / "downstream"
    downstream.mkdir()
    (downstream / "encoder.json").write_text(json.dumps({"format": 1, "sizes": {}, "preprocessing": {}}))
    capsys.readouterr()
    for words, said in (
        (["--batch_size", "-1"], "--batch_size must be 1 or more, got -1."),
        (["--batch_size", "0"], "--batch_size must be 1 or more, got 0."),
        (["--device", "gpu"], "device must be cpu, or one that this machine has, such as cuda or cuda:1, got 'gpu'"),
        (["--output", str(tmp_path / "x.json")], "--output must end in .parquet, .npz, .csv, got"),
        (["--checkpoint", str(downstream)], "has no network_def: it may be of a downstream training"),
    ):
        assert embed(trained, tmp_path / "new.parquet", image, *words) == 2
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("x.*")) and not (tmp_path / "new.parquet").exists()
    models = str(trained.output_dir / "models")
    for words, said in (
        (["--device", "gpu"], "device must be cpu"),
        (["--checkpoint", str(downstream)], "has no network_def"),
    ):
        assert main(["search", str(table), "--text", SENTENCE, "--checkpoint", models, *words]) == 2
        assert said in capsys.readouterr().err


def test_embed_grounds_sentences_in_files_and_reports_of_a_datalist(
    trained: Bundle, collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = str(trained.output_dir / "models")
    words = ["embed", "--model_dir", models, "--grounding"]
    page, scores = tmp_path / "g.html", tmp_path / "g.json"
    images = [str(collection / name) for name in ("3d-0.nii", "2d-0.png")]
    assert main([*words, str(page), "--text", SENTENCE, *images]) == 0
    text = page.read_text()
    assert text.count('class="sentences"') == 1 and text.count('class="phrases"') == 1 and SENTENCE in text
    assert "://" not in text
    lists = [str(path) for path in sorted(collection.glob("*.json"))]
    assert main([*words, str(scores), *lists]) == 0
    found = json.loads(scores.read_text())
    assert len(found) == 5 and all(len(one["scores"]) in (6, 16) for given in found.values() for one in given)
    encoder = load_encoder(models)
    ct = next(given for given in found.values() if len(given[0]["scores"]) == 16)[0]
    expected = encoder.ground(encoder.read(collection / "3d-0.nii"), [ct["sentence"]])
    assert np.allclose(ct["scores"], expected[0], atol=1e-5)
    assert main([*words, str(page), str(collection / "3d-0.nii")]) == 2
    assert "needs sentences" in capsys.readouterr().err


def test_grounding_passes_over_images_without_a_report(
    trained: Bundle, collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads((collection / "2d.json").read_text())
    content["training"][0]["report"] = None
    (tmp_path / "list.json").write_text(json.dumps(content))
    words = ["embed", "--model_dir", str(trained.output_dir / "models"), "--grounding", str(tmp_path / "g.json")]
    words += [str(tmp_path / "list.json"), "--dataset_dir", str(collection)]
    assert main(words) == 0
    assert list(json.loads((tmp_path / "g.json").read_text())) == ["2d-1", "2d-2"]
    (tmp_path / "list.json").write_text(json.dumps({"training": content["training"][:1]}))
    assert main(words) == 2
    assert "needs sentences" in capsys.readouterr().err


def test_embed_scores_the_findings_of_own_prompts(
    trained: Bundle, collection: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = {"nodule": {"positive": [SENTENCE], "negative": ["No nodule."]}, "fracture": "A rib is broken."}
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    models, table = str(trained.output_dir / "models"), tmp_path / "scores.csv"
    words = ["embed", str(collection / "2d-0.png"), "--model_dir", models, "--output", str(table)]
    assert main([*words, "--prompts", str(tmp_path / "prompts.json"), "--json"]) == 0
    values = next(iter(json.loads(capsys.readouterr().out).values()))
    encoder = load_encoder(models)
    image = encoder.image(collection / "2d-0.png")
    pairs = [(SENTENCE, "No nodule."), ("A rib is broken.", "")]
    expected = [float(image @ (encoder.text(one) - encoder.text(other))) for one, other in pairs]
    assert values == pytest.approx(expected, abs=1e-5)
    lines = table.read_text().splitlines()
    assert lines[0] == "id,nodule,fracture" and len(lines) == 2
    assert main(words) == 2
    assert "--prompts" in capsys.readouterr().err
