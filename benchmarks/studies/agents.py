"""What an agent's answer costs in tokens: the search tool beside `grep` and reading files.

    python -m benchmarks.harness.documentation_pages pages
    python -m benchmarks.studies.agents pages benchmarks/questions/documentation.jsonl

For every question the agent makes calls, one after the other, until one has shown a part of the
document that answers it, or there is none left to make; all that was said to it until then counts,
and so do the calls. Three agents:

- search: the MCP server's `search` with the question, k=5; then `read` of 4000 characters from the
  place of each hit, best first.
- search, snippets: `search` alone.
- grep: `grep -rniE` for the question's words of four letters and more, all of them in turn from the
  rarest in the pages on, of which the agent is shown 50 lines at most; then it reads the file with
  the most matching lines of all, from the start, 20 000 characters at a time.

Tokens are counted as a quarter of the characters, which is about what the tokenizers of language
models make of English. `grep` is not told which word is rare by a person, but by the pages
themselves, which flatters it.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.harness.tables import markdown
from pocket_colbert import Encoder, Index, Retriever, index_files
from pocket_colbert.mcp_server.tools import Tools

MOST_LINES = 50
LONGEST_LINE = 300
READ = 4_000
READ_OF_FILE = 20_000
MOST_READS = 5
CHARACTERS = 4
"""Of a token."""

Step = tuple[str, str]
"""A call, and what it says."""


def folded(text: str) -> str:
    """Return a text with single spaces for all white space, without tags."""
    return " ".join(re.sub(r"<[^>]*>", " ", text).split()).lower()


def with_search(tools: Tools, question: str, reads: int) -> Iterator[Step]:
    """Search, then read around each hit."""
    answer = tools.search(question, 5)
    yield f"search {question}", answer
    places = re.findall(r"^(?:.*\(document (.+)\)|(.+?)(?::\d+)?), character (\d+)$", answer, re.M)
    for named, plain, start in places[:reads]:
        yield f"read {named or plain} {start}", tools.read(named or plain, int(start), READ)


class Pages:
    """The pages as files, for an agent that greps."""

    def __init__(self, folder: Path) -> None:
        """Read them."""
        self._lines = {
            path.relative_to(folder).as_posix(): path.read_text("utf-8", "replace").split("\n")
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        self._lower = {
            name: "\n".join(line.lower() for line in lines) for name, lines in self._lines.items()
        }

    def lines_with(self, word: str) -> list[tuple[str, int, str]]:
        """Return the lines that have a word in them, whatever the case."""
        found = []
        for name, text in self._lower.items():
            if word in text:
                lower, lines = text.split("\n"), self._lines[name]
                found += [(name, n + 1, lines[n]) for n in range(len(lines)) if word in lower[n]]
        return found

    def steps(self, question: str) -> Iterator[Step]:
        """Search for words, then read the best files."""
        words = dict.fromkeys(re.findall(r"[\w-]{4,}", question.lower()))
        matches = {word: self.lines_with(word) for word in words}
        votes: Counter[str] = Counter()
        for word, found in sorted(matches.items(), key=lambda item: len(item[1])):
            if not found:
                continue
            for name in {name for name, _, _ in found}:
                votes[name] += 1
            shown = [f"{name}:{n}:{line[:LONGEST_LINE]}" for name, n, line in found[:MOST_LINES]]
            yield f"grep -rniE {word}", "\n".join(shown)
        for name, _ in votes.most_common(MOST_READS):
            text = "\n".join(self._lines[name])
            for start in range(0, len(text), READ_OF_FILE):
                yield f"read {name} {start}", text[start : start + READ_OF_FILE]


def cost(steps: Iterator[Step], answers: Sequence[str]) -> tuple[bool, int, int]:
    """Follow an agent until it has seen an answer.

    Returns:
        Whether it has, the tokens, and the calls.
    """
    tokens, wanted = 0, [folded(answer) for answer in answers]
    calls = 0
    for calls, (call, said) in enumerate(steps, start=1):
        tokens += (len(call) + len(said)) // CHARACTERS
        if any(answer in folded(said) for answer in wanted):
            return True, tokens, calls
    return False, tokens, calls


def measure(
    folder: Path, questions: Sequence[Mapping[str, Any]], index: Path
) -> dict[str, list[tuple[bool, int, int]]]:
    """Ask every question of every agent."""
    index_files([folder], index)
    tools, pages = Tools(Retriever(Encoder.load(), Index.load(index))), Pages(folder)
    agents: dict[str, Callable[[str], Iterator[Step]]] = {
        "search, then read": lambda question: with_search(tools, question, MOST_READS),
        "search alone": lambda question: with_search(tools, question, 0),
        "grep, then read files": pages.steps,
    }
    return {
        name: [cost(steps(item["question"]), item["answers"]) for item in questions]
        for name, steps in agents.items()
    }


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--index", type=Path, default=Path("agents.index"))
    parser.add_argument("--limit", type=int, help="ask the first so many questions only")
    given = parser.parse_args()
    lines = given.questions.read_text(encoding="utf-8").splitlines()
    questions = [json.loads(line) for line in lines][: given.limit]
    rows = []
    for name, results in measure(given.folder, questions, given.index).items():
        rows.append(
            [
                name, f"{mean(seen for seen, _, _ in results):.2f}",
                f"{median(tokens for _, tokens, _ in results):.0f}",
                f"{mean(tokens for _, tokens, _ in results):.0f}",
                f"{mean(calls for _, _, calls in results):.1f}",
            ]
        )  # fmt: skip
    heads = ["agent", "answer seen", "tokens, median", "tokens, mean", "calls"]
    print(f"{len(questions)} questions\n\n{markdown(heads, rows)}")


if __name__ == "__main__":
    main()
