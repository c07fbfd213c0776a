"""Define the command `sed score`. Heavy libraries are imported when it is called."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streaming.results.cli.options import INPUT, OUTPUT, Audio, Quiet

if TYPE_CHECKING:
    from sed.events.scoring.score import Score, ScoreConfig

METRICS = "Metrics"
_logger = logging.getLogger("sed.score")


def score(
    truth: Annotated[
        Path,
        typer.Argument(
            metavar="TRUTH",
            help="What is true: a table of events (DCASE's TSV, Raven, Audacity, CSV, JSON Lines, "
            "and others), or a folder of such tables.",
            rich_help_panel=INPUT,
        ),
    ],
    predictions: Annotated[
        list[Path],
        typer.Argument(
            metavar="PREDICTIONS...",
            help="What was detected: a table or folder as the truth, several for several operating "
            "points of a system, or frame probabilities (NPZ files of `sed detect --format npz`, "
            "or a folder of them).",
            rich_help_panel=INPUT,
        ),
    ],
    durations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table with the columns filename and duration, in seconds, of all recordings.",
            show_default="of the recordings, where they are found, else their last event",
            rich_help_panel=INPUT,
        ),
    ] = None,
    map_: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE",
            help="Table of two columns, a label and its new name; labels with an empty one are "
            "left out.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    classes: Annotated[
        str,
        typer.Option(
            help="Only these classes: names joined by commas.",
            show_default="all",
            rich_help_panel=INPUT,
        ),
    ] = "",
    audio: Audio = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Detections below this score do not count in the F1 figures.",
            show_default="none; of frame probabilities 0.5",
            rich_help_panel=METRICS,
        ),
    ] = None,
    collar: Annotated[
        float, typer.Option(help="Onset collar in seconds.", rich_help_panel=METRICS)
    ] = 0.2,
    offset_collar: Annotated[
        float, typer.Option(help="Offset collar in seconds.", rich_help_panel=METRICS)
    ] = 0.2,
    offset_share: Annotated[
        float,
        typer.Option(
            help="Or this share of the reference event, whichever is larger.",
            rich_help_panel=METRICS,
        ),
    ] = 0.2,
    segment: Annotated[
        float, typer.Option(help="Length of a segment in seconds.", rich_help_panel=METRICS)
    ] = 1.0,
    dtc: Annotated[
        float | None,
        typer.Option(
            help="Detection tolerance of intersection-based F1 and of both PSDS.",
            show_default="0.5; 0.7 and 0.1",
            rich_help_panel=METRICS,
        ),
    ] = None,
    gtc: Annotated[
        float | None,
        typer.Option(
            help="Ground truth tolerance of intersection-based F1 and of both PSDS.",
            show_default="0.5; 0.7 and 0.1",
            rich_help_panel=METRICS,
        ),
    ] = None,
    cttc: Annotated[
        float, typer.Option(help="Cross-trigger tolerance of PSDS.", rich_help_panel=METRICS)
    ] = 0.3,
    alpha_ct: Annotated[
        float | None,
        typer.Option(
            help="Weight of cross-triggers in both PSDS.",
            show_default="0 and 0.5",
            rich_help_panel=METRICS,
        ),
    ] = None,
    alpha_st: Annotated[
        float,
        typer.Option(help="Cost of differences between classes in PSDS.", rich_help_panel=METRICS),
    ] = 1.0,
    max_efpr: Annotated[
        float,
        typer.Option(
            help="Effective false positives per hour up to which PSDS counts.",
            rich_help_panel=METRICS,
        ),
    ] = 100.0,
    cross_mean: Annotated[
        str,
        typer.Option(
            metavar="all|other",
            help="Classes that cross-trigger rates are averaged over: all, as the published "
            "figures of DCASE's baseline, or the other ones, as psds_eval 0.5.",
            rich_help_panel=METRICS,
        ),
    ] = "all",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all figures as JSON.", rich_help_panel=OUTPUT)
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder for scores.json, classes.csv, the PSD-ROC and pictures.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score the events of any system against what is true.

    Event-based, segment-based and intersection-based F1, error rates, PSDS 1 and 2, errors of
    onsets and false events per hour, with the definitions of sed_eval, psds_eval and
    sed_scores_eval.
    """
    from dataclasses import replace

    from sed.cli import show_log
    from sed.errors import check_extra
    from sed.events.scoring.collar import CollarConfig
    from sed.events.scoring.intersection import IntersectionConfig
    from sed.events.scoring.psds import SCENARIO_1, SCENARIO_2
    from sed.events.scoring.score import ScoreConfig
    from sed.text import split_names

    show_log(quiet=quiet)
    tolerances = {name: value for name, value in (("dtc", dtc), ("gtc", gtc)) if value is not None}
    psds = tolerances | {
        "cttc": cttc,
        "alpha_st": alpha_st,
        "max_efpr": max_efpr,
        "cross_mean": cross_mean,
        **({} if alpha_ct is None else {"alpha_ct": alpha_ct}),
    }
    config = ScoreConfig(
        CollarConfig(collar, offset_collar, offset_share),
        segment,
        IntersectionConfig(**tolerances, cttc=cttc),
        replace(SCENARIO_1, **psds),  # type: ignore[arg-type]
        replace(SCENARIO_2, **psds),  # type: ignore[arg-type]
        threshold,
    )
    names = split_names(classes)
    if output is not None:
        check_extra("matplotlib", "sed score --output")
    found = _scored(truth, predictions, durations, audio or [], map_, names, config)
    if output is not None:
        from streaming.results.score.report import write_report

        write_report(output, found)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    elif not quiet:
        from streaming.results.cli.score_table import print_score

        print_score(found)


def _scored(
    truth: Path,
    predictions: list[Path],
    durations: Path | None,
    audio: Sequence[Path],
    map_: Path | None,
    classes: Sequence[str],
    config: ScoreConfig,
) -> Score:
    from sed.events.event_table import EventTable
    from sed.events.reading.event_tables import read_event_tables
    from sed.events.scoring.score import score as score_events
    from streaming.results.score.inputs import (
        check_classes,
        found_durations,
        frames_with_labels,
        left_out,
        named_recordings,
        read_durations,
        read_label_map,
        read_predictions,
        with_labels,
    )

    mapped = {} if map_ is None else read_label_map(map_)
    reference = with_labels(read_event_tables([truth]), mapped)
    check_classes(classes, reference)
    reference = with_labels(reference, {}, classes)
    given = read_predictions(predictions)
    tables = [with_labels(one, mapped, classes) for one in given if isinstance(one, EventTable)]
    frames = [frames_with_labels(one, mapped) for one in given if not isinstance(one, EventTable)]
    lengths = None if durations is None else read_durations(durations)
    if lengths is None:
        # Those without events are in the tables alone.
        files = dict.fromkeys([*reference.files, *named_recordings([truth])])
        predicted = [name for table in tables for name in table.files]
        lengths, missing = found_durations([*files], [truth], predicted, audio)
        if missing:
            lengths = None
            if not frames:
                _logger.warning(
                    "the lengths of recordings are unknown: each is taken to end with its last "
                    "event. Give --audio DIR or --durations FILE. (%s)",
                    missing[0],
                )
    if lengths and (others := left_out(tables or frames, lengths)):
        _logger.warning("left out: %s", others)
    return score_events(reference, tables or frames, durations=lengths or None, config=config)
