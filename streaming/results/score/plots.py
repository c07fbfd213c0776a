"""Draw the PSD-ROC of a score, and the F1 of each class."""

from __future__ import annotations

import os

import numpy as np
from matplotlib.figure import Figure

from sed.events.plot_axes import class_colour, label_text
from sed.events.plots import save_figure
from sed.events.scoring.psds import PsdRoc
from sed.events.scoring.score import Score

MAX_CLASSES = 40  # that are drawn
MAX_CURVES = 12  # that have a name


def plot_psd_roc(
    path: str | os.PathLike[str], roc: PsdRoc, labels: tuple[str, ...], name: str
) -> None:
    """Draw what each class finds at each rate of effective false positives, and the effective mean.

    Parameters
    ----------
    path
        The PNG to write.
    roc
        The curve.
    labels
        Names of the classes of the truth.
    name
        Title.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    figure = Figure(figsize=(8.5, 5), layout="constrained")
    axes = figure.subplots()
    few = len(labels) <= MAX_CURVES
    for c, tpr in enumerate(roc.tpr):
        if not np.isnan(tpr).any():
            colour = class_colour(labels[c]) if few else "#b9b4a6"
            axes.step(
                roc.efpr, tpr, where="post", lw=1.0, color=colour, alpha=0.8,
                label=label_text(labels[c]) if few else None,
            )  # fmt: skip
    axes.step(roc.efpr, roc.etpr, where="post", lw=2.5, color="#22252b", label="effective mean")
    axes.fill_between(roc.efpr, roc.etpr, step="post", color="#22252b", alpha=0.08)
    axes.set_xlim(0, roc.efpr[-1])
    axes.set_ylim(0, 1)
    axes.set_xlabel("effective false positives per hour")
    axes.set_ylabel("share of reference events found")
    axes.set_title(f"{name}: {roc.score:.3f}", loc="left", weight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    save_figure(figure, path, dpi=120)


def plot_classes(path: str | os.PathLike[str], score: Score) -> None:
    """Draw event-based F1, precision and recall of each class, the best above."""
    rates = [(label, own) for label, own in score.events.classes.items() if own.n_true]
    rates.sort(key=lambda item: (-item[1].f1, item[0]))
    shown = rates[:MAX_CLASSES]
    figure = Figure(figsize=(8, 1.3 + 0.3 * max(2, len(shown))), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shown))
    axes.barh(places, [own.f1 for _, own in shown], 0.62, color="#2f5f8f", label="F1")
    precision, recall = (
        [getattr(own, name) for _, own in shown] for name in ("precision", "recall")
    )
    # One in the upper half of a bar, one in the lower, so that equal ones are seen.
    for values, shift, colour, name in (
        (precision, -0.17, "#e8643c", "precision"),
        (recall, 0.17, "#3fbf7a", "recall"),
    ):
        axes.plot(
            values, places + shift, "|", ms=7, mew=2.8, color=colour, label=name, clip_on=False
        )
    names = [f"{label_text(label)}  {own.n_true:,}" for label, own in shown]
    axes.set_yticks(places, names, parse_math=False)
    axes.set_ylim(max(1, len(shown)) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    more = f", the best {len(shown)} of {len(rates)} classes" if len(rates) > len(shown) else ""
    axes.set_title(f"event-based, with numbers of reference events{more}", loc="left", fontsize=10)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=9)
    save_figure(figure, path, dpi=120)
