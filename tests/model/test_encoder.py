"""Vectors are a function of the text alone; input is checked; truncation is counted."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pocket_colbert import (
    Encoder,
    Index,
    IndexConfig,
    InvalidInputError,
    ModelFormatError,
    ProviderError,
    Pruning,
    Retriever,
    Splitting,
    TruncationWarning,
)
from pocket_colbert.cli.commands import main
from pocket_colbert.model.session import Session
from pocket_colbert.vectors.pooling import pool_tokens
from tests.support.cli import json_lines

ANYTHING = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
TEXTS = st.lists(ANYTHING, min_size=1, max_size=5)


@pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning")
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=TEXTS, others=TEXTS, as_query=st.booleans())
def test_vectors_do_not_depend_on_company(
    encoder: Encoder, texts: list[str], others: list[str], as_query: bool
) -> None:
    encode = encoder.encode_query if as_query else encoder.encode_document
    together = encode([*others, *texts, "a long one " * 20])
    for position, text in enumerate(texts, start=len(others)):
        assert encode([text])[0].tobytes() == together[position].tobytes()


def test_vectors_do_not_depend_on_threads(encoder: Encoder) -> None:
    texts = [f"number {n} " * (n % 7 + 1) for n in range(20)]
    wanted = encoder.encode_document(texts)
    for threads in (1, 3):
        found = Encoder.load(threads=threads).encode_document(texts)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(wanted, found, strict=True))


def test_shapes(encoder: Encoder) -> None:
    found = encoder.encode_document(["", "Paris is in France.", "!!!"])
    assert all(item.dtype == np.float32 and item.shape[1] == encoder.dim for item in found)
    assert len(found[1]) == 7  # [CLS] [D] paris is in france [SEP]; the full stop is skipped
    for item in found:
        np.testing.assert_allclose(np.linalg.norm(item, axis=1), 1, rtol=1e-5)
    assert encoder.encode_query([]) == []


def test_queries_keep_what_documents_skip(encoder: Encoder) -> None:
    asked, kept = encoder.query_tokens("why?"), encoder.document_tokens("why?")
    assert [token.label for token in asked if token.span] == ["why", "?"]
    assert [token.label for token in kept if token.span] == ["why"]
    assert len(encoder.encode_query(["why?"])[0]) == len(asked)
    assert len(encoder.encode_document(["why?"])[0]) == len(kept)


def test_pooling_shrinks_documents(encoder: Encoder) -> None:
    text = "a text of some length about rivers, cities and the people who live beside them"
    whole, pooled = (encoder.encode_document([text], pool_factor=f)[0] for f in (1, 3))
    assert len(pooled) == 1 + (len(whole) - 1) // 3
    np.testing.assert_array_equal(pooled[0], whole[0])


def test_truncation_warns_once_and_counts() -> None:
    encoder = Encoder.load(threads=2)
    with pytest.warns(TruncationWarning, match=r"2 of 3 texts .* window of 300 tokens"):
        long = encoder.encode_document(["word " * 400, "word", "x " * 301])
    assert len(long[0]) == 300 and encoder.truncated == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder.encode_query(["word " * 400])
    assert encoder.truncated == 3


@pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning")
def test_each_call_says_what_was_cut_however_often() -> None:
    encoder = Encoder.load("tiny", threads=2)
    short, long = "bees", "word " * 400
    retriever = Retriever(encoder, Index(encoder.dim))
    for _ in range(2):  # the warning comes once
        for encode in (encoder.encode_query, encoder.encode_document):
            encoded = encode([short, long, short])
            assert encoded.lost[0] == encoded.lost[2] == 0 and encoded.lost[1] > 100
            assert encoded.truncated and not encode([short]).truncated
        assert encoder.query(long).truncated and not encoder.query(short).truncated
        for queries in ([short, long], [encoder.query(short), encoder.query(long)]):
            hits = retriever.retrieve(queries)
            assert [of_query.truncated for of_query in hits] == [False, True]
            assert retriever.rerank(queries[1], [short]).truncated
            assert not retriever.rerank(queries[0], [long]).truncated
    assert not encoder.encode_query([]).truncated


def test_no_more_texts_run_than_there_are_threads_over_all_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = Encoder.load("tiny", threads=2)
    run, lock, running, most = Session.run, threading.Lock(), [0], [0]

    def counting(self: Session, *arguments: Any) -> Any:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        try:
            return run(self, *arguments)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(Session, "run", counting)
    with ThreadPoolExecutor(6) as calls:
        list(calls.map(lambda _: encoder.encode_document(["bees", "bread", "tides"]), range(6)))
    assert most == [2]
    # In a fork nobody gives back what threads of the parent held.
    encoder._turns = (os.getpid() + 1, threading.Semaphore(0))
    assert len(encoder.encode_query(["bees"])) == 1


@pytest.mark.parametrize(("model", "window"), [("bundled", 300), ("fixed", 16)])
def test_a_cut_query_is_told_how_much_is_encoded(model: str, window: int, tiny_model: Path) -> None:
    encoder = Encoder.load("tiny" if model == "bundled" else tiny_model, threads=1)
    with pytest.warns(TruncationWarning, match=f"1 of 1 texts .* window of {window} tokens"):
        (query,) = encoder.encode_query(["word " * 400])
    assert len(query) == window


@pytest.mark.parametrize(
    "encode",
    [
        lambda encoder, text: encoder.encode_query([text]),
        lambda encoder, text: encoder.query(text),
        lambda encoder, text: encoder.encode_document([text]),
        lambda encoder, text: Retriever(encoder).rerank(text, ["b"]),
        lambda encoder, text: Retriever(encoder, Index(encoder.dim)).retrieve([text]),
    ],
)
def test_truncation_is_told_where_the_call_is(encode: Callable[[Encoder, str], object]) -> None:
    with pytest.warns(TruncationWarning) as told:
        encode(Encoder.load("tiny", threads=1), "word " * 400)
    assert [item.filename for item in told] == [__file__]


def test_a_query_is_what_the_encoder_says_of_it(encoder: Encoder) -> None:
    query = encoder.query("Paris, a city")
    assert query.text == "Paris, a city" and not query.embedding.flags.writeable
    assert query.embedding.tobytes() == encoder.encode_query(["Paris, a city"])[0].tobytes()
    assert list(query.tokens) == encoder.query_tokens("Paris, a city")
    assert len(query.tokens) == len(query.embedding)
    with pytest.raises(InvalidInputError, match="query must be"):
        encoder.query(["Paris"])  # type: ignore[arg-type]


def test_progress_ends_at_the_total(encoder: Encoder) -> None:
    calls: list[tuple[int, int]] = []
    encoder.encode_document(["a", "b", "c"], progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("bad", ["bare", b"bytes", [1], [None], ["ok", b"x"], 7])
def test_bad_texts_are_refused(encoder: Encoder, bad: object) -> None:
    with pytest.raises(InvalidInputError, match="texts must be"):
        encoder.encode_query(bad)  # type: ignore[arg-type]


def test_lone_surrogates_are_refused(encoder: Encoder) -> None:
    with pytest.raises(InvalidInputError, match="valid Unicode"):
        encoder.encode_query(["\ud800"])


def test_unavailable_providers_are_named() -> None:
    with pytest.raises(ProviderError, match="CPUExecutionProvider"):
        Encoder.load(provider="NoSuchProvider")


def test_a_provider_that_does_not_start_is_an_error(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that lists CUDA, on a machine that has none of its libraries."""
    listed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: listed)
    with pytest.raises(ProviderError, match="CUDAExecutionProvider"):
        Encoder.load(tiny_model, provider="cuda")
    graph = tiny_model / "broken.onnx"
    graph.write_bytes(b"no graph")
    with pytest.raises(ModelFormatError, match="cannot load"):  # not the provider's fault
        Session(graph, 16, "cuda")
    graph.unlink()


