"""How do I show what was found in a notebook or on a page?"""

from pathlib import Path
from pocket_colbert import Collection

(notes := Collection("notes.index")).add("The landlord repairs the roof.", ids="roof")
found = notes.search("who mends the roof?")  # the last line of a cell shows it as a table
print(Path("found.html").write_text(found.to_html(), encoding="utf-8") > 100)

# -> True
