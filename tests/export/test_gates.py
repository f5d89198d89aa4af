"""The gates of an export by hand: what they measure, and what passes exactly at a limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.arrays import unit_rows
from tests.support.paths import HAS_TORCH

if not HAS_TORCH:
    pytest.skip("needs the export extra (torch)", allow_module_level=True)

from pocket_colbert.model.tokenizer import TokenizedText
from pocket_colbert_export import ParityError, reduced_precision
from pocket_colbert_export.proof import fidelity, parity
from pocket_colbert_export.proof.fidelity import Encoded, compare
from pocket_colbert_export.proof.report import Fidelity

pytestmark = pytest.mark.torch

PERFECT = Fidelity(
    mean_cosine=1.0, low_cosine=1.0, worst_cosine=1.0, rank_correlation=1.0, top_overlap=1.0,
    same_first=1.0, tokens=9, queries=3, documents=4,
)  # fmt: skip


@pytest.mark.parametrize("gate", [parity.INT8_GATE, parity.FP16_GATE])
def test_each_part_of_a_gate_is_held_to_its_limit(gate: dict[str, float]) -> None:
    at_all: dict[str, Any] = dict(gate)
    assert parity.failures(replace(PERFECT, **at_all), gate) == ()
    for name, least in gate.items():
        for value in (np.nextafter(least, 0), 0.0, -1.0, float("nan")):
            below: dict[str, Any] = {**gate, name: float(value)}
            failed = parity.failures(replace(PERFECT, **below), gate)
            assert len(failed) == 1 and failed[0].startswith(f"{name} is "), value
            assert f"the gate is {least}" in failed[0]
    assert parity.passes(PERFECT)
    assert not parity.passes(replace(PERFECT, same_first=0.5))


def test_gates_are_not_looser_than_documented() -> None:
    assert min(parity.INT8_GATE.values()) >= 0.85 and len(parity.INT8_GATE) == 5
    assert min(parity.FP16_GATE.values()) >= 0.98 and len(parity.FP16_GATE) == 6
    assert parity.TOLERANCE <= 1e-4 and parity.FP16_BATCH_TOLERANCE <= 5e-3


def encoded(rng: np.random.Generator, noise: float, seed: int = 3) -> Encoded:
    """Encode the same collection each time, with more or less noise."""
    fixed = np.random.default_rng(seed)
    rows = [unit_rows(fixed, int(n), 8) for n in fixed.integers(1, 6, size=5 + 24)]
    noisy = [row + noise * rng.normal(size=row.shape) for row in rows]
    scaled = [np.asarray(r / np.linalg.norm(r, axis=1, keepdims=True), np.float32) for r in noisy]
    return Encoded(scaled[:5], scaled[5:])


def test_a_graph_is_as_near_to_itself_as_can_be(rng: np.random.Generator) -> None:
    same = encoded(rng, 0.0)
    found = compare(same, same)
    tokens = sum(map(len, [*same.queries, *same.documents]))
    assert (found.tokens, found.queries, found.documents) == (tokens, 5, 24)
    for name in ("mean_cosine", "low_cosine", "worst_cosine", "rank_correlation"):
        assert getattr(found, name) == pytest.approx(1.0, abs=1e-6)
    assert found.top_overlap == found.same_first == 1.0


@pytest.mark.parametrize("noise", [0.05, 0.3, 2.0])
def test_fidelity_is_what_scipy_says(rng: np.random.Generator, noise: float) -> None:
    from scipy.stats import spearmanr

    one, other = encoded(rng, 0.0), encoded(rng, noise)
    found = compare(one, other)
    rows = [np.concatenate([*item.queries, *item.documents]) for item in (one, other)]
    cosines = (rows[0] * rows[1]).sum(axis=1)
    assert found.mean_cosine == pytest.approx(cosines.mean(), abs=1e-6)
    assert found.worst_cosine == pytest.approx(cosines.min(), abs=1e-6)
    assert found.low_cosine == pytest.approx(np.quantile(cosines, 0.01), abs=1e-6)
    scores = [
        np.array([[(q @ d.T).max(axis=1).sum() for d in item.documents] for q in item.queries])
        for item in (one, other)
    ]
    np.testing.assert_allclose(one.scores(), scores[0], atol=1e-5)
    correlations = [spearmanr(a, b).statistic for a, b in zip(*scores, strict=True)]
    assert found.rank_correlation == pytest.approx(np.mean(correlations), abs=1e-6)
    best = [np.argsort(-item, axis=1)[:, :10] for item in scores]
    overlaps = [len(set(a) & set(b)) / 10 for a, b in zip(*(b.tolist() for b in best), strict=True)]
    assert found.top_overlap == pytest.approx(np.mean(overlaps))
    assert found.same_first == np.mean(best[0][:, 0] == best[1][:, 0])


def test_rankings_of_few_documents() -> None:
    rng = np.random.default_rng(0)
    one = Encoded([unit_rows(rng, 2, 8)], [unit_rows(rng, 3, 8)])
    found = compare(one, one)
    assert (found.rank_correlation, found.top_overlap, found.same_first) == (1.0, 1.0, 1.0)
    values = np.array([1.0, 2.0, 3.0], np.float32)
    assert fidelity._spearman(values, -values) == pytest.approx(-1.0)
    assert fidelity._spearman(values, values * 2) == pytest.approx(1.0)


def tokens(*ids: int) -> TokenizedText:
    row = np.array(ids, np.int64)
    return TokenizedText(row, np.ones_like(row), np.ones(len(row), bool), 0)


class Tokens:
    """A tokenizer of numbers: a text is its words' lengths."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def ids(self, prefix: str, text: str, limit: int) -> list[int]:
        return [1, *map(len, (prefix + text).split()), 2][:limit]

    def tokenize_query(self, text: str) -> TokenizedText:
        config = self.config
        limit = config.query_max_length or config.query_length
        ids = self.ids(config.query_prefix, text, limit)
        if config.do_query_expansion:
            ids += [config.mask_token_id] * (config.query_length - len(ids))
        return tokens(*ids)

    def tokenize_document(self, text: str) -> TokenizedText:
        config = self.config
        return tokens(*self.ids(config.document_prefix, text, config.document_length))

    def reference(self, text: str, *, truncation: bool, max_length: int) -> dict[str, list[int]]:
        """Do as transformers does."""
        assert truncation
        return {"input_ids": self.ids("", text, max_length)}


