"""Publish a trained checkpoint as the model `general`: thresholds, hierarchy, card, attribution.

    python -m benchmarks.figures.publish_general RUN_DIR_OR_CHECKPOINT [--output FOLDER]
        [--false-per-hour 1.0] [--lowest 0.5]

Weights are stored in half precision. Thresholds are set on the stored model, on the clips of
`benchmarks.figures.labelled_sound`, by the rules of `train.distill.thresholds`.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import sed
from benchmarks.figures import labelled_sound, make_example
from benchmarks.quality import scenes
from sed.events.tracker import TrackerConfig
from sed.files import written_whole
from sed.models.checkpoint import Checkpoint
from sed.models.registry import SHIPPED_FOLDER
from streaming.engines.base import Engine
from train.distill.classes import class_hierarchy, names_and_ids, read_classes
from train.distill.thresholds import (
    ClassThreshold,
    ThresholdConfig,
    fit_class_thresholds,
)

NAME = "general"
RULES = {
    "best F1": "There are clips with the class: the threshold of the best F1 over clips found, "
    "clips missed and false events, among those at which false events are rare enough.",
    "false events": "The threshold at which false events are rare enough; no clip with the class "
    "moved it further.",
    "lowest": "Even the lowest threshold that is allowed gave no more false events than the limit. "
    "The sound at hand may have nothing that resembles the class: the least certain rule.",
    "background": "Rooms, noise, radio: these may be in any clip, so all sound counts as without "
    "the class, and the threshold keeps them rare rather than right.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Publish a checkpoint as the model general.")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--output", type=Path, default=SHIPPED_FOLDER)
    parser.add_argument("--false-per-hour", type=float, default=1.0)
    # Of a class that no clip has, a sound has to be more likely than not.
    parser.add_argument("--lowest", type=float, default=0.5)
    options = parser.parse_args()
    config = ThresholdConfig(false_per_hour=options.false_per_hour, lowest=options.lowest)
    publish(sed.load_model(options.checkpoint), options.output, config)


def publish(
    checkpoint: Checkpoint, folder: Path, config: ThresholdConfig, *, engine: str = "auto"
) -> None:
    """Write the model, its card and its attribution into a folder.

    Thresholds are set on the stored model, with the engine that users get or the one given.
    """
    data = scenes.shared_folder() / "data"
    clips = labelled_sound.labelled_clips(data)
    weights = folder / f"{NAME}.safetensors"
    checkpoint.data |= {
        "trained_on": "ESC-50 (K. J. Piczak, 2015): clips under CC0 and CC-BY, without fold 1",
        "distilled_from": "YAMNet (Google, Apache-2.0) and EfficientAT mn04 (MIT), both trained on "
        "AudioSet",
        "licence": "Apache-2.0 (weights that started as YAMNet's, changed by training) and MIT; "
        "attribution in sed/models/pretrained/GENERAL_ATTRIBUTION.md",
    }
    sed.save_checkpoint(checkpoint, weights, dtype=torch.float16)
    thresholds, checkpoint.post_processing = fit(
        sed.open_engine(weights, engine=engine), clips, config
    )
    checkpoint.hierarchy = class_hierarchy()
    checkpoint.audioset = names_and_ids()
    sed.save_checkpoint(checkpoint, weights, dtype=torch.float16)
    rules = {one.label: one.rule for one in thresholds}
    add_metadata(weights.with_suffix(".json"), {"thresholds_from": rules})
    _write(folder / "GENERAL_CARD.md", card(checkpoint, thresholds, config))
    _write(folder / "GENERAL_ATTRIBUTION.md", attribution(data, clips))
    print(f"{weights}: {weights.stat().st_size / 1e6:.1f} MB, {rule_counts(thresholds)}")


def fit(
    engine: Engine, clips: Sequence[labelled_sound.LabelledClip], config: ThresholdConfig
) -> tuple[list[ClassThreshold], TrackerConfig]:
    """Set the thresholds of a model on clips."""
    spec = engine.spec
    if spec.labels != tuple(one.name for one in read_classes()):
        raise SystemExit("the classes of the checkpoint are not those of AudioSet, in their order")
    detector = sed.Detector(engine, sed.DetectorConfig(mode="fully_convolutional", batch_size=None))
    probs, places = labelled_sound.frame_probs(detector, clips)
    return fit_class_thresholds(
        probs, places, spec.labels, spec.timeline, spec.post_processing, config
    )


def add_metadata(path: Path, more: dict[str, Any]) -> None:
    """Add keys to the metadata of a checkpoint, in front of the weights."""
    metadata = json.loads(path.read_text("utf-8"))
    weights = metadata.pop("weights")
    _write(path, json.dumps(metadata | more | {"weights": weights}, indent=1, ensure_ascii=False))


def attribution(data: Path, clips: Sequence[labelled_sound.LabelledClip]) -> str:
    """Return the text of the attribution."""
    esc50 = [one.path.name for one in clips if one.path.parent.parent.name == "esc50"]
    listed = "\n".join(make_example.attribution_lines(data / "esc50", esc50))
    return (
        f"# The clips that the model `{NAME}` was trained on, and that set its thresholds\n\n"
        "From the licence file of ESC-50 (K. J. Piczak, 2015); generated by "
        "`benchmarks/figures/publish_general.py`. The thresholds rest on these clips and on 60 "
        "recordings of a CC0 collection of drone, helicopter and background sounds.\n\n"
        f"{listed}\n"
    )


def card(
    checkpoint: Checkpoint, thresholds: Sequence[ClassThreshold], config: ThresholdConfig
) -> str:
    """Return the model card."""
    parameters = sum(p.numel() for p in checkpoint.model.parameters())
    log_mel = checkpoint.model.log_mel.config
    frame_ms = 1000 * checkpoint.timeline.frame_seconds
    hours = max(one.hours for one in thresholds)
    gap = checkpoint.post_processing.min_gap_seconds
    parts = "\n".join(_of_rule(rule, thresholds) for rule in RULES)
    return f"""# Model card: `{NAME}`

