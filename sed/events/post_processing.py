r"""Read and write post-processing per class, as a TOML file that people can read and change.

::

    # Post-processing of sed-engine, class by class.
    # model: general

    [class."dog"]
    onset_threshold = 0.43                 all keys may be left out: then the model's value stays
    offset_threshold = 0.2
    median_filter_frames = 3
    min_duration_seconds = 0.2
    min_gap_seconds = 0.5
    decoder = "hysteresis"                 or "change_detection", which the next four are about
    step_filter_seconds = 0.5
    merge_threshold_absolute = 0.1
    merge_threshold_relative = 0.3
    event_score = "mean"                   or "max"

    [class."dog".calibration]              of the probabilities, before all else: Platt
    slope = 1.2
    intercept = -0.3

    [class."frog".calibration]             or isotonic: straight lines between these points
    scores = [0.0, 0.4, 1.0]
    probabilities = [0.0, 0.1, 0.9]

A key is that of `TrackerConfig`, with one value. A class that the file lacks keeps what the model
has. Platt's calibration is ``1 / (1 + exp(-(slope · logit(p) + intercept)))``. Thresholds are those
of calibrated probabilities.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sed.config import toml_value
from sed.errors import SedError, UsageError
from sed.events.tracking.calibration import Calibration, is_number, read_calibration
from sed.events.tracking.config import TrackerConfig
from sed.files import written_whole
from sed.text import near, printable, without_controls

HEAD = "Post-processing of sed-engine, class by class."
CALIBRATION = "calibration"
KEYS = tuple(field.name for field in dataclasses.fields(TrackerConfig))
MAX_BYTES = 64_000_000
# Least and most of numbers that are not from 0 to 1, as `sed.models.bounds` has them.
RANGES: Mapping[str, tuple[int, int]] = {
    "median_filter_frames": (1, 10_001),
    "min_duration_seconds": (0, 86_400),
    "min_gap_seconds": (0, 86_400),
    "step_filter_seconds": (0, 60),
}


@dataclass(frozen=True)
class ClassPostProcessing:
    """What is set for one class.

    Attributes
    ----------
    values
        Fields of `TrackerConfig`, sorted, each with one value.
    calibration
        What makes probabilities of the scores of the model; nothing if None.
    """

    values: tuple[tuple[str, float | int | str], ...] = ()
    calibration: Calibration | None = None


@dataclass(frozen=True)
class PostProcessing:
    """What is set for some classes.

    Attributes
    ----------
    classes
        Names and what is set for them, each name once.
    source
        The file, for messages.
    """

    classes: tuple[tuple[str, ClassPostProcessing], ...] = ()
    source: str = ""

    @classmethod
    def from_dict(cls, tables: Mapping[str, Any], source: str = "") -> PostProcessing:
        """Return what is set in a table per class, with the keys of the file.

        Raises
        ------
        ValueError
            If a key is unknown, or a value is out of range.
        """
        return cls(tuple((name, _class(name, table)) for name, table in tables.items()), source)

    @classmethod
    def from_config(
        cls,
        config: TrackerConfig,
        labels: Sequence[str],
        calibration: Mapping[str, Calibration] | None = None,
    ) -> PostProcessing:
        """Return all that a config sets for these classes.

        What is about change detection is left out for classes that do not use it.

        Raises
        ------
        ValueError
            If a tuple in the config is not as long as `labels`.
        """
        columns = {key: config.values(key, len(labels)).tolist() for key in KEYS}
        classes = []
        for number, label in enumerate(labels):
            values = {key: column[number] for key, column in columns.items()}
            if values["decoder"] == "hysteresis":
                values = {key: values[key] for key in KEYS[:6]}
            one = ClassPostProcessing(tuple(sorted(values.items())), (calibration or {}).get(label))
            classes.append((label, one))
        return cls(tuple(classes))

    def resolve(
        self, labels: Sequence[str], names: Callable[[Sequence[str]], Sequence[str]]
    ) -> dict[int, ClassPostProcessing]:
        """Return what is set by the number of the class.

        Parameters
        ----------
        labels
            Names of the classes of the model.
        names
            Returns the labels that names stand for, as `ModelSpec.resolve` does.

        Raises
        ------
        UsageError
            If the model does not have a class.
        """
        place = {label: number for number, label in enumerate(labels)}
        found: dict[int, ClassPostProcessing] = {}
        unknown = []
        for name, one in self.classes:
            for label in names([name]):
                if label in place:
                    found[place[label]] = one
                else:
                    unknown.append(name)
        if unknown:
            others = f" Nor does it have {len(unknown) - 1} others." * (len(unknown) > 1)
            raise UsageError(
                f"{self._name}the model has no class {printable(unknown[0])!r}. "
                f"{near(unknown[0], labels)}{others}"
            )
        return found

    def apply(
        self,
        config: TrackerConfig,
        labels: Sequence[str],
        names: Callable[[Sequence[str]], Sequence[str]] = tuple,
    ) -> TrackerConfig:
        """Return the post-processing of a model with what is set here.

        Parameters
        ----------
        config
            That of the model, which other classes keep.
        labels, names
            See `resolve`.

        Raises
        ------
        UsageError
            If the model does not have a class, or a value does not fit one of the model: an onset
            threshold without an offset threshold that is below the model's.
        """
        columns: dict[str, list[Any]] = {}
        for number, one in self.resolve(labels, names).items():
            for key, value in one.values:
                if key not in columns:
                    columns[key] = config.values(key, len(labels)).tolist()
                columns[key][number] = value
        try:
            changed = {key: tuple(column) for key, column in columns.items()}
            return dataclasses.replace(config, **changed)
        except ValueError:
            onsets, offsets = (
                columns.get(key, config.values(key, len(labels)).tolist())
                for key in ("onset_threshold", "offset_threshold")
            )
            wrong = next(c for c, on in enumerate(onsets) if offsets[c] > on)
            raise UsageError(
                f"{self._name}the onset threshold of {printable(labels[wrong])!r} is "
                f"{onsets[wrong]:g}, below its offset threshold of {offsets[wrong]:g}: set both"
            ) from None

    @property
    def name(self) -> str:
        """Name of the file, without its folder."""
        return os.path.basename(self.source)

    @property
    def checksum(self) -> str:
        """Twelve hexadecimal digits that change with what is set."""
        text = repr(sorted((label, repr(one)) for label, one in self.classes))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @property
    def _name(self) -> str:
        return f"{printable(self.source)}: " if self.source else ""


def read_post_processing(path: str | os.PathLike[str]) -> PostProcessing:
    """Read a file of post-processing per class.

    Raises
    ------
    SedError
        If it cannot be read.
    UsageError
        If it is no such file, has an unknown key, or a value is out of range.
    """
    name = printable(os.fspath(path))
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SedError(
            f"{name}: cannot read the thresholds: {error.strerror}. Check the name."
        ) from error
    try:
        if len(raw) > MAX_BYTES:
            raise ValueError("too large for a file of thresholds")
        tables = tomllib.loads(raw.decode())
        for key in tables:
            if key != "class":
                raise ValueError(f"unknown key {printable(key)!r}. {near(key, ['class'])}")
        classes = tables.get("class")
        if not isinstance(classes, dict) or not all(isinstance(t, dict) for t in classes.values()):
            raise ValueError('expected a table per class, as [class."dog"]')
        return PostProcessing.from_dict(classes, os.fspath(path))
    except RecursionError as error:
        raise UsageError(f"{name}: nested too deeply") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        what = "is no file of thresholds, which is TOML, as `sed tune` writes it"
        raise UsageError(f"{name}: {what}: {without_controls(str(error))}") from error
    except ValueError as error:
        raise UsageError(f"{name}: {without_controls(str(error))}") from error


def write_post_processing(
    path: str | os.PathLike[str],
    post_processing: PostProcessing,
    comments: Iterable[str] = (),
) -> None:
    """Write a file of post-processing per class, whole or not at all.

    Parameters
    ----------
    path
        The file.
    post_processing
        What is set.
    comments
        Lines for the head of the file: which model, which data, what was gained.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    head = [line for comment in (HEAD, *comments) for line in comment.splitlines() or [""]]
    lines = [f"# {without_controls(line)}".rstrip() for line in head]
    lines += [] if post_processing.classes else ["", "[class]"]
    for label, one in post_processing.classes:
        lines += ["", f"[class.{toml_value(label)}]"]
        values = dict(one.values)
        lines += [f"{key} = {toml_value(values[key])}" for key in KEYS if key in values]
        if one.calibration is not None:
            lines += ["", f"[class.{toml_value(label)}.{CALIBRATION}]"]
            lines += [
                f"{k} = {toml_value(v)}" for k, v in dataclasses.asdict(one.calibration).items()
            ]
    with written_whole(path) as partial:
        partial.write_bytes(("\n".join(lines) + "\n").encode())


