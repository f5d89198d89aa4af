"""What is watched of a server: metrics, the access log, and who may ask from other sites."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from pocket_colbert import Encoder, Index
from pocket_colbert.errors import InvalidInputError
from tests.support.pages import serving
from tests.support.servers import error_of

pytest.importorskip("starlette")

from pocket_colbert import Document  # noqa: E402
from pocket_colbert.server.metrics import Metrics  # noqa: E402
from pocket_colbert.server.observing import AccessLog  # noqa: E402
from pocket_colbert.server.security import Prefixed, checked_origins  # noqa: E402

DOCUMENTS = [Document("bees", "Bees swarm in May."), Document("moon", "The moon moves the tides.")]
ORIGIN = "https://app.example.com"


def samples(text: str) -> dict[str, float]:
    """Return what Prometheus' own parser reads."""
    from prometheus_client.parser import text_string_to_metric_families

    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


@pytest.fixture
def log() -> io.StringIO:
    """Where the access log goes."""
    return io.StringIO()


@pytest.fixture
def address(tmp_path: Path, encoder: Encoder, log: io.StringIO) -> Iterator[str]:
    """A server that is watched, below a path as well."""
    with serving(
        tmp_path, encoder, DOCUMENTS, access_log=AccessLog(log), origins=[ORIGIN], prefix="/x"
    ) as found:
        yield found


