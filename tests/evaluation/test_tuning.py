"""What a sample tells about codes and pruning, and what is then recommended."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from pocket_colbert import (
    Document,
    Encoder,
    Index,
    IndexConfig,
    InvalidInputError,
    Pruning,
    Retriever,
    Splitting,
    TruncationWarning,
)
from pocket_colbert.evaluation.beir import BeirFolder, read_beir
from pocket_colbert.evaluation.tuning import (
    Measurement,
    Tuning,
    _sample,
    prune_passages,
    tune,
)
from pocket_colbert.ingest.frequent_tokens import frequent_ids
from pocket_colbert.vectors.pruning import apply_pruning
from tests.support.cli import fails, run

pytestmark = pytest.mark.slow

SUBJECTS = ("bread", "steel", "glaciers", "violins", "bees", "bridges", "vaccines", "tides")
TEXTS = (
    "Everything about {}: how it began and where the word comes from.",
    "A short guide to {} for people who have never thought about it before.",
    "What experts on {} disagree about, and what the evidence says so far.",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small judged collection: three documents a subject, one query each."""
    place = tmp_path_factory.mktemp("beir") / "toy"
    (place / "qrels").mkdir(parents=True)
    corpus = {
        f"{subject}{n}": text.format(subject)
        for subject in SUBJECTS
        for n, text in enumerate(TEXTS)
    }
    queries = {subject: f"what is known about {subject}?" for subject in SUBJECTS}
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = [json.dumps({"_id": key, "text": text}) for key, text in rows.items()]
        (place / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    judgements = [f"{subject}\t{subject}{n}\t1" for subject in SUBJECTS for n in range(3)]
    (place / "qrels" / "test.tsv").write_text("\n".join(judgements))
    return place


@pytest.fixture(scope="module")
def tuning(encoder: Encoder, folder: Path) -> Tuning:
    pytest.importorskip("ir_measures")
    done: list[tuple[int, int]] = []
    found = tune(encoder, read_beir(folder), progress=lambda *counts: done.append(counts))
    assert done[-1][0] == done[-1][1] == len(found.measured)
    return found


def test_sizes_and_qualities_are_those_of_the_settings(tuning: Tuning) -> None:
    by = {(item.codes, item.label): item for item in tuning.measured}
    whole, small = by["int8", "all"], by["int1", "all"]
    assert tuning.documents == 24 and tuning.queries == 8
    assert whole.quality > 0.99 and whole.overlap > 0.95
    assert whole.metrics["nDCG@10"] == pytest.approx(tuning.baseline["nDCG@10"], abs=0.01)
    assert small.bytes_per_document < 0.25 * whole.bytes_per_document
    assert by["int8", "pool 2"].tokens_per_document < 0.6 * whole.tokens_per_document
    assert by["int8", "keep 0.5"].tokens_per_document < 0.6 * whole.tokens_per_document
    sizes = [item.bytes_per_document for item in tuning.measured]
    assert sizes == sorted(sizes)


def test_long_documents_are_measured_as_they_are_indexed(encoder: Encoder) -> None:
    pytest.importorskip("ir_measures")
    filler = "The parties have read this paragraph, and nothing in it matters to anybody. " * 60
    documents = [
        Document("bees", f"{filler} The supplier keeps bees on the roof. {filler}", "Agreement"),
        Document("tides", "The tides are the work of the moon."),
    ]
    qrels = {"q": {"bees": 1}}
    with warnings.catch_warnings():
        warnings.simplefilter("error", TruncationWarning)
        found = tune(encoder, BeirFolder(documents, {"q": "who keeps bees?"}, qrels))
    whole = next(item for item in found.measured if (item.codes, item.label) == ("int4", "all"))
    with Index(encoder.dim, config=IndexConfig(dim=encoder.dim, codes="int4")) as index:
        Retriever(encoder, index).add(documents)
        info = index.info()
    assert info.passages > 5
    assert whole.tokens_per_document == info.tokens / 2


def test_long_documents_count_several_times_towards_the_sample() -> None:
    documents = [Document(f"d{n}", "x" * (13_000 if n % 2 else 13)) for n in range(100)]
    data = BeirFolder(documents, {"q": "x"}, {"q": {"d1": 1}})
    assert len(_sample(data, 100, 1).documents) < 20


def test_prunings_of_passages_are_the_encoders(encoder: Encoder) -> None:
    """Even when a title is too long to stand whole before every passage."""
    texts, titles = ["The tides rise with the moon. " * 80], ["A title of tides and moons " * 20]
    passages = encoder.encode_passages(texts, titles=titles)
    ids = encoder.document_token_ids(texts, titles=titles, splitting=Splitting())
    pruning = Pruning(skiplist_ids=frequent_ids(encoder, texts, 5), pool_factor=2.0)
    expected = encoder.encode_passages(texts, titles=titles, pruning=pruning)
    pruned = prune_passages(passages[0], pruning, ids[0])
    assert len(pruned) == len(expected[0]) > 2
    for ours, theirs in zip(pruned, expected[0], strict=True):
        assert (ours.start, ours.end) == (theirs.start, theirs.end)
        assert (ours.embedding == theirs.embedding).all()


def item(size: float, quality: float) -> Measurement:
    return Measurement("int4", f"{size}", Pruning(), size, 1.0, {}, 1.0, quality)


def test_recommendations_keep_within_the_budget() -> None:
    found = Tuning([item(10, 0.8), item(20, 0.985), item(30, 0.99), item(40, 0.97)], {}, 1, 1)
    assert found.recommend(min_quality=0.98).bytes_per_document == 20
    assert found.recommend(max_bytes_per_document=50).bytes_per_document == 30
    assert found.recommend(max_bytes_per_document=25).bytes_per_document == 20
    assert [item.bytes_per_document for item in found.frontier()] == [10, 20, 30]
    with pytest.raises(InvalidInputError, match=r"keeps 99\.5%.*keeps 99\.0%"):
        found.recommend(min_quality=0.995)
    with pytest.raises(InvalidInputError, match="9 bytes per document; the smallest"):
        found.recommend(max_bytes_per_document=9)
    with pytest.raises(InvalidInputError, match="exactly one of"):
        found.recommend()


def test_samples_keep_what_is_relevant() -> None:
    documents = [Document(f"d{n}") for n in range(100)]
    queries = {f"q{n}": "x" for n in range(10)}
    qrels = {f"q{n}": {f"d{9 * n + 3}": 1, f"d{n}": 0} for n in range(10)}
    sample = _sample(BeirFolder(documents, queries, qrels), 20, 4)
    assert list(sample.queries) == ["q0", "q3", "q6", "q9"] and len(sample.documents) == 20
    assert {"d3", "d30", "d57", "d84"} <= {item.document_id for item in sample.documents}
    assert sample.documents == [item for item in documents if item in sample.documents]
    with pytest.raises(InvalidInputError, match="max_queries"):
        _sample(BeirFolder(documents, queries, qrels), 20, 0)


@pytest.mark.parametrize(
    "pruning",
    [
        Pruning(keep=0.5), Pruning(max_tokens=7), Pruning(max_loss=0.02),
        Pruning(pool_factor=2.0), Pruning(keep=0.6, pool_factor=2.0, num_protected_tokens=2),
        Pruning(skiplist_ids=(1012, 1996, 1997)),
    ],
)  # fmt: skip
def test_pruning_here_is_the_encoders(encoder: Encoder, pruning: Pruning) -> None:
    texts = ["The rise of the tides is the work of the moon, and of the sun.", "The.", ""]
    whole = encoder.encode_document(texts)
    ids = encoder.document_token_ids(texts)
    assert [len(item) for item in ids] == [len(item) for item in whole]
    pruned = encoder.encode_document(texts, pruning=pruning)
    for before, after, numbers in zip(whole, pruned, ids, strict=True):
        assert (after == apply_pruning(before, numbers, pruning)).all()
    assert 0 < len(pruned[0]) < len(whole[0])
    np.testing.assert_allclose(np.linalg.norm(pruned[0], axis=1), 1, atol=1e-5)


def test_pruning_and_pool_factor_exclude_each_other(encoder: Encoder) -> None:
    with pytest.raises(InvalidInputError, match="got both"):
        encoder.encode_document(["x"], pool_factor=2, pruning=Pruning())


def test_frequent_tokens_are_the_collections(encoder: Encoder) -> None:
    texts = ["the cat", "the dog", "the end"]
    found = frequent_ids(encoder, texts, 4)  # [CLS], [D], the, [SEP]
    ids = encoder.document_token_ids(texts)
    assert set(found) == set(ids[0]) & set(ids[1]) & set(ids[2]) and len(found) == 4


@pytest.mark.parametrize(
    "bad",
    [
        {"keep": 0}, {"keep": 1.5}, {"keep": True}, {"max_tokens": 0}, {"max_loss": -1},
        {"pool_factor": 0.5}, {"num_protected_tokens": -1}, {"skiplist_ids": [1]},
    ],
)  # fmt: skip
def test_bad_prunings_are_refused(bad: dict) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(bad))):
        Pruning(**bad)


