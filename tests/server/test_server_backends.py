"""Joined indexes and backends are served as the index of the same documents is, read-only."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from pocket_colbert import BackendError, Document, Encoder, Index, MultiIndex, Retriever
from pocket_colbert.backends import RemoteBackend, open_backend, push
from pocket_colbert.backends.engine import Engine
from pocket_colbert.cli.commands import main
from pocket_colbert.server.app import Limits, create_app
from pocket_colbert.server.served import Served, ServedBackend, ServedIndex, ServedMultiIndex
from pocket_colbert.server.service import Service
from tests.support.library import LIBRARY
from tests.support.servers import BASE, QDRANT_KEY, error_of, listening, qdrant_listening

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pocket_colbert.TruncationWarning"),
    pytest.mark.filterwarnings("default:Api key is used with an insecure:UserWarning"),
]

BACKENDS = ["lance", "qdrant"]
backends = pytest.mark.parametrize("place", BACKENDS, indirect=True)
QUESTIONS = ["Which city is French?", "who keeps bees?", "bread"]
ROOF = Document("roof", "Roofs keep rain out.", None, {"kind": "building"})
ROUNDING = 0.1
"""Of a score: an index rounds queries to 8 bits, engines do not."""


class Place:
    """The library in one of the kinds of places, and how it is changed there."""

    def __init__(
        self, kind: str, encoder: Encoder, library: Path, folder: Path, qdrant: str
    ) -> None:
        self.kind = kind
        self.encoder = encoder
        self.whole = folder / "whole.index"
        self.parts = [folder / "a.index", folder / "b.index"]
        self.addresses = {"lance": f"lance://{folder / 'lance'}/papers", "qdrant": qdrant}
        if kind != "joined":
            shutil.copytree(library, self.whole)
            self.push()
            return
        with Index.load(library) as index:
            config = index.config
        for part, documents in zip(self.parts, (LIBRARY[:2], LIBRARY[2:]), strict=True):
            with Index.create(part, config) as index:
                Retriever(encoder, index).add(documents)
                index.commit()
        with MultiIndex.load(self.parts) as joined:
            joined.save(self.whole)

    @property
    def arguments(self) -> list[str]:
        """What the command is told."""
        if self.kind == "joined":
            return [str(self.parts[0]), "--also", str(self.parts[1])]
        return [self.addresses[self.kind]]

    @property
    def engine(self) -> type[Engine]:
        """The class of its engine."""
        with open_backend(self.addresses[self.kind], api_key=QDRANT_KEY) as backend:
            return type(backend._engine)

    def open(self) -> Served:
        """Open it as the command does."""
        if self.kind == "joined":
            return ServedMultiIndex(MultiIndex.load(self.parts))
        return ServedBackend(open_backend(self.addresses[self.kind], api_key=QDRANT_KEY))

    def push(self) -> None:
        """Bring the backend up to date."""
        with Index.load(self.whole) as index:
            push(index, self.addresses[self.kind], api_key=QDRANT_KEY)

    def put(self, document: Document, *, part: int = 1) -> None:
        """Add a document as somebody else does."""
        folder = self.parts[part] if self.kind == "joined" else self.whole
        with Index.load(folder, writable=True) as index:
            Retriever(self.encoder, index).upsert([document])
            index.commit()
        if self.kind != "joined":
            self.push()


@pytest.fixture(params=["joined", *BACKENDS])
def place(
    request: pytest.FixtureRequest, encoder: Encoder, library_folder: Path, tmp_path: Path
) -> Iterator[Place]:
    """The library in each kind of place, on a Qdrant server of its own."""
    with ExitStack() as stack:
        address = ""
        if request.param == "lance" and not importlib.util.find_spec("lancedb"):
            pytest.skip("needs the 'lance' extra")
        if request.param == "qdrant":
            address = stack.enter_context(qdrant_listening(tmp_path / "qdrant")) + "/papers"
        yield Place(request.param, encoder, library_folder, tmp_path, address)


@pytest.fixture
def serving(encoder: Encoder) -> Iterator[Callable[[Served], TestClient]]:
    """Make clients of servers; all are stopped at the end."""
    with ExitStack() as stack:
        yield lambda source: stack.enter_context(
            TestClient(create_app(Service(encoder, source)), base_url=BASE)
        )


@pytest.fixture
def client(place: Place, serving: Callable[[Served], TestClient]) -> TestClient:
    """A client of a server of the library in each kind of place."""
    return serving(place.open())


@pytest.fixture
def plain(place: Place, serving: Callable[[Served], TestClient]) -> TestClient:
    """A client of a server of the same documents in one index."""
    return serving(ServedIndex(Index.load(place.whole)))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have backends asked for what is new by every request."""
    monkeypatch.setattr("pocket_colbert.server.served.REFRESH_SECONDS", 0.0)


