"""The Containerfile and compose.yaml: what they name is there, and their commands are valid."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib

import pytest
from typer.testing import CliRunner

from sed.cli import app
from tests.conftest import ROOT

CONTAINERFILE = (ROOT / "Containerfile").read_text("utf-8").replace("\\\n", "")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def check_listen(arguments, monkeypatch):
    """Parse a command of `sed listen`; a unit is printed instead of listening."""
    monkeypatch.setenv("LOGNAME", "sed")
    done = CliRunner().invoke(app(), [*arguments, "--print-unit", "system"])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def instructions(name):
    return re.findall(rf"^(?:{name}) +(.+)$", CONTAINERFILE, re.MULTILINE)


def test_the_image_gets_the_packages_and_extras_that_there_are():
    copied = {
        word for line in instructions("COPY") if "--from" not in line for word in line.split()
    }
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert set(packages) | {"pyproject.toml", "README.md", "LICENSE"} <= copied
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {line[1:] for line in ignored if line[0] == "!"} == copied - {"./"}
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", CONTAINERFILE, re.MULTILINE)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_it_listens_without_root_and_is_asked_for_its_health(monkeypatch):
    assert "--web=0.0.0.0:8765" in check_listen(json.loads(instructions("CMD")[0]), monkeypatch)
    assert instructions("USER") == ["10001"]
    assert "useradd --uid 10001" in CONTAINERFILE
    (check,) = instructions("HEALTHCHECK")
    _, _, program = json.loads(check[check.index("CMD") + 3 :])
    compile(program, "HEALTHCHECK", "exec")
    assert "8765/health" in program


def test_hadolint_finds_nothing():
    if shutil.which("hadolint") is None:
        pytest.skip("needs hadolint")
    done = subprocess.run(["hadolint", ROOT / "Containerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_services_listen_with_a_read_only_root_and_no_rights(monkeypatch):
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    services = compose["services"]
    assert set(services) == {"microphone", "camera", "broker"}
    for service in services.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["restart"] == "unless-stopped"
    for name in ("microphone", "camera"):
        command = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", services[name]["command"])
        unit = check_listen(shlex.split(command), monkeypatch)
        assert f"--mqtt=mqtt://broker/sed/{name}" in unit
        assert services[name]["volumes"][0].split(":") == [name, "/data"]
        assert name in compose["volumes"]