RECIPE = SimpleNamespace(
    query_prefix="qq ", document_prefix="ddd ", query_length=6, query_max_length=None,
    document_length=5, do_query_expansion=True, mask_token_id=99, embedding_dim=4,
)  # fmt: skip
TEXTS = ["a bb ccc", "", "one two three four five six seven", "x"]


@pytest.mark.parametrize("expansion", [True, False])
@pytest.mark.parametrize("longest", [None, 8])
def test_equal_tokens_pass(expansion: bool, longest: int | None) -> None:
    values = {**vars(RECIPE), "do_query_expansion": expansion, "query_max_length": longest}
    runtime: Any = Tokens(SimpleNamespace(**values))
    found, inputs = parity.check_tokens(runtime.reference, runtime.config, runtime, TEXTS)
    assert found.texts == 4 and inputs.texts == 8
    assert len(inputs.batches) == 8 + 2  # each alone, then the first documents and queries
    assert [batch.input_ids.shape[0] for batch in inputs.batches] == [1] * 8 + [4, 4]
    together = inputs.batches[8]
    for row, text in enumerate(TEXTS):
        ids = runtime.tokenize_document(text).input_ids
        assert together.input_ids[row].tolist() == [*ids, *[0] * (5 - len(ids))]
        assert together.real[row].tolist() == [True] * len(ids) + [False] * (5 - len(ids))
        assert together.attention_mask[row].tolist() == together.real[row].tolist()


@pytest.mark.parametrize("task", ["query", "document"])
@pytest.mark.parametrize("number", [0, 3])
def test_other_tokens_of_any_text_are_refused(task: str, number: int) -> None:
    runtime: Any = Tokens(RECIPE)
    right = getattr(runtime, f"tokenize_{task}")

    def wrong(text: str) -> TokenizedText:
        item = right(text)
        if text == TEXTS[number]:
            item.input_ids[-1] += 1
        return item

    setattr(runtime, f"tokenize_{task}", wrong)
    with pytest.raises(ParityError, match=f"reads a {task} differently from transformers"):
        parity.check_tokens(runtime.reference, runtime.config, runtime, TEXTS)


