"""Write the tables and the pages of results."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import chain
from pathlib import Path
from string import Template

from sed.files import written_csv, written_whole
from sed.text import spreadsheet_cell, to_utf8, without_controls


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Write a CSV table for spreadsheets and R, in which no cell is a formula.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with written_csv(path) as table:
        for row in chain([header], rows):
            table.writerow(map(spreadsheet_cell, row))


def write_page(path: Path, template: Traversable, **parts: str) -> None:
    """Write a page that needs no other style, no script and no network.

    Parameters
    ----------
    path
        The page.
    template
        Its HTML with the names of parts, as `string.Template` has them, and ``$style``, which is
        the style that all pages share.
    parts
        HTML of each part; text in it has gone through `html_text`.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    page = Template(template.read_text("utf-8")).substitute(parts, style=style)
    with written_whole(path) as part:
        part.write_text(to_utf8(page), "utf-8")


def html_text(text: str) -> str:
    """Return text for HTML, without control characters and in UTF-8."""
    return escape(without_controls(to_utf8(text)))
