"""LangChain: retrieve documents, rerank them, and build the prompt for a chat model."""

from __future__ import annotations

from langchain_core.documents import Document as LangChainDocument
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from pocket_colbert import Document, Encoder, Index, Retriever
from pocket_colbert.integrations.langchain import PocketColbertReranker, PocketColbertRetriever

NOTES = [
    LangChainDocument("Bees swarm in May when the hive is full.", id="a", metadata={"year": 2024}),
    LangChainDocument("Honey keeps for years in a closed jar.", id="b", metadata={"year": 2019}),
    LangChainDocument("Feed the bees sugar syrup in autumn.", id="c", metadata={"year": 2021}),
]


def main() -> None:
    encoder = Encoder.load()
    index = Retriever(encoder, Index(encoder.dim))
    index.add([Document(str(n.id), n.page_content, metadata=n.metadata) for n in NOTES])

    retriever = PocketColbertRetriever(retriever=index, k=2, where={"year": {"$gte": 2020}})
    prompt = ChatPromptTemplate.from_template("Answer from this:\n{context}\n\n{question}")
    context = retriever | (lambda notes: "\n".join(note.page_content for note in notes))
    chain = {"context": context, "question": RunnablePassthrough()} | prompt  # | your chat model
    print(chain.invoke("When do bees swarm?").to_string())

    reranker = PocketColbertReranker(encoder=encoder, k=1)
    for note in reranker.compress_documents(NOTES, "How long does honey keep?"):
        print(note.id, round(note.metadata["relevance_score"], 2), note.page_content)


if __name__ == "__main__":
    main()
