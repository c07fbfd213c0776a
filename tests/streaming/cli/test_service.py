"""The systemd unit that `sed listen --print-unit` prints."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from sed.cli import app, with_values
from sed.errors import UsageError
from streaming.cli.live.service import ServiceConfig, quoted, unit_text

C_ESCAPES = {"n": b"\n", "t": b"\t", "\\": b"\\", '"': b'"', "'": b"'", "s": b" "}
ARGUMENTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0")
    | st.sampled_from("\"'\\%$ \n\r\t;#\udcff\udc80"),
    max_size=12,
)


@pytest.fixture
def print_unit(monkeypatch, tmp_path):
    """Return what calls `sed listen --print-unit` as a user in a folder."""
    monkeypatch.setenv("LOGNAME", "pi")
    monkeypatch.chdir(tmp_path)

    def call(*options):
        arguments = with_values(["listen", *map(str, options), "--print-unit"])
        done = CliRunner().invoke(app(), arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.stderr
        return done.stdout

    return call


def settings_of(unit):
    """Return the values of each setting of a unit."""
    found = {}
    for line in unit.replace("\\\n", " ").split("\n"):
        if line and line[0] not in "#;[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def words(text):
    """Return the words of a command as systemd.syntax(7) and systemd.service(5) say, in bytes."""
    found, word, quote, i = [], None, "", 0
    while i < len(text):
        character = text[i]
        if character == "\\":
            i += 1
            word = word or b""
            if text[i] == "x":
                word += bytes([int(text[i + 1 : i + 3], 16)])
                i += 2
            else:
                word += C_ESCAPES[text[i]]
        elif quote or character not in " \t":
            word = word or b""
            if character == quote:
                quote = ""
            elif not quote and character in "\"'":
                quote = character
            else:
                word += os.fsencode(character)
        elif word is not None:
            found, word = [*found, word], None
        i += 1
    assert not quote
    found += [] if word is None else [word]
    assert all(not re.search(rb"%(?!%)", word.replace(b"%%", b"")) for word in found)
    return [word.replace(b"%%", b"%") for word in found]


@given(st.lists(ARGUMENTS, max_size=4))
@settings(max_examples=200, deadline=None)
def test_arguments_come_back_as_they_were_given(arguments):
    config = ServiceConfig(("/usr/bin/sed", *arguments), user="pi")
    (command,) = settings_of(unit_text(config))["ExecStart"]
    program, *found = words(command)
    # With the colon systemd replaces no variables.
    assert program == b":/usr/bin/sed"
    assert found == list(map(os.fsencode, arguments))


def test_plain_arguments_are_easy_to_read():
    assert quoted("--hop=0.5") == "--hop=0.5"
    assert quoted('50 % of "$X"\\\n') == '"50 %% of \\"$X\\"\\\\\\x0a"'


def test_all_options_are_in_it_and_paths_are_absolute(print_unit, tmp_path):
    (tmp_path / "dawn.wav").touch()
    options = (
        *("--input", "dawn.wav", "--input", "rtsp://cam/live?a=1&b=2", "--hop", 0.5),
        *(
            "--all-classes",
            "--db",
            "e.sqlite",
            "--clips",
            "kept clips",
            "--web",
            "--webhook",
            "file:hook",
        ),
        *("--webhook-header", "Authorization: Bearer env:HOOK_TOKEN", "--token", "to keep"),
        *("--on-event", "./notify.sh {label}", "--model", "everyday"),
    )
    unit = print_unit(*options)
    found = settings_of(unit)
    program, *arguments = [word.decode() for word in words(found["ExecStart"][0])]
    assert program.startswith(":/")
    assert arguments[arguments.index("listen") :] == [
        *("listen", f"--input={tmp_path}/dawn.wav", "--input=rtsp://cam/live?a=1&b=2"),
        *("--model=everyday", "--hop=0.5", "--all-classes", f"--clips={tmp_path}/kept clips"),
        *(f"--db={tmp_path}/e.sqlite", "--web=127.0.0.1:8765", "--on-event=./notify.sh {label}"),
        *(f"--webhook=file:{tmp_path}/hook",),
        "--webhook-header=Authorization: Bearer env:HOOK_TOKEN",
    ]
    assert "to keep" not in unit
    assert "(mode 600): SED_TOKEN, HOOK_TOKEN\n" in unit
    assert f"# These folders have to exist: {tmp_path}/kept clips\n" in unit
    assert found["WorkingDirectory"] == [str(tmp_path)]
    assert found["ReadWritePaths"] == [f'"{tmp_path}" "{tmp_path}/kept clips"']
    assert found["User"] == ["pi"]
    assert "SupplementaryGroups" not in found  # no microphone
    assert found["PrivateDevices"] == ["yes"]


@pytest.mark.parametrize(
    ("options", "families", "has_microphone"),
    [
        ((), "AF_UNIX", True),
        (("--input", "USB Audio", "--db", "e.sqlite"), "AF_UNIX", True),
        (("--web",), "AF_UNIX AF_INET AF_INET6", True),
        (("--on-onset", "curl example.org"), "AF_UNIX AF_INET AF_INET6", True),
        (("--mqtt", "mqtt://host/sed"), "AF_UNIX AF_INET AF_INET6", True),
        (("--input", "http://radio/live"), "AF_UNIX AF_INET AF_INET6", False),
    ],
)
def test_a_service_may_use_what_its_options_need(print_unit, options, families, has_microphone):
    found = settings_of(print_unit(*options))
    assert found["RestrictAddressFamilies"] == [families]
    assert ("PrivateNetwork" in found) == (families == "AF_UNIX")
    assert (found.get("DeviceAllow") == ["char-alsa rw"]) == has_microphone
    assert ("PrivateDevices" in found) != has_microphone


def test_what_cannot_be_a_service_is_refused(print_unit, monkeypatch):
    with pytest.raises(UsageError, match="no standard input"):
        print_unit("--input", "-")
    with pytest.raises(UsageError, match="unknown kind of service users"):
        CliRunner().invoke(app(), ["listen", "--print-unit", "users"], catch_exceptions=False)
    monkeypatch.setenv("LOGNAME", "root")
    with pytest.raises(UsageError, match="no rights of root"):
        print_unit()
    with pytest.raises(UsageError, match="no unit can have this folder"):
        unit_text(ServiceConfig(("/bin/sed",), user="pi", writable=("/a\nb",)))


def verify(unit, folder, *options):
    """Return what systemd says about a unit."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze")
    path = folder / "sed-listen.service"
    path.write_text(unit, "utf-8", errors="surrogateescape")
    done = subprocess.run(
        ["systemd-analyze", "--man=no", *options, path],
        capture_output=True,
        text=True,
        env=os.environ | {"XDG_RUNTIME_DIR": str(folder), "COLUMNS": "200"},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["system", "user"])
