"""What a file of a graph must hold: native code follows it, so each number is checked first."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from pocket_colbert import IndexFormatError
from pocket_colbert.storage.graph_format import GraphLayout, graph_problem, layout_problem
from pocket_colbert.storage.selection import Selection
from pocket_colbert.storage.token_graph import CONNECTIVITY, _opened_graph, build
from pocket_colbert.storage.token_vectors import TokenVectors
from pocket_colbert.vectors.codec import Codec, QueryCodes
from tests.support.arrays import cone_documents

DIM, PASSAGES = 15, 160
LIST = 4 + 4 * 2 * CONNECTIVITY
UPPER = 4 + 4 * CONNECTIVITY


@dataclass
class Graph:
    """A sound file, where its parts are, and a query."""

    data: NDArray[np.uint8]
    layout: GraphLayout
    query: QueryCodes

    @property
    def levels(self) -> NDArray[np.int16]:
        """The level of each vector."""
        return np.ndarray((self.layout.size,), "<i2", self.data, self.layout.levels)

    def node(self, number: int) -> int:
        """Return where a node begins."""
        sizes = 10 + LIST + self.levels.astype(np.int64) * UPPER
        return self.layout.levels + 2 * self.layout.size + int(sizes[:number].sum())

    def put(self, form: str, at: int, *values: int) -> NDArray[np.uint8]:
        """Return a copy with other values at some byte."""
        changed = self.data.copy()
        struct.pack_into(form, changed.data, at, *values)
        return changed


@pytest.fixture(scope="module")
def graph() -> Graph:
    documents = cone_documents(np.random.default_rng(2), [9] * (PASSAGES - 1) + [0], DIM)
    rows = TokenVectors.encode(Codec.fit(np.concatenate(documents), 4), documents)
    built = build(rows)
    return Graph(built.data, built.layout, rows.codec.encode_query(documents[3]))


def problem(graph: Graph, data: NDArray[np.uint8]) -> str | None:
    layout = layout_problem(data, graph.layout.size, DIM, CONNECTIVITY)
    return layout if isinstance(layout, str) else graph_problem(data, layout, PASSAGES)


def test_a_sound_file_passes(graph: Graph) -> None:
    assert graph.layout.highest >= 1, "upper levels must be there to be checked"
    assert problem(graph, graph.data) is None


HEAD = 8 + (PASSAGES - 1) * 9 * DIM
"""Where the head is."""

Change = Callable[[Graph], NDArray[np.uint8]]
CHANGES: dict[str, tuple[Change, str]] = {
    "cut": (lambda g: g.data[:-1].copy(), "its nodes take"),
    "cut short": (lambda g: g.data[: len(g.data) // 2].copy(), "fewer than"),
    "empty": (lambda g: g.data[:0].copy(), "fewer than"),
    "longer": (lambda g: np.append(g.data, np.uint8(0)), "its nodes take"),
    "vectors": (lambda g: g.put("<I", 0, 7), "must hold"),
    "width": (lambda g: g.put("<I", 4, DIM + 1), "must hold"),
    "magic": (lambda g: g.put("<B", HEAD, 0), "not a file of usearch"),
    "version": (lambda g: g.put("<H", HEAD + 7, 3), "not a file of usearch"),
    "metric": (lambda g: g.put("<B", HEAD + 13, 105), "int8 compared by cosine"),
    "scalar": (lambda g: g.put("<B", HEAD + 14, 11), "int8 compared by cosine"),
    "key": (lambda g: g.put("<B", HEAD + 15, 15), "int8 compared by cosine"),
    "slot": (lambda g: g.put("<B", HEAD + 16, 14), "int8 compared by cosine"),
    "present": (lambda g: g.put("<Q", HEAD + 17, 1), "its counts"),
    "deleted": (lambda g: g.put("<Q", HEAD + 25, 1), "its counts"),
    "dimensions": (lambda g: g.put("<Q", HEAD + 33, 1 << 40), "its counts"),
    "nodes": (lambda g: g.put("<Q", HEAD + 64, 1 << 40), "neighbours a vector"),
    "connectivity": (lambda g: g.put("<Q", HEAD + 72, 1 << 20), "neighbours a vector"),
    "connectivity at level 0": (lambda g: g.put("<Q", HEAD + 80, 16), "neighbours a vector"),
    "highest level": (lambda g: g.put("<Q", HEAD + 88, 65), "cannot begin"),
    "no such level": (lambda g: g.put("<Q", HEAD + 88, g.layout.highest + 1), "where vector"),
    "entry": (lambda g: g.put("<Q", HEAD + 96, g.layout.size), "cannot begin"),
    "entry at level 0": (lambda g: g.put("<Q", HEAD + 96, int(g.levels.argmin())), "where vector"),
    "level below 0": (lambda g: g.put("<h", g.layout.levels, -1), "not within"),
    "level above": (lambda g: g.put("<h", g.layout.levels, 60), "not within"),
    "levels exchanged": (
        lambda g: g.put("<h", g.layout.levels + 2 * int(g.levels.argmin()), g.layout.highest),
        "its nodes take",
    ),
    "level of a node": (lambda g: g.put("<h", g.node(5) + 8, 3), "differs from"),
    "key of a node": (lambda g: g.put("<Q", g.node(5), PASSAGES), "a key is beyond"),
    "deleted key": (lambda g: g.put("<Q", g.node(5), 2**64 - 1), "a key is beyond"),
    "count": (lambda g: g.put("<I", g.node(5) + 10, 2 * CONNECTIVITY + 1), "at level 0"),
    "neighbour": (lambda g: g.put("<I", g.node(5) + 14, g.layout.size), "at level 0"),
    "last neighbour": (
        lambda g: g.put("<I", g.node(g.layout.size - 1) + 14, 2**32 - 1), "at level 0"
    ),
    "count above": (
        lambda g: g.put("<I", g.node(g.layout.entry) + 10 + LIST, CONNECTIVITY + 1), "at level 1"
    ),
    "neighbour that is not at that level": (
        lambda g: g.put(
            "<II", g.node(g.layout.entry) + 10 + LIST, 1, int(g.levels.argmin())
        ), "at level 1",
    ),
    "neighbour above": (
        lambda g: g.put("<II", g.node(g.layout.entry) + 10 + LIST, 1, 2**31), "at level 1"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_is_refused(graph: Graph, name: str) -> None:
    change, message = CHANGES[name]
    found = problem(graph, change(graph))
    assert found is not None and message in found


def test_neighbours_beyond_the_count_are_nothing(graph: Graph) -> None:
    """Nothing follows them."""
    counts = [
        int(struct.unpack_from("<I", graph.data.data, graph.node(number) + 10)[0])
        for number in range(100)
    ]
    number = int(np.argmin(counts))
    assert counts[number] < 2 * CONNECTIVITY
    changed = graph.put("<I", graph.node(number) + 14 + 4 * counts[number], 2**32 - 1)
    assert problem(graph, changed) is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_what_passes_can_be_searched(graph: Graph, seed: int) -> None:
    """Bytes changed at random, most where native code looks: refused, or searched unharmed."""
    rng = np.random.default_rng(seed)
    starts = [0, HEAD, graph.layout.levels, graph.node(0)]
    ends = [len(graph.data), HEAD + 104, graph.node(0), len(graph.data)]
    outcomes = []
    for _ in range(150):
        changed = graph.data.copy()
        region = int(rng.integers(4))
        for _ in range(int(rng.choice([1, 2, 30]))):
            at = int(rng.integers(starts[region], ends[region]))
            changed[at : at + int(rng.choice([1, 2, 4]))] = rng.choice(
                [0, 1, 255, rng.integers(256)]
            )
        try:
            opened = _opened_graph(changed, graph.layout.size, DIM, PASSAGES, "a graph")
            for allowed in (Selection(PASSAGES), Selection.of(PASSAGES, list(range(0, 160, 2)))):
                found = opened.candidates(graph.query, allowed, lookups=64, limit=20)
                assert (found < PASSAGES).all()
            outcomes.append(True)
        except IndexFormatError:
            outcomes.append(False)
    assert 0 < sum(outcomes) < len(outcomes)


def test_onnxruntime_is_loaded_before_usearch() -> None:
    """In the other order the process crashes."""
    script = (
        "import sys; from pocket_colbert.storage.native_graph import new_graph; "
        "assert 'onnxruntime' not in sys.modules and 'usearch' not in sys.modules; "
        "new_graph(8, 16, 64, 8); import onnxruntime; print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "fine\n", (done.returncode, done.stderr)
