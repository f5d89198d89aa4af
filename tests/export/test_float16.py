"""float16 exports: near their float32 graph, alone and in batches, and float32 where it counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from pocket_colbert import Encoder
from pocket_colbert.cli.commands import main as search
from pocket_colbert.model.folder import ModelFiles
from pocket_colbert.model.session import Session
from tests.support.checkpoints import BERT, as_pylate, byte_level_tokenizer, make_backbone
from tests.support.paths import DATA, HAS_TORCH

if not HAS_TORCH:
    pytest.skip("needs the export extra (torch)", allow_module_level=True)

import onnx
import torch
import transformers

from pocket_colbert_export import ParityError, export_model
from pocket_colbert_export.cli import main
from pocket_colbert_export.graph import float16
from pocket_colbert_export.proof import parity
from pocket_colbert_export.proof.report import Fidelity

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

TEXTS = ["", "a", "paris", *(f"{'rivers and cities ' * (n % 19)}{n}" for n in range(50)), "b" * 600]


def types_of(graph: onnx.GraphProto) -> dict[str, int]:
    """Return the element type of every value by name."""
    values = [*graph.input, *graph.output, *graph.value_info]
    found = {value.name: value.type.tensor_type.elem_type for value in values}
    return found | {item.name: item.data_type for item in graph.initializer}


@pytest.fixture(scope="module", params=["bert", "modernbert"])
def exports(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ModelFiles, ModelFiles]:
    """A backbone's name, and its float32 and float16 exports."""
    place = tmp_path_factory.mktemp(request.param)
    source = place / "checkpoint"
    make_backbone(request.param, source)
    as_pylate(source)
    return (
        request.param,
        export_model(source, place / "whole", precision="fp32"),
        export_model(source, place / "half", precision="fp16"),
    )


def test_float16_is_near_float32(exports: tuple[str, ModelFiles, ModelFiles]) -> None:
    _, whole, files = exports
    assert (files.card.precision, files.graph.name) == ("fp16", "model_fp16.onnx")
    assert files.graph.stat().st_size < whole.graph.stat().st_size
    assert files.card.fingerprint != whole.card.fingerprint
    alone, batched = Encoder.load(files), Encoder.load(files, batch_size=64, batch_tokens=2000)
    for method in ("encode_query", "encode_document"):
        exact = getattr(Encoder.load(whole), method)(TEXTS)
        vectors, together = getattr(alone, method)(TEXTS), getattr(batched, method)(TEXTS)
        for wanted, found, other in zip(exact, vectors, together, strict=True):
            assert found.dtype == np.float32
            assert (wanted * found).sum(axis=1).min(initial=1) > 0.9995
            np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
            np.testing.assert_allclose(found, other, atol=parity.FP16_BATCH_TOLERANCE)


def test_what_is_delicate_stays_float32(exports: tuple[str, ModelFiles, ModelFiles]) -> None:
    kind, _, files = exports
    onnx.checker.check_model(str(files.graph), full_check=True)
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(files.graph)), strict_mode=True).graph
    types = types_of(graph)
    single, short = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
    kinds: dict[str, set[int]] = {}
    for node in graph.node:
        kinds.setdefault(node.op_type, set()).add(types[node.input[0]] if node.input else 0)
    for name in ("LayerNormalization", "Softmax", "ReduceL2"):
        assert kinds[name] == {single}, name
    assert kinds["Erf"] == {short} and short in kinds["MatMul"]
    softmax = {node.input[0] for node in graph.node if node.op_type == "Softmax"}
    masked = [node for node in graph.node if node.output[0] in softmax]
    assert len(masked) == len(softmax)
    assert all(types[name] == single for node in masked for name in node.input)
    if kind == "modernbert":
        assert kinds["Cos"] == kinds["Sin"] == {single}
    else:
        assert kinds["MatMul"] == {short}
    tables = [item for item in graph.initializer if len(item.dims) == 2]
    assert tables and all(item.data_type == short for item in tables)
    # Unit vectors are not rounded on their way out.
    (last,) = (node for node in graph.node if graph.output[0].name in node.output)
    assert last.op_type == "Div" and types[last.output[0]] == single
    assert {item.type.tensor_type.elem_type for item in graph.input} == {onnx.TensorProto.INT64}


