"""Exports of tiny models made on the spot: backbones, layouts, errors, gates, atomicity."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import Encoder, InvalidInputError
from tests.support.checkpoints import as_pylate, make_backbone
from tests.support.paths import DATA, HAS_TORCH

if not HAS_TORCH:
    pytest.skip("needs the export extra (torch)", allow_module_level=True)

import onnx
import torch
import transformers
from click.testing import CliRunner

from pocket_colbert_export import (
    CalibrationError,
    CheckpointError,
    OutputError,
    ParityError,
    export_model,
)
from pocket_colbert_export.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def pylate(tmp_path: Path) -> Path:
    """A copy of the tiny PyLate checkpoint to change."""
    return Path(shutil.copytree(DATA / "checkpoints" / "pylate", tmp_path / "checkpoint"))


def edit(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None removes one."""
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}))


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta", "distilbert", "modernbert"])
@pytest.mark.parametrize("markers", ["added", "text"])
def test_backbones(kind: str, markers: str, tmp_path: Path) -> None:
    """Each backbone passes the exporter's own proof: token ids and 1e-4 against torch."""
    source = tmp_path / "checkpoint"
    make_backbone(kind, source)
    if markers == "added":
        tokenizer = transformers.AutoTokenizer.from_pretrained(source)
        tokenizer.add_tokens(["[Q] ", "[D] "])  # as PyLate saves them, space and all
        tokenizer.save_pretrained(source)
    as_pylate(source)
    files = export_model(source, tmp_path / "model", precision="fp32")
    ids = files.config.query_prefix_id, files.config.document_prefix_id
    assert all(i is not None for i in ids) == (markers == "added")
    report = json.loads((tmp_path / "model" / "export_report.json").read_text())
    assert report["float"]["max_abs_difference"] <= 1e-4
    encoder = Encoder.load(tmp_path / "model")
    assert len(encoder.encode_query(["paris"])[0]) == 24
    assert len(encoder.encode_document(["a" * 600])[0]) == 300
    graph = onnx.load(str(files.graph))
    assert [i.name for i in graph.graph.input] == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("kind", ["bert", "xlm-roberta", "distilbert", "modernbert"])
