"""LlamaIndex: retrieve passages and rerank nodes."""

from __future__ import annotations

from llama_index.core.schema import QueryBundle

from pocket_colbert import Document, Encoder, Index, Retriever
from pocket_colbert.integrations.llama_index import PocketColbertReranker, PocketColbertRetriever

NOTES = [
    Document("a", "Bees swarm in May when the hive is full.", metadata={"year": 2024}),
    Document("b", "Honey keeps for years in a closed jar.", metadata={"year": 2019}),
    Document("c", "Feed the bees sugar syrup in autumn.", metadata={"year": 2021}),
]


def main() -> None:
    encoder = Encoder.load()
    index = Retriever(encoder, Index(encoder.dim))
    index.add(NOTES)

    # With a language model: RetrieverQueryEngine.from_args(retriever, node_postprocessors=[...])
    retriever = PocketColbertRetriever(index, k=3, hybrid="weighted", passages=1)
    nodes = retriever.retrieve("When do bees swarm?")
    for node in PocketColbertReranker(encoder=encoder, k=2).postprocess_nodes(
        nodes, QueryBundle("What do bees eat before winter?")
    ):
        print(node.node_id, round(node.score or 0, 2), node.text)


if __name__ == "__main__":
    main()
