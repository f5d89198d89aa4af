"""How do I get what was found as a DataFrame?"""

import pandas as pd
from pocket_colbert import Collection

(notes := Collection("notes.index")).add(
    ["The landlord repairs the roof.", "Rent is due."], ids=[1, 2]
)
frame = pd.DataFrame(notes.search("who mends the roof?"))
print(frame[["document_id", "text"]].to_string(index=False, header=False))

# -> 1 The landlord repairs the roof.
# -> 2                   Rent is due.
