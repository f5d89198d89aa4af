"""My ids are numbers: what becomes of them?"""

from pocket_colbert import Collection

notes = Collection("notes.index")
notes.add(["The landlord repairs the roof.", "Rent is due on the first."], ids=[101, 102])
print(101 in notes, notes.get(102).text)
print([int(name) for name in notes.search("who mends the roof?").ids])

# -> True Rent is due on the first.
# -> [101, 102]
