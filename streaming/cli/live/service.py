"""Write the systemd unit that runs `sed listen` with the options that were given.

Options are read as the command line has them, so that one that is added to `sed listen` is in the
unit too. What an option names follows from how it is declared: a path (a `Path`, or a metavar with
FILE or DIR), a path that is written (one in the panel of outputs), or something on the network (a
metavar with URL, HOST or COMMAND).
"""

from __future__ import annotations

import getpass
import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from sed.errors import MISUSE, UsageError
from sed.text import near, printable
from streaming.cli.options import OUTPUT

KINDS = ("system", "user")
# Of every service; these need no privilege, so a user's own services have them too.
_HARDENING = """\
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
UMask=0077"""
_SYSTEM_HARDENING = """\
CapabilityBoundingSet=
AmbientCapabilities=
DevicePolicy=closed
KeyringMode=private
PrivateIPC=yes
PrivateMounts=yes
PrivateUsers=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes"""
_PLAIN = re.compile(r"[\w@+=:,./-]+", re.ASCII)
_SECRET = re.compile(r"(?<!\w)env:(\w+)")
_HOMES, _TEMPORARY = ("/home", "/root", "/run/user"), ("/tmp", "/var/tmp")


@dataclass(frozen=True)
class ServiceConfig:
    """What a unit depends on.

    Attributes
    ----------
    command
        The program, by its absolute path, and its arguments.
    kind
        ``system``, or ``user`` for a service of the user who is logged in.
    user
        Who a system service runs as.
    folder
        Where it is started, absolute; commands for events may stand there.
    writable
        Folders that it writes to, absolute.
    secrets
        Environment variables that it reads secrets from.
    uses_microphone
        Whether it opens a sound device.
    uses_network
        Whether it connects to others, is connected to, or runs commands that may.
    has_file
        Whether it reads a file of options, and reads it again on SIGHUP.
    """

    command: tuple[str, ...]
    kind: str = "system"
    user: str = ""
    folder: str = "/"
    writable: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    uses_microphone: bool = True
    uses_network: bool = True
    has_file: bool = False


def unit_of(context: Any, kind: str, from_file: Mapping[str, Any] | None = None) -> str:
    """Return the unit for the options that a command was called with.

    Parameters
    ----------
    context
        The context of the command line (`typer.Context`), with its command and parameters.
    kind
        One of `KINDS`.
    from_file
        Values that the file of ``--config`` sets, by parameter.

    Raises
    ------
    UsageError
        If a kind is unknown, standard input is an input, a path cannot be in a unit, or a system
        service would run as root.
    """
    if kind not in KINDS:
        raise UsageError(f"unknown kind of service {printable(kind)}. {near(kind, KINDS)}")
    hints = get_type_hints(inspect.unwrap(context.command.callback))
    arguments, writable, names = [], [], set()
    for option, value in _given(context):
        name = _name(option)
        is_path = Path in get_args(hints[option.name])
        text = _absolute(str(value), is_path=is_path, metavar=option.metavar or "")
        # A value may begin with a hyphen, and does not in one word with its option.
        arguments.append(name if value is True else f"{name}={text}")
        if is_path and option.rich_help_panel == OUTPUT:
            writable.append(text if "DIR" in (option.metavar or "") else os.path.dirname(text))
        names.add(name)
        if name == "--input" and text == "-":
            raise UsageError("a service has no standard input: give another --input than -")
    inputs = [text.removeprefix("--input=") for text in arguments if text.startswith("--input=")]
    inputs = inputs or list((from_file or {}).get("input", ()))
    # The service reads the file itself, and needs the folders that it names.
    for option in context.command.params:
        value = (from_file or {}).get(option.name)
        if (
            isinstance(value, Path)
            and option.rich_help_panel == OUTPUT
            and _name(option) not in names
        ):
            folder = os.path.abspath(value)
            is_folder = "DIR" in (option.metavar or "")
            writable.append(folder if is_folder else os.path.dirname(folder))
    of_file = _SECRET.findall(" ".join(map(str, (from_file or {}).values())))
    config = ServiceConfig(
        command=(*_program(), context.info_name, *arguments),
        kind=kind,
        user=getpass.getuser() if kind == "system" else "",
        folder=os.getcwd(),
        writable=tuple(sorted(set(writable))),
        secrets=tuple(dict.fromkeys([*_secrets(arguments, names), *of_file])),
        uses_microphone=not inputs or any(not _is_file_or_url(name) for name in inputs),
        has_file="--config" in names,
        uses_network=any("://" in name for name in inputs)
        or any(_needs_network(option) for option, _ in _given(context)),
    )
    return unit_text(config)


def unit_text(config: ServiceConfig) -> str:
    """Return the text of a unit.

    Raises
    ------
    UsageError
        If a folder cannot be in a unit, or a system service would run as root.
    """
    is_system = config.kind == "system"
    if is_system and config.user == "root":
        raise UsageError(
            "a service that listens needs no rights of root: call this as the user that it shall "
            "run as, such as `sudo -u sed sed listen … --print-unit`, or give --print-unit user"
        )
    after = "network-online.target sound.target" if is_system else "pipewire.service"
    return "\n".join(
        [
            *_header(config),
            "[Unit]",
            "Description=Sound-event detection (sed listen)",
            f"After={after}",
            *["Wants=network-online.target"][: is_system and config.uses_network],
            "StartLimitIntervalSec=0",
            "",
            "[Service]",
            *_process(config),
            "",
            _HARDENING,
            "RestrictAddressFamilies=AF_UNIX" + " AF_INET AF_INET6" * config.uses_network,
            *(_system_hardening(config) if is_system else ()),
            "",
            "[Install]",
            f"WantedBy={'multi-user' if is_system else 'default'}.target",
            "",
        ]
    )


