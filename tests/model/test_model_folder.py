"""A model folder is untrusted: whatever is wrong with it gives one typed error."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import Encoder, ModelError, ModelFormatError, ModelNotFoundError, bundled_models
from pocket_colbert.model.folder import DEFAULT_MODEL, bundled_model_of, load_model_files


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    """Change the recipe."""
    recipe = json.loads((folder / "onnx_config.json").read_text())
    change(recipe)
    (folder / "onnx_config.json").write_text(json.dumps(recipe))


def test_bundled_models_are_whole() -> None:
    assert DEFAULT_MODEL in bundled_models()
    for name in bundled_models():
        files = load_model_files(name)
        assert files.card.license == "Apache-2.0" and len(files.card.fingerprint) == 64


def rewrite(folder: Path, name: str, data: bytes) -> None:
    """Change a file and its entry in the recipe."""
    (folder / name).write_bytes(data)
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    edit(folder, lambda recipe: recipe["pocket_colbert"]["files"].update({name: entry}))


def test_a_model_stays_itself_when_its_card_changes(folder: Path) -> None:
    before = load_model_files(folder).card.fingerprint
    rewrite(folder, "README.md", b"Another card.")
    edit(folder, lambda recipe: recipe.update(model_name="another name"))
    edit(folder, lambda recipe: recipe["pocket_colbert"].update(source="elsewhere"))
    assert load_model_files(folder).card.fingerprint == before


def test_a_model_is_another_when_its_vectors_are(folder: Path) -> None:
    found = [load_model_files(folder).card.fingerprint]
    rewrite(folder, "tokenizer.json", (folder / "tokenizer.json").read_bytes() + b"\n")
    found.append(load_model_files(folder).card.fingerprint)
    producer = b"\x12\x01x"  # another value of a field of the file
    rewrite(folder, "model.onnx", (folder / "model.onnx").read_bytes() + producer)
    found.append(load_model_files(folder).card.fingerprint)
    edit(folder, lambda recipe: recipe.update(document_length=17))
    found.append(load_model_files(folder).card.fingerprint)
    assert len(set(found)) == len(found)


def test_bundled_models_are_found_by_their_fingerprints() -> None:
    for name in bundled_models():
        assert bundled_model_of(load_model_files(name).card.fingerprint) == name
    assert bundled_model_of("") is None


def test_unknown_models_are_named() -> None:
    for name in ("no-such-model", "/no/such/folder", "a/b/c"):
        with pytest.raises(ModelNotFoundError, match="bundled models"):
            Encoder.load(name)


def test_the_hub_out_of_reach_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True, raising=False)
    with pytest.raises(ModelNotFoundError, match="could not be fetched"):
        Encoder.load("nobody-xyz/no-such-model-xyz")


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "README.md"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "empty"])
def test_damaged_files_are_named(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(data[:-1])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(ModelFormatError, match=name):
        Encoder.load(folder)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b"[" * 100_000, b'{"a": NaN}']
)
def test_broken_recipes_are_one_error(folder: Path, content: bytes) -> None:
    (folder / "onnx_config.json").write_bytes(content)
    with pytest.raises(ModelFormatError):
        Encoder.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("embedding_dim", 0), ("embedding_dim", "16"), ("embedding_dim", 17), ("query_length", 0),
        ("query_length", True), ("document_length", 2), ("document_length", None),
        ("query_prefix_id", -1), ("query_prefix_id", 10**6), ("mask_token_id", None),
        ("do_query_expansion", "yes"), ("skiplist_words", "!"), ("query_prefix", 5),
        ("query_length", 10**12), ("document_length", 2**40), ("pocket_colbert", None),
    ],
)  # fmt: skip
def test_bad_values_are_one_error(folder: Path, key: str, value: object) -> None:
    edit(folder, lambda recipe: recipe.update({key: value}))
    with pytest.raises(ModelFormatError):
        Encoder.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format_version", 2), ("format_version", None), ("unknown_key", 1), ("files", {}),
        ("files", []), ("model_file", "../model.onnx"), ("model_file", None), ("pool_factor", 0),
        ("skiplist_ids", [-1]), ("skiplist_ids", [10**9]), ("skiplist_tasks", ["other"]),
        ("query_expansion_strategy", "max"), ("query_max_length", 1),
        ("query_max_length", 2**40), ("matryoshka_dims", [16]),
        ("matryoshka_dims", [4, 8]), ("matryoshka_dims", [0]), ("matryoshka_dims", 8),
    ],
)  # fmt: skip
def test_bad_own_values_are_one_error(folder: Path, key: str, value: object) -> None:
    edit(folder, lambda recipe: recipe["pocket_colbert"].update({key: value}))
    with pytest.raises(ModelFormatError):
        Encoder.load(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "a/b", "..\\outside", "C:x", ""])
def test_names_that_lead_out_are_refused(folder: Path, name: str) -> None:
    entry = {"bytes": 1, "sha256": "0" * 64}
    edit(folder, lambda recipe: recipe["pocket_colbert"]["files"].update({name: entry}))
    with pytest.raises(ModelFormatError, match="lead out"):
        Encoder.load(folder)


def test_links_that_lead_out_are_refused(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.onnx"
    shutil.move(folder / "model.onnx", outside)
    try:
        (folder / "model.onnx").symlink_to(outside)
    except OSError:
        pytest.skip("this system does not let us make links")
    with pytest.raises(ModelFormatError, match="model.onnx"):
        Encoder.load(folder)


@pytest.mark.parametrize("junk", [b"", b"not onnx", b"\x08\x07" * 50, bytes(range(256)) * 4])
def test_graphs_that_are_none_are_one_error(folder: Path, junk: bytes) -> None:
    """A hostile folder can have right hashes; what is in the graph is then still checked."""
    import hashlib

    (folder / "model.onnx").write_bytes(junk)
    entry = {"bytes": len(junk), "sha256": hashlib.sha256(junk).hexdigest()}
    edit(folder, lambda recipe: recipe["pocket_colbert"]["files"].update({"model.onnx": entry}))
    with pytest.raises(ModelFormatError):
        Encoder.load(folder)


@pytest.mark.parametrize("recipe_name", ["onnx_config.json", "config_sentence_transformers.json"])
def test_folders_of_next_plaid_load(folder: Path, recipe_name: str) -> None:
    """No `pocket_colbert` section, no hashes, skiplist as words, other keys beside."""
    texts = ["The capital of France, is Paris!", ""]
    wanted = Encoder.load(folder).encode_document(texts)
    recipe = json.loads((folder / "onnx_config.json").read_text())
    del recipe["pocket_colbert"]
    recipe |= {"model_class": "BertModel", "uses_token_type_ids": True, "pad_token_id": 0}
    (folder / "onnx_config.json").unlink()
    (folder / recipe_name).write_text(json.dumps(recipe))
    found = Encoder.load(folder)
    assert found.card.precision == "fp32"
    for one, other in zip(wanted, found.encode_document(texts), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("missing", ["embedding_dim", "query_length", "document_length"])
def test_foreign_recipes_must_be_whole(folder: Path, missing: str) -> None:
    def change(recipe: dict) -> None:
        del recipe["pocket_colbert"], recipe[missing]

    edit(folder, change)
    with pytest.raises(ModelFormatError, match=missing):
        Encoder.load(folder)


def test_checkpoints_are_told_from_model_folders(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="pocket-colbert-export"):
        Encoder.load(tmp_path)


CURVE = {"similarity": 1.0, "score": 2.0, "lead": 3.0, "usual_lead": 0.01, "offset": -4.0}


def write_curves(folder: Path, content: object) -> None:
    """Put a file with curves into a folder, as the recipe lists it."""
    rewrite(folder, "relevance.json", json.dumps(content).encode())


def test_curves_of_relevance_are_no_part_of_what_a_model_is(folder: Path) -> None:
    before = load_model_files(folder)
    assert before.relevance == {}
    write_curves(folder, {"curves": {str(before.config.embedding_dim): CURVE}, "fitted_on": "x"})
    files = load_model_files(folder)
    assert files.card.fingerprint == before.card.fingerprint
    assert files.relevance[before.config.embedding_dim].to_json() == CURVE
    assert Encoder.load(folder).relevance_curve is not None


def test_curves_that_are_not_listed_or_are_damaged_are_not_used(folder: Path) -> None:
    dim = load_model_files(folder).config.embedding_dim
    content = json.dumps({"curves": {str(dim): CURVE}}).encode()
    (folder / "relevance.json").write_bytes(content)
    assert load_model_files(folder).relevance == {}
    rewrite(folder, "relevance.json", content)
    (folder / "relevance.json").write_bytes(content.replace(b"2.0", b"9.0"))
    with pytest.raises(ModelFormatError, match="relevance.json is damaged"):
        load_model_files(folder)


@pytest.mark.parametrize(
    "content",
    [
        [], None, 1, {}, {"curves": []}, {"curves": {"7": CURVE}}, {"curves": {"016": CURVE}},
        {"curves": {"16": {}}}, {"curves": {"16": {**CURVE, "lead": "1"}}},
        {"curves": {"16": {**CURVE, "lead": 1e300}}}, {"curves": {"16": {**CURVE, "more": 1}}},
        {"curves": {"16": {**CURVE, "lead": True}}},
    ],
)  # fmt: skip
def test_bad_curves_are_one_error(folder: Path, content: object) -> None:
    assert load_model_files(folder).config.embedding_dim == 16
    write_curves(folder, content)
    with pytest.raises(ModelFormatError, match="relevance.json"):
        Encoder.load(folder)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"curves": ' * 9_000, b"[" * 100_000])
def test_curves_that_are_no_json_are_one_error(folder: Path, data: bytes) -> None:
    rewrite(folder, "relevance.json", data)
    with pytest.raises(ModelFormatError, match="relevance.json"):
        Encoder.load(folder)


def test_bundled_models_have_a_curve_for_every_width() -> None:
    for name in bundled_models():
        files = load_model_files(name)
        assert set(files.relevance) == {files.config.embedding_dim, *files.config.matryoshka_dims}
        for curve in files.relevance.values():
            assert min(curve.similarity, curve.score, curve.lead) >= 0
