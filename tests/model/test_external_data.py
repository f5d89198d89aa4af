"""Weights that an ONNX file keeps in other files decide vectors: they are hashed, or refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pocket_colbert import ModelFormatError
from pocket_colbert.model.external_data import external_files
from pocket_colbert.model.folder import load_model_files


def entry_of(path: Path) -> dict[str, object]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def edit(folder: Path, change: Callable[[dict], None]) -> None:
    """Change the part of the recipe that is this package's own."""
    recipe = json.loads((folder / "onnx_config.json").read_text())
    change(recipe["pocket_colbert"])
    (folder / "onnx_config.json").write_text(json.dumps(recipe))


def external_tensor(name: str, location: str) -> TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), name)
    onnx.external_data_helper.set_external_data(tensor, location)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def graph_of(location: str, where: str = "initializer") -> bytes:
    """Return an ONNX file with a tensor elsewhere, at one of the places that there are."""
    tensor = external_tensor("w", location)
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    inner = helper.make_graph([], "inner", [], [value], initializer=[tensor])
    nodes, initializers, functions, sparse = [], [], [], []
    if where == "initializer":
        initializers = [tensor]
    elif where == "constant":
        nodes = [helper.make_node("Constant", [], ["c"], value=tensor)]
    elif where == "subgraph":
        nodes = [helper.make_node("If", ["x"], ["c"], then_branch=inner, else_branch=inner)]
    elif where == "list":
        nodes = [helper.make_node("Other", ["x"], ["c"], tensors=[tensor])]
    elif where == "function":
        node = helper.make_node("Constant", [], ["c"], value=tensor)
        functions = [helper.make_function("own", "f", [], ["c"], [node], [])]
    elif where == "sparse":
        sparse = [onnx.SparseTensorProto(values=tensor, dims=[4])]
    graph = helper.make_graph(
        nodes, "g", [value], [value], initializer=initializers, sparse_initializer=sparse
    )
    return helper.make_model(graph, functions=functions).SerializeToString()


WHERE = ["initializer", "constant", "subgraph", "list", "function", "sparse"]


@pytest.mark.parametrize("where", WHERE)
def test_locations_are_found_wherever_they_are(where: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(graph_of("model.onnx.data", where))
    assert external_files(tmp_path / "model.onnx") == ("model.onnx.data",)


def test_a_graph_without_locations_has_none(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("location", TensorProto.FLOAT, [4])
    model = helper.make_model(helper.make_graph([], "g", [value], [value]))
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    assert external_files(tmp_path / "model.onnx") == ()
    (tmp_path / "model.onnx").write_bytes(b"")
    assert external_files(tmp_path / "model.onnx") == ()


def test_damaged_graphs_are_one_error(tmp_path: Path) -> None:
    data = graph_of("model.onnx.data")
    path = tmp_path / "model.onnx"
    rng = np.random.default_rng(1)
    for _ in range(300):
        changed = bytearray(data)
        for place in rng.integers(len(data), size=3):
            changed[place] = rng.integers(256)
        path.write_bytes(bytes(changed)[: rng.integers(len(data) // 2, len(data) + 1)])
        try:
            external_files(path)
        except ModelFormatError as error:
            assert "not an ONNX file" in str(error)


@pytest.fixture
def ours(tiny_model: Path, tmp_path: Path) -> Path:
    """A folder of this package whose graph has weights elsewhere."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    (folder / "model.onnx.data").write_bytes(b"weights")
    (folder / "model.onnx").write_bytes(graph_of("model.onnx.data"))
    edit(folder, lambda own: own["files"].update({"model.onnx": entry_of(folder / "model.onnx")}))
    return folder


@pytest.fixture
def foreign(ours: Path) -> Path:
    """The same as of another exporter, without hashes."""
    recipe = json.loads((ours / "onnx_config.json").read_text())
    del recipe["pocket_colbert"]
    (ours / "onnx_config.json").write_text(json.dumps(recipe))
    return ours


def test_unlisted_weights_are_refused(ours: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"model\.onnx\.data.*does not list"):
        load_model_files(ours)


def test_other_weights_are_another_model(ours: Path) -> None:
    found = []
    for weights in (b"weights", b"others!"):
        (ours / "model.onnx.data").write_bytes(weights)
        listed = entry_of(ours / "model.onnx.data")
        edit(ours, lambda own, listed=listed: own["files"].update({"model.onnx.data": listed}))
        files = load_model_files(ours)
        assert files.external == ("model.onnx.data",)
        found.append(files.card.fingerprint)
    assert found[0] != found[1]
    (ours / "model.onnx.data").write_bytes(b"damaged")
    with pytest.raises(ModelFormatError, match=r"model\.onnx\.data is damaged"):
        load_model_files(ours)


def test_other_weights_of_a_foreign_folder_are_another_model(foreign: Path) -> None:
    before = load_model_files(foreign)
    assert before.external == ("model.onnx.data",)
    (foreign / "model.onnx.data").write_bytes(b"others!")
    assert load_model_files(foreign).card.fingerprint != before.card.fingerprint
    (foreign / "model.onnx.data").unlink()
    with pytest.raises(ModelFormatError, match="takes weights from 'model.onnx.data'"):
        load_model_files(foreign)


@pytest.mark.parametrize("location", ["../outside", "/etc/hostname", "a/b", "..", "a\\b", ""])
def test_weights_elsewhere_are_refused(foreign: Path, location: str) -> None:
    (foreign.parent / "outside").write_bytes(b"weights")
    (foreign / "model.onnx").write_bytes(graph_of(location))
    with pytest.raises(ModelFormatError, match="takes weights from"):
        load_model_files(foreign)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize(
    "name", ["onnx_config.json", "tokenizer.json", "model.onnx", "model.onnx.data"]
)
@pytest.mark.parametrize("kind", ["link", "fifo", "folder", "device", "dangling"])
def test_files_of_a_model_are_files_of_its_folder(foreign: Path, name: str, kind: str) -> None:
    load_model_files(foreign)
    outside, path = foreign.parent / "outside", foreign / name
    shutil.copy(path, outside)
    path.unlink()
    match kind:
        case "link":
            path.symlink_to(outside)
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "dangling":
            path.symlink_to(foreign / "nowhere")
    with pytest.raises(ModelFormatError, match=f"{name} must be a regular file"):
        load_model_files(foreign)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_hub_cache_is_followed_into_its_blobs_alone(foreign: Path, tmp_path: Path) -> None:
    cache = tmp_path / "models--a--b"
    (cache / "blobs").mkdir(parents=True)
    snapshot = Path(shutil.move(foreign, cache / "snapshots" / "abc"))
    before = load_model_files(snapshot).card.fingerprint
    for name in ("model.onnx", "model.onnx.data", "tokenizer.json", "onnx_config.json"):
        shutil.move(snapshot / name, cache / "blobs" / name)
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    assert load_model_files(snapshot).card.fingerprint == before
    shutil.move(cache / "blobs" / "tokenizer.json", cache / "tokenizer.json")
    (snapshot / "tokenizer.json").unlink()
    (snapshot / "tokenizer.json").symlink_to("../../tokenizer.json")
    with pytest.raises(ModelFormatError, match="must be a regular file"):
        load_model_files(snapshot)
