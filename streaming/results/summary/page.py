"""Write the page of a summary: one file that needs no other, no script and no network."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from streaming.results.output import html_text, write_page

MAX_ROWS = 600  # of a table on the page; the CSV has all


@dataclass(frozen=True)
class PageTable:
    """A table on the page.

    Attributes
    ----------
    title
        Its heading.
    header
        Names of the columns.
    rows
        Cells; the second of each row is a number, and is drawn as a bar too.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def write_summary(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    notes: Sequence[str],
    pictures: Mapping[str, Path],
    tables: Sequence[PageTable],
) -> None:
    """Write the page of a summary.

    Parameters
    ----------
    path
        The file.
    title
        Its heading.
    facts
        Numbers by their names.
    notes
        Sentences below them.
    pictures
        PNG files by their descriptions; they are stored within the page.
    tables
        Tables below the pictures.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_page(
        path,
        files(__package__) / "page.html",
        title=html_text(title),
        facts="".join(_fact(name, value) for name, value in facts.items()),
        notes=" ".join(map(html_text, notes)),
        figures="\n".join(_figure(name, picture) for name, picture in pictures.items()),
        tables="\n".join(map(_table, tables)),
    )


def _fact(name: str, value: str) -> str:
    return f"<div><dt>{html_text(name)}</dt><dd>{html_text(value)}</dd></div>"


def _figure(name: str, picture: Path) -> str:
    data = base64.b64encode(picture.read_bytes()).decode()
    return f'<figure><img alt="{html_text(name)}" src="data:image/png;base64,{data}"></figure>'


def _table(table: PageTable) -> str:
    rows = table.rows[:MAX_ROWS]
    highest = max((_number(row[1]) for row in rows), default=0.0) or 1.0
    body = "\n".join(
        "<tr>"
        + "".join(
            f"<td>{_bar(cell, highest) if i == 1 else ''}{html_text(cell)}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    head = "".join(f"<th>{html_text(name)}</th>" for name in table.header)
    rest = len(table.rows) - len(rows)
    more = f'<p class="quiet">and {rest:,} more, see the CSV</p>' if rest else ""
    return (
        f"<h2>{html_text(table.title)}</h2>\n"
        f'<div class="table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>\n{body}\n</tbody></table></div>{more}"
    )


def _bar(cell: str, highest: float) -> str:
    return f'<i style="width:{6 * _number(cell) / highest:.2f}rem"></i>'


def _number(cell: str) -> float:
    return float(cell.replace(",", "") or 0)