def test_systemd_accepts_it(print_unit, tmp_path, kind):
    program = tmp_path / "a b;%n $HOME" / "sed-engine"
    program.parent.mkdir()
    shutil.copy("/bin/true", program)
    config = ServiceConfig(
        (str(program), "--on-event=a $X ; %n \\"),
        kind=kind,
        user="daemon",
        writable=(str(tmp_path),),
    )
    options = ["--user"] if kind == "user" else []
    assert verify(unit_text(config), tmp_path, *options, "verify") == (0, "")
    program.unlink()
    _, message = verify(unit_text(config), tmp_path, *options, "verify")
    assert f"Command {program} is not executable" in message


@pytest.mark.parametrize(
    ("options", "exposure"), [((), 0.7), (("--web",), 1.6), (("--input", "rtsp://camera"), 1.3)]
)
def test_its_exposure_is_low(print_unit, tmp_path, options, exposure):
    unit = print_unit(*options).replace(str(tmp_path), "/srv").replace(sys.prefix, "/opt/sed")
    unit = unit.replace("PrivateTmp=no", "PrivateTmp=yes")  # the folder of the test is in /tmp
    _, message = verify(unit, tmp_path, "security", "--offline=true")
    if "Overall exposure" not in message:
        pytest.skip("needs systemd 250 or newer")
    assert float(re.search(r"exposure level for .*: ([\d.]+)", message)[1]) <= exposure


def test_a_service_with_a_file_may_write_where_that_says_and_reads_it_again(print_unit, tmp_path):
    (tmp_path / "garden.toml").write_text(
        'db = "data/events.sqlite"\nclips = "/srv/clips"\nwebhook = "env:HOOK"\n'
        'input = ["rtsp://camera/stream"]\n[[rules]]\nclasses = "dog"\n'
    )
    unit = print_unit("--config", "garden.toml", "--clips", "own")
    found = settings_of(unit)
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    # What is on the command line overrides the file.
    assert found["ReadWritePaths"] == [f'"{tmp_path}/data" "{tmp_path}/own"']
    assert "PrivateDevices" in found
    assert "(mode 600): HOOK" in unit
    assert f"--config={tmp_path}/garden.toml" in unit
    assert "ExecReload" not in settings_of(print_unit())