def _class(name: str, table: Mapping[str, Any]) -> ClassPostProcessing:
    """Return what a table sets for a class, after checking it."""
    values: dict[str, Any] = {}
    calibration: Calibration | None = None
    for key, value in table.items():
        where = f"{printable(name)}.{key}"
        if key == CALIBRATION:
            calibration = read_calibration(where, value)
        elif key not in KEYS:
            known = near(key, [*KEYS, CALIBRATION])
            raise ValueError(f"unknown key {printable(key)!r} of {printable(name)!r}. {known}")
        else:
            values[key] = _checked(where, key, value)
    onset, offset = values.get("onset_threshold"), values.get("offset_threshold")
    try:
        if offset is not None and onset is None:
            TrackerConfig(1.0, offset)
        elif onset is not None and offset is None:
            TrackerConfig(onset, onset)
        else:
            TrackerConfig(**values)
    except ValueError as error:
        raise ValueError(f"{printable(name)}: {error}") from error
    return ClassPostProcessing(tuple(sorted(values.items())), calibration)


def _checked(where: str, key: str, value: Any) -> Any:
    """Return a value of the file, if it has the type and the range of its key."""
    default = getattr(TrackerConfig(), key)
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError(f"expected {where} as text, got {value!r}")
    else:
        least, most = RANGES.get(key, (0, 1))
        is_whole = isinstance(default, int)
        words = "a whole number" if is_whole else "a number"
        if not is_number(value) or (is_whole and not isinstance(value, int)):
            raise ValueError(f"expected {where} as {words}, got {value!r}")
        if not least <= value <= most:  # nor is NaN
            raise ValueError(f"{where} is {value}, expected {least:,} to {most:,}")
    if "set_threshold" not in key:  # onset and offset are looked at together
        TrackerConfig(**{key: value})
    return float(value) if isinstance(default, float) else value
