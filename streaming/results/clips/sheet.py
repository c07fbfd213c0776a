"""Write a contact sheet: one page with the picture and the sound of each clip, by class."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

from sed.events.tracker import Event
from sed.text import clock_time, iso_time, pluralize, to_utf8
from streaming.results.output import html_text, write_page


class Shown(Protocol):
    """What the sheet needs to know of a clip."""

    @property
    def path(self) -> str:
        """Sound, relative to the page."""
        ...

    @property
    def picture(self) -> str:
        """Picture, relative to the page."""
        ...

    @property
    def event(self) -> Event:
        """The event in its recording."""
        ...

    @property
    def start_seconds(self) -> float:
        """Start of the clip in the recording."""
        ...

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        ...

    @property
    def top_hz(self) -> float:
        """Frequency of the upper edge of its picture."""
        ...

    @property
    def kind(self) -> str:
        """What the event is an example of; sections are of one class and kind."""
        ...


def write_sheet(path: Path, clips: Sequence[Shown]) -> None:
    """Write a page that shows clips, sorted by class and kind; it needs no other server or script.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    groups = [
        (f"{label}: {kind}" if kind else label, [*group])
        for (label, kind), group in groupby(clips, lambda clip: (clip.event.label, clip.kind))
    ]
    n_classes = len({clip.event.label for clip in clips})
    classes = "one class" if n_classes == 1 else f"{n_classes} classes"
    title = f"{pluralize(len(clips), 'clip')} of {classes}"
    links = " ".join(f'<a href="#c{i}">{html_text(name)}</a>' for i, (name, _) in enumerate(groups))
    sections = "\n".join(
        f'<h2 id="c{i}">{html_text(label)} <small>{pluralize(len(group), "clip")}</small></h2>\n'
        + "<ol>\n"
        + "\n".join(map(_item, group))
        + "\n</ol>"
        for i, (label, group) in enumerate(groups)
    )
    template = files(__package__) / "sheet.html"
    write_page(path, template, title=title, links=links, sections=sections)


def _item(clip: Shown) -> str:
    event = clip.event
    sound, picture = (escape(quote(to_utf8(name))) for name in (clip.path, clip.picture))
    times = f"{event.onset:.2f} to {event.offset:.2f} s"
    if event.onset >= 60:
        times += f" ({clock_time(int(event.onset))})"
    when = f" · {iso_time(event.time)[:19].replace('T', ' ')}" if event.time else ""
    end = clip.start_seconds + clip.seconds
    return (
        f'<li><img loading="lazy" src="{picture}" alt="spectrogram of {html_text(event.label)}">'
        f'<div class="axis"><span>{clip.start_seconds:.1f} s</span>'
        f"<span>0 to {clip.top_hz / 1000:g} kHz</span><span>{end:.1f} s</span></div>"
        f'<audio controls preload="none" src="{sound}"></audio>'
        f"<p><b>{event.score:.2f}</b> · {times}{when}<br>{html_text(event.file)}</p></li>"
    )
