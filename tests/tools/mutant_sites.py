"""Where a mutant can be made in a file, and what it would be; by the operators of cosmic-ray.

Cosmic-ray has no operator for the bugs that reviews find most often, so three are added here:
a check that is skipped, a call that is forgotten, and arguments that are swapped.
"""

from __future__ import annotations

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator, operator_names

Position = tuple[int, int]
Range = tuple[Position, Position]

# Calls whose first two arguments may change places.
SYMMETRIC = {"min", "max", "maximum", "minimum", "array_equal", "gcd", "samefile"}
# Decorators that change how fast or how typed something is, not what it does.
NO_BEHAVIOUR = {"cache", "lru_cache", "overload", "override", "runtime_checkable", "wraps"}
# Settings of a dataclass: declarations. They show when somebody writes to a field.
DECLARATIONS = {"frozen", "slots", "eq", "kw_only", "repr", "order"}
# Calls that only tell.
TELLING = {"warn", "debug", "info", "warning", "error", "exception", "print"}


class SkipCheck(Operator):  # type: ignore[misc]
    """Never raise: `if x: raise E` becomes `if False: raise E`."""

    def mutation_positions(self, node: Any) -> Iterator[Range]:
        if node.type != "if_stmt" or node.children[3].type != "suite":
            return
        body = [child for child in node.children[3].children if child.type != "newline"]
        if body[-1].type == "simple_stmt" and body[-1].children[0].type == "raise_stmt":
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.children[1] = parso.parse(" False")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class SkipCall(Operator):  # type: ignore[misc]
    """Forget a call whose result nobody takes."""

    def mutation_positions(self, node: Any) -> Iterator[Range]:
        if node.type != "simple_stmt" or node.children[0].type not in ("atom_expr", "power"):
            return
        last = node.children[0].children[-1]
        if last.type == "trailer" and last.children[0].value == "(":
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        prefix = node.children[0].get_first_leaf().prefix
        node.children[0] = parso.parse(f"{prefix}pass")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class SwapArguments(Operator):  # type: ignore[misc]
    """Swap the first two arguments of a call."""

    def mutation_positions(self, node: Any) -> Iterator[Range]:
        if node.type != "trailer" or node.children[0].value != "(":
            return
        arguments = node.children[1]
        if arguments.type != "arglist" or len(arguments.children) < 3:
            return
        name = node.get_previous_sibling().get_last_leaf().value
        first, _, second = arguments.children[:3]
        if name in SYMMETRIC or first.get_code().strip() == second.get_code().strip():
            return
        if "argument" not in (first.type, second.type):
            yield first.start_pos, second.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        children = node.children[1].children
        first, second = children[0].get_code().strip(), children[2].get_code().strip()
        children[0], children[2] = parso.parse(second), parso.parse(" " + first)
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


def operators() -> dict[str, Operator]:
    """Return every operator by name, the library's and ours."""
    found: dict[str, Operator] = {}
    for name in sorted(operator_names()):
        operator = get_operator(name)
        # These need names to put in; and `is` for `==` differs for what is not one object, which
        # small numbers and names happen to be.
        if operator.arguments() or name.endswith(("Eq_Is", "Eq_IsNot")):
            continue
        found[name.removeprefix("core/")] = operator()
    found |= {"SkipCheck": SkipCheck(), "SkipCall": SkipCall(), "SwapArguments": SwapArguments()}
    return found


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change of one file.

    Attributes:
        file: The file, from the root of the checkout.
        function: What the change is in, such as `Index.add`, or "" for a module.
        operator: Its name.
        line: The first line of what changes, from 1.
        last_line: The last.
        before: The lines that change, without indentation.
        after: What they become.
        code: The file with the change.
    """

    file: str
    function: str
    operator: str
    line: int
    last_line: int
    before: str
    after: str
    code: str

    @property
    def name(self) -> str:
        """What identifies this mutant when lines move."""
        return f"{self.file} {self.function or '(module)'}: {self.before} -> {self.after}"


def contains(ranges: list[Range], position: Position) -> bool:
    """Return whether a position is in any of `ranges`."""
    return any(start <= position < end for start, end in ranges)


def range_of(node: ast.AST) -> Range:
    """Return where a node is, in lines from 1 and columns from 0."""
    place: Any = node
    return (place.lineno, place.col_offset), (place.end_lineno, place.end_col_offset)


def without_behaviour(tree: ast.Module) -> list[Range]:
    """Return what no test is asked to notice: types, words of messages, and declarations."""
    found: list[Range] = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            every += [item for item in (node.args.vararg, node.args.kwarg) if item]
            hints = [item.annotation for item in every if item.annotation]
            found += [range_of(hint) for hint in [*hints, node.returns] if hint]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            for decorator in node.decorator_list:
                if name_of(decorator) in NO_BEHAVIOUR:
                    (line, column), end = range_of(decorator)
                    found.append(((line, column - 1), end))
        if isinstance(node, ast.AnnAssign):
            found.append(range_of(node.annotation))
        if isinstance(node, ast.Call) and name_of(node) in ("dataclass", "field", "Struct"):
            found += [range_of(word) for word in node.keywords if word.arg in DECLARATIONS]
        if isinstance(node, ast.ClassDef):
            found += [range_of(word) for word in node.keywords]
        if isinstance(node, ast.Raise):
            found.append(range_of(node))
        if isinstance(node, ast.Call) and name_of(node) in TELLING:
            found.append(range_of(node))
        if isinstance(node, ast.If) and name_of(node.test) == "TYPE_CHECKING":
            found.append(range_of(node))
        if isinstance(node, ast.Call) and name_of(node) in ("TypeVar", "cast"):
            found.append(range_of(node))
    return found


def constants(tree: ast.Module) -> list[Range]:
    """Return where a module's constants get their values.

    One more or less of a limit or of a size of work is another decision, not a bug: numbers there
    are left as they are, everything else may change.
    """
    found: list[Range] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and node.value:
            targets = node.targets
        elif isinstance(node, ast.AnnAssign) and node.value:
            targets = [node.target]
        else:
            continue
        if all(ast.unparse(target).upper() == ast.unparse(target) for target in targets):
            found.append(range_of(node))
    return found


def name_of(node: ast.expr) -> str:
    """Return the last name of what is called or looked up, or ""."""
    if isinstance(node, ast.Call):
        return name_of(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def functions_of(tree: ast.Module) -> list[tuple[Range, str]]:
    """Return where functions and classes are and how they are called, outer ones first."""
    found: list[tuple[Range, str]] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.append((range_of(child), prefix + child.name))
                visit(child, prefix + child.name + ".")
            else:
                visit(child, prefix)

    visit(tree, "")
    return found


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one file can be changed.

    Attributes:
        digest: What places are sampled by: the lowest ones. It depends on the seed and on the code
            around the place alone, so that a change elsewhere leaves a sample as it is.
        file: The file, from the root of the checkout.
        function: What the place is in.
        start: Where it starts.
        end: Where it ends.
        choices: Each operator that can change it, and which of its changes of the file this is.
    """

    digest: str
    file: str
    function: str
    start: Position
    end: Position
    choices: Sequence[tuple[str, int]]


