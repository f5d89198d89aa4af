"""Shrinking: its losses against plain formulas, int8 in training, a whole run on tiny models."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocket_colbert import Encoder, InvalidInputError
from pocket_colbert.vectors.maxsim_float import maxsim_pairwise
from tests.support.arrays import unit_rows
from tests.support.paths import DATA, HAS_TORCH

if not HAS_TORCH:
    pytest.skip("needs the export extra (torch)", allow_module_level=True)

import torch
import transformers
from click.testing import CliRunner
from safetensors import safe_open

from pocket_colbert_export import (
    CheckpointError,
    DistillationError,
    OutputError,
    Shrinking,
    TrainingTextError,
    export_model,
    shrink,
)
from pocket_colbert_export.checkpoints.loading import load_checkpoint
from pocket_colbert_export.cli import main
from pocket_colbert_export.distillation import fake_quant, loop, losses, token_training
from pocket_colbert_export.distillation.batches import neighbour_batches
from pocket_colbert_export.distillation.pairs import read_pairs, sample_pairs
from pocket_colbert_export.distillation.student import factorise_embeddings
from pocket_colbert_export.graph.torch_graph import ColBERTForONNX

pytestmark = [pytest.mark.slow, pytest.mark.torch, pytest.mark.filterwarnings("ignore")]

TEACHER = DATA / "tiny-colbert"
STUDENT = DATA / "checkpoints" / "pylate"


def texts_of(rng: np.random.Generator, dim: int = 12) -> tuple[list[Any], list[Any]]:
    queries = [unit_rows(rng, int(n), dim) for n in rng.integers(1, 6, 4)]
    documents = [unit_rows(rng, int(n), dim) for n in rng.integers(1, 30, 5)]
    return queries, documents


def as_tensors(arrays: Sequence[Any]) -> list[torch.Tensor]:
    return [torch.from_numpy(array.astype(np.float64)) for array in arrays]


def test_scores_of_a_batch_are_the_runtimes(rng: np.random.Generator) -> None:
    queries, documents = texts_of(rng)
    found = losses.maxsim_matrix(as_tensors(queries), as_tensors(documents))
    expected = [maxsim_pairwise(query, documents) for query in queries]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_scores_of_prefixes(rng: np.random.Generator) -> None:
    queries, documents = texts_of(rng)

    def cut(arrays: Sequence[Any]) -> list[Any]:
        heads = [array[:, :5] for array in arrays]
        return [head / np.linalg.norm(head, axis=1, keepdims=True) for head in heads]

    found = losses.maxsim_matrix(as_tensors(queries), as_tensors(documents), 5)
    expected = [maxsim_pairwise(query, cut(documents)) for query in cut(queries)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_the_gradient_of_maxsim(rng: np.random.Generator) -> None:
    queries, documents = map(as_tensors, texts_of(rng))
    for tensor in (*queries, *documents):
        tensor.requires_grad_()

    def plain() -> torch.Tensor:
        return torch.stack([
            torch.stack([(query @ document.T).amax(dim=1).sum() for document in documents])
            for query in queries
        ])  # fmt: skip

    weights = torch.from_numpy(rng.normal(size=(4, 5)))
    wanted = torch.autograd.grad((plain() * weights).sum(), [*queries, *documents])
    scores = losses.maxsim_matrix(queries, documents)
    found = torch.autograd.grad((scores * weights).sum(), [*queries, *documents])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)


def test_an_ensemble_of_one_is_that_one(rng: np.random.Generator) -> None:
    scores = torch.from_numpy(rng.normal(size=(3, 7)))
    noise = torch.from_numpy(rng.normal(size=(3, 7)))
    alone = losses.ensemble([scores, noise], [2.0, 0.0])
    torch.testing.assert_close(alone, losses.standardised(scores))
    torch.testing.assert_close(alone.mean(dim=1), torch.zeros(3, dtype=torch.float64))
    both = losses.ensemble([scores, noise], [1.0, 1.0])
    wanted = losses.standardised(losses.standardised(scores) + losses.standardised(noise))
    torch.testing.assert_close(both, wanted)


def test_the_ranking_loss_sees_ranking_only(rng: np.random.Generator) -> None:
    target = losses.standardised(torch.from_numpy(rng.normal(size=(3, 7))))
    assert float(losses.score_loss(target * 3 + 5, target)) == pytest.approx(0, abs=1e-9)
    wrong = float(losses.score_loss(target.flip(1), target))
    slightly = target.clone()
    slightly[:, 0] += 0.1
    assert wrong > float(losses.score_loss(slightly, target)) > 0


def test_the_token_loss_is_a_share_of_the_variance(rng: np.random.Generator) -> None:
    # All point much the same way, as a ColBERT's do.
    rows = rng.normal(size=(500, 12)) + np.array([10.0] + [0.0] * 11)
    targets = torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    mean = targets.mean(dim=0)
    spread = float((targets - mean).pow(2).sum(dim=1).mean())
    assert float(losses.token_loss(targets, targets, spread)) == 0
    always_the_mean = mean.expand_as(targets)
    assert float(losses.token_loss(always_the_mean, targets, spread)) == pytest.approx(1)
    assert float(torch.nn.functional.cosine_similarity(always_the_mean, targets).mean()) > 0.9


def test_bm25_is_the_formula(rng: np.random.Generator) -> None:
    passages = [rng.integers(1, 30, int(n)) for n in rng.integers(3, 40, 12)]
    queries = [rng.integers(1, 40, 5) for _ in range(4)]
    mean = np.mean([len(ids) for ids in passages])

    def score(query: Any, passage: Any) -> float:
        total = 0.0
        for term in query:
            holding = sum(term in ids for ids in passages)
            if holding:
                count = np.count_nonzero(passage == term)
                rarity = np.log(1 + (12 - holding + 0.5) / (holding + 0.5))
                length = 0.25 + 0.75 * len(passage) / mean
                total += rarity * count * 2.2 / (count + 1.2 * length)
        return total

    found = losses.BM25(passages).matrix(queries, passages)
    expected = [[score(query, passage) for passage in passages] for query in queries]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("count", [32, 100, 257])
def test_batches_hold_neighbours_once_each(count: int, rng: np.random.Generator) -> None:
    vectors = unit_rows(rng, count, 8)
    batches = neighbour_batches(vectors, 8, np.random.default_rng(3))
    assert batches == neighbour_batches(vectors, 8, np.random.default_rng(3))
    assert batches != neighbour_batches(vectors, 8, np.random.default_rng(4))
    assert {len(batch) for batch in batches} == {8} and len(batches) == count // 8
    members = [number for batch in batches for number in batch]
    assert len(set(members)) == len(members)
    clusters = np.repeat(np.eye(8, dtype=np.float32), 32, axis=0)
    clusters += 0.01 * rng.normal(size=clusters.shape).astype(np.float32)
    kinds = [{n // 32 for n in b} for b in neighbour_batches(clusters, 8, rng)]
    assert np.mean([len(kind) for kind in kinds]) < 3  # of 8; at random about 5


def test_pairs_come_evenly_from_files(tmp_path: Path) -> None:
    for name, count in (("large", 500), ("small", 10), ("middle", 100)):
        rows = [{"query": f"{name} {n}", "passage": f"text {n}"} for n in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    paths = sorted(tmp_path.iterdir())
    found = sample_pairs(paths, 150, 0)
    counts = {path.stem: sum(pair.query.startswith(path.stem) for pair in found) for path in paths}
    assert counts == {"small": 10, "middle": 70, "large": 70}
    assert found == sample_pairs(paths, 150, 0) != sample_pairs(paths, 150, 1)
    assert len(sample_pairs(paths, 10_000, 0)) == 610


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"query": "a"}', "line 1"),
        ('{"query": "a", "passage": 3}', "line 1"),
        ("not json", "cannot be read"),
        ('{"query": "", "passage": "b"}', "no pair"),
        ("[1, 2]", "cannot be read|line 1"),
    ],
)
def test_unusable_training_text(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(content)
    with pytest.raises(TrainingTextError, match=message):
        read_pairs(path)
    with pytest.raises(TrainingTextError, match="no file"):
        read_pairs(tmp_path / "missing.jsonl")


def test_rounding_of_activations_is_a_texts_own(rng: np.random.Generator) -> None:
    values = torch.from_numpy(rng.normal(size=(3, 20, 8)) * [[[1]], [[10]], [[100]]])
    rounded = fake_quant.round_activations(values)
    torch.testing.assert_close(rounded[:1], fake_quant.round_activations(values[:1]))
    for text, original in zip(rounded, values, strict=True):
        step = (original.max().clamp_min(0) - original.min().clamp_max(0)) / 255
        assert len(text.unique()) <= 256
        assert float((text - original).abs().max()) <= float(step) / 2 + 1e-9
    values.requires_grad_()
    (fake_quant.round_activations(values) * 2).sum().backward()
    torch.testing.assert_close(values.grad, torch.full_like(values, 2.0))


def test_int8_in_training_is_undone_exactly(rng: np.random.Generator) -> None:
    module = ColBERTForONNX(load_checkpoint(STUDENT))
    ids = torch.from_numpy(rng.integers(8, 100, size=(4, 12)))
    mask = torch.ones_like(ids)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    exact = module(ids, mask)
    fake_quant.fake_quantize(module, [(ids, mask)])
    rounded = module(ids, mask)
    cosine = torch.nn.functional.cosine_similarity(exact, rounded, dim=-1)
    assert 0.95 < float(cosine.mean()) < 0.999999
    rounded.sum().backward()
    fake_quant.remove_fake_quantization(module)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    torch.testing.assert_close(module(ids, mask), exact)


def test_a_narrower_embedding_table_stays_near() -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=200, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=64, max_position_embeddings=160, initializer_range=0.2,
    )  # fmt: skip
    bert = transformers.BertModel(config, add_pooling_layer=False).eval()
    ids = torch.randint(200, (4, 60), generator=torch.Generator().manual_seed(1))
    wanted = bert(input_ids=ids).last_hidden_state
    near = []
    for width in (4, 16, 28):
        found = factorise_embeddings(bert, width)
        assert found.embeddings.word_embeddings.weight.shape == (200, width)
        hidden = found(input_ids=ids).last_hidden_state
        near.append(float(torch.nn.functional.cosine_similarity(hidden, wanted, dim=-1).mean()))
    assert near[0] < near[1] < near[2] and near[2] > 0.9
    with pytest.raises(DistillationError, match="wider"):
        factorise_embeddings(bert, 32)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Texts of the letters that the tiny tokenizer knows."""
    generator = np.random.default_rng(0)
    words = ["".join(generator.choice(list("abcdefghij"), 3)) for _ in range(40)]
    rows = []
    for _ in range(120):
        chosen = generator.choice(words, 8)
        rows.append({"query": " ".join(chosen[:3]), "passage": " ".join(chosen)})
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Shrinking:
    """Settings for a run of seconds."""
    for module, name, value in (
        (token_training, "HELD_OUT", 16),
        (token_training, "FIT_PAIRS", 40),
        (loop, "SAVE_EVERY", 10),
        (loop, "REPORT_EVERY", 20),
        (loop, "MEASURE_EVERY", 20),
    ):
        monkeypatch.setattr(module, name, value)
    return Shrinking(
        pairs=120, steps=60, batch_size=8, learning_rate=1e-3, prefixes=(8, 4), layers=(0,),
        query_max_length=30, quantize_from=1.0,
    )  # fmt: skip