def quoted(argument: str) -> str:
    """Return a word of a command as systemd reads it, with its bytes unchanged."""
    if _PLAIN.fullmatch(argument):
        return argument
    return f'"{"".join(map(_escaped, argument))}"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character == "%":
        return "%%"
    # A byte that is not UTF-8 is a surrogate in Python.
    if not character.isprintable():
        return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))
    return character


def _header(config: ServiceConfig) -> list[str]:
    manager, place, secrets = "systemctl --user", "~/.config/systemd/user", "~/.config"
    if config.kind == "system":
        manager, place, secrets = "sudo systemctl", "/etc/systemd/system", "/etc"
    lines = [
        f"# Written by `sed listen --print-unit`. Save it as {place}/sed-listen.service, then:",
        f"#   {manager} daemon-reload && {manager} enable --now sed-listen",
    ]
    if config.secrets:
        lines += [
            f"# Secrets, one NAME=value a line, go into {secrets}/sed-listen.env (mode 600): "
            f"{', '.join(config.secrets)}"
        ]
    if missing := [path for path in config.writable if not os.path.isdir(path)]:
        lines += [f"# These folders have to exist: {printable(', '.join(missing))}"]
    return lines


def _process(config: ServiceConfig) -> Iterator[str]:
    """Yield what is run, as whom, where, and when it is run again."""
    program, *arguments = config.command
    yield "Type=notify"
    # A model may have to be prepared at the first start.
    yield "TimeoutStartSec=600"
    yield "WatchdogSec=60"
    # The colon: a dollar sign in an argument is no variable.
    yield "ExecStart=" + " \\\n    ".join([quoted(f":{program}"), *map(quoted, arguments)])
    if config.has_file:
        yield "ExecReload=/bin/kill -HUP $MAINPID"
    if config.kind == "system":
        yield f"User={config.user}"
        if config.uses_microphone:
            yield "SupplementaryGroups=audio"
    yield f"WorkingDirectory={_folder(config.folder)}"
    yield "EnvironmentFile=-%E/%N.env"
    yield 'Environment="SED_CACHE=%C/%N"'
    yield "CacheDirectory=%N"
    yield "Restart=on-failure"
    yield "RestartSec=10"
    yield f"RestartPreventExitStatus={MISUSE}"
    yield "TimeoutStopSec=60"


def _system_hardening(config: ServiceConfig) -> Iterator[str]:
    """Yield what only the service manager of the system can do."""
    yield _SYSTEM_HARDENING
    paths = [config.folder, *config.writable, os.path.realpath(sys.executable), *config.command]
    yield "ProtectHome=" + ("read-only" if _any_below(_HOMES, paths) else "yes")
    yield "PrivateTmp=" + ("no" if _any_below(_TEMPORARY, paths) else "yes")
    if config.uses_microphone:
        yield "DeviceAllow=char-alsa rw"
    else:
        yield "PrivateDevices=yes"
    if not config.uses_network:
        yield "PrivateNetwork=yes"
        yield "IPAddressDeny=any"
    if config.writable:
        yield "ReadWritePaths=" + " ".join(f'"{_folder(path)}"' for path in config.writable)


def _any_below(roots: Iterable[str], texts: Iterable[str]) -> bool:
    """Return whether a text has a path in one of these folders."""
    pattern = "|".join(map(re.escape, roots))
    return any(re.search(rf"(?<![\w/])(?:{pattern})(?:/|\s|$)", text) for text in texts)


def _folder(path: str) -> str:
    """Return a folder as a setting reads it that does not unescape, but for quotes."""
    if not path.isprintable() or path.strip() != path or set(path) & set('\\"'):
        raise UsageError(f"{printable(path)}: no unit can have this folder: rename it")
    return path.replace("%", "%%")


def _program() -> list[str]:
    script = Path(sys.executable).with_name("sed-engine")
    return [str(script)] if script.exists() else [sys.executable, "-m", "sed"]


def _given(context: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each option on the command line, with its value; secrets stay out."""
    for option in context.command.params:
        source = context.get_parameter_source(option.name)
        if source is None or source.name != "COMMANDLINE":
            continue
        if option.name in ("print_unit", "token"):
            continue
        value = context.params[option.name]
        yield from ((option, v) for v in (value if isinstance(value, list | tuple) else [value]))


def _name(option: Any) -> str:
    return next(str(name) for name in option.opts if name.startswith("--"))


def _absolute(text: str, *, is_path: bool, metavar: str) -> str:
    """Return the value of an option so that it does not depend on the folder."""
    if text.startswith("file:"):
        return f"file:{os.path.abspath(text.removeprefix('file:'))}"
    is_file = "FILE" in metavar and "://" not in text and os.path.exists(text)
    return os.path.abspath(text) if is_path or is_file else text


def _secrets(arguments: list[str], names: set[str]) -> Iterator[str]:
    if "--web" in names:
        yield "SED_TOKEN"
    if "--mqtt" in names:
        yield "SED_MQTT_PASSWORD"
    for argument in arguments:
        if argument.startswith(("--webhook", "--push")):
            yield from _SECRET.findall(argument)


def _is_file_or_url(name: str) -> bool:
    return "://" in name or os.path.exists(name)


def _needs_network(option: Any) -> bool:
    is_other = option.name != "input" and re.search("URL|HOST|COMMAND", option.metavar or "")
    return bool(is_other) or option.name == "config"
