"""Plot how reliable probabilities are, before and after calibration."""

from __future__ import annotations

import os

from matplotlib.figure import Figure

from sed.events.plots import save_figure
from train.tune.calibration import Reliability


def plot_reliability(
    before: Reliability, after: Reliability, path: str | os.PathLike[str], unit: str
) -> None:
    """Plot a reliability diagram into a PNG file.

    Parameters
    ----------
    before, after
        On held-out parts.
    path
        The file to write.
    unit
        What is counted, frames or clips.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    figure = Figure(figsize=(5.2, 5.4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#888888", linestyle=":", label="ideal")
    for one, name, colour in ((before, "before", "#c1440e"), (after, "after", "#1f4e79")):
        label = f"{name} calibration, error {one.error:.3f}"
        axes.plot(one.probability, one.frequency, color=colour, marker="o", label=label)
    axes.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel="mean probability",
        ylabel=f"share of {unit} with the class",
        title="Reliability on held-out parts",
    )
    axes.set_aspect("equal")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", frameon=False)
    save_figure(figure, path, dpi=150)
