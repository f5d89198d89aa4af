"""The container: what its files say, tried out as far as that goes without a builder."""

from __future__ import annotations

import fnmatch
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import ROOT
from tests.support.servers import serve_command

pytestmark = pytest.mark.skipif(
    not (ROOT / "Dockerfile").exists(), reason="needs the checkout"
)  # fmt: skip


@pytest.fixture(scope="module")
def instructions() -> list[dict[str, Any]]:
    """The instructions of the Dockerfile."""
    from dockerfile_parse import DockerfileParser

    parser = DockerfileParser(path=str(ROOT / "Dockerfile"), cache_content=True)
    return list(parser.structure)


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    """The service of the compose file."""
    parsed = yaml.safe_load((ROOT / "compose.yaml").read_text())
    assert set(parsed) == {"services", "volumes"}
    found: dict[str, Any] = parsed["services"]["search"]
    return found


def values(instructions: list[dict[str, Any]], name: str) -> list[str]:
    """Return the values of the instructions of a name."""
    known = [i for i in instructions if i["instruction"] not in ("COMMENT", "EMPTY")]
    return [i["value"] for i in known if i["instruction"] == name]


def test_the_image_is_one_that_can_be_trusted(instructions: list[dict[str, Any]]) -> None:
    names = {i["instruction"] for i in instructions}
    assert names <= {"COMMENT", "FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE",
                     "HEALTHCHECK", "ENTRYPOINT", "CMD"}  # fmt: skip
    user = values(instructions, "USER")[-1]
    assert user == "10001:10001"
    order = [i["instruction"] for i in instructions]
    assert order.index("USER") > len(order) - 1 - order[::-1].index("RUN")  # nothing as root after
    stages = values(instructions, "FROM")
    assert len(stages) == 2 and all(stage.startswith("python:3.12-slim") for stage in stages)
    assert not [value for value in values(instructions, "ENV") if "TOKEN" in value]


def test_what_is_built_is_in_the_context(instructions: list[dict[str, Any]]) -> None:
    """The wheel's sources are let through, and nothing else."""
    assert values(instructions, "COPY")[0] == ". /src"
    rules = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]  # fmt: skip
    assert rules[0] == "*"
    kept = {
        path.name
        for path in ROOT.iterdir()
        if any(fnmatch.fnmatch(path.name, rule[1:]) for rule in rules if rule.startswith("!"))
    }
    assert kept == {"pyproject.toml", "README.md", "LICENSE", "models", "runtime", "export"}


def test_the_service_is_locked_up(service: dict[str, Any]) -> None:
    assert service["read_only"] is True and service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["ports"] == ["127.0.0.1:8470:8470"]
    assert service["volumes"][0].endswith(":/data:ro")
    assert ":?" in service["environment"]["POCKET_COLBERT_TOKEN"]  # it does not start without


@pytest.mark.slow
def test_its_command_and_its_health_check_work(
    instructions: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the image runs, here: over documents in a folder, with a token and all addresses."""
    import json

    entry = json.loads(values(instructions, "ENTRYPOINT")[0])
    arguments = json.loads(values(instructions, "CMD")[0])
    assert entry == ["pocket-colbert", "serve"] and arguments[0] == "/data"
    (tmp_path / "data").mkdir()
    (tmp_path / "index").mkdir()
    (tmp_path / "data" / "bees.md").write_text("# Bees\n\nBees swarm in May.\n")
    here = [word.replace("/data", f"{tmp_path}/data", 1) if word.startswith("/data")
            else word.replace("/index", f"{tmp_path}/index", 1) for word in arguments]  # fmt: skip
    monkeypatch.setenv("POCKET_COLBERT_TOKEN", "a-key")
    health = values(instructions, "HEALTHCHECK")[0]
    check = json.loads(health[health.index("[") :])
    assert check[:2] == ["python", "-c"]
    with serve_command(*here) as (process, address):
        port = address.rpartition(":")[2]
        script = check[2].replace(":8470", f":{port}")
        assert script != check[2]
        done = subprocess.run([sys.executable, "-c", script], check=False)
        assert done.returncode == 0
        assert process.poll() is None
    failed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert failed.returncode != 0
    assert os.listdir(tmp_path / "index") == ["data.index"]


def test_the_unit_of_systemd_is_one(tmp_path: Path) -> None:
    """`docs/operate.md` shows it."""
    text = (ROOT / "docs" / "operate.md").read_text()
    unit = "[Unit]" + text.partition("[Unit]")[2].partition("```")[0]
    assert "DynamicUser=yes" in unit and "ProtectSystem=strict" in unit
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert command.split()[1:2] == ["serve"] and "%S/pocket-colbert/" in command
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    place = tmp_path / "pocket-colbert.service"
    place.write_text(unit.replace(command, "ExecStart=/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", place], capture_output=True, text=True, check=False
    )
    assert "pocket-colbert.service" not in done.stderr, done.stderr
