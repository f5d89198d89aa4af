"""The Lambda handler, and the bundle it is shipped in."""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import pocket_colbert
from pocket_colbert import BundleError, Document, Encoder, Index, ModelNotFoundError, Retriever
from pocket_colbert.cli.commands import main
from pocket_colbert.config import IndexConfig
from pocket_colbert.deploy.lambda_handler import LambdaHandler
from pocket_colbert.deploy.lambda_zip import HANDLER, make_bundle
from pocket_colbert.deploy.own_files import own_files
from pocket_colbert.deploy.verification import verify
from pocket_colbert.errors import InvalidInputError

pytestmark = pytest.mark.slow

TEXTS = {
    "paris": "Paris is the capital of France.",
    "bees": "A colony of bees swarms in May.",
    "bread": "Knead the dough and let it rise.",
}
on_linux = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="bundles are made on Linux x86_64",
)


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index and its model, side by side as in a bundle."""
    place = tmp_path_factory.mktemp("function")
    shutil.copytree(tiny_model, place / "model")
    encoder = Encoder.load(tiny_model, threads=1)
    config = IndexConfig(dim=encoder.dim, model=encoder.card.fingerprint)
    with Index.create(place / "index", config, threads=1) as index:
        Retriever(encoder, index).add([
            Document(key, text, metadata={"n": n}) for n, (key, text) in enumerate(TEXTS.items())
        ])  # fmt: skip
        index.commit()
        index.delete(["bread"])
        index.commit()
    return place


@pytest.fixture(scope="module")
def handler(folder: Path) -> LambdaHandler:
    return LambdaHandler(str(folder), threads=1)


def http(body: str, method: str = "POST", **more: Any) -> dict[str, Any]:
    """Return an event of a function URL."""
    return {"requestContext": {"http": {"method": method}}, "body": body, **more}


def test_answers_as_the_retriever_does(handler: LambdaHandler) -> None:
    query = "capital of France"
    expected = handler.retriever.retrieve([query], 2)[0]
    answer = handler({"query": query, "k": 2})
    assert [hit["document_id"] for hit in answer["hits"]] == [hit.document_id for hit in expected]
    assert answer["hits"][0]["score"] == expected[0].score
    assert answer["hits"][0]["text"] == TEXTS[expected[0].document_id]
    body = json.dumps({"query": query, "k": 2})
    for event in (
        http(body),
        http(base64.b64encode(body.encode()).decode(), isBase64Encoded=True),
        {"httpMethod": "POST", "body": body},
        {"httpMethod": "GET", "body": None, "queryStringParameters": {"query": query, "k": "2"}},
        http("", "GET", queryStringParameters={"query": query, "k": "2"}),
    ):
        response = handler(event, object())
        assert response["statusCode"] == 200, response
        assert response["headers"]["content-type"].startswith("application/json")
        assert json.loads(response["body"]) == json.loads(json.dumps(answer))


def test_filters_and_leaves_texts_out(handler: LambdaHandler) -> None:
    hits = handler({"query": "bees", "where": {"n": {"$gte": 1}}, "texts": False})["hits"]
    assert [hit["document_id"] for hit in hits] == ["bees"]
    assert "text" not in hits[0] and hits[0]["metadata"] == {"n": 1}


@pytest.mark.parametrize(
    ("event", "status", "message"),
    [
        (http("{"), 400, "must be a JSON object"),
        (http("[1]"), 400, "must be a JSON object, got list"),
        (http(""), 400, "must be a JSON object"),
        (http("{}"), 400, "query must be a string"),
        (http('{"query": " "}'), 400, "not empty"),
        (http('{"query": "a", "k": 0}'), 400, "from 1 to 100, got 0"),
        (http('{"query": "a", "k": true}'), 400, "got True"),
        (http('{"query": "a", "limit": 3}'), 400, "got 'limit'"),
        (
            http('{"query": "a", "hybrid": "both"}'),
            400,
            "hybrid must be 'auto', 'off', 'rrf', 'weighted' or 'keywords'",
        ),
        (
            http('{"query": "a", "hybrid": []}'),
            400,
            "hybrid must be 'auto', 'off', 'rrf', 'weighted' or 'keywords'",
        ),
        (http('{"query": "a", "where": {"$near": 1}}'), 400, "$near"),
        (http('{"query": "a", "where": 3}'), 400, "where must be a JSON object"),
        (http('{"query": "a", "texts": 1}'), 400, "texts must be true or false"),
        (http("?", isBase64Encoded=True), 400, "base64"),
        (http("", "GET", queryStringParameters={"query": "a", "k": "x"}), 400, "k must be JSON"),
        (http("", "DELETE"), 405, "GET or POST"),
        (http(" " * 70_000), 413, "at most"),
    ],
)
def test_bad_requests(
    handler: LambdaHandler, event: dict[str, Any], status: int, message: str
) -> None:
    response = handler(event, None)
    assert response["statusCode"] == status
    assert message in json.loads(response["body"])["error"]


def test_bad_events_that_are_no_requests(handler: LambdaHandler) -> None:
    with pytest.raises(InvalidInputError, match="got 'Records'"):
        handler({"Records": []})
    with pytest.raises(InvalidInputError, match="JSON object, got list"):
        handler([])  # type: ignore[arg-type]


def test_the_example_is_what_bundles_hold() -> None:
    example = Path(__file__).parents[2] / "examples" / "serverless" / "handler.py"
    assert example.read_text(encoding="utf-8") == HANDLER


HANDLER_ROOMS = {"deploy", "index", "model", "models", "search", "storage", "vectors"}
"""No cli, server, distributed, evaluation, ingest, backends or integrations."""


def _rooms(names: Iterable[str]) -> set[str]:
    """Return the folders of this package that files of a bundle are in."""
    parts = [name.split("/") for name in names if name.startswith("pocket_colbert/")]
    return {part[1] for part in parts if len(part) > 2} - {"__pycache__"}


def test_own_files_are_whole_rooms_with_their_data() -> None:
    files = own_files("pocket_colbert.deploy.lambda_handler")
    assert _rooms(files) == HANDLER_ROOMS
    root = Path(pocket_colbert.__file__).parent
    for room in HANDLER_ROOMS - {"models"}:
        expected = {path for path in (root / room).rglob("*") if path.suffix in (".py", ".onnx")}
        assert expected <= set(files.values())
    assert "pocket_colbert/vectors/onnx_graphs/maxsim.onnx" in files
    assert "pocket_colbert/__init__.py" in files and "pocket_colbert/errors.py" in files
    assert not [name for name in files if name.endswith(".pyc")]
    assert "server" in _rooms(own_files("pocket_colbert.server.app"))  # it follows imports


@on_linux
def test_a_bundle_answers_alone(folder: Path, handler: LambdaHandler, tmp_path: Path) -> None:
    """Made twice, the bytes are the same; unpacked, it needs nothing but Python."""
    output = tmp_path / "function.zip"
    made = make_bundle(
        folder / "index", output, model=folder / "model", glibc="2.99", compression=0
    )
    again = tmp_path / "again.zip"
    make_bundle(folder / "index", again, model=folder / "model", glibc="2.99", compression=0)
    assert output.read_bytes() == again.read_bytes()
    assert made.hits == 2 and made.bytes == output.stat().st_size
    with zipfile.ZipFile(output) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {item.date_time for item in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert sum(item.file_size for item in archive.infolist()) == made.unpacked < 250 << 20
        archive.extractall(tmp_path / "alone")
    top = {name.partition("/")[0] for name in names}
    assert {"handler.py", "index", "model", "pocket_colbert", "onnxruntime", "usearch"} <= top
    assert not top & {"huggingface_hub", "click", "rich", "pip", "scipy", "pocket_colbert_export"}
    assert _rooms(names) == HANDLER_ROOMS
    assert not [name for name in names if "/tests/" in name or name.endswith((".pyi", ".h"))]
    assert [name for name in names if name.startswith("numpy-") and "LICEN" in name]

    event = http(json.dumps({"query": "capital of France"}))
    script = (
        f"import sys; sys.path.append({str(tmp_path / 'alone')!r})\n"
        "import json, handler\n"
        f"print(json.dumps(handler.handler({event!r}, None)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-W", "error", "-c", script],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == handler(event, None)
    for place in (output, again):
        place.unlink()
    shutil.rmtree(tmp_path / "alone")


@on_linux
def test_what_cannot_be_bundled(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    index, output = folder / "index", tmp_path / "function.zip"
    with pytest.raises(ModelNotFoundError, match="none of the bundled ones .*--model"):
        make_bundle(index, output)
    with pytest.raises(BundleError, match="must look like 2.34, got 'new'"):
        make_bundle(index, output, model=tiny_model, glibc="new")
    with pytest.raises(BundleError, match=r"needs glibc 2\.\d+, but the bundle will run with 2.5"):
        make_bundle(index, output, model=tiny_model, glibc="2.5")
    with pytest.raises(BundleError, match=r"MB unpacked.* largest parts: \w+ \d+"):
        make_bundle(index, output, model=tiny_model, glibc="2.99", limit=1 << 20)
    with pytest.raises(BundleError, match="made with another model"):
        make_bundle(index, output, model="small", glibc="2.99")
    assert not list(tmp_path.iterdir())
    result = CliRunner().invoke(main, ["bundle", str(tmp_path), "--target", "lambda", "-o", "z"])
    assert result.exit_code == 2 and "no index at" in result.stderr


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("return {'hits': [1]}", "does not answer 'a' as the installed package does"),
        ("return open(__file__[:-3] + '.log', 'w').close() or {'hits': []}", "its own folder"),
        ("import scipy", "No module named 'scipy'"),
    ],
)
def test_a_bundle_that_fails_alone_is_refused(code: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "function.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("handler.py", f"def handler(event, context):\n    {code}\n")
        archive.writestr("usearch/index.py", "")
    if "open" in code and hasattr(os, "geteuid") and os.geteuid() != 0:
        message = "Permission denied"  # only root may write to what is read-only
    with pytest.raises(BundleError, match=message):
        verify(path, tmp_path / "alone", {"query": "a"}, {"hits": []})
