"""A file has changed: how do I update what was added?"""

from pathlib import Path
from pocket_colbert import Collection

(handbook := Collection("handbook.index")).add_files("handbook")
Path("handbook/pets.md").write_text("# Pets\n\nPets are welcome.\n")
print(handbook.add_files("handbook"))

# -> FilesReport(added=0, changed=1, unchanged=2, deleted=0, left_out=())
