"""Many texts through one graph: batches of a token budget, and steps that run side by side.

A device that computes thousands of tokens at a time waits for nothing but its own work when texts
are tokenised ahead of it and vectors are pruned behind it, on other threads. Texts of like length
share a batch, so that little of what it computes is padding.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pocket_colbert.checks import check_whole_number, require
from pocket_colbert.hardware import usable_cores
from pocket_colbert.model.tokenizer import TokenizedText
from pocket_colbert.vectors.padding import LEAST_LENGTH, batches_of_like_length
from pocket_colbert.vectors.providers import Provider, is_gpu

BATCH_SIZE = 256
BATCH_TOKENS = 16_384
"""Defaults of a batch on a GPU: enough to fill it; with a model of 12 layers and 384 dimensions
attention and activations take some hundred MB."""

BATCHED_PRECISIONS = ("fp16", "fp32")
"""Graphs whose vectors do not depend on what else is in a batch, but for the last bits."""

_CHUNK = 128
"""Texts that are tokenised before batches are made of them."""

_AHEAD = 4
"""Chunks that are tokenised before they are needed."""


@dataclass(frozen=True)
class Part:
    """A text, or a passage of one, that is encoded on its own.

    Attributes:
        text: Number of the text.
        number: Which of the text's parts it is.
        tokenized: Its tokens.
    """

    text: int
    number: int
    tokenized: TokenizedText


Embeddings = Sequence[NDArray[np.float32]]
"""One (num_tokens, dim) float32 array a part."""


@dataclass(frozen=True)
class Steps:
    """What is done with texts; every step may be called from several threads.

    Attributes:
        tokenize: Number of a text to its parts.
        run: A batch of parts to whatever `finish` takes.
        finish: The batch and what `run` made of it to one embedding a part.
    """

    tokenize: Callable[[int], Sequence[TokenizedText]]
    run: Callable[[Sequence[Part]], Any]
    finish: Callable[[Sequence[Part], Any], Embeddings]


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How texts are put together.

    Attributes:
        size: Parts of a batch at most; 1 pads nothing and keeps the order of the texts.
        tokens: Tokens of a batch at most, padding included. A longer part is a batch of its own.
        threads: Threads that tokenise and finish, and run too unless one device runs.
        one_device: Whether batches run one after the other, in a thread of their own.
    """

    size: int
    tokens: int
    threads: int
    one_device: bool


def choose_batching(
    precision: str,
    provider: Provider,
    threads: int | None,
    batch_size: int | None,
    batch_tokens: int,
) -> Batching:
    """Return how texts are put together, with the defaults of a graph on a provider.

    Args:
        precision: Of the graph, see `ModelCard.precision`.
        provider: What the graph runs on.
        threads: See `Encoder.load`.
        batch_size: See `Encoder.load`.
        batch_tokens: See `Encoder.load`.

    Raises:
        InvalidInputError: A number is below 1, or a batch is asked of an int8 graph.
    """
    can_batch = precision in BATCHED_PRECISIONS
    if threads is None:
        threads = usable_cores()
    if batch_size is None:
        batch_size = BATCH_SIZE if can_batch and is_gpu(provider) else 1
    check_whole_number("threads", threads)
    check_whole_number("batch_size", batch_size)
    check_whole_number("batch_tokens", batch_tokens)
    require(
        batch_size == 1 or can_batch,
        f"batch_size must be 1 for {precision} graphs, got {batch_size}: in a batch their vectors "
        "would depend on each other. Export with --precision fp16 or fp32.",
    )
    return Batching(
        size=batch_size,
        tokens=batch_tokens,
        threads=threads,
        one_device=batch_size > 1 and is_gpu(provider),
    )