def hits_of(client: TestClient, query: str, **asked: Any) -> list[dict[str, Any]]:
    response = client.post("/api/search", json={"query": query, **asked})
    assert response.status_code == 200, response.text
    return list(response.json()["hits"])


@pytest.mark.parametrize(
    "asked",
    [
        {"explain": True, "text": True, "snippet_length": 60},
        {"k": 2, "where": {"kind": {"$ne": "recipe"}}},
        {"where": {"$or": [{"year": {"$gte": 1000}}, {"kind": {"$prefix": "le"}}]}},
        {"mode": "exact", "where": {"$id": {"$in": ["bread", "paris"]}}},
    ],
)
def test_it_answers_as_the_index_does(
    client: TestClient, plain: TestClient, asked: dict[str, Any]
) -> None:
    for query in QUESTIONS:
        found, expected = hits_of(client, query, **asked), hits_of(plain, query, **asked)
        assert [hit["id"] for hit in found] == [hit["id"] for hit in expected] and found
        for hit, want in zip(found, expected, strict=True):
            assert hit.pop("score") == pytest.approx(want.pop("score"), abs=ROUNDING)
            # Steep where leads are small, so that an engine's rounding shows.
            assert hit.pop("relevance") == pytest.approx(want.pop("relevance"), abs=0.05)
            parts, wanted = hit.pop("passages"), want.pop("passages")
            scores = {part["start"]: part["score"] for part in wanted}
            start = parts[0]["start"]
            assert scores[start] == pytest.approx(wanted[0]["score"], abs=ROUNDING)
            why, because = hit.pop("explanation", None), want.pop("explanation", None)
            assert (why is None) == (because is None) == (not asked.get("explain"))
            if start != wanted[0]["start"]:  # of passages as good as each other another one
                assert found.index(hit) > 0
                for name in ("snippet", "snippet_span"):
                    hit[name] = want[name]
            elif why:
                assert why["score"] == pytest.approx(because["score"], abs=ROUNDING)
                for match, other in zip(why["matches"], because["matches"], strict=True):
                    assert match["query_span"] == other["query_span"]
                    assert match["similarity"] == pytest.approx(other["similarity"], abs=0.01)
            assert hit == want  # id, title, metadata, text, snippet


def test_documents_rerank_and_encode_are_the_indexes(client: TestClient, plain: TestClient) -> None:
    ids = {"id": ["contract", "paris", "bread"]}
    asked = {"query": QUESTIONS[1], "documents": [item.text for item in LIBRARY]}
    for one, other in (
        (client.get("/api/documents", params=ids), plain.get("/api/documents", params=ids)),
        (client.post("/api/rerank", json=asked), plain.post("/api/rerank", json=asked)),
        (
            client.post("/api/encode", json={"texts": QUESTIONS}),
            plain.post("/api/encode", json={"texts": QUESTIONS}),
        ),
    ):
        assert one.status_code == other.status_code == 200 and one.json() == other.json()
    unknown = client.get("/api/documents", params={"id": ["paris", "rome"]})
    assert error_of(unknown, 404) == "unknown_id" and "rome" in unknown.text


def test_info_says_what_is_supported(client: TestClient, plain: TestClient, place: Place) -> None:
    info, expected = client.get("/api/info").json(), plain.get("/api/info").json()
    backend = place.kind != "joined"
    for name in ("model", "documents", "passages", "tokens", "dim", "indexing", "complete"):
        assert info[name] == expected[name], name
    assert info["writable"] is False and info["complete"] is True
    assert info["keywords"] == ("none" if backend else "english")
    assert info["fields"] is not backend and expected["fields"] is True
    assert info["codes"] == ("float32" if backend else "int4")
    assert (info["bytes"] is None) == (info["generation"] is None) == backend


def test_what_is_not_supported_is_refused(
    client: TestClient, plain: TestClient, place: Place
) -> None:
    fields = client.get("/api/fields")
    if place.kind == "joined":
        assert fields.json() == plain.get("/api/fields").json()
        for hybrid in ("rrf", "weighted", "keywords"):
            found, expected = (hits_of(c, "dough", hybrid=hybrid) for c in (client, plain))
            assert [hit["id"] for hit in found] == [hit["id"] for hit in expected]
        return
    assert error_of(fields, 422) == "unsupported"
    name = {"lance": "LanceDB", "qdrant": "Qdrant"}[place.kind]
    for hybrid in ("rrf", "weighted", "keywords"):
        refused = client.post("/api/search", json={"query": "dough", "hybrid": hybrid})
        assert error_of(refused, 422) == "unsupported" and name in refused.text
    asked = {"query": "dough", "where": {"year": {"$gt": 2**60}}}
    assert error_of(client.post("/api/search", json=asked), 422) == "unsupported"
    asked = {"query": "dough", "where": {"year": {"$like": 1}}}
    assert error_of(client.post("/api/search", json=asked), 422) == "invalid_request"


