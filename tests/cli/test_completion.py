"""Shell completion, asked through real shells and through click."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from pocket_colbert.cli.commands import main

BIN = Path(sys.executable).parent
needs_program = pytest.mark.skipif(
    not (BIN / "pocket-colbert").exists(), reason="needs the installed command"
)


def complete(*words: str) -> set[tuple[str, str]]:
    """Return (type, value) of what is offered for the last word of a command line."""
    found = ShellComplete(main, {}, "pocket-colbert", "_POCKET_COLBERT_COMPLETE")
    return {(item.type, item.value) for item in found.get_completions(list(words[:-1]), words[-1])}


def in_shell(shell: str, script: str, folder: Path) -> list[str]:
    """Return the lines that a script of a real shell prints, which must be quiet otherwise."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    options = {"bash": ["--norc", "--noprofile", "-ic"], "zsh": ["-fc"], "fish": ["-Nc"]}[shell]
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "HOME": str(folder)}
    done = subprocess.run(
        [shell, *options, script], capture_output=True, text=True, cwd=folder, env=environment,
        timeout=60, check=False, start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


BASH = """
eval "$(pocket-colbert completion bash)"
compopt() {{ printf 'compopt %s %s\\n' "$@"; }}  # works within a key press only
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
$(complete -p pocket-colbert | sed 's/.*-F \\([^ ]*\\).*/\\1/') pocket-colbert
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@needs_program
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("pocket-colbert com", ["compact", "completion"]),
        ("pocket-colbert search my.index bees --hy", ["--hybrid"]),
        ("pocket-colbert search my.index bees --hybrid w", ["weighted"]),
        ("pocket-colbert search my.index bees --model s", ["compopt -o dirnames", "small"]),
        ("pocket-colbert search notes bees --fil", ["--files-with-matches"]),
        ("pocket-colbert search notes bees --color a", ["auto", "always"]),
        ("pocket-colbert index notes --d", ["--dry-run", "--drop-frequent", "--dim"]),
        ("pocket-colbert info my", ["compopt -o dirnames", ""]),
        ("pocket-colbert index REA", ["compopt -o default", ""]),
    ],
)
def test_bash(words: str, offered: list[str], tmp_path: Path) -> None:
    assert in_shell("bash", BASH.format(words=words), tmp_path) == offered


@needs_program
def test_fish(tmp_path: Path) -> None:
    (tmp_path / "smallish").mkdir()

    def offered(line: str) -> set[str]:
        script = f"pocket-colbert completion fish | source; complete -C '{line}'"
        return {row.partition("\t")[0] for row in in_shell("fish", script, tmp_path)}

    assert offered("pocket-colbert com") == {"compact", "completion"}
    assert offered("pocket-colbert search i q --model s") == {"small", "smallish/"}


@needs_program
def test_zsh(tmp_path: Path) -> None:
    """A press of Tab in an interactive zsh, in a terminal of its own."""
    script = """
    zmodload zsh/zpty
    zpty inner zsh -f -i
    zpty -w inner 'autoload -U compinit; compinit -D -u'
    zpty -w inner 'eval "$(pocket-colbert completion zsh)"'
    zpty -w inner 'print rea""dy'; zpty -r inner seen '*ready*'
    zpty -w -n inner $'pocket-colbert completion fi\\t'; zpty -r inner seen '*fish*'
    print -r -- $seen
    """
    assert "pocket-colbert completion fish" in "\n".join(in_shell("zsh", script, tmp_path))


def test_models_folders_and_choices(tmp_path: Path) -> None:
    assert complete("search", "i", "q", "--model", "") == {
        ("dir", ""), ("plain", "small"), ("plain", "tiny"),
    }  # fmt: skip
    assert complete("search", "i", "q", "-m", "mine/") == {("dir", "mine/")}
    assert complete("bundle", "i", "--model", "t") == {("dir", "t"), ("plain", "tiny")}
    assert complete("index", "a", "--into", "") == {("dir", "")}
    assert complete("serve", "") == {("file", "")}  # an index, or documents
    assert complete("search", "") == complete("encode", "") == {("file", "")}
    assert complete("cache", "") == {("file", "")}
    assert complete("rerank", "q", "") == {("file", "")}
    assert ("plain", "int2") in complete("index", "--codes", "i")
    assert complete("completion", "") == {("plain", name) for name in ("bash", "zsh", "fish")}


def test_help_has_a_line_for_each_shell() -> None:
    lines = CliRunner().invoke(main, ["completion", "--help"]).output.splitlines()
    assert [line.split()[0] for line in lines if "pocket-colbert completion " in line] == [
        "~/.bashrc", "~/.zshrc", "~/.config/fish/config.fish",
    ]  # fmt: skip


def test_every_command_is_offered() -> None:
    assert complete("") == {("plain", name) for name in main.commands}


def test_a_key_press_loads_no_library() -> None:
    """Neither onnxruntime nor NumPy, so that completion is there at once."""
    script = (
        "import os, sys\n"
        "os.environ |= {'_POCKET_COLBERT_COMPLETE': 'bash_complete', 'COMP_CWORD': '4',"
        " 'COMP_WORDS': 'pocket-colbert search a --model s'}\n"
        "from pocket_colbert.cli.commands import main\n"
        "try:\n main(prog_name='pocket-colbert')\n"
        "except SystemExit: pass\n"
        "print({m.partition('.')[0] for m in sys.modules}"
        " & {'onnxruntime', 'numpy', 'tokenizers', 'usearch', 'rich', 'torch'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.split("\n") == ["dir,s", "plain,small", "set()", ""]
