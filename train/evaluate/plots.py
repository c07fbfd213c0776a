"""Plot training curves, confusion matrices and comparisons of runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sed.events.plot_axes import label_text, run_colour
from sed.events.plots import save_figure
from train.config.optim import METRIC_NAMES


def plot_curves(history: Sequence[Mapping[str, float]], path: str | os.PathLike[str]) -> None:
    """Plot loss, accuracy and cmAP over the epochs of a training run into a PNG file.

    Parameters
    ----------
    history
        The rows of history.csv.
    path
        The file to write.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["loss"] for row in history], color="#1f4e79", marker=".")
    left.set(xlabel="epoch", ylabel="training loss")
    for key, colour in (("accuracy", "#c1440e"), ("padded_cmap_5", "#1f4e79")):
        name = METRIC_NAMES[key]
        values = [row[key] for row in history]
        if np.isnan(values).all():  # accuracy, of clips with several labels
            continue
        best = max(range(len(values)), key=values.__getitem__)
        right.plot(
            epochs, values, color=colour, marker=".", label=f"{name}, best {values[best]:.3f}"
        )
    right.set(xlabel="epoch", ylim=(0, 1))
    _use_whole_epochs(left, right)
    right.legend(loc="lower right", frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
    save_figure(figure, path, dpi=150)


def plot_confusion(
    confusion: NDArray[np.int64], labels: Sequence[str], path: str | os.PathLike[str]
) -> None:
    """Plot a confusion matrix into a PNG file.

    Parameters
    ----------
    confusion
        Numbers of clips, shape (true, predicted).
    labels
        One per class.
    path
        The file to write.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    n_classes = len(labels)
    cell_inches = float(np.clip(6 / n_classes, 0.2 if n_classes <= 100 else 0.1, 0.9))
    letters = min(9.0, 60 * cell_inches)  # font size in points, as high as a row
    margin_inches = 1.0 + max(map(len, labels)) * letters / 110
    side_inches = n_classes * cell_inches + margin_inches
    figure = Figure(figsize=(side_inches, side_inches), layout="constrained")
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if n_classes <= 100:
        _write_counts(axes, confusion, shares, 0.85 * letters)
    names = [label_text(label) for label in labels]
    axes.set_xticks(range(n_classes), names, rotation=90, fontsize=letters, parse_math=False)
    axes.set_yticks(range(n_classes), names, fontsize=letters, parse_math=False)
    axes.set_xticks(np.arange(n_classes + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n_classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e4e4", lw=0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=10, weight="bold")
    axes.set_ylabel("true", fontsize=10, weight="bold")
    n_clips, n_right = int(confusion.sum()), int(np.trace(confusion))
    right = f", {n_right / n_clips:.1%} of them correct" if n_clips else ""
    axes.set_title(f"{n_clips:,} clips{right}", loc="left", fontsize=10)
    save_figure(figure, path, dpi=150 if n_classes <= 100 else 100)


def _write_counts(
    axes: Axes, confusion: NDArray[np.int64], shares: NDArray[np.float64], letters: float
) -> None:
    for true, predicted in np.argwhere(confusion):
        axes.text(
            predicted, true, str(confusion[true, predicted]), ha="center", va="center",
            fontsize=letters, color="white" if shares[true, predicted] > 0.5 else "black",
        )  # fmt: skip


@dataclass(frozen=True)
class RunCurves:
    """Curves of a run; those of several folds are plotted as mean and spread."""

    name: str
    loss: Sequence[Sequence[float]]  # per fold and epoch
    metric: Sequence[Sequence[float]]  # per fold and epoch


def plot_run_curves(runs: Sequence[RunCurves], metric: str, path: str | os.PathLike[str]) -> None:
    """Plot training loss and a metric over the epochs of several runs into a PNG file.

    A run of one fold is a line with a mark at its best epoch. Several folds are the line of their
    mean in a band from minimum to maximum, with a mark at the best epoch of the mean.

    Parameters
    ----------
    runs
        The curves.
    metric
        Name of the metric, for the axis.
    path
        The file to write.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    figure = Figure(figsize=(11, 4.4 + 0.19 * len(runs)), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, run in enumerate(runs):
        colour = run_colour(i)
        _plot_folds(left, run.loss, colour)
        mean = _plot_folds(right, run.metric, colour)
        best = int(np.nanargmax(mean)) if not np.isnan(mean).all() else 0
        right.plot(best + 1, mean[best], marker="*", ms=13, color=colour, mec="white", zorder=5)
        folds = f", {len(run.metric)} folds" * (len(run.metric) > 1)
        label = f"{label_text(run.name)}{folds}: {mean[best]:.4f} in epoch {best + 1}"
        left.plot([], [], color=colour, lw=2, label=label)
    left.set(xlabel="epoch", ylabel="training loss")
    right.set(xlabel="epoch", ylabel=metric)
    _use_whole_epochs(left, right)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        axes.xaxis.get_major_locator().set_params(integer=True)
    legend = figure.legend(loc="outside lower left", frameon=False, fontsize=9)
    for text in legend.get_texts():
        text.set_parse_math(False)
    save_figure(figure, path, dpi=150)


def _plot_folds(axes: Axes, folds: Sequence[Sequence[float]], colour: str) -> NDArray[np.float64]:
    """Plot mean and spread of folds; return the mean, shape (epochs,).

    The mean of an epoch is over the folds that reached it.
    """
    values = np.full((len(folds), max(map(len, folds))), np.nan)
    for row, fold in zip(values, folds, strict=True):
        row[: len(fold)] = fold
    n_folds = np.maximum((~np.isnan(values)).sum(axis=0), 1)
    mean = np.where(np.isnan(values).all(axis=0), np.nan, np.nansum(values, axis=0) / n_folds)
    epochs = np.arange(1, values.shape[1] + 1)
    axes.plot(epochs, mean, color=colour, marker="." if len(epochs) <= 40 else None)
    if len(folds) > 1:
        lowest, highest = np.fmin.reduce(values), np.fmax.reduce(values)
        axes.fill_between(epochs, lowest, highest, color=colour, alpha=0.18, lw=0)
    return mean


def _use_whole_epochs(*all_axes: Axes) -> None:
    """Put ticks at whole epochs only."""
    for axes in all_axes:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
