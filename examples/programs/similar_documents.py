"""How do I find documents like one that I have?"""

from pocket_colbert import Collection

articles = Collection("articles.index")
articles.add(["Dogs need consent.", "Cats need consent.", "Rent is due."], ids=["a", "b", "c"])
like = articles.get("a")
print([name for name in articles.search(like.text, k=2).ids if name != like.document_id])

# -> ['b']
