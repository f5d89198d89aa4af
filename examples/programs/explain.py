"""Why was this found?"""

from pocket_colbert import Collection

(notes := Collection("notes.index")).add(["The landlord repairs the roof.", "Rent is due."])
hit = notes.search("who mends the roof?")[0]
best = max(
    notes.retriever.explain("who mends the roof?", hit).matches, key=lambda match: match.share
)
print(best.query_token, "matched", best.document_token)

# -> roof matched roof
