"""What tests share: tiny models made on the spot, and where the optional data is."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from pocket_colbert import Document, Encoder, Index, IndexConfig, Retriever, Splitting

# Haystack reports how it is used to its makers unless told not to; tests tell nobody.
os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"

if TYPE_CHECKING:
    from pocket_colbert.server.security import Application

DATA = Path(__file__).parent / "data"
SHARED = Path(os.environ.get("POCKET_COLBERT_SHARED", Path(__file__).parents[2] / "shared"))
HAS_TORCH = all(
    importlib.util.find_spec(name) is not None for name in ("torch", "transformers", "optimum")
)


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


FILLER = "The parties have read this paragraph, and nothing in it matters to anybody. " * 8
LIBRARY = [
    Document("paris", "Paris is the capital of France.", "France", {"kind": "city", "year": 987}),
    Document("berlin", "Berlin is the capital of Germany.", None, {"kind": "city", "year": 1871}),
    Document("bread", "Knead the dough for ten minutes.", None, {"kind": "recipe"}),
    Document(
        "contract",
        f"{FILLER}\n\nThe supplier keeps bees on the roof at its own cost.\n\n{FILLER}",
        "Supply agreement",
        {"kind": "legal"},
    ),
]


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


QDRANT_KEY = "a secret/key"


@contextmanager
def qdrant_listening(folder: Path) -> Iterator[str]:
    """Run a Qdrant server that wants a key; give its address, to which a name is added."""
    if not all(map(importlib.util.find_spec, ("qdrant_client", "qdrant_edge"))):
        pytest.skip("needs the 'qdrant' extra and qdrant-edge-py")
    from tests.support.qdrant_server import Server

    with listening(Server(folder, QDRANT_KEY).app()) as url:
        yield url.replace("http", "qdrant")


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
    encode_query = Encoder.encode_query

    def gated(self: Encoder, *args: Any, **options: Any) -> Any:
        assert gate.wait(20), "the event loop was blocked"
        return encode_query(self, *args, **options)

    def run(call: Callable[[], Awaitable[_T]]) -> _T:
        async def main() -> _T:
            task = asyncio.ensure_future(call())
            await asyncio.sleep(0.02)
            assert not task.done()
            gate.set()
            return await task

        return asyncio.run(main())

    monkeypatch.setattr(Encoder, "encode_query", gated)
    return run


def unit_rows(rng: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    """Return random unit vectors (rows, dim) float32."""
    values = rng.normal(size=(rows, dim))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def documents_of(
    rng: np.random.Generator, lengths: list[int], dim: int
) -> list[NDArray[np.float32]]:
    """Return random documents of the lengths given."""
    return [unit_rows(rng, length, dim) for length in lengths]


def cone_documents(
    rng: np.random.Generator, lengths: list[int], dim: int, topics: int = 60, spread: float = 0.45
) -> list[NDArray[np.float32]]:
    """Return documents whose token vectors lie as a ColBERT's do: in a cone, around topics.

    About 0.75 of a dot product is shared by all, each document has a few of the topics, and
    documents with the same topics resemble each other.
    """
    fixed = np.random.default_rng(5)
    shared = unit_rows(fixed, 1, dim)
    centres = unit_rows(fixed, topics, dim)
    documents = []
    for length in lengths:
        own = centres[rng.integers(topics, size=max(3, length // 8))]
        tokens = (
            shared
            + spread * own[rng.integers(len(own), size=length)]
            + 0.6 * spread * unit_rows(rng, length, dim)
        )
        norms = np.linalg.norm(tokens, axis=1, keepdims=True)
        documents.append((tokens / norms).astype(np.float32))
    return documents


@contextmanager
def serve_command(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `pocket-colbert serve`, and give the process and its address once it listens."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from pocket_colbert.cli.commands import main; main()", "serve",
         *map(str, arguments), "--port", "0"],
        stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert "Serving" in line, line + process.stderr.read()
        yield process, line.split()[-1]
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()


@contextmanager
def listening(app: Application) -> Iterator[str]:
    """Serve an application from a thread, and give its address."""
    import uvicorn

    from pocket_colbert.server.security import listening_socket

    place, _ = listening_socket("127.0.0.1", 0, token=None)
    config = uvicorn.Config(app, lifespan="on", log_level="warning", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    with place:
        thread.start()
        try:
            yield f"http://127.0.0.1:{place.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)
