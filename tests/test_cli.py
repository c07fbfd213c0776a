"""The commands, as their users meet them."""

import inspect
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import streaming.cli.detect
import train.cli.train
from sed.audio.find import find_recordings
from sed.cli import COMMANDS, app
from sed.errors import UsageError
from sed.events.reading.events import read_events
from sed.events.writing.formats import TEXT_WRITERS
from sed.models.checkpoint import save_checkpoint
from streaming.offline.detect import detect
from streaming.pipeline.config import DetectorConfig
from tests.conftest import ROOT, rising_noise
from train.run.train import train as train_function


@pytest.fixture(scope="module")
def model(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


@pytest.fixture
def archive(tmp_path):
    """Return a folder with recordings in folders, and what is none of our business."""
    folder = tmp_path / "archive"
    for i, name in enumerate(("a.wav", "deep/er/b.WAV", "deep/a.wav", "deep/a.flac")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, rising_noise(24_000 + i, i), 8_000)
    (folder / "notes.txt").write_text("hello")
    (folder / ".hidden").mkdir()
    soundfile.write(folder / ".hidden" / "x.wav", rising_noise(8_000), 8_000)
    return folder


def sed(*arguments, **options):
    return CliRunner().invoke(app(), [str(a) for a in arguments], **options)


def test_a_folder_is_searched_whole_and_every_recording_gets_its_file(archive, model, tmp_path):
    out = tmp_path / "out"
    done = sed("detect", archive, "--model", model, "-o", out, "--format", "csv,jsonl", "-v")
    assert done.exit_code == 0, done.stderr
    assert done.stdout == ""
    written = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    stems = ["a.wav", "deep/a.flac", "deep/a.wav", "deep/er/b.WAV"]
    assert written == sorted(f"{stem}.{e}" for stem in stems for e in ("csv", "jsonl"))
    for stem in stems:
        rows = read_events(out / f"{stem}.csv", "csv")
        assert rows == read_events(out / f"{stem}.jsonl", "jsonl")
        assert {event.file for event in rows} == {str(archive / stem)}
    assert re.search(r"4 files · 12\.0 s of sound · \d+ events", done.stderr)
    assert re.search(r"× real time · 0 failures", done.stderr)
    assert "torch " in done.stderr  # the engine in use
    assert re.search(r"cpu, \d+ threads?, (fp32|bf16)", done.stderr)


def test_existing_results_are_skipped_on_request(archive, model, tmp_path):
    out = tmp_path / "out"
    options = "detect", archive, "--model", model, "--output", out
    sed(*options)
    (out / "a.wav.csv").unlink()
    before = (out / "deep/a.wav.csv").stat().st_mtime_ns
    done = sed(*options, "--skip-existing")
    assert "1 file ·" in done.stderr
    assert "3 skipped" in done.stderr
    assert "torch" not in done.stderr  # the engine is named with --verbose only
    assert (out / "a.wav.csv").exists()
    assert (out / "deep/a.wav.csv").stat().st_mtime_ns == before


def test_all_into_one_file_or_to_standard_output(archive, model, tmp_path):
    one = tmp_path / "all.csv"
    done = sed("detect", archive, "--model", model, "--output", one, "-q")
    assert (done.stdout, done.stderr) == ("", "")
    streamed = sed("detect", archive, "--model", model, "-q")
    assert sorted(streamed.stdout.splitlines()) == sorted(one.read_text().splitlines())
    events = read_events(one, "csv")
    files = list(dict.fromkeys(e.file for e in events))
    assert len(files) == 4
    # In a file, unlike in a stream, the events of each recording are in the order of their onsets.
    assert events == sorted(events, key=lambda e: (files.index(e.file), e.onset, e.offset))


def test_graphs_of_two_runs_are_named_after_the_runs(tmp_path, monkeypatch):
    import streaming.export.export
    from sed.models.checkpoint import load_model, save_checkpoint

    checkpoint = load_model("everyday")
    paths = []
    monkeypatch.setattr(
        streaming.export.export, "export", lambda _, path, to: paths.append(path) or path
    )
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        save_checkpoint(checkpoint, tmp_path / run / "best.safetensors")
        sed("export", tmp_path / run)
    sed("export", "everyday")
    assert [str(path) for path in paths] == ["a", "b", "everyday"]


@pytest.mark.parametrize("format", TEXT_WRITERS)
def test_every_format_says_the_same(noise_wav, model, tmp_path, format):
    out = tmp_path / "x.out"
    done = sed("detect", noise_wav, "--model", model, "--format", format, "--output", out)
    assert done.exit_code == 0
    found = sorted(detect(noise_wav, model, device="cpu"), key=lambda e: (e.onset, e.offset))
    expected = [(round(e.onset, 3), e.label) for e in found]
    assert [(round(e.onset, 3), e.label) for e in read_events(out, format)] == expected != []


def test_formats_about_one_recording_refuse_several(archive, model, tmp_path):
    with pytest.raises(
        ValueError, match="a file in the format raven is about one recording: give --output DIR/"
    ):
        sed("detect", archive, "--model", model, "--format", "raven", catch_exceptions=False)


def test_frame_probabilities(noise_wav, model, tmp_path, tiny_checkpoint):
    sed("detect", noise_wav, "--model", model, "--format", "npz", "--output", tmp_path / "out")
    with np.load(tmp_path / "out" / "noise.wav.npz") as archive:
        assert archive["labels"].tolist() == list(tiny_checkpoint.labels)
        n_frames = -(-600 // 32)
        assert archive["frame_probs"].shape == (n_frames, 3)
        assert len(archive["edges"]) == n_frames + 1


def test_a_plot(noise_wav, model, tmp_path):
    done = sed("detect", noise_wav, "--model", model, "--plot", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    png = (tmp_path / "out" / "noise.wav.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))
    assert width > 1_000
    assert height > 400


def test_standard_input_wav_and_raw(noise_wav, model):
    program = [Path(sys.executable).with_name("sed-engine"), "detect", "-", "--model", model, "-q"]
    samples, _ = soundfile.read(noise_wav, dtype="int16")
    expected = sed("detect", noise_wav, "--model", model, "-q").stdout
    raw = "--raw-rate", "8000"
    for options, data in (((), noise_wav.read_bytes()), (raw, samples.tobytes())):
        done = subprocess.run([*program, *options], input=data, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode().replace("\n-,", f"\n{noise_wav},") == expected


@pytest.mark.parametrize(
    ("options", "same"),
    [
        (("--classes", "beep,élan"), {"classes": ("beep", "élan")}),
        (("--threshold", "0.9"), {"threshold": 0.9}),
        (
            ("--onset-threshold", "0.9", "--offset-threshold", "0.8"),
            {"onset_threshold": 0.9, "offset_threshold": 0.8},
        ),
        (("--threshold", "0.9,beep=0.1"), {"threshold": 0.9, "class_thresholds": {"beep": 0.1}}),
        (("--top-k", "1"), {"top_k": 1}),
        (("--min-duration", "0.6"), {"min_duration_seconds": 0.6}),
        (("--min-gap", "5"), {"min_gap_seconds": 5.0}),
        (("--hop", "0.25"), {"hop_seconds": 0.25}),
    ],
)
def test_options_reach_the_detector_and_change_what_is_found(noise_wav, model, options, same):
    done = sed("detect", noise_wav, "--model", model, "-q", "--format", "jsonl", *options)
    assert done.exit_code == 0
    found = [(e["onset"], e["label"]) for e in map(json.loads, done.stdout.splitlines())]
    expected = [(round(e.onset, 3), e.label) for e in detect(noise_wav, model, **same)]
    plain = [(round(e.onset, 3), e.label) for e in detect(noise_wav, model)]
    assert found == expected
    assert found != plain


def test_a_file_of_thresholds_changes_what_is_found(noise_wav, model, tmp_path):
    tuned = tmp_path / "tuned.toml"
    tuned.write_text("[class.beep]\nonset_threshold = 0.9\n", "utf-8")
    arguments = "--model", model, "-q", "--format", "jsonl", "--thresholds", tuned
    done = sed("detect", noise_wav, *arguments)
    assert done.exit_code == 0
    labels = {e.label for e in detect(noise_wav, model, thresholds=tuned)}
    assert {json.loads(line)["label"] for line in done.stdout.splitlines()} == labels
    assert "beep" not in labels
    assert "beep" in {e.label for e in detect(noise_wav, model)}
    tuned.write_text("[class.beeb]\nonset_threshold = 0.9\n", "utf-8")
    error = sed("detect", noise_wav, *arguments).exception
    assert isinstance(error, UsageError)
    assert str(error) == f"{tuned}: the model has no class 'beeb'. Did you mean beep?"


def test_recordings_of_one_name_from_several_places_do_not_meet(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        soundfile.write(tmp_path / folder / "a.wav", rising_noise(800), 8_000)
    found, _ = find_recordings([tmp_path / "x" / "a.wav", tmp_path / "y" / "a.wav"])
    assert [r.name for r in found] == ["x/a.wav", "y/a.wav"]
    again, _ = find_recordings([tmp_path / "x", tmp_path / "x" / "a.wav"])
    assert [r.name for r in again] == ["a.wav"]


def test_a_folder_that_cannot_be_read_is_reported(archive, monkeypatch):
    real = os.scandir

    def guarded(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found, errors = find_recordings([archive])
    assert [r.name for r in found] == ["a.wav"]
    assert "deep: cannot list this folder: Permission denied" in str(errors[0])


def test_live_input_is_not_kept_waiting_for_a_batch(model):
    """The first event comes while the pipe is still open."""
    program = [Path(sys.executable).with_name("sed-engine"), "detect", "-", "--model", model, "-q"]
    samples = (32_000 * rising_noise(80_000)).astype("<i2").tobytes()
    process = subprocess.Popen(
        [*program, "--raw-rate", "8000"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(samples)
    process.stdin.flush()
    assert process.stdout.readline() == b"file,onset,offset,label,score\n"
    assert process.stdout.readline().startswith(b"-,")
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()


def test_ctrl_c_keeps_what_is_finished(archive, model, tmp_path, monkeypatch):
    import streaming.offline.job

    real, found = streaming.offline.job.stream_detections, find_recordings([archive])[0]
    third = found[2].path

    def interrupted(detector, path, **options):
        if path == third:
            raise KeyboardInterrupt
        return real(detector, path, **options)

    monkeypatch.setattr(streaming.offline.job, "stream_detections", interrupted)
    out = tmp_path / "out"
    done = sed("detect", archive, "--model", model, "--output", out)
    assert done.exit_code == 130
    assert f"stopped in {third}" in done.stderr
    # Of those processed at the same time, others may be finished too.
    names = {str(path.relative_to(out)) for path in out.rglob("*.*")}
    assert names >= {recording.name + ".csv" for recording in found[:2]}
    assert found[2].name + ".csv" not in names
    assert not any(".part" in name for name in names)


def test_info_about_a_checkpoint_a_recording_and_the_program(model, noise_wav):
    about = sed("info", model).stdout
    assert "mobilenetv3_small_050" in about
    assert "3 classes: beep" in about
    assert "8 kHz, 24 mel bands" in about
    assert (
        "WAV PCM_16, 6.000 s (48,000 samples), 8,000 Hz, 1 channel" in sed("info", noise_wav).stdout
    )
    dated = noise_wav.rename(noise_wav.with_name("20240501_053000+0200.wav"))
    assert "started 2024-05-01 05:30:00+02:00" in sed("info", dated).stdout
    assert sed("info").stdout.startswith("sed-engine 0.")


def test_a_class_may_be_given_by_its_name_alone(noise_wav, model):
    one = list(detect(noise_wav, model, classes="élan"))
    assert one == list(detect(noise_wav, model, classes=("élan",))) != []
    with pytest.raises(ValueError, match="no class 'elan'"):
        next(detect(noise_wav, model, classes="elan"))


def test_events_have_their_time_where_the_recorder_wrote_it(noise_wav, model, tmp_path):
    assert {event.time for event in detect(noise_wav, model)} == {None}
    start = datetime.fromisoformat("2024-05-01T05:30:00+02:00")
    for name, zone in (("20240501_053000+0200.wav", None), ("20240501_053000.wav", "+02:00")):
        path = tmp_path / name
        path.write_bytes(noise_wav.read_bytes())
        events = list(detect(path, model, time_zone=zone))
        assert (
            [event.time for event in events]
            == [start + timedelta(seconds=event.onset) for event in events]
            != []
        )


def defaults(function):
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }


def test_commands_have_the_names_and_defaults_of_their_functions():
    command = defaults(streaming.cli.detect.detect)
    for function in (detect, DetectorConfig):
        for name, default in defaults(function).items():
            if name in ("classes", "model", "class_thresholds") or (
                function is DetectorConfig and name == "batch_size"
            ):
                continue  # text on the command line; larger batches for files
            assert command[name] == default, name
    command = defaults(train.cli.train.train)
    for name, default in defaults(train_function).items():
        if name == "fold":  # text on the command line, where it can be all
            assert command[name] == str(default)
        elif name not in ("callbacks", "overrides", "table_format"):  # --set, --table-format
            assert command[name] == default, name


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_help_and_every_command_is_documented(command):
    text = sed(command, "--help", env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    for line in text.splitlines():
        if re.match(r"[│|]\s+--", line):
            assert re.search(r"[a-z]{3,}", re.sub(r"--[\w-]+|<\w+>|-\w ", "", line)), line
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    assert any(f"sed {command}" in page.read_text("utf-8") for page in pages)


def test_a_reader_who_leaves_ends_it_quietly(archive, model):
    program = Path(sys.executable).with_name("sed-engine")
    done = subprocess.run(
        ["bash", "-c", f"'{program}' detect '{archive}' --model '{model}' -q | head -1"],
        capture_output=True, text=True, env={**os.environ},
    )  # fmt: skip
    assert done.stdout == "file,onset,offset,label,score\n"
    assert done.stderr == ""


def test_a_command_is_loaded_without_the_others():
    program = "import sys; from sed.cli import run; run(['models', '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert "remove" in done.stdout
    modules = done.stdout.splitlines()[-1].split()
    assert "streaming.cli.models" in modules
    assert not {"streaming.cli.detect", "train.cli.train"} & set(modules), done.stderr
