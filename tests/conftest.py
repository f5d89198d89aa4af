"""What tests share: tiny models made on the spot, and where the optional data is."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from pocket_colbert import Encoder

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
