"""How do I replace a document?"""

from pocket_colbert import Collection

notes = Collection("notes.index")
notes.add("Dogs need consent.", ids="dogs", metadata={"year": 2020})
notes.upsert("Dogs are welcome.", ids="dogs", metadata={"year": 2024})
print(notes.get("dogs").text, len(notes))

# -> Dogs are welcome. 1
