"""asyncio: run many searches at a time without blocking the event loop."""

from __future__ import annotations

import asyncio

from pocket_colbert import Document, Encoder, Hit, Index, Retriever

NOTES = [
    Document("a", "Bees swarm in May when the hive is full."),
    Document("b", "Honey keeps for years in a closed jar."),
    Document("c", "Feed the bees sugar syrup in autumn."),
]
QUESTIONS = ["When do bees swarm?", "How long does honey keep?", "What do bees eat?"]


async def search(retriever: Retriever, question: str, limit: asyncio.Semaphore) -> Hit:
    # A search cannot be interrupted, and more of them than cores only wait for each other.
    async with limit:
        hits = await asyncio.to_thread(retriever.retrieve, [question], 1)
    return hits[0][0]


async def main() -> None:
    encoder = Encoder.load(threads=1)
    retriever = Retriever(encoder, Index(encoder.dim, threads=1))
    await asyncio.to_thread(retriever.add, NOTES)
    limit = asyncio.Semaphore(2)
    hits = await asyncio.gather(*(search(retriever, q, limit) for q in QUESTIONS))
    for question, hit in zip(QUESTIONS, hits, strict=True):
        print(question, "->", hit.text)


if __name__ == "__main__":
    asyncio.run(main())