def run(
    pairs: Path, settings: Shrinking, output: Path, work: Path, **options: Any
) -> tuple[bool, list[str]]:
    said: list[str] = []
    done = shrink(
        TEACHER, STUDENT, TEACHER, [pairs], output, work, settings,
        device="cpu", mixed_precision=False, step=said.append, **options,
    )  # fmt: skip
    return done, said


def weights(folder: Path) -> dict[str, torch.Tensor]:
    with safe_open(str(folder / "model.safetensors"), framework="pt") as tensors:
        return {name: tensors.get_tensor(name) for name in tensors.keys()}


def test_a_student_learns_and_can_be_stopped(pairs: Path, small: Shrinking, tmp_path: Path) -> None:
    done, said = run(pairs, small, tmp_path / "whole", tmp_path / "work")
    assert done
    progress = next((tmp_path / "work" / "runs").glob("*/progress.jsonl"))
    rows = [json.loads(line) for line in progress.read_text().splitlines()]
    assert rows[-1]["step"] == 60 and rows[-1]["score"] < 0.8 * rows[0]["score"]
    report = json.loads((tmp_path / "whole" / "distillation.json").read_text())
    assert report["held_out"]["token"] < 0.3  # of the variance, with half the teacher's layers
    assert report["settings"]["layers"] == [0]

    # Stopped twice, it ends where it ends in one go.
    other = tmp_path / "other"
    assert not run(pairs, small, tmp_path / "parts", other, minutes=0)[0]
    steps = iter(range(1000))
    original = loop.TrainingLoop._take_step

    def interrupted(self: Any, numbers: Sequence[int]) -> Any:
        if next(steps) == 37:
            raise KeyboardInterrupt
        return original(self, numbers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.TrainingLoop, "_take_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(pairs, small, tmp_path / "parts", other)
    assert not (tmp_path / "parts").exists()
    (written,) = (other / "runs").glob("*/progress.jsonl")
    written.write_text(written.read_text() + '{"step": 38}\n')  # as if killed before a save
    assert not any("encoded" in line for line in run(pairs, small, tmp_path / "parts", other)[1])
    steps_of = [json.loads(line)["step"] for line in written.read_text().splitlines()]
    assert steps_of == [row["step"] for row in rows]
    torch.testing.assert_close(weights(tmp_path / "parts"), weights(tmp_path / "whole"))

    model = export_model(
        tmp_path / "whole", tmp_path / "model", precision="fp32", about="Read *this* first.\n"
    )
    card = (tmp_path / "model" / "README.md").read_text()
    assert "taught by `pylate`" in card and "pairs.jsonl" in card
    assert "\nRead *this* first.\n" in card
    notice = (tmp_path / "model" / "NOTICE").read_text()
    assert "started as pylate and was distilled from pylate and pylate" in notice
    config = model.config
    assert config.matryoshka_dims == (8, 4) and config.query_expansion_strategy == "min"
    assert (config.query_length, config.query_max_length, config.document_length) == (16, 30, 40)
    student, teacher = Encoder.load(tmp_path / "model"), Encoder.load(TEACHER)
    assert Encoder.load(tmp_path / "model", dim=4).encode_query(["abc"])[0].shape == (16, 4)
    # The rotation keeps dot products, so those of a good student are the teacher's.
    passage = json.loads(pairs.read_text().splitlines()[0])["passage"]
    mine, theirs = (item.encode_document([passage])[0] for item in (student, teacher))
    assert np.corrcoef((mine @ mine.T).ravel(), (theirs @ theirs.T).ravel())[0, 1] > 0.8


def test_weights_are_averaged_with_those_before(
    pairs: Path, small: Shrinking, tmp_path: Path
) -> None:
    ends = {}
    for kept in (0.0, 0.25, 1.0):
        settings = dataclasses.replace(small, steps=10, keep_start=kept)
        assert run(pairs, settings, tmp_path / str(kept), tmp_path / "work")[0]
        ends[kept] = weights(tmp_path / str(kept))
    for name, value in ends[0.25].items():
        expected = 0.75 * ends[0.0][name] + 0.25 * ends[1.0][name]
        torch.testing.assert_close(value, expected)
    assert any((ends[0.0][name] - ends[1.0][name]).abs().max() > 1e-3 for name in ends[0.0])


def test_a_tiny_student_with_int8_and_pooling(
    pairs: Path, small: Shrinking, tmp_path: Path
) -> None:
    settings = dataclasses.replace(
        small, steps=12, quantize_from=0.5, contrastive_weight=0.5, embedding_dim=16
    )
    assert not run(pairs, settings, tmp_path / "out", tmp_path / "work", minutes=0)[0]
    assert run(pairs, settings, tmp_path / "out", tmp_path / "work")[0]
    state = torch.load(next(tmp_path.glob("work/runs/*/state.pt")), weights_only=True)
    assert any("parametrizations" in name for name in state["module"])
    # A finished run is restored with its rounding, and written again.
    assert run(pairs, settings, tmp_path / "again", tmp_path / "work")[0]
    found, wanted = weights(tmp_path / "again"), weights(tmp_path / "out")
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    assert wanted["embeddings.word_embeddings.weight"].shape[1] == 16
    model = export_model(tmp_path / "out", tmp_path / "model", allow_degraded=True)
    assert model.card.precision == "int8"
    report = json.loads((tmp_path / "model" / "export_report.json").read_text())
    assert report["int8"]["fidelity"]["mean_cosine"] > 0.97


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "key 'student' must be a str"),
        ('{"student": "a", "teachers": 1}', "key 'teachers' must be a list"),
        ('{"student": "a", "teachers": ["b"], "texts": "d"}', "'texts' must be a list"),
    ],
)
def test_a_wrong_account_of_the_making_is_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    shutil.copytree(STUDENT, tmp_path / "checkpoint")
    (tmp_path / "checkpoint" / "distillation.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "checkpoint")


def test_other_tokens_are_refused(pairs: Path, small: Shrinking, tmp_path: Path) -> None:
    student = tmp_path / "student"
    shutil.copytree(STUDENT, student)
    tokenizer = student / "tokenizer.json"
    text = tokenizer.read_text()
    content = json.loads(text)
    vocabulary = content["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    tokenizer.write_text(json.dumps(content))
    with pytest.raises(DistillationError, match="same tokens"):
        shrink(TEACHER, student, TEACHER, [pairs], tmp_path / "out", tmp_path / "work", small)
    (tmp_path / "there").mkdir()
    with pytest.raises(OutputError, match="exists"):
        run(pairs, small, tmp_path / "there", tmp_path / "work")


@pytest.mark.parametrize(
    ("name", "value"),
    [("steps", 0), ("batch_size", 2), ("learning_rate", 0.0), ("guide_weight", -1.0),
     ("prefixes", (16,)), ("dim", 17), ("quantize_from", 1.5), ("layers", (7,)), ("layers", ())],
)  # fmt: skip
def test_settings_out_of_range(
    name: str, value: Any, pairs: Path, small: Shrinking, tmp_path: Path
) -> None:
    with pytest.raises((InvalidInputError, CheckpointError)):
        settings = dataclasses.replace(small, **{name: value})
        run(pairs, settings, tmp_path / "out", tmp_path / "work")


def test_command_line(pairs: Path, tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["--help"]).output
    assert "shrink" in listed and "export" in listed
    given = ["shrink", "--teacher", str(TEACHER), "--student", str(STUDENT), "--text", str(pairs)]
    found = CliRunner().invoke(main, [*given, "-o", str(tmp_path / "out"), "--steps", "0"])
    assert found.exit_code == 2 and "steps must be" in found.output
    found = CliRunner().invoke(main, [*given, "-o", str(tmp_path / "out"), "--layers", "0,x"])
    assert found.exit_code == 2 and "whole numbers" in found.output
