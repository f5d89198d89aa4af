"""How do I find error codes and names by their exact letters too?"""

from pocket_colbert import Collection

notes = Collection("notes.index")
notes.add(["Error E-4711: pressure is low.", "Error E-4712: pressure is high."], ids=[4711, 4712])
print(notes.search("E-4712", k=1, hybrid=True).ids)  # meaning and keywords
print(notes.search("E-4712", k=1, hybrid="keywords").ids)  # keywords alone

# -> ['4712']
# -> ['4712']
