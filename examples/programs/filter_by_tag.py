"""How do I search only documents with a tag?"""

from pocket_colbert import Collection

notes = Collection("notes.index")
notes.add("Dogs need consent.", ids="dogs", metadata={"tags": ["pets", "rules"]})
notes.add("Quiet hours start at ten.", ids="quiet", metadata={"tags": ["rules"]})
print(notes.search("what is allowed?", where={"tags": "pets"}).ids)

# -> ['dogs']
