"""How do I get the vectors, and score them myself?"""

from pocket_colbert import Encoder, maxsim

encoder = Encoder.load()
query = encoder.encode_query(["Which city is German?"])[0]
scores = [maxsim(query, text) for text in encoder.encode_document(["Berlin, Germany", "Paris"])]
print(query.shape[1], scores[0] > scores[1])

# -> 96 True
