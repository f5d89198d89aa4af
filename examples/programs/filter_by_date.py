"""How do I search only what was published since a day?"""

from datetime import date
from pocket_colbert import Collection

notes = Collection("notes.index")
notes.add(
    ["Old rules.", "New rules."], metadata=[{"on": date(2019, 3, 1)}, {"on": date(2024, 5, 5)}]
)
print(notes.search("rules", where={"on": {"$gte": date(2024, 1, 1)}})[0].text)

# -> New rules.
