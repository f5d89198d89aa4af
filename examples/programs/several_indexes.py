"""How do I search several indexes as one?"""

from pocket_colbert import Collection, Encoder, MultiIndex, Retriever

Collection("one.index").add("The landlord repairs the roof.", ids="roof")
Collection("two.index").add("Rent is due on the first.", ids="rent")
both = Retriever(Encoder.load(), MultiIndex.load(["one.index", "two.index"]))
print([hit.document_id for hit in both.retrieve(["who mends the roof?"])[0]])

# -> ['roof', 'rent']
