"""How do I leave out texts that are there already?"""

from pocket_colbert import Collection

notes = Collection("notes.index")
print(notes.add(["Dogs need consent.", "Rent is due on the first.", "Dogs need consent."]))
print(notes.add(["Rent is due on the first.", "Bees are fine."]))
print(len(notes))

# -> 2
# -> 1
# -> 3
