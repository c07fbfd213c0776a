"""Run `sed prepare`, and read what it wrote."""

from typer.testing import CliRunner

from sed.cli import app

RATE = 8_000


def sed(*arguments):
    return CliRunner().invoke(app(), [str(a) for a in arguments], env={"COLUMNS": "100"})


def wavs(out):
    return {str(p.relative_to(out)): p.stat() for p in sorted(out.rglob("*.wav"))}


def contents(out):
    files = (p for p in sorted(out.rglob("*")) if p.is_file() and p.name != "prepared.json")
    return {str(p.relative_to(out)): p.read_bytes() for p in files}
