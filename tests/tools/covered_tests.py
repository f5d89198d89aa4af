"""A plugin of pytest that writes down which tests run which lines of the two packages.

`python -m tests.tools.mutants` loads it, so that a mutant is shown only to tests that can notice.
What a shared fixture runs counts for every test that uses the fixture, not only for the first.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path
from typing import Any

import coverage
import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [str(ROOT / "runtime" / "*"), str(ROOT / "export" / "*")]


def seconds() -> float:
    """Return what this process and its children have cost, which says more than the clock."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Recorder:
    """Records one run of pytest and writes it to `path` at its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Without a file of its own, since two runs may record at a time.
        self.coverage = coverage.Coverage(data_file=None, include=SOURCES, config_file=False)
        self.context = ""
        self.tests: dict[str, dict[str, Any]] = {}
        self.fixtures: dict[str, float] = defaultdict(float)
        self.shared_seconds = 0.0
        self.coverage.start()

    def switch(self, context: str) -> None:
        """Count lines for `context` from here on."""
        self.context = context
        self.coverage.switch_context(context)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Count what a test runs for this test."""
        self.switch(item.nodeid)
        self.shared_seconds = 0.0
        start = seconds()
        try:
            return (yield)
        finally:
            cost = seconds() - start - self.shared_seconds
            names = sorted(set(getattr(item, "fixturenames", ())))
            test = self.tests.setdefault(item.nodeid, {"outcome": "passed"})
            test.update(seconds=round(cost, 3), fixtures=names)
            self.switch("")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Generator[None, Any, Any]:
        """Count what a shared fixture runs for the fixture."""
        if fixturedef.scope == "function":
            return (yield)
        before, start, nested = self.context, seconds(), self.shared_seconds
        self.switch(f"fixture {fixturedef.argname}")
        try:
            return (yield)
        finally:
            self.switch(before)
            cost = seconds() - start
            # A fixture that this one asked for has counted its own cost already.
            self.fixtures[fixturedef.argname] += cost - (self.shared_seconds - nested)
            self.shared_seconds = nested + cost

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what did not pass: it cannot notice anything."""
        if report.outcome != "passed":
            self.tests.setdefault(report.nodeid, {})["outcome"] = report.outcome

    def pytest_sessionfinish(self) -> None:
        """Write what was recorded."""
        self.coverage.stop()
        data = self.coverage.get_data()
        names = {name: number for number, name in enumerate(self.tests)}
        users: dict[str, list[int]] = defaultdict(list)
        for name, test in self.tests.items():
            for fixture in test.get("fixtures", ()):
                users[f"fixture {fixture}"].append(names[name])
        lines: dict[str, dict[int, list[int]]] = {}
        for file in sorted(data.measured_files()):
            found: dict[int, list[int]] = {}
            for line, contexts in data.contexts_by_lineno(file).items():
                tests = {names[context] for context in contexts if context in names}
                tests.update(number for context in contexts for number in users.get(context, ()))
                found[line] = sorted(tests)
            lines[str(Path(file).relative_to(ROOT))] = found
        record = {"tests": self.tests, "fixtures": dict(self.fixtures), "lines": lines}
        self.path.write_text(json.dumps(record))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file to write."""
    parser.addoption("--covered-tests", metavar="FILE", help="write which test runs which line")


def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Start before the packages are imported, and make tests by chance repeatable."""
    import hypothesis

    hypothesis.settings.register_profile("mutants", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("mutants")
    path = early_config.known_args_namespace.covered_tests
    if path:
        early_config.pluginmanager.register(Recorder(Path(path)), "covered-tests")
