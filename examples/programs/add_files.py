"""How do I search a folder of files?"""

from pocket_colbert import Collection

handbook = Collection("handbook.index")
handbook.add_files("handbook", exclude=["drafts/"])
for hit in handbook.search("who mends the roof?", min_relevance=0.5):
    print(hit.document_id, hit.title)

# -> house.md House rules
