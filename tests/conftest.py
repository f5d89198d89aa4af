"""What tests share: tiny models made on the spot, and where the optional data is."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest

from pocket_colbert import Encoder, Index, IndexConfig, Retriever, Splitting
from tests.support.library import LIBRARY
from tests.support.paths import DATA, HAS_TORCH, SHARED
from tests.support.servers import qdrant_listening

# Haystack reports how it is used to its makers unless told not to; tests tell nobody.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

if TYPE_CHECKING:
    pass


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with a reason, what this machine lacks."""
    for item in items:
        if item.get_closest_marker("torch") and not HAS_TORCH:
            item.add_marker(pytest.mark.skip(reason="needs the export extra (torch)"))
        if item.get_closest_marker("shared") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"needs the shared data at {SHARED}"))


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    """The bundled model."""
    return Encoder.load(threads=2)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded source of random numbers."""
    return np.random.default_rng(17)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A committed tiny float32 model folder, copied so that tests may damage it."""
    import shutil

    folder = tmp_path_factory.mktemp("models") / "tiny"
    shutil.copytree(DATA / "tiny-colbert", folder)
    yield folder


@pytest.fixture(scope="session")
def library_folder(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an index of `LIBRARY`, whose contract is many passages."""
    folder = tmp_path_factory.mktemp("library") / "library.index"
    config = IndexConfig(
        dim=encoder.dim,
        model=encoder.card.fingerprint,
        splitting=Splitting(max_tokens=64, overlap=8),
    )
    with Index.create(folder, config) as index:
        Retriever(encoder, index).add(LIBRARY)
        index.commit()
    return folder


@pytest.fixture(scope="session")
def library(encoder: Encoder, library_folder: Path) -> Iterator[Retriever]:
    """A retriever over `library_folder`."""
    with Index.load(library_folder) as index:
        yield Retriever(encoder, index)


@pytest.fixture(scope="module")
def qdrant_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Qdrant server, see `qdrant_listening`."""
    with qdrant_listening(tmp_path_factory.mktemp("server")) as address:
        yield address


_T = TypeVar("_T")


@pytest.fixture
def beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Awaitable[_T]]], _T]:
    """Runs a coroutine that encodes a query, and fails if it does so in the event loop's thread.

    The query is encoded only once the loop has opened a gate, which a blocked loop cannot do.
    """
    gate = threading.Event()

    def gated(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(self: Encoder, *args: Any, **options: Any) -> Any:
            assert gate.wait(20), "the event loop was blocked"
            return method(self, *args, **options)

        return call

    def run(call: Callable[[], Awaitable[_T]]) -> _T:
        async def main() -> _T:
            task = asyncio.ensure_future(call())
            await asyncio.sleep(0.02)
            assert not task.done()
            gate.set()
            return await task

        return asyncio.run(main())

    for method in (Encoder.encode_query, Encoder.query, Encoder.queries):
        monkeypatch.setattr(Encoder, method.__name__, gated(method))
    return run