def test_metrics_count_what_happens(address: str) -> None:
    before = samples(httpx.get(f"{address}/metrics").text)
    httpx.post(f"{address}/api/search", json={"query": "bees"})
    httpx.post(f"{address}/x/api/search", json={"query": "tides"})
    httpx.post(f"{address}/api/search", json={"query": ""})
    httpx.get(f"{address}/app.js")
    for n in range(20):
        httpx.get(f"{address}/nothing/{n}")
        httpx.request(f"METHOD{n}", f"{address}/")
        httpx.get(f"{address}/v1/models/m{n}")
    answer = httpx.get(f"{address}/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = samples(answer.text)

    def requests(route: str, method: str, status: int) -> float:
        name = f"pocket_colbert_requests_total{{method={method},route={route},status={status}}}"
        return found.get(name, 0)

    assert requests("/api/search", "POST", 200) == 2
    assert requests("/api/search", "POST", 422) == 1
    assert requests("page", "GET", 200) == 1
    assert requests("other", "GET", 404) == 20
    assert requests("page", "other", 405) == 20
    assert requests("/v1/models/{model}", "GET", 200) == 20
    assert found["pocket_colbert_request_seconds_count{route=/api/search}"] == 3
    runs = "pocket_colbert_model_runs_total{}"
    assert found[runs] >= before[runs] + 2
    assert found["pocket_colbert_documents{}"] == 2
    assert found["pocket_colbert_index_bytes{}"] > 0
    assert found["pocket_colbert_requests_running{gate=read}"] == 0
    assert found["pocket_colbert_requests_waiting{gate=write}"] == 0


def test_metrics_need_the_token(tmp_path: Path, encoder: Encoder) -> None:
    with serving(tmp_path, encoder, DOCUMENTS, token="a-key") as address:
        assert error_of(httpx.get(f"{address}/metrics"), 401) == "unauthorized"
        allowed = httpx.get(f"{address}/metrics", headers={"Authorization": "Bearer a-key"})
        assert allowed.status_code == 200
        for path in ("/", "/docs", "/docs.js", "/vendor/highlight.js"):
            assert httpx.get(address + path).status_code == 200


def test_the_access_log_is_json_without_secrets(address: str, log: io.StringIO) -> None:
    httpx.post(f"{address}/api/search", json={"query": "bees secret"})
    httpx.get(f"{address}/api/documents?id=secret", headers={"Authorization": "Bearer secret"})
    httpx.get(f"{address}/%22%0A%0D%5C%7B%7D%E2%80%A8x")
    lines = [json.loads(line) for line in log.getvalue().split("\n") if line]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/api/search", 200), ("GET", "/api/documents", 404),
        ("GET", '/"\n\r\\{}\u2028x', 404),
    ]  # fmt: skip
    assert "secret" not in log.getvalue()
    for line in lines:
        assert set(line) == {"time", "client", "method", "path", "status", "ms", "bytes"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", line["time"])
        assert line["client"] == "127.0.0.1" and line["ms"] > 0 and line["bytes"] > 0


def test_a_log_that_cannot_be_written_stops_nothing(
    tmp_path: Path, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    closed = io.StringIO()
    closed.close()
    with serving(tmp_path, encoder, DOCUMENTS, access_log=AccessLog(closed)) as address:
        for _ in range(3):
            assert httpx.get(f"{address}/health").status_code == 200
    assert [record.message[:32] for record in caplog.records] == [
        "the access log cannot be written"
    ]


@pytest.mark.parametrize(
    "origin",
    [None, "https://other.example.com", "null", ORIGIN + ":444", "http://app.example.com",
     ORIGIN + ".evil.example"],
)  # fmt: skip
def test_other_sites_may_not_ask(address: str, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    answer = httpx.get(f"{address}/api/info", headers=headers)
    assert answer.headers["vary"] == "Origin"
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = {**headers, "Access-Control-Request-Method": "POST"}
    assert httpx.options(f"{address}/api/search", headers=asked).status_code == 405


def test_a_site_that_is_named_may_ask(address: str) -> None:
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "DELETE",
             "Access-Control-Request-Headers": "authorization"}  # fmt: skip
    agreed = httpx.options(f"{address}/api/documents", headers=asked)
    assert agreed.status_code == 204
    assert agreed.headers["access-control-allow-origin"] == ORIGIN
    assert "DELETE" in agreed.headers["access-control-allow-methods"]
    assert "Authorization" in agreed.headers["access-control-allow-headers"]
    assert "access-control-allow-credentials" not in agreed.headers
    for query, status in (("bees", 200), ("", 422)):
        answer = httpx.post(
            f"{address}/api/search", json={"query": query}, headers={"Origin": ORIGIN}
        )
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["vary"] == "Origin"


def test_no_site_may_ask_by_default(tmp_path: Path, encoder: Encoder) -> None:
    with serving(tmp_path, encoder, DOCUMENTS) as address:
        answer = httpx.get(f"{address}/api/info", headers={"Origin": ORIGIN})
        assert "access-control-allow-origin" not in answer.headers
        assert "vary" not in answer.headers


def test_another_host_gets_no_agreement(address: str) -> None:
    headers = {"Host": "evil.example", "Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
    assert error_of(httpx.options(f"{address}/api/info", headers=headers), 421) == "wrong_host"


@pytest.mark.parametrize(
    "origin",
    ["*", "null", "https://a.example/", "https://a.example/x", "a.example", "ftp://a.example",
     "https://*.example", "https://A.example", "https://a.example\r\nx: y", "https://a b", ""],
)  # fmt: skip
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(InvalidInputError, match="an origin must be"):
        checked_origins([origin])


@pytest.mark.parametrize(
    "prefix", ["x", "/", "/x/", "//x", "/x y", "/x\n", "/../x", "/a/./b", "/é"]
)
def test_what_is_no_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidInputError, match="a path prefix must"):
        Prefixed(None, prefix)  # type: ignore[arg-type]


def test_a_prefix(address: str) -> None:
    for query in ("", "?q=a%20b"):
        moved = httpx.get(f"{address}/x{query}")
        assert (moved.status_code, moved.headers["location"]) == (308, f"/x/{query}")
    assert httpx.get(f"{address}/x/health").json() == httpx.get(f"{address}/health").json()
    assert httpx.get(f"{address}/xhealth").status_code == 404
    assert httpx.get(f"{address}/x//evil.example").status_code == 404
    assert httpx.get(f"{address}/openapi.json").json()["servers"] == [{"url": "/x"}]


def test_metrics_of_a_backend_without_bytes(library_folder: Path, encoder: Encoder) -> None:
    from dataclasses import replace

    from pocket_colbert.server.served import ServedIndex

    with Index.load(library_folder) as index:
        contents = replace(ServedIndex(index).contents(), bytes=None)

        class Backend:
            model_runs = 3

            def contents(self) -> Any:
                return contents

        text = Metrics(Backend(), {}).text().decode()
    assert "pocket_colbert_documents 4.0" in text and "index_bytes" not in text
