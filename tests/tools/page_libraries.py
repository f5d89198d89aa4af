"""Make the libraries that the page of the server carries, at pinned versions.

    python -m tests.tools.page_libraries

writes runtime/pocket_colbert/server/page/vendor. It needs Node with npm, and the network.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from tests.support.paths import ROOT

VENDOR = ROOT / "runtime" / "pocket_colbert" / "server" / "page" / "vendor"
PINNED = {"@lezer/markdown": "1.8.1", "highlight.js": "11.12.0", "esbuild": "0.28.2"}
PARTS = {
    "lezer-markdown.js": ["@lezer/markdown", "@lezer/common", "@lezer/highlight"],
    "highlight.js": ["highlight.js"],
}
"""Files, and the packages that are in each."""
LANGUAGES = (
    "bash c cpp csharp css diff dockerfile go ini java javascript json kotlin lua makefile perl "
    "php python r ruby rust scala scss sql swift typescript xml yaml"
).split()


def entry_of(file: str) -> str:
    """Return the module that a file is bundled from."""
    if file == "lezer-markdown.js":
        return 'export { parser, GFM } from "@lezer/markdown";\n'
    lines = ['import hljs from "highlight.js/lib/core";']
    lines += [f'import {name} from "highlight.js/lib/languages/{name}";' for name in LANGUAGES]
    lines += [
        f"const languages = {{ {', '.join(LANGUAGES)} }};",
        "for (const [name, language] of Object.entries(languages)) "
        "hljs.registerLanguage(name, language);",
        "export default hljs;",
    ]
    return "\n".join(lines) + "\n"


def licences(modules: Path) -> str:
    """Return the licences of all packages, with their versions."""
    parts = [
        "Libraries of other people in this folder, and their licences.\n"
        "Written by tests/tools/page_libraries.py.\n"
    ]
    for file, names in PARTS.items():
        versions = [
            f"{name} {json.loads((modules / name / 'package.json').read_text())['version']}"
            for name in names
        ]
        parts.append("-" * 80 + f"\n{file}: {', '.join(versions)}\n")
        parts += [(modules / name / "LICENSE").read_text().strip() + "\n" for name in names]
    return "\n".join(parts)


def main() -> None:
    """Write all files."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "package.json").write_text("{}")
        packages = [f"{package}@{version}" for package, version in PINNED.items()]
        subprocess.run(
            ["npm", "install", "--no-audit", "--no-fund", *packages], cwd=folder, check=True
        )
        for file in PARTS:
            (folder / f"entry-{file}").write_text(entry_of(file))
            subprocess.run(
                [folder / "node_modules" / ".bin" / "esbuild", f"entry-{file}", "--bundle",
                 "--minify", "--format=esm", "--charset=ascii", f"--outfile={VENDOR / file}"],
                cwd=folder, check=True,
            )  # fmt: skip
        (VENDOR / "LICENSES.txt").write_text(licences(folder / "node_modules"))


if __name__ == "__main__":
    main()
