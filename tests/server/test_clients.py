"""Rerank endpoints, asked by the clients that others wrote: Cohere's SDK, Jina's in frameworks."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Encoder, Retriever
from tests.support.servers import serve_command

# Not all of these clients close their connections.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

QUERY = "what is the capital of France?"
TEXTS = [
    "Bread needs flour, water and time.",
    "Paris is in France. " * 90,
    "Paris is the capital of France.",
    "Berlin is the capital of Germany.",
]
TOKEN = "a-key"


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Close what clients leave open before other tests, for which a warning is an error, begin."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def address(library_folder: Path) -> Iterator[str]:
    """The address of the real command, which asks for a token."""
    with serve_command(library_folder, "--read-only", "--token", TOKEN) as (_, found):
        yield found


@pytest.fixture(scope="module")
def expected(encoder: Encoder) -> list[tuple[int, float]]:
    """Places and relevance, best first, as they come without a server."""
    tokens = len(encoder.query_tokens(QUERY))
    hits = Retriever(encoder).rerank(QUERY, TEXTS)
    return [(int(hit.document_id), hit.score / tokens) for hit in hits]


def check(results: Any, expected: list[tuple[int, float]]) -> None:
    """Compare what a client makes of an answer."""
    assert [item.index for item in results] == [index for index, _ in expected]
    # Two encoders with other numbers of threads are the same to the last bits.
    scores = [item.relevance_score for item in results]
    assert scores == pytest.approx([score for _, score in expected], abs=1e-4)


def test_cohere_version_2(address: str, expected: list[tuple[int, float]]) -> None:
    cohere = pytest.importorskip("cohere", reason="needs Cohere's SDK (pip install cohere)")
    client = cohere.ClientV2(TOKEN, base_url=address)
    answer = client.rerank(model="any", query=QUERY, documents=TEXTS)
    check(answer.results, expected)
    assert answer.id and answer.meta.api_version.version == "2"
    assert answer.meta.billed_units.search_units == 1
    two = client.rerank(
        model="any", query=QUERY, documents=TEXTS, top_n=2, max_tokens_per_doc=512, priority=1
    )
    check(two.results, expected[:2])

    async def ask() -> Any:
        async with cohere.AsyncClientV2(TOKEN, base_url=address) as concurrent:
            asked = concurrent.rerank(model="any", query=QUERY, documents=TEXTS)
            return (await asked).results

    check(asyncio.run(ask()), expected)


def test_cohere_version_1(address: str, expected: list[tuple[int, float]]) -> None:
    cohere = pytest.importorskip("cohere", reason="needs Cohere's SDK (pip install cohere)")
    client = cohere.Client(TOKEN, base_url=address)
    check(client.rerank(query=QUERY, documents=TEXTS, return_documents=False).results, expected)
    objects = [{"text": text} for text in TEXTS]
    answer = client.rerank(
        model="any", query=QUERY, documents=objects, top_n=3, rank_fields=["text"],
        return_documents=True, max_chunks_per_doc=4,
    )  # fmt: skip
    check(answer.results, expected[:3])
    assert [item.document.text for item in answer.results] == [TEXTS[n] for n, _ in expected[:3]]
    assert answer.meta.api_version.version == "1"


def test_cohere_reads_our_errors(address: str) -> None:
    cohere = pytest.importorskip("cohere", reason="needs Cohere's SDK (pip install cohere)")
    ask = {"model": "any", "query": QUERY, "documents": TEXTS}
    with pytest.raises(cohere.UnauthorizedError) as refused:
        cohere.ClientV2("another", base_url=address).rerank(**ask)
    assert refused.value.body["error"]["type"] == "unauthorized"
    with pytest.raises(cohere.UnprocessableEntityError) as wrong:
        cohere.ClientV2(TOKEN, base_url=address).rerank(**{**ask, "documents": []})
    assert wrong.value.body["error"]["type"] == "invalid_request"


def test_jina_in_llama_index(address: str, expected: list[tuple[int, float]]) -> None:
    jina = pytest.importorskip(
        "llama_index.postprocessor.jinaai_rerank",
        reason="needs pip install llama-index-postprocessor-jinaai-rerank",
    )
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    ranker = jina.JinaRerank(top_n=2, base_url=f"{address}/v1", api_key=TOKEN)
    found = ranker.postprocess_nodes(nodes, query_str=QUERY)
    assert [node.text for node in found] == [TEXTS[n] for n, _ in expected[:2]]
    assert [node.score for node in found] == pytest.approx([s for _, s in expected[:2]], abs=1e-4)


def test_jina_in_haystack(address: str, expected: list[tuple[int, float]]) -> None:
    rankers = pytest.importorskip(
        "haystack_integrations.components.rankers.jina", reason="needs pip install jina-haystack"
    )
    from haystack import Document
    from haystack.utils import Secret

    ranker = rankers.JinaRanker(
        api_key=Secret.from_token(TOKEN), top_k=3, base_url=f"{address}/v1/rerank"
    )
    found = ranker.run(query=QUERY, documents=[Document(content=text) for text in TEXTS])
    assert [item.content for item in found["documents"]] == [TEXTS[n] for n, _ in expected[:3]]
    scores = [item.score for item in found["documents"]]
    assert scores == pytest.approx([score for _, score in expected[:3]], abs=1e-4)