def test_the_command_recommends_and_draws(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "frontier.svg"
    result = run("tune", folder, "--plot", picture, "--min-quality", 0.9)
    assert result.exit_code == 0, result.output
    assert "<svg" in picture.read_text(encoding="utf-8")
    *_, last = result.stdout.strip().splitlines()
    assert last.startswith("* keeps") and "--codes" in last
    options = last.split("index ... ")[1].split()
    into = tmp_path / "index"
    assert run("index", folder / "corpus.jsonl", "--into", into, *options).exit_code == 0
    found = json.loads(run("tune", folder, "--max-mb", 1, "--model", "tiny", "--json").stdout)
    assert found["options"].endswith("--model tiny")
    assert found["recommended"]["quality"] == max(item["quality"] for item in found["measured"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frontier.svg", "index"]
    fails("tune", folder, "--max-mb", 0.00001, message="the smallest")
    fails("tune", folder, "--max-mb", 1, "--min-quality", 1, message="not both", code=2)
    fails("tune", folder, "--plot", "x.pdf", message=".svg or .png", code=2)


def test_index_commands_take_pruning(folder: Path, tmp_path: Path) -> None:
    into = tmp_path / "index"
    corpus = folder / "corpus.jsonl"
    whole = json.loads(run("index", corpus, "--into", into, "--json").stdout)
    options = ["--drop-frequent", 5, "--keep", 0.7, "--max-tokens", 9, "--codes", "int2"]
    small = json.loads(
        run("index", corpus, "--into", into, "--overwrite", *options, "--json").stdout
    )
    assert small["tokens"] < 0.7 * whole["tokens"] and small["tokens"] <= 9 * 24
    pruning = small["pruning"]
    assert (pruning["keep"], pruning["max_tokens"], len(pruning["skiplist_ids"])) == (0.7, 9, 5)
    shown = run("info", into).stdout
    assert "skiplist_ids 5, keep 0.7, max_tokens 9" in shown and "int2" in shown
    extra = tmp_path / "extra.txt"
    extra.write_text("The tides of the North Sea are higher than those of the Baltic.")
    assert run("index", extra, "--into", into).exit_code == 0
    after = json.loads(run("info", into, "--json").stdout)
    assert after["tokens"] - small["tokens"] <= 9 and after["pruning"] == pruning
