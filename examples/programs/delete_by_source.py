"""How do I delete what came from one file or folder?"""

from pocket_colbert import Collection

handbook = Collection("handbook.index")
handbook.add_files("handbook")
print(handbook.delete(where={"path": "pets.md"}))
print(handbook.delete(where={"path": {"$prefix": "drafts/"}}), len(handbook))

# -> 1
# -> 1 1