def test_nothing_can_be_written(client: TestClient, place: Place) -> None:
    new = {"documents": [{"id": "d", "text": "Roofs."}]}
    for response in (
        client.post("/api/documents", json=new),
        client.put("/api/documents", json=new),
        client.delete("/api/documents?id=paris"),
    ):
        assert error_of(response, 403) == "read_only"
        assert ("push again" if place.kind != "joined" else "joined indexes are") in response.text
    assert client.get("/api/info").json()["documents"] == len(LIBRARY)


@pytest.mark.usefixtures("at_once")
def test_changes_of_others_are_seen(client: TestClient, place: Place) -> None:
    assert hits_of(client, "rain", k=1)[0]["id"] != "roof"
    place.put(ROOF)
    assert hits_of(client, "rain", k=1)[0]["id"] == "roof"
    assert client.get("/api/info").json()["documents"] == len(LIBRARY) + 1
    place.put(Document("roof", "Tiles.", None, {}))
    assert client.get("/api/documents?id=roof").json()["documents"][0]["text"] == "Tiles."


@backends
@pytest.mark.usefixtures("at_once")
def test_a_push_under_way_is_told_and_does_not_stop_searches(
    client: TestClient, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []

    def meanwhile(self: Any, rows: object) -> None:
        info = client.get("/api/info").json()
        seen.append((len(hits_of(client, "capital", k=9)), info["complete"]))
        upsert(self, rows)

    upsert = place.engine.upsert
    monkeypatch.setattr(place.engine, "upsert", meanwhile)
    place.put(ROOF)
    assert seen == [(len(LIBRARY), place.kind == "lance")]
    assert client.get("/api/info").json()["complete"]
    assert len(hits_of(client, "capital", k=9)) == len(LIBRARY) + 1


@pytest.mark.usefixtures("at_once")
def test_requests_side_by_side_answer_alike(place: Place, encoder: Encoder) -> None:
    app = create_app(Service(encoder, place.open()), limits=Limits(concurrency=4))

    def ask(number: int) -> tuple[str, list[tuple[str, float]]]:
        asked = {"query": QUESTIONS[number % 3], "explain": True}
        response = httpx.post(f"{address}/api/search", json=asked, timeout=60)
        hits = response.raise_for_status().json()["hits"]
        return asked["query"], [(hit["id"], hit["score"]) for hit in hits]

    with listening(app) as address, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(24)))
    assert len({str(answer) for answer in answers}) == len(QUESTIONS)


@backends
@pytest.mark.parametrize(("seconds", "times"), [(3600.0, 0), (0.0, 3)])
def test_a_store_is_asked_for_what_is_new_only_so_often(
    place: Place,
    serving: Callable[[Served], TestClient],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    times: int,
) -> None:
    monkeypatch.setattr("pocket_colbert.server.served.REFRESH_SECONDS", seconds)
    asked: list[RemoteBackend] = []
    monkeypatch.setattr(RemoteBackend, "refresh", lambda backend: asked.append(backend))
    client = serving(place.open())
    for _ in range(3):
        assert client.get("/api/info").status_code == 200
    assert len(asked) == times


@pytest.mark.parametrize("place", ["joined"], indirect=True)
def test_an_id_that_comes_twice_is_told_until_it_is_put_right(
    place: Place, client: TestClient
) -> None:
    place.put(Document("paris", "Another Paris."), part=1)
    for _ in range(2):
        refused = client.post("/api/search", json={"query": "capital"})
        assert error_of(refused, 500) == "index_conflict" and "'paris' twice" in refused.text
    with Index.load(place.parts[0], writable=True) as index:
        index.delete(["paris"])
        index.commit()
    assert client.get("/api/documents?id=paris").json()["documents"][0]["text"] == "Another Paris."


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("kind", BACKENDS)
def test_an_engine_that_is_gone_is_a_bad_gateway(
    kind: str,
    encoder: Encoder,
    library_folder: Path,
    tmp_path: Path,
    serving: Callable[[Served], TestClient],
    caplog: pytest.LogCaptureFixture,
) -> None:
    if kind == "lance" and not importlib.util.find_spec("lancedb"):
        pytest.skip("needs the 'lance' extra")
    with ExitStack() as stack:
        address = ""
        if kind == "qdrant":
            address = f"{stack.enter_context(qdrant_listening(tmp_path / 'qdrant'))}/papers"
        place = Place(kind, encoder, library_folder, tmp_path, address)
        client = serving(place.open())
        assert hits_of(client, "capital")
    shutil.rmtree(tmp_path / "lance", ignore_errors=True)
    for response in (
        client.post("/api/search", json={"query": "capital"}),
        client.get("/api/documents?id=paris"),
        client.get("/api/info"),
    ):
        assert error_of(response, 502) == "backend"
        assert place.addresses[kind] in response.json()["error"]["message"]
        assert QDRANT_KEY not in response.text
    document = client.get("/openapi.json").json()["paths"]
    for method, path in (("post", "search"), ("get", "documents"), ("get", "info")):
        assert "502" in document[f"/api/{path}"][method]["responses"]
    assert place.addresses[kind] in caplog.text and QDRANT_KEY not in caplog.text
    # What needs no backend goes on.
    assert client.get("/health").status_code == 200
    asked = {"query": "capital", "documents": ["Bread.", "Paris is the capital of France."]}
    assert client.post("/api/rerank", json=asked).json()["results"][0]["index"] == 1


