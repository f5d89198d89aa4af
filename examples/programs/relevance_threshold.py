"""How do I get nothing rather than something that does not fit?"""

from pocket_colbert import Collection

notes = Collection("notes.index")
notes.add(["The landlord repairs the roof.", "Rent is due on the first."])
print(len(notes.search("who mends the roof?", min_relevance=0.5)))
print(notes.search("how do magnets work?", min_relevance=0.5))

# -> 1
# -> No hits for 'how do magnets work?'.
