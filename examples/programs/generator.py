"""My documents come one by one: may I give a generator?"""

from pocket_colbert import Collection

pages = (f"Page {number} is about the number {number}." for number in range(1, 40))
notes = Collection("notes.index")
print(notes.add(pages, ids=range(1, 40)))
print(notes.search("the page about number seventeen", k=1).ids)

# -> 39
# -> ['17']
