"""How do I get everything out again?"""

import json
from pocket_colbert import Collection

(notes := Collection("notes.index")).add(["Rent is due.", "Bees are fine."], ids=[1, 2])
for document in notes:
    print(json.dumps({"id": document.document_id, "text": document.text}))

# -> {"id": "1", "text": "Rent is due."}
# -> {"id": "2", "text": "Bees are fine."}
