"""My documents are long: which part matched?"""

from pocket_colbert import Collection

notes = Collection("notes.index")
notes.add(
    "Bees live in hives. " * 200 + "Rent is due on the first. " + "Dogs bark. " * 300, ids="all"
)
found = notes.search("when is the rent due?")
print(len(found[0].text), len(found.passages[0]), "Rent is due" in found.passages[0])

# -> 7326 1033 True
