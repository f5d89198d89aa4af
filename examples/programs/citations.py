"""How do I cite where an answer stands?"""

from pocket_colbert import Collection

handbook = Collection("handbook.index")
handbook.add_files("handbook")
found = handbook.search("who mends the roof?", k=1)
print(f"{found.snippets[0]} [{found.places[0]}]")

# -> The landlord repairs the roof. Tenants report a leak within two days. [house.md:9]
