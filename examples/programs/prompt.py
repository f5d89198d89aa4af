"""How do I build the prompt of a language model from what was found?"""

from pocket_colbert import Collection

(handbook := Collection("handbook.index")).add_files("handbook")
question = "May I keep a dog?"
context = "\n".join(handbook.search(question, k=2, min_relevance=0.3).passages)
print(f"Answer from this:\n{context}\nQuestion: {question}")

# >

# -> Answer from this:
# -> Pets
# ->
# -> Dogs and cats need the landlord's consent. Fish do not.
# -> Question: May I keep a dog?