Generated by `benchmarks/figures/publish_general.py`.

**Classes.** {len(checkpoint.labels)} classes of AudioSet under short names, in a small hierarchy;
display names, ids and parents are in `{NAME}.json`.

**Network.** {checkpoint.model.config.backbone} of timm with an attention head, {parameters:,}
parameters in half precision; {log_mel.sample_rate / 1000:g} kHz, {log_mel.n_mels} mel bands
{log_mel.f_min:g}–{log_mel.f_max:g} Hz, a frame every {frame_ms:.0f} ms, run fully convolutionally.

**Training.** Distilled from YAMNet (Google, Apache-2.0) and EfficientAT mn04 (MIT), which were
trained on AudioSet, on clips of ESC-50 under CC0 or CC-BY without the official fold 1. Their labels
were used where AudioSet has the class. Names and licences are in `GENERAL_ATTRIBUTION.md`.
The weights started as YAMNet's and are changed; its licence is in `LICENSE-APACHE-2.0`.

    sed train --recipe general-features --fold 0 --data ESC50_FOLDER \\
        --init-weights YAMNET_WEIGHTS --output runs/features \\
        --set loss.distill_yamnet=YAMNET_WEIGHTS
    sed train --recipe general --fold 0 --data ESC50_FOLDER \\
        --init-weights runs/features/last.safetensors --output runs/general \\
        --set loss.distill_yamnet=YAMNET_WEIGHTS --set loss.distill_mn04=MN04_WEIGHTS
    python -m benchmarks.figures.publish_general runs/general/last.safetensors

**Figures.** Sounds named, events found, false events and errors of onsets, beside those of its
teachers: `docs/quality.md`, by `python -m benchmarks.quality.figures`.

**Limits.**
- It was never trained on recordings of AudioSet: what it knows of classes that ESC-50 lacks comes
  from the two teachers alone.
- Sounds of one class that follow each other within {gap:g} s are one event (`--min-gap`).
- Thresholds rest on clips most of which the model was trained on: on others more events are missed,
  and more are false.
- Scores are not calibrated probabilities. On your recordings, check some results and set
  `--threshold`.
- It receives nothing above 8 kHz: no bats, few insects.
- Do not use it where safety depends on it.

## Thresholds, class by class

Each class has a threshold of its own. Measured on up to {hours:.1f} hours of clips in sequence,
singly and mixed in pairs: ESC-50's clips above, most of them trained on, and a CC0 collection of
drones, helicopters and backgrounds. False events were counted by the event tracker in the clips
whose labels exclude the class. The limit is {config.false_per_hour:g} false event per hour, with a
margin: the events counted plus one must be within the limit, and so must the rate that an
exponential tail fitted to the {config.tail_peaks} highest peaks predicts. A class without
clips of its own has a threshold of at least {config.lowest:g}. There is little varied sound
here: a street, a stadium or a concert will give more false events than these clips.

{parts}"""


def _of_rule(rule: str, thresholds: Sequence[ClassThreshold]) -> str:
    """Return the part of the card about the classes whose threshold one rule set."""
    chosen = [one for one in thresholds if one.rule == rule]
    head = f"### By rule: {rule} ({len(chosen)} classes)\n\n{RULES[rule]}\n\n"
    if not any(one.n_positive for one in chosen):
        return head + ", ".join(f"{one.label} {one.onset:.2f}" for one in chosen) + "\n"
    rows = [
        f"| {one.label} | {one.onset:.3f} | {one.n_false} in {one.hours:.1f} h | "
        + (f"{one.n_found} of {one.n_positive} |" if one.n_positive else "– |")
        for one in chosen
    ]
    columns = "| class | threshold | false events | clips found |\n|---|---|---|---|\n"
    return head + columns + "\n".join(rows) + "\n"


def rule_counts(thresholds: Sequence[ClassThreshold]) -> str:
    """Return how many classes each rule decided."""
    counts = Counter(one.rule for one in thresholds)
    return ", ".join(f"{rule}: {counts[rule]}" for rule in RULES)


def _write(path: Path, text: str) -> None:
    with written_whole(path) as part:
        part.write_text(text.rstrip("\n") + "\n", "utf-8")


if __name__ == "__main__":
    main()