def in_batches(
    characters: Sequence[int],
    steps: Steps,
    batching: Batching,
    collect: Callable[[Sequence[Part], Embeddings], None],
) -> None:
    """Take texts through all steps.

    Args:
        characters: Length of each text; longer ones come first when batches hold several.
        steps: What is done with a text.
        batching: How texts are put together.
        collect: Given each batch with its embeddings, in the calling thread.
    """
    order: Sequence[int] = range(len(characters))
    if batching.size > 1:
        order = sorted(order, key=lambda text: -characters[text])
    with (
        ThreadPoolExecutor(batching.threads) as workers,
        ThreadPoolExecutor(1) as device,
    ):
        try:
            batches = _batches(_tokenized(order, steps, workers), batching)
            first = list(islice(batches, 2))
            if len(first) == 1:  # a single query is answered in this thread
                collect(first[0], steps.finish(first[0], steps.run(first[0])))
                return
            running: deque[tuple[Sequence[Part], Future[Any]]] = deque()
            limit = max(_CHUNK // batching.size, _AHEAD + batching.threads)
            for batch in chain(first, batches):
                running.append((batch, _start(batch, steps, batching, workers, device)))
                while running and (len(running) > limit or _is_done(running[0][1])):
                    _collect(running.popleft(), collect)
            while running:
                _collect(running.popleft(), collect)
        except BaseException:
            for pool in (device, workers):
                pool.shutdown(wait=True, cancel_futures=True)
            raise


def _start(
    batch: Sequence[Part],
    steps: Steps,
    batching: Batching,
    workers: ThreadPoolExecutor,
    device: ThreadPoolExecutor,
) -> Future[Any]:
    """Run a batch and finish it; the future's result is the embeddings or a future of them."""
    if batching.one_device:
        return device.submit(lambda: workers.submit(steps.finish, batch, steps.run(batch)))
    return workers.submit(lambda: steps.finish(batch, steps.run(batch)))


def _is_done(future: Future[Any]) -> bool:
    """Say whether `_collect` would not wait; the device must not run dry for it."""
    if not future.done() or future.exception() is not None:
        return future.done()
    result = future.result()
    return result.done() if isinstance(result, Future) else True


def _collect(
    done: tuple[Sequence[Part], Future[Any]],
    collect: Callable[[Sequence[Part], Embeddings], None],
) -> None:
    result = done[1].result()
    collect(done[0], result.result() if isinstance(result, Future) else result)


def _tokenized(
    order: Sequence[int], steps: Steps, workers: ThreadPoolExecutor
) -> Iterator[list[Part]]:
    """Tokenise texts, some chunks ahead of the one that is given."""

    def parts(text: int) -> list[Part]:
        return [Part(text, n, item) for n, item in enumerate(steps.tokenize(text))]

    if len(order) == 1:
        yield parts(order[0])
        return
    ahead: deque[list[Future[list[Part]]]] = deque()
    for start in range(0, len(order), _CHUNK):
        ahead.append([workers.submit(parts, text) for text in order[start : start + _CHUNK]])
        if len(ahead) > _AHEAD:
            yield [part for future in ahead.popleft() for part in future.result()]
    while ahead:
        yield [part for future in ahead.popleft() for part in future.result()]


def _batches(chunks: Iterable[list[Part]], batching: Batching) -> Iterator[list[Part]]:
    """Make batches of chunks; the last one of a chunk waits for what the next one adds to it."""
    waiting: list[Part] = []
    for chunk in chunks:
        waiting += chunk
        if batching.size == 1:
            yield from ([part] for part in waiting)
            waiting = []
            continue
        *full, waiting = _planned(waiting, batching) or [[]]
        yield from full
    yield from _planned(waiting, batching)


def _planned(parts: Sequence[Part], batching: Batching) -> list[list[Part]]:
    lengths = np.array([len(part.tokenized.input_ids) for part in parts], dtype=np.int64)
    planned = batches_of_like_length(lengths, batching.size, batching.tokens, LEAST_LENGTH)
    return [[parts[number] for number in batch] for batch in planned]
