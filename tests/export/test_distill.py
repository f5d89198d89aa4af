"""Learning rankings: lists and their parts against plain formulas, then a whole run on `tiny`."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import Encoder, InvalidInputError
from pocket_colbert.vectors.maxsim_float import maxsim_pairwise
from tests.support.paths import DATA, HAS_TORCH

if not HAS_TORCH:
    pytest.skip("needs the export extra (torch)", allow_module_level=True)

import onnx
import torch
import transformers
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper
from safetensors import safe_open

from pocket_colbert.model.folder import load_model_files
from pocket_colbert_export import (
    CheckpointError,
    Distillation,
    DistillationError,
    OutputError,
    TrainingTextError,
    distill,
    export_model,
)
from pocket_colbert_export.checkpoints.model_folder import read_model_folder
from pocket_colbert_export.cli import main
from pocket_colbert_export.distillation import loop, losses, ranking
from pocket_colbert_export.distillation.candidates import KeywordIndex, candidate_lists
from pocket_colbert_export.distillation.lists import Lists
from pocket_colbert_export.distillation.pairs import read_pairs
from pocket_colbert_export.distillation.queries import (
    altered,
    mistype,
    neighbours,
    pair_from_text,
    read_queries,
)
from pocket_colbert_export.distillation.ranking import choose_weights, teacher_sum
from pocket_colbert_export.distillation.score_store import score_lists
from pocket_colbert_export.distillation.teacher_folder import teacher_folder
from pocket_colbert_export.distillation.teachers import Teacher, load_teacher
from pocket_colbert_export.graph.torch_graph import ColBERTForONNX
from tests.support.checkpoints import make_backbone

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

WORDS = ("river", "mountain", "index", "vector", "engine", "tea", "copper", "violin", "snow",
         "library", "orbit", "pepper", "glass", "tower", "salmon", "window")  # fmt: skip


@pytest.mark.parametrize("name", ["small", "tiny"])
def test_a_model_folder_is_read_back(name: str) -> None:
    files = load_model_files(name)
    module = ColBERTForONNX(read_model_folder(files)).eval()
    encoder = Encoder.load(files, threads=1)
    item = encoder._tokenizer.tokenize_query("Where does the river Rhine begin?")
    ids, mask = (torch.from_numpy(x[None]) for x in (item.input_ids, item.attention_mask))
    with torch.no_grad():
        found = module(ids, mask)[0].numpy()[item.keep]
    wanted = encoder.encode_query(["Where does the river Rhine begin?"])[0]
    assert (found * wanted).sum(axis=1).min() > 0.998


def test_bm25_over_all_passages_is_the_formula(rng: np.random.Generator) -> None:
    passages = [rng.integers(1, 30, int(n)) for n in rng.integers(3, 40, 12)]
    index = KeywordIndex(passages)
    queries = [rng.integers(1, 40, 5) for _ in range(4)]
    unique = [np.unique(query) for query in queries]
    wanted = losses.BM25(passages).matrix(unique, passages)
    for query, expected in zip(queries, wanted, strict=True):
        np.testing.assert_allclose(index.scores(query), expected, rtol=1e-5)
        each = [index.score(query, number) for number in range(12)]
        np.testing.assert_allclose(each, expected, rtol=1e-5)
    assert index.coverage(np.array([99])) == 0 < index.coverage(passages[0][:1])


def test_lists_hold_own_near_and_random_passages(rng: np.random.Generator) -> None:
    passages = [np.array([n, n + 1]) for n in range(40)]
    vectors = np.eye(40, dtype=np.float32)
    queries = [np.array([7]), np.array([20])]
    own = np.array([-1, 3])
    lists = candidate_lists(
        queries, KeywordIndex(passages), vectors[[30, 31]], vectors, own, 12, seed=0
    )
    assert all(len(set(row)) == 12 for row in lists.tolist())
    assert {6, 7, 30} <= set(lists[0].tolist())
    assert lists[1, 0] == 3 and {19, 20, 31} <= set(lists[1].tolist())
    again = candidate_lists(
        queries, KeywordIndex(passages), vectors[[30, 31]], vectors, own, 12, seed=0
    )
    np.testing.assert_array_equal(lists, again)


class Counting(Teacher):
    """Gives each pair a number, and counts what it was asked."""

    name, key, signals = "counting", "a", ("one", "two")

    def __init__(self) -> None:
        self.calls = 0

    def ask(self, queries: Any) -> None:
        self.queries = list(queries)

    def score(self, passage: str, wanted: Any) -> Any:
        self.calls += 1
        values = [[10 * int(self.queries[n]) + int(passage), int(passage)] for n in wanted]
        return np.array(values, dtype=np.float32)


def test_scores_are_made_once_and_taken_up_again(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pocket_colbert_export.distillation.score_store.SHARD", 7)
    queries, passages = [str(n) for n in range(9)], [str(n) for n in range(40)]
    lists = np.stack([rng.permutation(40)[:5] for _ in range(9)])

    class Stopped(Counting):
        def score(self, passage: str, wanted: Any) -> Any:
            if self.calls == 12:
                raise KeyboardInterrupt
            return super().score(passage, wanted)

    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        score_lists(Stopped(), queries, passages, lists, tmp_path, said.append)
    teacher = Counting()
    scores = score_lists(teacher, queries, passages, lists, tmp_path, said.append)
    assert 0 < teacher.calls < len(np.unique(lists))
    expected = 10 * np.arange(9)[:, None] + lists
    np.testing.assert_array_equal(scores[..., 0], expected)
    np.testing.assert_array_equal(scores[..., 1], lists)
    calls = teacher.calls
    score_lists(teacher, queries, passages, lists, tmp_path, said.append)
    assert teacher.calls == calls


def lists_of(scores: Any, own: Any) -> Lists:
    count = scores.shape[1]
    return Lists(
        queries=[str(n) for n in range(len(scores))], passages=[str(n) for n in range(count)],
        own=own, candidates=np.tile(np.arange(count), (len(scores), 1)),
        query_vectors=np.ones((len(scores), 2), dtype=np.float32),
        signals=["good.tokens", "bad.tokens"], scores=scores.astype(np.float32),
    )  # fmt: skip


def test_weights_are_chosen_by_own_passages(rng: np.random.Generator) -> None:
    good = rng.normal(size=(60, 8))
    good[:, 0] += 2
    scores = np.stack([good, -good], axis=2)
    lists = lists_of(scores, np.zeros(60, dtype=np.int64))
    weights, reached = choose_weights(lists, {})
    assert weights["good.tokens"] > weights["bad.tokens"] and reached > 0.7
    fixed, _ = choose_weights(lists, {"bad.tokens": 1.0})
    assert fixed["bad.tokens"] == 1.0
    with pytest.raises(InvalidInputError, match=r"there are good\.tokens, bad\.tokens"):
        choose_weights(lists, {"other": 1.0})


def test_a_sum_of_teachers_weighs_standardised_scores(rng: np.random.Generator) -> None:
    scores = rng.normal(size=(6, 8, 2)) * np.array([100, 1])
    lists = lists_of(scores, np.array([0, 0, 0, -1, -1, -1]))
    alone = teacher_sum(lists, {"good.tokens": 0.0, "bad.tokens": 3.0}, 0.0)
    wanted = losses.standardised(torch.from_numpy(scores[..., 1])).numpy()
    np.testing.assert_allclose(alone, wanted, atol=1e-5)
    raised = teacher_sum(lists, {"good.tokens": 0.0, "bad.tokens": 3.0}, 9.0)
    assert (raised[:3].argmax(axis=1) == 0).all()
    np.testing.assert_allclose(raised[3:], alone[3:], atol=1e-6)


def test_what_is_not_known_of_a_list_does_not_count(rng: np.random.Generator) -> None:
    student, target = (torch.from_numpy(rng.normal(size=(3, 9))) for _ in range(2))
    target = losses.standardised(target)
    known = torch.ones(3, 9, dtype=torch.bool)
    whole = losses.score_loss(student, target)
    torch.testing.assert_close(losses.list_loss(student, target, known), whole)
    known[:, 6:] = False
    part = losses.list_loss(student[:, :6], target[:, :6], known[:, :6])
    torch.testing.assert_close(losses.list_loss(student, target, known), part)
    assert float(losses.list_loss(5 * target + 3, target, known)) == pytest.approx(0, abs=1e-9)
    # Of two passages that are nearly equal it matters little which comes first.
    target[:, 1] = target[:, 0] + 0.01
    known[:, 2:] = False
    assert float(losses.list_loss(-target, target, known)) < 1e-3


def test_typing_errors_are_those_of_a_keyboard() -> None:
    assert set(neighbours("g")) == set("fhtyvb") and set(neighbours("A")) == set("SQWZ")
    assert neighbours("é") == ""
    generator = np.random.default_rng(3)
    kinds = set()
    for _ in range(300):
        text = mistype("ox the harbour", generator)
        assert text.startswith("ox the h") and text != "ox the h"
        kinds.add(len(text) - len("ox the harbour"))
    assert kinds == {-1, 0, 1}
    assert mistype("a cat", generator) == "a cat"
    same = [altered(["a violin teacher"] * 40, 0.3, np.random.default_rng(1)) for _ in range(2)]
    assert same[0] == same[1]
    assert {"a violin teacher", "A VIOLIN TEACHER"} < set(same[0])
    assert altered(["a violin teacher"], 0.0, generator) == ["a violin teacher"]


@pytest.mark.parametrize(
    ("text", "query", "passage"),
    [
        ('def f():\n    """Add two numbers.\n\n    More."""\n    return 1', "Add two numbers.",
         "def f():\n    \n    return 1"),
        ("Intro\n\n## How to install it ##\n\nRun make.", "How to install it",
         "Intro\n\n\n\nRun make."),
        ("The Rhine is a river. It starts in the Alps.", "The Rhine is a river.",
         "It starts in the Alps."),
        ("Only one sentence here", None, None),
        ("Hi. There is more than that.", None, None),
    ],
)  # fmt: skip
def test_queries_are_made_from_texts(text: str, query: str | None, passage: str | None) -> None:
    made = pair_from_text(text)
    assert (made and made.query, made and made.passage) == (query, passage)


def test_queries_come_from_files(tmp_path: Path) -> None:
    asked = ["who wrote it", "who wrote it", " ", "where is it"]
    for name, content in (
        ("a.json", json.dumps(asked)),
        ("a.jsonl", "\n".join(json.dumps({"query": text}) for text in asked)),
        ("a.txt", "\n".join(asked)),
    ):
        (tmp_path / name).write_text(content)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
        for path in (tmp_path / name, tmp_path / f"{name}.gz"):
            assert read_queries(path) == ["who wrote it", "where is it"]
    (tmp_path / "rows.jsonl").write_text('{"text": "The Rhine is long. It starts in the Alps."}\n')
    assert [pair.query for pair in read_pairs(tmp_path / "rows.jsonl")] == ["The Rhine is long."]
    for name, content, message in (
        ("b.json", "{}", "JSON list of texts"),
        ("b.json", "[1]", "JSON list of texts"),
        ("b.json", "[", "cannot be read as JSON"),
        ("b.txt", "\n", "holds no query"),
        ("b.jsonl", '{"text": "a"}', "'query'"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(TrainingTextError, match=message):
            read_queries(tmp_path / name)


def onnx_folder(folder: Path, kind: str) -> Path:
    """Write a teacher of a few nodes: random vectors of tokens, or their summed first component."""
    folder.mkdir()
    table = np.random.default_rng(0).normal(size=(30522, 6)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["hidden"])]
    output, shape = "hidden", ["b", "l", 6]
    if kind == "cross":
        nodes += [
            helper.make_node("ReduceSum", ["hidden", "axes"], ["sum"], keepdims=0),
            helper.make_node("MatMul", ["sum", "first"], ["logits"]),
        ]
        output, shape = "logits", ["b", 1]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "l"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = helper.make_graph(
        nodes, "teacher", inputs,
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1], dtype=np.int64), "axes"),
            numpy_helper.from_array(np.eye(6, 1, dtype=np.float32), "first"),
        ],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(folder / "model.onnx"))
    text = load_model_files("tiny").tokenizer.read_text(encoding="utf-8")
    (folder / "tokenizer.json").write_text(text, encoding="utf-8")
    return folder


def test_teachers_are_told_by_what_their_graph_returns(tmp_path: Path) -> None:
    dense = load_teacher(onnx_folder(tmp_path / "dense", "dense"), max_tokens=20, threads=1)
    cross = load_teacher(onnx_folder(tmp_path / "cross", "cross"), max_tokens=20, threads=1)
    assert (dense.name, dense.signals, cross.signals) == ("dense", ("tokens", "vector"), ("score",))
    texts = ["a violin", "the tea"]
    for teacher in (dense, cross):
        teacher.ask(texts)
    table = np.random.default_rng(0).normal(size=(30522, 6)).astype(np.float32)

    def rows(*given: str) -> Any:
        return table[dense._graph._tokenizer.encode(*given).ids]  # type: ignore[attr-defined]

    passage, wanted = "one cup of tea", np.array([1, 0])
    units = [rows(text) / np.linalg.norm(rows(text), axis=1, keepdims=True) for text in texts]
    own = rows(passage) / np.linalg.norm(rows(passage), axis=1, keepdims=True)
    found = dense.score(passage, wanted)
    expected = [maxsim_pairwise(units[n], [own])[0] for n in wanted]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
    means = [rows(text).mean(axis=0) for text in (*texts, passage)]
    cosines = [
        means[n] @ means[2] / np.linalg.norm(means[n]) / np.linalg.norm(means[2]) for n in wanted
    ]
    np.testing.assert_allclose(found[:, 1], cosines, rtol=1e-4)
    logits = [rows(texts[n], passage)[:, 0].sum() for n in wanted]
    np.testing.assert_allclose(cross.score(passage, wanted)[:, 0], logits, rtol=1e-4)
    with pytest.raises(DistillationError, match=r"model\.onnx and tokenizer\.json"):
        load_teacher(tmp_path, max_tokens=20, threads=1)


def test_checkpoints_become_teachers_once(tmp_path: Path) -> None:
    dense, cross = tmp_path / "dense", tmp_path / "cross"
    for folder in (dense, cross):
        make_backbone("bert", folder)
    (dense / "1_Pooling").mkdir()
    (dense / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    config = transformers.BertConfig.from_pretrained(cross, num_labels=1)
    torch.manual_seed(0)
    judge = transformers.BertForSequenceClassification(config).eval()
    torch.nn.init.normal_(judge.classifier.weight)
    judge.save_pretrained(cross)
    said: list[str] = []
    made = [teacher_folder(path, tmp_path / "work", said.append) for path in (dense, cross)]
    again = [teacher_folder(path, tmp_path / "work", said.append) for path in (dense, cross)]
    assert made == again and len(said) == 2
    assert teacher_folder(made[0], tmp_path / "work", said.append) == made[0]
    teachers = [load_teacher(path, max_tokens=300, threads=1) for path in made]
    assert [item.signals for item in teachers] == [("tokens", "vector"), ("score",)]

    tokenizer = transformers.AutoTokenizer.from_pretrained(dense)
    backbone = transformers.BertModel.from_pretrained(dense).eval()
    query, passages = "tea", ["copper river", "a tower of glass", "salmon and tea", "snow"]
    for teacher in teachers:
        teacher.ask([query])
    with torch.no_grad():
        first, *others = (
            backbone(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 0]
            for text in (query, *passages)
        )
        cosines = [float(torch.cosine_similarity(first, other, dim=0)) for other in others]
        logits = [
            float(judge(**tokenizer(query, passage, return_tensors="pt")).logits)
            for passage in passages
        ]
    only = np.array([0])
    found = [[float(item.score(text, only)[0, -1]) for text in passages] for item in teachers]
    assert np.corrcoef(found[0], cosines)[0, 1] > 0.99
    assert np.corrcoef(found[1], logits)[0, 1] > 0.99
    classes = transformers.BertConfig.from_pretrained(cross, num_labels=3)
    transformers.BertForSequenceClassification(classes).save_pretrained(cross)
    with pytest.raises(DistillationError, match="3 classes"):
        teacher_folder(cross, tmp_path / "work", said.append)
    with pytest.raises(DistillationError, match=r"config\.json"):
        teacher_folder(tmp_path, tmp_path / "work", said.append)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    rows = []
    for _ in range(90):
        chosen = generator.choice(WORDS, 9, replace=False)
        rows.append({"query": " ".join(chosen[:3]), "passage": " ".join(chosen[1:])})
    path = tmp_path / "texts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> Distillation:
    """Settings for a run of seconds."""
    for module, name, value in (
        (ranking, "HELD_OUT", 16), (loop, "SAVE_EVERY", 6), (loop, "REPORT_EVERY", 3),
        (loop, "MEASURE_EVERY", 6),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    return Distillation(
        passages=90, loose_queries=20, candidates=8, passage_tokens=40, steps=12,
        batch_queries=4, batch_passages=12, expansion=(0, 2), quantize_from=0.5,
    )  # fmt: skip


def run(
    texts: Path, settings: Distillation, output: Path, work: Path, **options: Any
) -> tuple[bool, list[str]]:
    said: list[str] = []
    done = distill(
        "tiny", [texts], output, work, settings,
        device="cpu", mixed_precision=False, threads=1, step=said.append, **options,
    )  # fmt: skip
    return done, said


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    with safe_open(str(folder / "model.safetensors"), framework="pt") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys()}


def test_a_run_can_be_stopped_and_ends_the_same(
    texts: Path, short: Distillation, tmp_path: Path
) -> None:
    (tmp_path / "asked.txt").write_text(
        "\n".join(f"{a} {b}" for a, b in zip(WORDS, WORDS[1:], strict=False))
    )
    options: dict[str, Any] = {
        "queries": [tmp_path / "asked.txt"],
        "teachers": [onnx_folder(tmp_path / "dense", "dense")],
    }
    done, said = run(texts, short, tmp_path / "whole", tmp_path / "work", **options)
    assert done and any("start.tokens" in line and "dense.vector" in line for line in said)
    report = json.loads((tmp_path / "whole" / "distillation.json").read_text())
    assert report["student"] == "tiny" and report["texts"] == ["texts.jsonl", "asked.txt"]
    assert set(report["held_out"]) == {"score", "agreement", "own"}

    other = tmp_path / "other"
    steps = iter(range(1000))
    original = loop.TrainingLoop._take_step

    def interrupted(self: Any, batch: Any) -> Any:
        if next(steps) == 7:
            raise KeyboardInterrupt
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "_take_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(texts, short, tmp_path / "parts", other, **options)
    assert not (tmp_path / "parts").exists()
    done, said = run(texts, short, tmp_path / "parts", other, **options)
    assert done and not any("scored" in line or "encoded" in line for line in said)
    found, wanted = weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole")
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)

    model = export_model(tmp_path / "whole", tmp_path / "model", allow_degraded=True)
    assert model.config.matryoshka_dims == (64, 48, 32) and not model.config.do_query_expansion
    lengths = [len(Encoder.load(model).encode_query([text])[0]) for text in ("tea", "tea window")]
    assert lengths == [4, 5]  # [CLS], marker, words, [SEP]: nothing is padded
    card = (tmp_path / "model" / "README.md").read_text()
    assert "started from `tiny` and was taught by " in card
    with pytest.raises(OutputError, match="exists"):
        run(texts, short, tmp_path / "whole", tmp_path / "work")


def test_a_student_comes_nearer_to_its_teachers(
    texts: Path, short: Distillation, tmp_path: Path
) -> None:
    settings = dataclasses.replace(
        short, steps=30, learning_rate=3e-4, typing_errors=0.0, quantize_from=1.0,
        batch_passages=32,
        weights={"start.tokens": 0.0, "keywords.score": 1.0}, own_weight=0.0,
    )  # fmt: skip
    assert run(texts, settings, tmp_path / "out", tmp_path / "work")[0]
    near = dataclasses.replace(settings, steps=3, token_weight=0.1)
    assert run(texts, near, tmp_path / "near", tmp_path / "work2")[0]
    progress = next((tmp_path / "work2" / "runs").glob("*/progress.jsonl"))
    first = json.loads(progress.read_text().splitlines()[0])
    assert 0 < first["token"] < 0.1  # int8 and the rounding to 4 bits are all that differs yet
    progress = next((tmp_path / "work" / "runs").glob("*/progress.jsonl"))
    rows = [json.loads(line) for line in progress.read_text().splitlines()]
    assert rows[3]["score"] < 0.7 * rows[0]["score"]  # before passages are pooled
    measured = [row["held-out score"] for row in rows if "held-out score" in row]
    assert measured[-1] < 0.8 * measured[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("candidates", 2), ("learning_rate", 1.0), ("own_weight", -1.0),
     ("prefixes", (96,)), ("quantize_from", 1.5), ("typing_errors", 2.0), ("expansion", ()),
     ("expansion", (2,)), ("weights", {"start.tokens": -1.0}), ("weights", {"other": 1.0}),
     ("passages", 30)],
)  # fmt: skip
def test_settings_out_of_range(
    name: str, value: Any, texts: Path, short: Distillation, tmp_path: Path
) -> None:
    with pytest.raises((InvalidInputError, TrainingTextError)):
        settings = dataclasses.replace(short, loose_queries=0, **{name: value})
        run(texts, settings, tmp_path / "out", tmp_path / "work")


def test_a_start_that_is_not_understood_is_refused(
    texts: Path, short: Distillation, tmp_path: Path
) -> None:
    """Its head has an activation."""
    with pytest.raises(CheckpointError, match="other vectors than its graph"):
        distill(DATA / "tiny-colbert", [texts], tmp_path / "out", tmp_path / "work", short)


def test_command_line(texts: Path, tmp_path: Path) -> None:
    given = ["distill", "--start", "tiny", "--text", str(texts), "-o", str(tmp_path / "out")]
    found = CliRunner().invoke(main, [*given, "--steps", "0"])
    assert found.exit_code == 2 and "steps must be" in found.output
    for weight in ("a", "=1", "a=x"):
        found = CliRunner().invoke(main, [*given, "--weight", weight])
        assert found.exit_code == 2 and "NAME=WEIGHT" in found.output