def test_the_command_serves_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = []

    def asks(app: Any, listening: object, *, seconds: float, announce: Callable[[], None]) -> None:
        announce()
        with TestClient(app, base_url=BASE) as client:
            answers.extend((hits_of(client, QUESTIONS[1], k=1), client.get("/api/info").json()))

    monkeypatch.setattr("pocket_colbert.server.run.run", asks)
    monkeypatch.setenv("QDRANT_API_KEY", QDRANT_KEY)
    done = CliRunner().invoke(main, ["serve", *place.arguments, "--port", "0"])
    assert done.exit_code == 0, done.output
    assert answers[0][0]["id"] == "contract" and answers[1]["writable"] is False
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"Serving {place.arguments[0]}") and "(4 documents) at" in line
    if place.kind == "qdrant":
        monkeypatch.delenv("QDRANT_API_KEY")
        keyed = place.arguments[0].replace("qdrant://", "qdrant://a%20secret%2Fkey@")
        done = CliRunner().invoke(main, ["serve", keyed, "--port", "0"])
        assert done.exit_code == 0 and len(answers) == 4, done.output
        wrong = CliRunner().invoke(
            main, ["serve", place.arguments[0], "--api-key", "wr0ng", "--port", "0"]
        )
        assert wrong.exit_code == 2 and "401" in wrong.output and "wr0ng" not in wrong.output
        assert "secret" not in done.output


@backends
def test_an_incomplete_store_is_served_when_that_is_asked_for(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unplugged(self: object, rows: object) -> None:
        raise BackendError("unplugged")

    monkeypatch.setattr(place.engine, "upsert", unplugged)
    with pytest.raises(BackendError, match="unplugged"):
        place.put(ROOF)
    complete: list[bool] = []

    def asks(app: Any, listening: object, *, seconds: float, announce: Callable[[], None]) -> None:
        announce()
        with TestClient(app, base_url=BASE) as client:
            complete.append(client.get("/api/info").json()["complete"])
            assert hits_of(client, QUESTIONS[1], k=1)[0]["id"] == "contract"

    monkeypatch.setattr("pocket_colbert.server.run.run", asks)
    monkeypatch.setenv("QDRANT_API_KEY", QDRANT_KEY)
    command = ["serve", *place.arguments, "--port", "0"]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2 and "is incomplete" in refused.output and not complete
    done = CliRunner().invoke(main, [*command, "--incomplete"])
    assert done.exit_code == 0 and complete == [False], done.output


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("lance://x/papers", ["--also", "INDEX"], "--also goes with an index, but"),
        ("lance://x/papers", ["--into", "y"], "--into goes with documents, but"),
        ("qdrant://s3cret@h/p", ["--text-field", "y"], "qdrant://h:6333/p is a backend"),
        ("INDEX", ["--also", "INDEX", "--into", "y"], "--into goes with documents, but"),
        ("INDEX", ["--id-field", "y"], "--id-field goes with documents, but"),
        ("INDEX", ["--incomplete"], "--incomplete goes with a backend, but"),
        ("INDEX", ["--api-key", "y"], "--api-key goes with a backend, but"),
        ("FILE", ["--also", "INDEX"], "--also goes with an index, but"),
    ],
)
def test_options_that_would_do_nothing_are_wrong_usage(
    source: str, options: list[str], message: str, library_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("A note.", "utf-8")
    names = {"INDEX": str(library_folder), "FILE": str(file)}
    arguments = [names.get(item, item) for item in (source, *options)]
    done = CliRunner().invoke(main, ["serve", *arguments, "--port", "0"])
    assert done.exit_code == 2 and message in done.output and "s3cret" not in done.output
    assert list(tmp_path.iterdir()) == [file]
