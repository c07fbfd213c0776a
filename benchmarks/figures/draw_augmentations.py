"""Draw `docs/augmentations.png`: every augmentation of `sed train`, before and after.

    python -m benchmarks.figures.draw_augmentations

The clips are five seconds each of `examples/village.ogg`, with the events of its table. The
functions are those that training calls. Their seeds were chosen so that each effect is visible.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sed.audio.blocks import read_recording
from sed.features.log_mel import LogMelConfig
from sed.features.log_mel_torch import LogMel
from sed.files import written_whole
from train.augment import images, mix, noise, spectrogram, waveform
from train.config.augment import SpectrogramConfig

ROOT = Path(__file__).parents[2]
FRONT_END = LogMelConfig(
    sample_rate=32_000,
    win_length=1_280,
    hop_length=320,
    n_fft=2_048,
    n_mels=128,
    f_min=60.0,
    f_max=11_000.0,
    power=2,
    log="db",
    amin=1e-6,
)
WINDOW = 5 * FRONT_END.sample_rate
FRAME_COLUMNS = 10
FRAME_SAMPLES = FRAME_COLUMNS * FRONT_END.hop_length
N_FRAMES = WINDOW // FRAME_SAMPLES
FRAME_SECONDS = FRAME_SAMPLES / FRONT_END.sample_rate
FAINTEST_DB, STRONGEST_DB = -48.0, 34.0

CLASSES = ("rooster", "dog", "crow", "siren")
COLOURS = ("#7fd4ff", "#ffd166", "#8ef0a0", "#ff9ecb")
LANE_INCHES = 0.23  # of the targets of a class over each spectrogram
LOG_MEL = LogMel(FRONT_END)


@dataclass(frozen=True)
class Clip:
    """Five seconds as samples or as a spectrogram, with the frame targets."""

    samples: NDArray[np.float32]
    targets: Tensor  # (frames, classes)
    log_mel: Tensor | None = None  # (columns, mels)

    def spectrogram(self) -> Tensor:
        """Return the log-mel spectrogram in decibels, shape (columns, mels)."""
        if self.log_mel is not None:
            return self.log_mel
        return LOG_MEL.forward_padded(torch.from_numpy(self.samples))


@dataclass(frozen=True)
class Card:
    """One augmentation: its name, its random choice, its inputs and its output."""

    name: str
    drawn: str
    before: list[Clip]
    after: Clip


def main() -> None:
    sections = {
        "The samples of a clip": list(of_samples()),
        "Mixed clips": list(of_mixtures()),
        "The log-mel spectrogram": list(of_spectrograms()),
    }
    path = ROOT / "docs" / "augmentations.png"
    figure = draw(sections)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    with written_whole(path) as part:  # 256 colours are enough, in a third of the bytes
        image.quantize(256, dither=Image.Dither.NONE).save(part, format="png", optimize=True)
    print(f"{sum(map(len, sections.values()))} augmentations in {path.relative_to(ROOT)}")


def cut_out(start_seconds: float, *, only: tuple[str, ...] = CLASSES) -> tuple[Any, Any]:
    """Return five seconds of the example from a time on, and its labelled spans there."""
    first = round(start_seconds * FRONT_END.sample_rate)
    with open(ROOT / "examples" / "village.tsv", newline="") as file:
        spans = [
            (
                round(float(row["onset"]) * FRONT_END.sample_rate),
                round(float(row["offset"]) * FRONT_END.sample_rate),
                CLASSES.index(row["event_label"]),
            )
            for row in csv.DictReader(file, delimiter="\t")
            if row["event_label"] in only
        ]
    return waveform.crop(VILLAGE, spans, first, WINDOW)


def labelled(samples: NDArray[np.float32], spans: waveform.Spans) -> Clip:
    """Return a clip with the frame targets of its spans."""
    targets = torch.zeros(N_FRAMES, len(CLASSES))
    for first, last, label in spans:
        targets[first // FRAME_SAMPLES : -(-last // FRAME_SAMPLES), label] = 1.0
    return Clip(samples, targets)


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


VILLAGE = read_recording(ROOT / "examples" / "village.ogg", FRONT_END.sample_rate)
ROOSTER = cut_out(3.2)
SIREN = cut_out(104.3)


def of_samples() -> Iterator[Card]:
    samples, spans = ROOSTER
    rate = FRONT_END.sample_rate
    clip = labelled(samples, spans)

    def card(name: str, drawn: str, after: tuple[Any, Any], before: Clip = clip) -> Card:
        return Card(name, drawn, [before], labelled(*after))

    for name, seed in (("roll", 1), ("shift", 15)):
        moved = waveform.SHIFTS[name](samples, spans, seeded(seed))
        yield card(name, f"by {(moved[1][0][0] - spans[0][0]) / rate:.1f} s", moved)
    stretched = waveform.time_stretch(samples, spans, 0.75)
    yield card("time stretch", "speed 0.75", waveform.crop(*stretched, 0, WINDOW))
    higher = waveform.pitch_shift(samples, rate, 5.0)
    yield card("pitch shift", "+5 semitones", (higher, spans))

    short = waveform.crop(samples, spans, rate // 2, 2 * rate)
    for how, drawn, seed in (
        ("pad", "silence around it", 11),
        ("repeat", "repeated copies", 0),
        ("masked-copy", "copies with gaps", 7),
    ):
        filled = waveform.fit_length(*short, WINDOW, how, seeded(seed))
        yield card(how, drawn, filled, labelled(*short))
    softer = waveform.random_gain(samples, 12.0, seeded(34))
    change_db = 20 * np.log10(np.std(softer) / np.std(samples))
    yield card("gain", f"{change_db:+.0f} dB".replace("-", "−"), (softer, spans))

    for kind, seed in (("white", 0), ("pink", 0), ("band", 5)):
        hiss = noise.noise(kind, WINDOW, rate, seeded(seed))
        noisy = noise.add_at_snr(samples, hiss, 12.0)
        yield card(f"{kind} noise", "12 dB below", (noisy, spans))
    rain, _ = cut_out(157.0, only=())
    behind = noise.add_at_snr(samples, rain, 12.0)
    yield card("background", "rain, 12 dB below", (behind, spans))


def of_mixtures() -> Iterator[Card]:
    clips = [labelled(*ROOSTER), labelled(*SIREN)]
    waves = torch.from_numpy(np.stack([clip.samples for clip in clips]))
    targets = torch.stack([clip.targets for clip in clips])

    summed, [targets_sum] = mix.sum_mixtures(
        waves,
        [targets],
        max_recordings=2,
        stop_probability=0.0,
        gain_db=(-6.0, -6.0),
        generator=seeded(0),
        power=False,
    )
    yield Card(
        "sum of recordings", "second at −6 dB", clips, Clip(summed[0].numpy(), targets_sum[0])
    )
    mixed, [shares] = mix.mixup(waves, [targets], alpha=1.0, rule="convex", generator=seeded(5))
    yield Card("mixup", "with random weights", clips, Clip(mixed[0].numpy(), shares[0]))
    columns = torch.stack([clip.spectrogram() for clip in clips])
    cut, _, frames = mix.cutmix(columns, [], targets, alpha=1.0, generator=seeded(4))
    yield Card("cutmix", "along time", clips, replace(clips[0], log_mel=cut[0], targets=frames[0]))

    calls = [(4.0, "rooster"), (27.3, "dog"), (145.0, "crow")]
    placed = [
        (cut_out(begin, only=())[0][: WINDOW // 4], [CLASSES.index(name)]) for begin, name in calls
    ]
    bed, _ = cut_out(190.2, only=())
    scene = mix.place_events(WINDOW, placed, seeded(12), background=bed)
    yield Card("placed events", "at known times", [labelled(bed, [])], labelled(*scene))


def of_spectrograms() -> Iterator[Card]:
    clip = labelled(*ROOSTER)
    log = clip.spectrogram()[None]
    energy = LOG_MEL.mel_energies(LOG_MEL.pad(torch.from_numpy(clip.samples)))[None]
    silence = float(10 * np.log10(FRONT_END.amin))
    unit = {"db_per_unit": FRONT_END.db_per_unit, "silence_value": silence}

    def card(name: str, drawn: str, columns: Tensor, targets: Tensor = clip.targets) -> Card:
        return Card(name, drawn, [clip], replace(clip, log_mel=columns, targets=targets))

    for exponent in (0.7, 1.5):
        raised = spectrogram.gamma(energy, 1.0, (exponent, exponent), seeded(0))
        yield card("gamma", f"to the power of {exponent}", LOG_MEL.logarithm(raised)[0])
    cut = spectrogram.low_pass(log, 1.0, 40.0, seeded(10), **unit)
    yield card("low pass", f"up to −{float((log - cut).max()):.0f} dB", cut[0])
    shaped = spectrogram.filter_augment(log, 1.0, 18.0, seeded(38), **unit)
    yield card("filter augment", "±18 dB", shaped[0])

    shuffled, targets = spectrogram.shuffle_segments(log, clip.targets[None], 1.0, 4, seeded(21))
    yield card("shuffled segments", "at frame borders", shuffled[0], targets[0])
    masks = SpectrogramConfig(time_mask_columns=80, freq_mask_bands=24)
    augment = spectrogram.SpecAugment(masks).train()
    yield card("SpecAugment", "masks at the mean", augment(log, seeded(12))[0])
    for name, seed in (("birdclef2023", 21), ("urban-sounds", 33)):
        channels = log[:, None].expand(1, 3, -1, -1)
        changed = images.apply_albumentations(name, channels, seeded(seed))
        yield card(name, "albumentations", changed[0, 0])


# ---- drawing


def draw(sections: dict[str, list[Card]]) -> Figure:
    """Return the figure: a heading per section, four cards a row."""
    n_rows = sum(-(-len(cards) // 4) for cards in sections.values())
    card_inches, heading_inches = 2.35, 0.62
    height = n_rows * card_inches + len(sections) * heading_inches + 0.3
    figure = Figure(figsize=(19, height), dpi=90)
    top = height - 0.05
    for heading, cards in sections.items():
        top -= heading_inches
        figure.text(
            0.013, (top + 0.14) / height, heading, fontsize=20, weight="bold", color="#222222"
        )
        for i, card in enumerate(cards):
            row, column = divmod(i, 4)
            bottom = top - (row + 1) * card_inches + 0.3
            draw_card(figure, card, 0.013 + 0.2495 * column, bottom / height, 1.55 / height)
        top -= -(-len(cards) // 4) * card_inches
    legend = (
        "Five seconds each, a mark per second, 60 Hz to 11 kHz on the mel scale, all in the same "
        "colours. Bars: the frame targets, the fainter the lower."
    )
    figure.text(0.013, 0.15 / height, legend, fontsize=13, color="#555555")
    return figure


def draw_card(figure: Figure, card: Card, left: float, bottom: float, tall: float) -> None:
    wide, gap = 0.108, 0.017
    n = len(card.before)
    for i, clip in enumerate(card.before):
        low = bottom + (n - 1 - i) * tall / n
        draw_clip(figure.add_axes((left, low, wide, (0.97 if n > 1 else 1.0) * tall / n)), clip)
    draw_clip(figure.add_axes((left + wide + gap, bottom, wide, tall)), card.after)
    title = {"va": "bottom", "y": bottom + 1.05 * tall}
    figure.text(left, s=card.name, fontsize=15, weight="bold", color="#b3331d", **title)
    figure.text(
        left + 2 * wide + gap, s=card.drawn, fontsize=13, color="#555555", ha="right", **title
    )
    figure.text(
        left + wide + gap / 2, bottom + tall / 2, "→", fontsize=17, ha="center", va="center"
    )


def draw_clip(axes: Axes, clip: Clip) -> None:
    """Draw a log-mel spectrogram, and above it the targets of each class."""
    columns = clip.spectrogram().numpy()
    seconds = len(columns) * FRONT_END.hop_length / FRONT_END.sample_rate
    n_lanes = max(1, int((clip.targets > 0).sum(dim=1).max()))  # classes at once
    strip = n_lanes * LANE_INCHES / (axes.get_position().height * axes.figure.get_size_inches()[1])
    axes.set_facecolor("#ececec")
    axes.imshow(
        columns.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=FAINTEST_DB,
        vmax=STRONGEST_DB,
        extent=(0, seconds, 0, 1 - strip),
    )
    axes.axhspan(1 - strip, 1, color="#2b2b2b", lw=0)
    axes.set(xlim=(0, 5), ylim=(0, 1), xticks=range(6), yticks=[])
    axes.tick_params(labelbottom=False, length=3, color="#999999")
    axes.spines[:].set_visible(False)
    draw_targets(axes, clip.targets, n_lanes, strip / n_lanes)


def draw_targets(axes: Axes, targets: Tensor, n_lanes: int, lane: float) -> None:
    """Draw frame targets as bars, one class above the other, fainter for lower targets."""
    present = [c for c in range(len(CLASSES)) if targets[:, c].any()]
    for i, c in enumerate(present):
        bottom = 1 - (1 + i % n_lanes) * lane
        runs = list(runs_of(targets[:, c].tolist()))
        longest = max(last - first for first, last, _ in runs)
        for first, last, value in runs:
            axes.add_patch(
                Rectangle(
                    (first * FRAME_SECONDS, bottom + 0.06 * lane),
                    (last - first) * FRAME_SECONDS,
                    0.88 * lane,
                    color=COLOURS[c],
                    alpha=0.2 + 0.8 * value,
                    lw=0,
                )
            )
            if last - first == longest and (last - first) * FRAME_SECONDS > 0.5:
                axes.text(
                    (first + last) / 2 * FRAME_SECONDS,
                    bottom + 0.47 * lane,
                    CLASSES[c] if value == 1 else f"{CLASSES[c]} {value:.2f}",
                    fontsize=10.5,
                    ha="center",
                    va="center_baseline",
                    color="black" if value > 0.5 else "white",
                    clip_on=True,
                )
                longest = 0  # Name each class once.


def runs_of(values: list[float]) -> Iterator[tuple[int, int, float]]:
    """Yield the runs of equal values above zero: first, last exclusive, value."""
    first = 0
    for value, run in groupby(values):
        last = first + len(list(run))
        if value > 0:
            yield first, last, value
        first = last


if __name__ == "__main__":
    main()