def places_of(file: str, source: str, seed: str) -> list[Place]:
    """Return every place where a file can be changed."""
    tree = ast.parse(source)
    left_out, functions = without_behaviour(tree), functions_of(tree)
    fixed = constants(tree)
    lines = source.splitlines()
    choices: dict[Range, list[tuple[str, int]]] = defaultdict(list)
    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in operators().items():
        count = 0
        for node in nodes:
            for start, end in operator.mutation_positions(node):
                number = name == "NumberReplacer" and contains(fixed, start)
                if not contains(left_out, start) and not number:
                    choices[start, end].append((name, count))
                count += 1
    found: list[Place] = []
    seen: dict[tuple[str, str], int] = defaultdict(int)
    for (start, end), operations in sorted(choices.items(), key=lambda item: item[0]):
        function = ""
        for (first, last), name in functions:
            function = name if first <= start < last else function
        text = " ".join(line.strip() for line in lines[start[0] - 1 : end[0]])
        seen[function, text] += 1
        key = f"{seed}|{file}|{function}|{text}|{seen[function, text]}"
        place = Place(
            digest=hashlib.sha256(key.encode()).hexdigest(),
            file=file,
            function=function,
            start=start,
            end=end,
            choices=tuple(operations),
        )
        found.append(place)
    return found


def mutant_at(place: Place, source: str) -> Mutant | None:
    """Return one mutant of a place, or None if there is none that is another program.

    A place that several operators could change, such as `<`, gets one of them, by the digest:
    otherwise places with many operators would make up most of a sample.
    """
    tree = ast.parse(source)
    name, occurrence = place.choices[int(place.digest[-8:], 16) % len(place.choices)]
    try:
        code = mutate_code(source, operators()[name], occurrence)
        if code is None or ast.dump(ast.parse(code)) == ast.dump(tree):
            return None
    except (AttributeError, SyntaxError):
        # Cosmic-ray cannot replace exceptions with a dot in their name, such as sqlite3.Error.
        return None
    old, new = source.splitlines(), code.splitlines()
    shortest = min(len(old), len(new))
    first = next((n for n in range(shortest) if old[n] != new[n]), shortest)
    most = shortest - first
    rest = next((n for n in range(most) if old[-1 - n] != new[-1 - n]), most)
    if len(new) < len(old):  # a decorator that is left out: say of what
        rest -= 1
    line, last_line = statement_lines(tree, (place.start[0], place.start[1]))
    return Mutant(
        file=place.file,
        function=place.function,
        operator=name,
        line=min(line, place.start[0]),
        last_line=max(last_line, place.end[0]),
        before=" ".join(text.strip() for text in old[first : len(old) - rest]),
        after=" ".join(text.strip() for text in new[first : len(new) - rest]),
        code=code,
    )


def statement_lines(tree: ast.Module, position: Position) -> tuple[int, int]:
    """Return the lines of the smallest statement around a position; of a block, its head's."""
    lines = (position[0], position[0])
    for node in ast.walk(tree):  # outer statements come first
        if isinstance(node, ast.stmt):
            start, end = range_of(node)
            if start <= position < end:
                body = getattr(node, "body", None)
                lines = (start[0], max(start[0], body[0].lineno - 1) if body else end[0])
    return lines