def test_what_was_measured_is_recorded(tmp_path: Path) -> None:
    source, folder = DATA / "checkpoints" / "pylate", tmp_path / "model"
    done = CliRunner().invoke(main, [str(source), "-o", str(folder), "--precision", "fp16"])
    assert done.exit_code == 0 and "float16: token cosine 1.0000" in done.output, done.output
    report = json.loads((folder / "export_report.json").read_text())["fp16"]
    assert report["fidelity"]["mean_cosine"] > 0.9999 and report["fidelity"]["queries"] > 100
    assert report["batch_max_abs_difference"] <= report["batch_tolerance"] and not report["forced"]
    card = (folder / "README.md").read_text()
    assert "float16 against float32" in card and "in a padded batch" in card
    assert "rounded to float16" in (folder / "NOTICE").read_text()
    assert Encoder.load(folder).card.quantization["fidelity"] == report["fidelity"]
    (tmp_path / "a.txt").write_text("the capital of france is paris")
    (tmp_path / "b.txt").write_text("honey")
    made = [
        str(path) for path in (tmp_path / "a.txt", tmp_path / "b.txt", "--into", tmp_path / "i")
    ]
    model = ["--model", str(folder)]
    assert CliRunner().invoke(search, ["index", *made, *model]).exit_code == 0
    found = CliRunner().invoke(search, ["search", str(tmp_path / "i"), "honey", "--json", *model])
    assert len(found.stdout.splitlines()) == 2


def test_masks_that_leak_fail_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaky(origin: Path, target: Path) -> None:
        float16.write_float16_graph(origin, target)
        model = onnx.load(str(target))
        softmax = [node.input[0] for node in model.graph.node if node.op_type == "Softmax"]
        for node in model.graph.node:
            if node.output[0] in softmax:
                assert node.op_type == "Add"
                node.op_type = "Identity"
                del node.input[1]  # the mask
        onnx.save(model, str(target))

    monkeypatch.setattr("pocket_colbert_export.reduced_precision.write_float16_graph", leaky)
    source = DATA / "checkpoints" / "pylate"
    with pytest.raises(ParityError, match=r"fp16 is .* a batch differs from its texts alone by"):
        export_model(source, tmp_path / "model", precision="fp16")
    assert not list(tmp_path.iterdir())
    files = export_model(source, tmp_path / "model", precision="fp16", allow_degraded=True)
    assert files.card.quantization["forced"]
    assert "**Degraded" in (tmp_path / "model" / "README.md").read_text()


def test_what_is_not_a_number_fails_a_gate() -> None:
    good = Fidelity(
        mean_cosine=1.0, low_cosine=1.0, worst_cosine=1.0, rank_correlation=1.0, top_overlap=1.0,
        same_first=1.0, tokens=1, queries=1, documents=1,
    )  # fmt: skip
    assert not parity.failures(good, parity.FP16_GATE)
    bad = replace(good, mean_cosine=float("nan"))
    assert parity.failures(bad, parity.FP16_GATE) and not parity.passes(bad)


def test_batches_of_a_larger_model_agree_within_rounding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four layers, 128 dimensions: texts of 3 to 300 tokens, alone and padded together."""
    source = tmp_path / "checkpoint"
    tokenizer = byte_level_tokenizer(source, **BERT)
    config = transformers.BertConfig(
        hidden_size=128, num_hidden_layers=4, num_attention_heads=8, intermediate_size=256,
        initializer_range=0.1, vocab_size=len(tokenizer) + 8, max_position_embeddings=320,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(11)
    transformers.BertModel(config).eval().save_pretrained(source)
    as_pylate(source, hidden=128)
    files = export_model(source, tmp_path / "model", precision="fp32")
    alone, batched = Encoder.load(files), Encoder.load(files, batch_size=64, batch_tokens=4096)
    shapes: list[tuple[int, ...]] = []
    run_rows = Session.run_rows

    def noted(self: Session, ids: Any, *others: Any) -> Any:
        shapes.append(ids.shape)
        return run_rows(self, ids, *others)

    monkeypatch.setattr(Session, "run_rows", noted)
    for method in ("encode_query", "encode_document"):
        pairs = zip(getattr(alone, method)(TEXTS), getattr(batched, method)(TEXTS), strict=True)
        assert max(float(np.abs(one - other).max(initial=0)) for one, other in pairs) < 1e-5
    assert sum(count for count, _ in shapes) >= 2 * len(TEXTS) - 2  # a lone one is not padded
    assert all(count * length <= 4096 for count, length in shapes) and len(shapes) < 20
    assert max(length for _, length in shapes) == 300