def test_torch_alone_exports_the_same(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "checkpoint"
    make_backbone(kind, source)
    as_pylate(source)
    texts = ["paris", "the capital of a country, and " * 5]
    vectors, versions = [], []
    for name in ("optimum", "torch"):
        if name == "torch":
            monkeypatch.setitem(sys.modules, "optimum.exporters.onnx", None)
        export_model(source, tmp_path / name, precision="fp32")
        report = json.loads((tmp_path / name / "export_report.json").read_text())
        versions.append(set(report["versions"]))
        encoder = Encoder.load(tmp_path / name)
        vectors.append([*encoder.encode_query(texts), *encoder.encode_document(texts)])
    assert versions[0] - versions[1] == {"optimum-onnx"} and versions[1] < versions[0]
    for found, wanted in zip(*vectors, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_torch_agrees_outside_the_exporter(pylate: Path, tmp_path: Path) -> None:
    """The reference written out by hand: two heads, bias, activation, residual, markers, mask."""
    export_model(pylate, tmp_path / "model", precision="fp32")
    from safetensors.torch import load_file

    backbone = transformers.BertModel.from_pretrained(pylate, add_pooling_layer=False).eval()
    heads = [load_file(pylate / f"{n}_Dense" / "model.safetensors") for n in (1, 2)]
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(pylate)
    ids = tokenizer("what is the capital?")["input_ids"]
    ids = [ids[0], tokenizer.convert_tokens_to_ids("[unused0]"), *ids[1:]]
    ids += [tokenizer.mask_token_id] * (16 - len(ids))
    with torch.no_grad():
        x = backbone(input_ids=torch.tensor([ids])).last_hidden_state[0]
        linear = torch.nn.functional.linear
        x = (
            torch.nn.functional.gelu(linear(x, heads[0]["linear.weight"], heads[0]["linear.bias"]))
            + x
        )
        x = torch.nn.functional.normalize(linear(x, heads[1]["linear.weight"]), dim=-1)
    found = Encoder.load(tmp_path / "model").encode_query(["what is the capital?"])[0]
    np.testing.assert_allclose(found, x.numpy(), atol=1e-5)


@pytest.mark.parametrize("form", ["bfloat16", "sharded", "bin"])
def test_weights_in_other_forms(form: str, pylate: Path, tmp_path: Path) -> None:
    model = transformers.BertModel.from_pretrained(pylate, add_pooling_layer=False)
    (pylate / "model.safetensors").unlink()
    if form == "bfloat16":
        model.to(torch.bfloat16).save_pretrained(pylate)
    elif form == "sharded":
        model.save_pretrained(pylate, max_shard_size="30KB")
        assert len(list(pylate.glob("model-*.safetensors"))) > 1
    else:
        torch.save(model.state_dict(), pylate / "pytorch_model.bin")
    export_model(pylate, tmp_path / "model", precision="fp32")
    wanted = Encoder.load(DATA / "tiny-colbert").encode_document(["the city of paris"])[0]
    found = Encoder.load(tmp_path / "model").encode_document(["the city of paris"])[0]
    np.testing.assert_allclose(found, wanted, atol=0.1 if form == "bfloat16" else 1e-5)


def test_dense_encoders_get_a_projection(tmp_path: Path) -> None:
    source = tmp_path / "dense"
    make_backbone("bert", source)
    files = export_model(source, tmp_path / "model", precision="fp32", fit_dim=8)
    assert files.config.embedding_dim == 8 and not files.config.do_query_expansion
    again = export_model(source, tmp_path / "again", precision="fp32", fit_dim=8)
    assert files.graph.read_bytes() == again.graph.read_bytes()
    encoder = Encoder.load(tmp_path / "model")
    full = export_model(source, tmp_path / "full", precision="fp32", fit_dim=32)
    texts = ["bees and honey", "the moon is far"]
    # All 32 dimensions are a rotation: products of token vectors stay what they were.
    a, b = Encoder.load(full).encode_document(texts)
    c, d = encoder.encode_document(texts)
    assert np.corrcoef((a @ b.T).ravel(), (c @ d.T).ravel())[0, 1] > 0.7
    calibration = tmp_path / "few.txt"
    calibration.write_text("a b\n")
    with pytest.raises(CalibrationError, match="different tokens"):
        export_model(source, tmp_path / "x", fit_dim=30, calibration=calibration)
    with pytest.raises(InvalidInputError, match="fit_dim must be .* 1 to 32"):
        export_model(source, tmp_path / "x", fit_dim=33)
    with pytest.raises(CalibrationError, match="no file"):
        export_model(source, tmp_path / "x", calibration=tmp_path / "no.txt")
    calibration.write_text('{"body": "x"}\n')
    with pytest.raises(CalibrationError, match="line 1"):
        export_model(source, tmp_path / "x", calibration=calibration.rename(tmp_path / "b.jsonl"))
    assert not (tmp_path / "x").exists()


def test_int8_is_measured_and_recorded(tmp_path: Path) -> None:
    source = DATA / "checkpoints" / "stanford"
    files = export_model(source, tmp_path / "model", allow_degraded=True)
    report = json.loads((tmp_path / "model" / "export_report.json").read_text())["int8"]
    best = max(row["mean_cosine"] for row in report["tried"])
    assert len(report["tried"]) >= 6 and report["fidelity"]["mean_cosine"] == best > 0.97
    assert files.card.precision == "int8" and files.graph.name == "model_int8.onnx"
    kinds = {node.op_type for node in onnx.load(str(files.graph)).graph.node}
    assert kinds & {"MatMulInteger", "DynamicQuantizeMatMul"}
    tables = {i.name: i for i in onnx.load(str(files.graph)).graph.initializer}
    codes = [i for name, i in tables.items() if name.endswith("_codes") and i.dims[0] > 64]
    assert codes and all(i.data_type == onnx.TensorProto.INT8 for i in codes)
    card = (tmp_path / "model" / "README.md").read_text()
    assert report["chosen"] in card and "| token cosine, mean |" in card


def test_int8_below_the_gate_writes_nothing(
    pylate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = "pocket_colbert_export.proof.parity.INT8_GATE"
    monkeypatch.setattr(gate, {"mean_cosine": 0.9999999})
    with pytest.raises(ParityError, match=r"mean_cosine is 0\.9\d+, the gate is 0\.9999999"):
        export_model(pylate, tmp_path / "model")
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint"]
    files = export_model(pylate, tmp_path / "model", allow_degraded=True)
    assert files.card.quantization["forced"] is True
    assert "**Degraded" in (tmp_path / "model" / "README.md").read_text()
    report = json.loads((tmp_path / "model" / "export_report.json").read_text())["int8"]
    assert any("float" in row["recipe"] for row in report["tried"])


def test_a_wrong_graph_is_caught(
    pylate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof is a proof: a graph that was tampered with does not pass it."""
    from pocket_colbert_export import exporter as export

    real = export.export_graph

    def tampered(module: Any, path: Path) -> None:
        with torch.no_grad():
            module.heads[1].linear.weight[0, 0] += 0.05
            real(module, path)
            module.heads[1].linear.weight[0, 0] -= 0.05

    monkeypatch.setattr(export, "export_graph", tampered)
    with pytest.raises(ParityError, match="differs from torch"):
        export_model(pylate, tmp_path / "model", precision="fp32")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("1_Dense/config.json", {"activation_function": "os.system"}, "activation_function"),
        ("1_Dense/config.json", {"out_features": 7}, "linear.weight"),
        ("1_Dense/config.json", {"bias": False}, "must hold"),
        ("1_Dense/config.json", {"in_features": None}, "in_features"),
        ("1_Dense/config.json", {"extra": 1}, "unknown keys"),
        ("config_sentence_transformers.json", {"document_length": 65}, "document_length"),
        ("config_sentence_transformers.json", {"query_length": 999}, "query_length"),
        ("config_sentence_transformers.json", {"query_expansion": {"strategy": "x"}}, "query_exp"),
        ("config.json", {"model_type": "nonsense"}, "architecture"),
        ("config.json", {"hidden_size": 64}, "cannot load|misshape"),
        ("config.json", {"num_hidden_layers": 3}, "encoder.layer.2"),
        ("config.json", {"rope_parameters": {"rope_theta": 1}}, "rope_parameters"),
    ],
)  # fmt: skip
def test_broken_checkpoints_name_file_and_key(
    file: str, changes: dict, message: str, pylate: Path, tmp_path: Path
) -> None:
    edit(pylate / file, **changes)
    with pytest.raises(CheckpointError, match=message):
        export_model(pylate, tmp_path / "model", precision="fp32")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "1_Dense/model.safetensors", "modules.json",
                                  "tokenizer.json", "config.json"])  # fmt: skip
def test_truncated_checkpoints_are_one_error(name: str, pylate: Path, tmp_path: Path) -> None:
    data = (pylate / name).read_bytes()
    (pylate / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError):
        export_model(pylate, tmp_path / "model", precision="fp32")


def test_unknown_layouts_are_refused(pylate: Path, tmp_path: Path) -> None:
    modules = json.loads((pylate / "modules.json").read_text())
    for kind in ("sentence_transformers.models.CNN", "evil.module.Transformer"):
        modules[1]["type"] = kind
        (pylate / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(CheckpointError, match="modules.json: key 'type'"):
            export_model(pylate, tmp_path / "model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="neither modules.json nor config.json"):
        export_model(tmp_path / "empty", tmp_path / "model")
    with pytest.raises(CheckpointError, match="no folder at"):
        export_model(tmp_path / "missing", tmp_path / "model")
    stanford = Path(shutil.copytree(DATA / "checkpoints" / "stanford", tmp_path / "stanford"))
    edit(stanford / "artifact.metadata", dim=25)
    with pytest.raises(CheckpointError, match="artifact.metadata: key 'dim'"):
        export_model(stanford, tmp_path / "model")
    (stanford / "artifact.metadata").unlink()
    with pytest.raises(CheckpointError, match="artifact.metadata is missing"):
        export_model(stanford, tmp_path / "model")
    edit(stanford / "config.json", architectures=["BertModel"])
    with pytest.raises(CheckpointError, match=r"linear\.weight"):
        export_model(stanford, tmp_path / "model")


def test_a_pickle_with_code_is_not_run(pylate: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.write_text, (tmp_path / "ran", "x"))

    (pylate / "model.safetensors").unlink()
    torch.save({"x": Evil()}, pylate / "pytorch_model.bin")
    with pytest.raises(CheckpointError):
        export_model(pylate, tmp_path / "model")
    assert not (tmp_path / "ran").exists()


def test_outputs_are_not_overwritten(pylate: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "precious").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not empty"):
            export_model(pylate, target, precision="fp32", overwrite=overwrite)
    assert (target / "precious").read_text() == "x"
    (target / "precious").unlink()
    export_model(pylate, target, precision="fp32")
    with pytest.raises(OutputError, match="--overwrite"):
        export_model(pylate, target, precision="fp32")
    export_model(pylate, target, precision="fp32", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint", "model"]
    with pytest.raises(InvalidInputError, match="precision"):
        export_model(pylate, target, precision="int4")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="--fit-projection is for dense"):
        export_model(pylate, tmp_path / "x", fit_dim=4)


def test_the_hub_out_of_reach_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="could not be fetched"):
        export_model("nobody-xyz/nothing-xyz", tmp_path / "x")


def test_command_line(pylate: Path, tmp_path: Path) -> None:
    arguments = [str(pylate), "-o", str(tmp_path / "model"), "--precision", "fp32"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "fp32, 16 dimensions" in done.stdout and "comparing" in done.stderr
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2 and "--overwrite" in done.stderr
    assert CliRunner().invoke(main, ["--help"]).exit_code == 0


def test_transformers_5_rope_settings_carry_over(tmp_path: Path) -> None:
    """Transformers 5 writes ModernBERT's settings in keys that transformers 4 does not read."""
    source = tmp_path / "checkpoint"
    make_backbone("modernbert", source)
    as_pylate(source)
    edit(source / "config.json", global_rope_theta=5000.0, local_rope_theta=70.0)
    edit(source / "config.json", global_attn_every_n_layers=2)
    export_model(source, tmp_path / "old", precision="fp32")
    kinds = ["full_attention", "sliding_attention"]
    rope = dict(zip(kinds, (5000.0, 70.0), strict=True))
    edit(
        source / "config.json", global_rope_theta=None, local_rope_theta=None,
        global_attn_every_n_layers=None, layer_types=kinds * 2,
        rope_parameters={k: {"rope_theta": v, "rope_type": "default"} for k, v in rope.items()},
    )  # fmt: skip
    export_model(source, tmp_path / "new", precision="fp32")
    text = ["a text that is longer than the local attention window of sixteen positions"]
    one, other = (Encoder.load(tmp_path / n).encode_document(text)[0] for n in ("old", "new"))
    np.testing.assert_allclose(one, other, atol=1e-6)
