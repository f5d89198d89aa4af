"""How do I keep what I added, and open it again?"""

from pocket_colbert import Collection

with Collection("notes.index") as notes:
    notes.add(["The landlord repairs the roof.", "Rent is due on the first."])
print(Collection("notes.index").search("who mends the roof?")[0].text)

# -> The landlord repairs the roof.
