"""How do I make an index smaller?"""

from pocket_colbert import Collection, Encoder, IndexConfig

encoder = Encoder.load(dim=48)
config = IndexConfig(dim=48, model=encoder.card.fingerprint, codes="int2")
(notes := Collection("notes.index", model=encoder, config=config)).add("Rent is due on the first.")
print(notes.search("when do I pay?")[0].text, notes.index.config.codes)

# -> Rent is due on the first. int2