def test_too_large_a_batch_is_the_devices_error(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(tiny_model / "model.onnx", 16)

    class Full:
        def run(self, *_: object) -> None:
            raise RuntimeError("Failed to allocate memory for requested buffer of size 99")

    monkeypatch.setattr(session, "_session", Full())
    ids = np.ones((1, 3), dtype=np.int64)
    with pytest.raises(ProviderError, match="out of memory; take smaller batches"):
        session.run(ids, ids)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_bad_threads_are_refused(threads: object) -> None:
    with pytest.raises(InvalidInputError, match="threads must"):
        Encoder.load(threads=threads)  # type: ignore[arg-type]


def test_int8_refuses_batches() -> None:
    with pytest.raises(InvalidInputError, match="batch_size must be 1 for int8"):
        Encoder.load(batch_size=8)


MIXED = ["paris", "the capital of france is paris", "", "a b c", "!", "the " * 70, "bread " * 299]
MIXED += [f"number {n} " * (n % 23) for n in range(60)]


@pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning")
@pytest.mark.parametrize(
    "settings", [{"batch_size": 3}, {"batch_size": 256}, {"batch_size": 256, "batch_tokens": 100}]
)
def test_float_batches_agree_within_rounding(
    tiny_model: Path, settings: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, in batches on the CPU, and in batches as a device of its own takes them."""
    alone, batched = Encoder.load(tiny_model), Encoder.load(tiny_model, **settings)
    monkeypatch.setattr("pocket_colbert.model.pipeline.is_gpu", lambda provider: True)
    device = Encoder.load(tiny_model, **settings)
    assert device._batching.one_device and not batched._batching.one_device
    for method in ("encode_query", "encode_document"):
        wanted = getattr(alone, method)(MIXED)
        for encoder in (batched, device):
            for one, other in zip(wanted, getattr(encoder, method)(MIXED), strict=True):
                np.testing.assert_allclose(one, other, atol=1e-5)


def test_batches_prune_and_split_as_texts_alone(tiny_model: Path) -> None:
    alone, batched = Encoder.load(tiny_model), Encoder.load(tiny_model, batch_size=50)
    pruning = Pruning(
        skiplist_ids=tuple(alone.document_token_ids(["number"])[0][1:3].tolist()),
        keep=0.7, pool_factor=1.5,
    )  # fmt: skip
    splitting = Splitting(max_tokens=32, overlap=4)
    titles = [None if n % 3 else f"title {n}" for n in range(len(MIXED))]
    calls: list[tuple[int, int]] = []
    wanted, found = (
        encoder.encode_passages(
            MIXED, titles=titles, splitting=splitting, pruning=pruning,
            progress=lambda *call: calls.append(call),
        )
        for encoder in (alone, batched)
    )  # fmt: skip
    assert max(map(len, wanted)) > 9 and calls[-1] == (len(MIXED), len(MIXED))
    for parts, others in zip(wanted, found, strict=True):
        assert [(p.start, p.end) for p in parts] == [(p.start, p.end) for p in others]
        for part, other in zip(parts, others, strict=True):
            np.testing.assert_allclose(part.embedding, other.embedding, atol=1e-5)


@pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning")
def test_batches_count_truncation_and_progress(tiny_model: Path) -> None:
    alone, batched = Encoder.load(tiny_model), Encoder.load(tiny_model, batch_size=4, threads=2)
    calls: list[tuple[int, int]] = []
    texts = [*MIXED, "x " * 900, "y " * 900]
    alone.encode_document(texts)
    batched.encode_document(texts, progress=lambda *call: calls.append(call))
    assert batched.truncated == alone.truncated > 2
    assert calls == sorted(calls) and calls[-1] == (len(texts), len(texts))


def test_a_device_gives_back_only_the_rows_asked_for(tiny_model: Path) -> None:
    session = Session(tiny_model / "model.onnx", 16)
    ids = np.array([[2, 7, 8, 3], [2, 9, 3, 0]], dtype=np.int64)
    mask = (ids > 0).astype(np.int64)
    whole = session.run(ids, mask).reshape(-1, 16)
    rows = np.array([6, 0, 2, 2])
    np.testing.assert_array_equal(session.run_rows(ids, mask, rows), whole[rows])
    assert session.run_rows(ids, mask, rows[:0]).shape == (0, 16)


@pytest.mark.parametrize("name", ["batch_size", "batch_tokens"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_bad_batches_are_refused(tiny_model: Path, name: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} must be a whole number"):
        Encoder.load(tiny_model, **{name: value})  # type: ignore[arg-type]


def test_gpus_get_batches_unless_the_graph_is_int8(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Encoder.load(tiny_model).batch_size == Encoder.load().batch_size == 1
    monkeypatch.setattr("pocket_colbert.model.pipeline.is_gpu", lambda provider: True)
    assert Encoder.load(tiny_model).batch_size == 256
    assert Encoder.load(tiny_model, batch_size=1).batch_size == 1
    assert Encoder.load().batch_size == 1


def test_the_command_line_passes_batches_on_and_advises(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("some words")
    command = ["index", tmp_path / "a.txt", "--batch-tokens", 77]
    seen: list[int] = []
    start = Encoder.__init__

    def noted(self: Encoder, *arguments: object, **options: object) -> None:
        start(self, *arguments, **options)  # type: ignore[arg-type]
        seen.append(self._batching.tokens)
        self.provider = "CUDAExecutionProvider"

    monkeypatch.setattr(Encoder, "__init__", noted)
    monkeypatch.setattr("pocket_colbert.model.pipeline.is_gpu", lambda provider: True)
    for model, advised in ((tiny_model, False), ("tiny", True)):
        folder = tmp_path / f"{advised}.index"
        arguments = [*command, "--into", folder, "--model", model]
        for _ in range(2):  # a new index, and one that is there
            found = CliRunner().invoke(main, [str(argument) for argument in arguments])
            assert found.exit_code == 0, found.output
            assert ("int8 graphs encode one text at a time" in found.stderr) == advised
    assert seen == [77] * 4
    monkeypatch.undo()
    found = CliRunner().invoke(main, [*map(str, [*arguments, "--provider", "cuda"])])
    assert found.exit_code == 2 and "'CUDAExecutionProvider' is not available" in found.stderr


@pytest.fixture
def matryoshka(tiny_model: Path, tmp_path: Path) -> Path:
    """A model that says it may be cut to 12 and 8 dimensions."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "matryoshka"))
    recipe = json.loads((folder / "onnx_config.json").read_text())
    recipe["pocket_colbert"]["matryoshka_dims"] = [12, 8]
    (folder / "onnx_config.json").write_text(json.dumps(recipe))
    return folder


def test_vectors_are_cut_where_the_model_allows_it(matryoshka: Path) -> None:
    whole, cut = Encoder.load(matryoshka), Encoder.load(matryoshka, dim=8)
    assert (whole.dim, cut.dim) == (16, 8)
    texts = ["some words", "a few more of them"]
    for method in ("encode_query", "encode_document"):
        for long, short in zip(
            getattr(whole, method)(texts), getattr(cut, method)(texts), strict=True
        ):
            head = long[:, :8] / np.linalg.norm(long[:, :8], axis=1, keepdims=True)
            np.testing.assert_allclose(short, head, atol=1e-6)
    # Pooling sees what is stored, not what is cut off.
    pooled = cut.encode_document(texts, pool_factor=2)[1]
    np.testing.assert_allclose(pooled, pool_tokens(cut.encode_document(texts)[1], 2), atol=1e-6)
    assert Encoder.load(matryoshka, dim=16).dim == 16
    with pytest.raises(InvalidInputError, match=r"one of this model's \(16, 12, 8\), got 10"):
        Encoder.load(matryoshka, dim=10)


def test_an_index_finds_its_bundled_model() -> None:
    tiny = Encoder.load("tiny", dim=48)
    config = IndexConfig(dim=tiny.dim, model=tiny.card.fingerprint)
    found = Encoder.for_index(config)
    assert (found.card.fingerprint, found.dim) == (tiny.card.fingerprint, 48)
    with pytest.raises(InvalidInputError, match="does not say which model"):
        Encoder.for_index(replace(config, model=""))
    named = Encoder.for_index(replace(config, model=""), "tiny")
    assert named.card.fingerprint == tiny.card.fingerprint


def test_an_index_is_searched_in_its_own_width(matryoshka: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("some words")
    (tmp_path / "b.txt").write_text("others")
    folder = tmp_path / "made.index"

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(main, [*map(str, arguments), "--model", str(matryoshka)])

    files = tmp_path / "a.txt", tmp_path / "b.txt"
    assert run("index", *files, "--into", folder, "--dim", 8).exit_code == 0
    with Index.load(folder) as index:
        assert index.dim == 8
        assert Encoder.for_index(index.config, matryoshka).dim == 8
    found = run("search", folder, "some words", "--json")
    assert found.exit_code == 0 and json_lines(found.stdout)[0]["document_id"].endswith("a.txt")
    assert run("index", *files, "--into", folder).exit_code == 0  # 8 again, unsaid
    found = run("index", *files, "--into", folder, "--dim", 12)
    assert found.exit_code == 2 and "dim" in found.output
