"""Rerank endpoints, asked by the clients that others wrote.

Those that cannot be installed beside the rest (litellm, infinity, Cohere's in LangChain and
LlamaIndex) are skipped in the suite and run in an environment of their own; CONTRIBUTING.md says
how.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pocket_colbert import Encoder, Retriever
from pocket_colbert.search.relevance import falling
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
    hits = Retriever(encoder).rerank(QUERY, TEXTS)
    relevances = falling([hit.relevance or 0.0 for hit in hits])
    return [(int(hit.document_id), value) for hit, value in zip(hits, relevances, strict=True)]


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


def nodes_of(texts: list[str]) -> Any:
    """Return texts as nodes of LlamaIndex."""
    from llama_index.core.schema import NodeWithScore, TextNode

    return [NodeWithScore(node=TextNode(text=text)) for text in texts]


def check_nodes(found: Any, expected: list[tuple[int, float]]) -> None:
    """Compare what LlamaIndex makes of an answer."""
    assert [node.text for node in found] == [TEXTS[index] for index, _ in expected]
    scores = [node.score for node in found]
    assert scores == pytest.approx([score for _, score in expected], abs=1e-4)


def check_documents(found: Any, expected: list[tuple[int, float]]) -> None:
    """Compare what LangChain makes of an answer."""
    assert [item.page_content for item in found] == [TEXTS[index] for index, _ in expected]
    scores = [item.metadata["relevance_score"] for item in found]
    assert scores == pytest.approx([score for _, score in expected], abs=1e-4)


def langchain_documents() -> Any:
    """Return the texts as documents of LangChain."""
    from langchain_core.documents import Document

    return [Document(page_content=text) for text in TEXTS]


def test_voyage(address: str, expected: list[tuple[int, float]]) -> None:
    voyageai = pytest.importorskip("voyageai", reason="needs pip install voyageai")
    client = voyageai.Client(api_key=TOKEN, base_url=f"{address}/v1")
    answer = client.rerank(QUERY, TEXTS, model="rerank-2", top_k=2)
    check(answer.results, expected[:2])
    assert [item.document for item in answer.results] == [TEXTS[n] for n, _ in expected[:2]]
    assert answer.total_tokens > 0


def test_voyage_in_langchain(address: str, expected: list[tuple[int, float]]) -> None:
    voyage = pytest.importorskip(
        "langchain_voyageai", reason="needs pip install langchain-voyageai"
    )
    ranker = voyage.VoyageAIRerank(
        api_key=TOKEN, base_url=f"{address}/v1", model="rerank-2", top_k=3
    )
    check_documents(ranker.compress_documents(langchain_documents(), QUERY), expected[:3])


def test_xinference(address: str, expected: list[tuple[int, float]]) -> None:
    xinference = pytest.importorskip(
        "xinference_client.client.restful.restful_client",
        reason="needs pip install xinference-client",
    )
    client = xinference.Client(address, api_key=TOKEN)
    model = client.get_model("bge-reranker-base")
    results = model.rerank(TEXTS, QUERY, top_n=3, return_documents=True, return_len=True)["results"]
    assert [item["index"] for item in results] == [index for index, _ in expected[:3]]
    assert results[0]["document"]["text"] == TEXTS[expected[0][0]]
    with pytest.raises(RuntimeError, match="Failed to rerank documents, detail: .*length"):
        model.rerank([], QUERY)
    client.close()
    other = xinference.Client(address, api_key="other")
    with pytest.raises(RuntimeError, match="Authorization"):
        other.get_model("bge-reranker-base")
    other.close()


def test_xinference_in_llama_index(library_folder: Path, expected: list[tuple[int, float]]) -> None:
    xinference = pytest.importorskip(
        "llama_index.postprocessor.xinference_rerank",
        reason="needs pip install llama-index-postprocessor-xinference-rerank",
    )
    with serve_command(library_folder, "--read-only") as (_, address):  # it sends no token
        ranker = xinference.XinferenceRerank(base_url=address, top_n=2)
        check_nodes(ranker.postprocess_nodes(nodes_of(TEXTS), query_str=QUERY), expected[:2])


def test_text_embeddings_inference_in_llama_index(
    address: str, expected: list[tuple[int, float]]
) -> None:
    tei = pytest.importorskip(
        "llama_index.postprocessor.tei_rerank",
        reason="needs pip install llama-index-postprocessor-tei-rerank",
    )
    ranker = tei.TextEmbeddingInference(
        base_url=address, top_n=3, auth_token=f"Bearer {TOKEN}", model_name="any"
    )
    check_nodes(ranker.postprocess_nodes(nodes_of(TEXTS), query_str=QUERY), expected[:3])


def test_silicon_flow_in_llama_index(address: str, expected: list[tuple[int, float]]) -> None:
    silicon = pytest.importorskip(
        "llama_index.postprocessor.siliconflow_rerank",
        reason="needs pip install llama-index-postprocessor-siliconflow-rerank",
    )
    ranker = silicon.SiliconFlowRerank(base_url=f"{address}/v1/rerank", api_key=TOKEN, top_n=2)
    check_nodes(ranker.postprocess_nodes(nodes_of(TEXTS), query_str=QUERY), expected[:2])


def test_cohere_in_llama_index(address: str, expected: list[tuple[int, float]]) -> None:
    cohere = pytest.importorskip(
        "llama_index.postprocessor.cohere_rerank",
        reason="needs pip install llama-index-postprocessor-cohere-rerank",
    )
    ranker = cohere.CohereRerank(base_url=address, api_key=TOKEN, top_n=2)
    check_nodes(ranker.postprocess_nodes(nodes_of(TEXTS), query_str=QUERY), expected[:2])


def test_cohere_in_langchain(address: str, expected: list[tuple[int, float]]) -> None:
    cohere = pytest.importorskip("langchain_cohere", reason="needs pip install langchain-cohere")
    ranker = cohere.CohereRerank(
        base_url=address, cohere_api_key=TOKEN, model="rerank-v3.5", top_n=3
    )
    check_documents(ranker.compress_documents(langchain_documents(), QUERY), expected[:3])


def test_infinity(address: str, expected: list[tuple[int, float]]) -> None:
    infinity = pytest.importorskip("infinity_client", reason="needs pip install infinity-client")
    from infinity_client.api.default import rerank
    from infinity_client.models import HTTPValidationError, RerankInput

    client = infinity.AuthenticatedClient(base_url=address, token=TOKEN)
    asked = RerankInput(QUERY, TEXTS, return_documents=True, top_n=3)
    answer = rerank.sync(client=client, body=asked)
    check(answer.results, expected[:3])
    assert [item.document for item in answer.results] == [TEXTS[n] for n, _ in expected[:3]]
    raw = rerank.sync(client=client, body=RerankInput(QUERY, TEXTS, raw_scores=True)).results
    tokens = raw[0].relevance_score / expected[0][1]
    check(raw, [(index, score * tokens) for index, score in expected])
    refused = rerank.sync(client=client, body=RerankInput(QUERY, []))
    assert isinstance(refused, HTTPValidationError) and "length" in refused.detail[0].msg


def test_infinity_in_langchain(address: str, expected: list[tuple[int, float]]) -> None:
    infinity = pytest.importorskip("infinity_client", reason="needs pip install infinity-client")
    community = pytest.importorskip(
        "langchain_community.document_compressors.infinity_rerank",
        reason="needs pip install langchain-community",
    )
    client = infinity.Client(base_url=address, headers={"Authorization": f"Bearer {TOKEN}"})
    ranker = community.InfinityRerank(client=client, model="any", top_n=2)
    found = ranker.compress_documents(langchain_documents(), QUERY)
    check_documents(found[:2], expected[:2])


@pytest.mark.parametrize(
    "provider", ["cohere", "jina_ai", "infinity", "hosted_vllm", "huggingface"]
)
@pytest.mark.filterwarnings("ignore:Item:UserWarning")  # of pydantic about its types
def test_litellm(
    address: str,
    expected: list[tuple[int, float]],
    provider: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # it would look for another
    litellm = pytest.importorskip("litellm", reason="needs pip install litellm")
    # litellm reads infinity's documents as strings and vLLM's as objects, from the same path.
    more = {"return_documents": False} if provider == "infinity" else {}
    answer = litellm.rerank(
        model=f"{provider}/any", query=QUERY, documents=TEXTS, top_n=3, api_key=TOKEN,
        api_base=address, **more,
    )  # fmt: skip
    results = answer.results[:3]
    assert [item["index"] for item in results] == [index for index, _ in expected[:3]]
    scores = [item["relevance_score"] for item in results]
    assert scores == pytest.approx([score for _, score in expected[:3]], abs=1e-4)
