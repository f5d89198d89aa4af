"""How do I ask many questions at once?"""

from pocket_colbert import Collection

notes = Collection("notes.index")
notes.add(["The landlord repairs the roof.", "Rent is due on the first."])
for found in notes.search(["who mends the roof?", "when do I pay?"], k=1):
    print(found.query, "->", found[0].text)

# -> who mends the roof? -> The landlord repairs the roof.
# -> when do I pay? -> Rent is due on the first.
