"""I have texts from another search: how do I rerank them?"""

from pocket_colbert import Encoder, Retriever

texts = ["Paris is in France.", "Berlin is in Germany.", "Bees live in hives."]
ranked = Retriever(Encoder.load()).rerank("Which city is German?", texts, k=2)
for hit in ranked:
    print(hit.document_id, hit.text)

# -> 1 Berlin is in Germany.
# -> 0 Paris is in France.
