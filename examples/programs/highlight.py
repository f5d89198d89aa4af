"""How do I show what matched?"""

from pocket_colbert import Collection

notes = Collection("notes.index")
notes.add(["The landlord repairs the roof.", "Rent is due on the first."])
found = notes.search("who pays for the repair of the roof?", k=1)
print(found.highlighted("<b>", "</b>")[0])

# -> The landlord <b>repairs</b> the <b>roof</b>.
