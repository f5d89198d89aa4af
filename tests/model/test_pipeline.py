"""Batches keep to their budget and lose nothing; steps overlap; what fails stops the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pocket_colbert.model.pipeline import Batching, Part, Steps, in_batches
from pocket_colbert.model.tokenizer import TokenizedText


def tokenized(length: int) -> TokenizedText:
    """Return a text of some tokens."""
    ones = np.ones(length, dtype=np.int64)
    return TokenizedText(ones, ones, ones.astype(bool), 0)


def batching(size: int, tokens: int = 10_000, threads: int = 2, one: bool = True) -> Batching:
    return Batching(size=size, tokens=tokens, threads=threads, one_device=one)


def lengths_of(batch: Sequence[Part], rows: object = None) -> list[np.ndarray]:
    """Stand for `finish`: one array of a part's length."""
    return [np.zeros((len(part.tokenized.input_ids), 1), np.float32) for part in batch]


@settings(deadline=None, max_examples=40)
@given(
    parts=st.lists(st.lists(st.integers(1, 50), max_size=4), max_size=300),
    size=st.sampled_from([1, 3, 64, 500]),
    one=st.booleans(),
)
def test_every_part_comes_out_once(parts: list[list[int]], size: int, one: bool) -> None:
    found: dict[tuple[int, int], int] = {}
    calling = threading.get_ident()

    def collect(batch: Sequence[Part], embeddings: Sequence[np.ndarray]) -> None:
        assert threading.get_ident() == calling and 1 <= len(batch) <= size
        for part, embedding in zip(batch, embeddings, strict=True):
            assert (part.text, part.number) not in found
            found[part.text, part.number] = len(embedding)

    steps = Steps(lambda text: [tokenized(n) for n in parts[text]], lambda batch: None, lengths_of)
    in_batches([sum(each) for each in parts], steps, batching(size, one=one), collect)
    assert found == {(t, n): v for t, each in enumerate(parts) for n, v in enumerate(each)}


def test_texts_of_like_length_share_a_batch() -> None:
    """By characters at first, as nothing else is known before a text is tokenised."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(10, 300, size=2000)
    characters = (lengths * rng.uniform(3.5, 5.5, size=2000)).astype(int)
    ran = [0, 0]

    def run(batch: Sequence[Part]) -> None:
        longest = max(len(part.tokenized.input_ids) for part in batch)
        assert len(batch) * longest <= 16_384
        ran[0] += len(batch) * longest
        ran[1] += 1

    steps = Steps(lambda text: [tokenized(int(lengths[text]))], run, lengths_of)
    in_batches(characters.tolist(), steps, batching(256, 16_384), lambda batch, rows: None)
    assert ran[0] < 1.15 * lengths.sum() and ran[1] < 30


def test_unbatched_texts_keep_their_order() -> None:
    seen: list[int] = []
    steps = Steps(lambda text: [tokenized(text % 7 + 1)], lambda batch: None, lengths_of)
    in_batches(
        [n % 7 for n in range(300)], steps, batching(1, one=False),
        lambda batch, _: seen.extend(part.text for part in batch),
    )  # fmt: skip
    assert seen == list(range(300))


def test_a_device_runs_one_batch_at_a_time_and_never_waits_for_the_others() -> None:
    """Later texts are tokenised, and earlier ones finished, while it runs."""
    running, threads = threading.Lock(), set()
    tokenized_texts, finished = [0], threading.Event()
    overlapped: list[str] = []

    def tokenize(text: int) -> list[TokenizedText]:
        tokenized_texts[0] += 1
        return [tokenized(10)]

    def run(batch: Sequence[Part]) -> None:
        assert running.acquire(blocking=False), "two batches ran at a time"
        threads.add(threading.get_ident())
        before = tokenized_texts[0]
        if not overlapped:  # the first batch: the texts of later ones come meanwhile
            wait_for(lambda: tokenized_texts[0] > before or before == 1000)
            overlapped.append("tokenised")
        elif len(overlapped) == 1:
            assert finished.wait(20)
            overlapped.append("finished")
        running.release()

    def finish(batch: Sequence[Part], rows: object) -> list[np.ndarray]:
        finished.set()
        return lengths_of(batch)

    in_batches([10] * 1000, Steps(tokenize, run, finish), batching(64), lambda batch, rows: None)
    assert overlapped == ["tokenised", "finished"] and len(threads) == 1
    assert threading.get_ident() not in threads


def wait_for(condition: object) -> None:
    end = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.mark.parametrize(("size", "one"), [(1, False), (1, True), (16, False), (16, True)])
def test_a_text_that_takes_long_holds_the_others_back(size: int, one: bool) -> None:
    """What is finished waits for the first one to be collected, so memory must be bounded."""
    number, threads = 3000, 2
    tokenized_texts, finished, collected = [0], [0], [0]
    most = [0, 0]
    go = threading.Event()

    def tokenize(text: int) -> list[TokenizedText]:
        tokenized_texts[0] += 1
        most[0] = max(most[0], tokenized_texts[0] - collected[0])
        return [tokenized(5)]

    def finish(batch: Sequence[Part], rows: object) -> list[np.ndarray]:
        if batch[0].text == 0:
            assert go.wait(20)
        finished[0] += len(batch)
        most[1] = max(most[1], finished[0] - collected[0])
        return lengths_of(batch)

    def collect(batch: Sequence[Part], embeddings: Sequence[np.ndarray]) -> None:
        collected[0] += len(batch)

    def release() -> None:
        seen = [-1, -1]
        while seen != [tokenized_texts[0], finished[0]]:  # until nothing moves
            seen = [tokenized_texts[0], finished[0]]
            time.sleep(0.25)
        go.set()

    releasing = threading.Thread(target=release)
    releasing.start()
    steps = Steps(tokenize, lambda batch: None, finish)
    in_batches([5] * number, steps, batching(size, threads=threads, one=one), collect)
    releasing.join()
    assert collected[0] == number
    # 128 texts wait to be collected, five chunks of 128 are tokenised, one is made into batches.
    assert most[1] <= 128 + size * (threads + 2) and most[0] <= 8 * 128


@pytest.mark.parametrize("step", ["tokenize", "run", "finish", "collect"])
@pytest.mark.parametrize(("size", "one"), [(1, False), (16, True)])
def test_what_fails_stops_the_rest(step: str, size: int, one: bool) -> None:
    calls = {"tokenize": 0, "run": 0, "finish": 0, "collect": 0}

    def count(name: str) -> None:
        calls[name] += 1
        if name == step and calls[name] == 3:
            raise RuntimeError(f"in {name}")

    def tokenize(text: int) -> list[TokenizedText]:
        count("tokenize")
        return [tokenized(5)]

    def finish(batch: Sequence[Part], rows: object) -> list[np.ndarray]:
        count("finish")
        return lengths_of(batch)

    before = threading.active_count()
    with pytest.raises(RuntimeError, match=f"in {step}"):
        in_batches(
            [5] * 5000,
            Steps(tokenize, lambda batch: count("run"), finish),
            batching(size, one=one),
            lambda batch, rows: count("collect"),
        )
    assert calls["collect"] < 5000 / size and threading.active_count() == before


def test_a_single_text_is_encoded_in_the_calling_thread() -> None:
    threads = set()

    def note(*_: object) -> None:
        threads.add(threading.get_ident())

    def tokenize(text: int) -> list[TokenizedText]:
        note()
        return [tokenized(5)]

    in_batches([5], Steps(tokenize, note, lengths_of), batching(64), note)
    assert threads == {threading.get_ident()}