class FakeSession:
    """Gives a token vector for an id, and something else for padding."""

    off: float = 0.0
    leak: float = 0.0

    def __init__(self, graph: Path, dim: int) -> None:
        self.dim = dim

    def run(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = np.repeat(ids[..., None], self.dim, axis=2).astype(np.float32) / 100
        rows[mask == 0] = 7.0  # whatever stands at padding
        if len(ids) > 1:
            rows = rows + np.float32(self.leak) * (mask.sum(axis=1) < mask.shape[1])[:, None, None]
        return rows + np.float32(self.off)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> type[FakeSession]:
    class Own(FakeSession):
        pass

    monkeypatch.setattr(parity, "Session", Own)
    return Own


def torch_vectors(inputs: parity.ParityInputs) -> list[NDArray[np.float32]]:
    found = []
    for batch in inputs.batches:
        rows = np.repeat(batch.input_ids[..., None], 4, axis=2).astype(np.float32) / 100
        rows[~batch.real] = -3.0  # torch and onnxruntime may differ at padding
        found.append(rows)
    return found


def inputs_of_texts() -> parity.ParityInputs:
    runtime: Any = Tokens(RECIPE)
    return parity.check_tokens(runtime.reference, runtime.config, runtime, TEXTS)[1]


@pytest.mark.parametrize(
    ("off", "passes"), [(0, True), (9e-5, True), (1.2e-4, False), (np.nan, False)]
)
def test_a_float32_graph_may_differ_by_the_tolerance(
    session: type[FakeSession], off: float, passes: bool
) -> None:
    inputs = inputs_of_texts()
    session.off = off
    if passes:
        found = parity.check_float(Path("graph"), 4, inputs, torch_vectors(inputs))
        assert found.texts == 8 and found.tolerance == parity.TOLERANCE
        assert found.max_abs_difference == pytest.approx(off, abs=1e-6)
    else:
        with pytest.raises(ParityError, match=r"differs from torch by .* the gate is 1e-04"):
            parity.check_float(Path("graph"), 4, inputs, torch_vectors(inputs))


@pytest.mark.parametrize("number", [0, 5, 9])
def test_one_text_that_differs_is_enough(session: type[FakeSession], number: int) -> None:
    inputs = inputs_of_texts()
    vectors = torch_vectors(inputs)
    vectors[number][0, 1, 2] -= 5e-5
    found = parity.check_float(Path("graph"), 4, inputs, vectors)
    assert found.max_abs_difference == pytest.approx(5e-5, abs=1e-6)
    vectors[number][0, 1, 2] -= 1e-3
    with pytest.raises(ParityError):
        parity.check_float(Path("graph"), 4, inputs, vectors)


@pytest.mark.parametrize("number", [1, 8, 9, 12])
def test_batches_are_compared_with_texts_alone(session: type[FakeSession], number: int) -> None:
    """Texts go eight at a time; the last may be alone."""
    runtime: Any = Tokens(RECIPE)
    texts = ["a bb ccc dddd"] * (number - 1) + ["a"]
    assert parity.batch_difference(Path("graph"), runtime, RECIPE, texts) == 0.0  # type: ignore[arg-type]
    session.leak = 0.25
    found = parity.batch_difference(Path("graph"), runtime, RECIPE, texts)  # type: ignore[arg-type]
    padded = number % 8 != 1
    assert found == pytest.approx(0.25 if padded else 0.0)
    session.leak = float("nan")
    found = parity.batch_difference(Path("graph"), runtime, RECIPE, texts)  # type: ignore[arg-type]
    assert np.isnan(found) == (number > 1)


class Meter:
    """Stands for what measures graphs."""

    def __init__(self, fidelity: Fidelity) -> None:
        self.fidelity = fidelity

    def measure(self, graph: Path) -> Fidelity:
        return self.fidelity


def conversion(allowed: bool) -> Any:
    return reduced_precision.Conversion(
        graph=Path("graph"), target=Path("target"), tokenizer=Path("tokenizer"),
        config=RECIPE, allow_degraded=allowed,  # type: ignore[arg-type]
    )  # fmt: skip


PAIRS = [(f"query {n}", f"passage {n}") for n in range(12)]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for everything that takes time; the values say what they return."""
    state: dict[str, Any] = {"fidelity": PERFECT, "difference": 0.0, "pairs": None, "texts": None}

    def meter(self: Any, pairs: Sequence[tuple[str, str]]) -> Meter:
        state["pairs"] = list(pairs)
        return Meter(state["fidelity"])

    def write_int8(
        graph: Path, target: Path, calibration: Sequence[Any], meter: Meter, passes: Any
    ) -> Any:
        state["calibration"] = calibration
        state["passes"] = passes(meter.fidelity)
        recipe = SimpleNamespace(name="a recipe")
        return SimpleNamespace(fidelity=meter.fidelity, recipe=recipe, tried=())

    def difference(graph: Path, tokenizer: Any, config: Any, texts: Sequence[str]) -> float:
        state["texts"] = list(texts)
        return float(state["difference"])

    monkeypatch.setattr(reduced_precision.Conversion, "meter", meter)
    monkeypatch.setattr(reduced_precision, "write_int8_graph", write_int8)
    monkeypatch.setattr(reduced_precision, "write_float16_graph", lambda graph, target: None)
    monkeypatch.setattr(reduced_precision, "probe_pairs", lambda: PAIRS)
    monkeypatch.setattr(reduced_precision, "Tokenizer", lambda path, config: Tokens(config))
    monkeypatch.setattr(reduced_precision.parity, "batch_difference", difference)
    return state


def test_int8_is_not_measured_on_what_it_was_calibrated_on(measured: dict[str, Any]) -> None:
    report = reduced_precision.make_int8(conversion(False))
    assert report.chosen == "a recipe" and not report.forced and report.failures == ()
    assert measured["passes"]
    runtime = Tokens(RECIPE)
    wanted = []
    for query, passage in PAIRS[::4]:
        items = (runtime.tokenize_document(passage), runtime.tokenize_query(query))
        wanted += [item.input_ids.tolist() for item in items]
    given = [item["input_ids"] for item in measured["calibration"]]
    assert [ids[0].tolist() for ids in given] == wanted and all(len(ids) == 1 for ids in given)
    assert all(item["attention_mask"].all() for item in measured["calibration"])
    assert measured["pairs"] == PAIRS[1::2]


@pytest.mark.parametrize("allowed", [False, True])
def test_int8_below_its_gate_is_written_only_when_it_may(
    measured: dict[str, Any], allowed: bool
) -> None:
    measured["fidelity"] = replace(PERFECT, same_first=0.5)
    if allowed:
        report = reduced_precision.make_int8(conversion(True))
        assert report.forced and "same_first is 0.5000" in report.failures[0]
        assert not measured["passes"]
    else:
        with pytest.raises(ParityError, match="int8 is too far from float32: same_first is 0.5"):
            reduced_precision.make_int8(conversion(False))


@pytest.mark.parametrize(
    ("difference", "mean", "failed"),
    [(0.0, 1.0, 0), (parity.FP16_BATCH_TOLERANCE, 1.0, 0), (0.0051, 1.0, 1), (np.nan, 1.0, 1),
     (0.0, 0.9, 1), (1.0, 0.9, 2)],
)  # fmt: skip
def test_float16_is_held_to_both_gates(
    measured: dict[str, Any], difference: float, mean: float, failed: int
) -> None:
    measured.update(difference=difference, fidelity=replace(PERFECT, mean_cosine=mean))
    report = reduced_precision.make_float16(conversion(True))
    assert len(report.failures) == failed and report.forced == bool(failed)
    np.testing.assert_equal(report.batch_max_abs_difference, difference)
    assert report.batch_tolerance == parity.FP16_BATCH_TOLERANCE
    assert measured["pairs"] == PAIRS
    assert measured["texts"] == [text for pair in PAIRS[::4] for text in pair]
    if failed:
        with pytest.raises(ParityError, match="fp16 is too far from float32"):
            reduced_precision.make_float16(conversion(False))
    else:
        reduced_precision.make_float16(conversion(False))
