"""Every way a recording can be bad, through the command: message, exit status, and the good file.

Each row is a file made by a function, what the message must say, and the exit status. Good files
come before and after it every time, and their events must be there.
"""

import csv
import importlib.util
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import sed
from sed.cli import app, run
from sed.models.checkpoint import save_checkpoint
from tests.bad_recordings import GOOD, TABLE, wav
from tests.conftest import rising_noise
from tests.sed.audio.decoders.containers import write_movie


@pytest.fixture(scope="module")
def model(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return path


def detect(*arguments):
    command = ["detect", *map(str, arguments)]
    return CliRunner().invoke(app(), command, catch_exceptions=False)


@pytest.mark.parametrize(("file", "make", "message", "status", "has_events"), TABLE)
def test_a_bad_recording_costs_itself_alone(
    tmp_path, model, file, make, message, status, has_events
):
    before, bad, after = tmp_path / "before.wav", tmp_path / "bad" / file, tmp_path / "after.wav"
    bad.parent.mkdir()
    wav(before)
    wav(after)
    make(bad)
    done = detect(before, bad, after, "--model", model, "--hop", 0.5)
    assert done.exit_code == status, done.stderr
    assert "Traceback" not in done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    files = {row["file"] for row in rows}
    assert {str(before), str(after)} <= files
    assert has_events is None or (str(bad) in files) == has_events
    if message:
        assert message in done.stderr
        assert repr(str(bad))[1:-1] in done.stderr or str(bad) in done.stderr


@pytest.mark.parametrize(
    ("file", "seconds"), [("cut.ogg", 5.2), ("cut.flac", 4.0), ("cut.mp3", 5.0), ("cut.wav", 5.9)]
)
def test_the_events_before_the_damage_are_those_of_the_whole(tmp_path, model, file, seconds):
    make = next(row[1] for row in TABLE if row[0] == file)
    bad, whole = tmp_path / file, tmp_path / f"whole-{file}"
    make(bad)
    container = {"ogg": "OGG", "flac": "FLAC", "mp3": "MP3", "wav": "WAV"}[file[4:]]
    soundfile.write(whole, GOOD, 8_000, format=container)
    options = "--model", model, "--hop", 0.5, "--precision", "fp32"
    early = [
        [(r["onset"], r["label"]) for r in csv.DictReader(io.StringIO(detect(p, *options).stdout))
         if float(r["offset"]) < seconds - 1.5]
        for p in (bad, whole)
    ]  # fmt: skip
    assert early[0] == early[1] != []


@pytest.mark.parametrize("file", ["open.mp3", "open.flac"])
def test_a_recording_of_unknown_length_is_analysed_to_its_end(tmp_path, file):
    make = next(row[1] for row in TABLE if row[0] == file)
    make(tmp_path / file)
    n_samples = len(sed.read_recording(tmp_path / file, 8_000))
    assert 80_000 - 256 <= n_samples <= 80_000 + 2_304  # an encoder of MP3 pads


def test_a_name_that_is_no_utf8_goes_out_as_it_came_in(tmp_path, model):
    name = os.fsdecode(b"caf\xe9.wav")
    wav(tmp_path / name)
    program = Path(sys.executable).with_name("sed-engine")
    command = [program, "detect", tmp_path / name, "--model", model, "-q"]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"caf\xe9.wav," in done.stdout


def test_closed_standard_streams(tmp_path, model):
    wav(tmp_path / "x.wav")
    engine = "onnx" if importlib.util.find_spec("onnxruntime") else "torch"  # which takes longer
    for closed in (">&- 2>&-", "<&-"):
        program = Path(sys.executable).with_name("sed-engine")
        what = f"detect - --engine {engine} --model '{model}'" if closed == "<&-" else "info"
        done = subprocess.run(
            ["bash", "-c", f"'{program}' {what} {closed}"], capture_output=True, text=True
        )
        assert "Traceback" not in done.stderr
        assert done.returncode == (1 if closed == "<&-" else 0)


def test_of_a_recording_with_several_tracks_one_is_read_and_another_can_be_chosen(
    tmp_path, model, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    quiet, loud = (level * rising_noise(48_000) for level in (1e-4, 1.0))
    names = [{"language": "deu"}, {"title": "Far \x1b[31mmicrophone"}]
    write_movie("two.mkv", [(0, quiet)], [(0, loud)], codec="flac", tags=names)
    options = "--model", model, "--hop", 0.5
    first = detect("two.mkv", *options)
    assert first.exit_code == 0
    (notice,) = (line for line in first.stderr.splitlines() if "tracks" in line)
    assert notice == (
        "  two.mkv: has 2 tracks of sound; number 1 is read (flac, 1 channel, 16,000 Hz, deu). "
        "Choose another with --track; `sed info` lists them."
    )
    second = detect("two.mkv", *options, "--track", 2)
    assert (second.exit_code, "tracks" in second.stderr) == (0, False)
    events = list(sed.detect("two.mkv", model, hop_seconds=0.5, track=2))
    assert len(second.stdout.splitlines()) - 1 == len(events) > 0
    assert second.stdout != first.stdout
    refused = detect("two.mkv", *options, "--track", 3)
    assert refused.exit_code == 1
    assert "has no track 3: it has 2, counted from 1" in refused.stderr
    info = CliRunner().invoke(app(), ["info", "two.mkv"]).stdout
    assert "\n  track 1: flac, 1 channel, 16,000 Hz, deu, read\n  track 2: flac, 1 channel" in info
    assert "\x1b" not in info
    embedded = CliRunner().invoke(
        app(), ["embed", "two.mkv", "-o", "store", "--model", str(model), "--track", "2"]
    )
    assert embedded.exit_code == 0, embedded.stderr


def test_info_says_about_a_recording_what_detect_does(tmp_path, model):
    path = tmp_path / "cut.wav"
    soundfile.write(path, rising_noise(48_000), 16_000)
    path.write_bytes(path.read_bytes()[:64_044])
    done = CliRunner().invoke(app(), ["info", str(path)])
    assert "PCM_16, 2.000 s (32,000 samples), 16,000 Hz, 1 channel\n" in done.stdout
    assert isinstance(done.exception, sed.RecordingError)
    assert str(done.exception) in " ".join(detect(path, "--model", model).stderr.split())
    assert "damaged at 2.000 s: the header promises 96000 bytes" in str(done.exception)
    assert run(["info", str(path)]) == 1
    assert run(["info", str(path), "--track", "2"]) == 1


def test_a_channel_that_is_not_there(tmp_path, model):
    wav(tmp_path / "mono.wav")
    done = detect(tmp_path / "mono.wav", "--model", model, "--channel", 2, "--hop", 0.5)
    assert done.exit_code == 1
    assert "has no channel 2" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs file permissions")
def test_a_file_without_permission(tmp_path, model):
    wav(tmp_path / "secret.wav")
    (tmp_path / "secret.wav").chmod(0)
    if os.access(tmp_path / "secret.wav", os.R_OK):
        pytest.skip("this user may read everything")
    done = detect(tmp_path / "secret.wav", "--model", model)
    assert done.exit_code == 1
    assert "Permission denied" in done.stderr


def test_a_permission_error_is_reported_for_any_user(tmp_path, model, monkeypatch):
    wav(tmp_path / "secret.wav")
    real = os.open

    def guarded(path, *arguments, **options):
        if str(path).endswith("secret.wav"):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", guarded)
    done = detect(tmp_path / "secret.wav", "--model", model, "--hop", 0.5)
    assert done.exit_code == 1
    assert "secret.wav: cannot read: Permission denied" in done.stderr


def run_sed(*arguments, **options):
    """Run the command as its users do, in a process of its own."""
    program = Path(sys.executable).with_name("sed-engine")
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([program, *map(str, arguments)], text=True, **options)


def said(capsys, *arguments):
    """Run the command in this process; return its exit status. Errors are printed as usual."""
    capsys.readouterr()
    return run([str(argument) for argument in arguments])


def test_an_output_that_outgrows_the_disk_leaves_nothing_behind(tmp_path, model):
    import resource

    wav(tmp_path / "x.wav")
    done = run_sed(
        "detect", tmp_path / "x.wav", "--model", model, "--hop", "0.5", "--output",
        tmp_path / "out", "--format", "csv,npz", "-q",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40, 40)),
    )  # fmt: skip
    assert done.returncode == 1
    assert "cannot write: File too large. Free some space" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_an_output_folder_that_cannot_be_made(tmp_path, model):
    wav(tmp_path / "x.wav")
    (tmp_path / "taken").write_text("a file")
    done = detect(
        tmp_path / "x.wav", "--model", model, "--hop", 0.5, "--output", tmp_path / "taken" / "out"
    )
    assert done.exit_code == 1
    assert "cannot write: Not a directory" in done.stderr


def test_a_full_standard_output(tmp_path, model):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    wav(tmp_path / "x.wav")
    with open("/dev/full", "w") as full:
        done = run_sed("detect", tmp_path / "x.wav", "--model", model, "--hop", 0.5, stdout=full)
    assert done.returncode == 1
    assert "standard output: cannot write: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message", "status"),
    [
        (["--classes", "bep"], "no class 'bep'. Did you mean beep?", 2),
        (["--format", "ravn"], "unknown format 'ravn'. Did you mean raven?", 2),
        (["--device", "tpu"], "unknown device 'tpu': expected one of auto, cpu, cuda", 2),
        (["--precision", "fp8"], "unknown precision 'fp8'", 2),
        (["--hop", "0.3"], "does not divide the window", 2),
        (
            ["--onset-threshold", "0.2", "--offset-threshold", "0.4"],
            "offset threshold no higher than the onset threshold",
            2,
        ),
        (["--channel", "0"], "channels are counted from 1", 2),
        (["--track", "0"], "tracks are counted from 1", 2),
        (["--format", "npz"], "--format npz needs a folder: give --output DIR/", 2),
        (["--output", "a.Flac"], "a.Flac is the name of a recording, and results would take", 2),
        (["--output", "a.xls"], "a.xls: the ending is of no format: expected .csv (csv), ", 2),
        (["--output", "a.parquet", "--format", "csv"], "ends like parquet, and --format is csv", 2),
        (["--precision", "fp16"], "precision fp16 needs a GPU, and this is a CPU", 2),
        (["--top-k", "0"], "expected top k of 1 or more, got 0", 2),
        (["--skip-existing"], "--skip-existing needs a folder", 2),
        (["--raw-rate", "8000"], "--raw-rate is about standard input", 2),
        (["-", "--raw-rate", "0"], "expected --raw-rate 8000 to 1000000, got 0", 2),
        (["--hop", "inf"], "expected hop above 0, got inf s", 2),
        (["--min-duration", "nan"], "expected min duration of 0 or more, got nan s", 2),
        (["--nonsense"], "No such option", 2),
        (["--model", "nowhere.safetensors"], "nowhere.safetensors: no such file", 1),
        (["--model", __file__], "not a checkpoint of this engine", 1),
    ],
)
def test_misuse(tmp_path, model, capsys, options, message, status):
    wav(tmp_path / "x.wav")
    default = [] if "--model" in options else ["--model", model]
    hop = [] if "--hop" in options else ["--hop", "0.5"]
    assert said(capsys, "detect", tmp_path / "x.wav", *default, *hop, *options) == status
    out, err = capsys.readouterr()
    assert message in err
    assert out == ""


def test_results_never_take_the_place_of_a_recording(tmp_path, model, capsys):
    wav(tmp_path / "x.wav")
    # A named file is read, whatever its ending.
    recording = (tmp_path / "x.wav").rename(tmp_path / "x.bin")
    before = recording.read_bytes()
    assert (
        said(
            capsys, "detect", recording, "--model", model, "--format", "csv", "--output", recording
        )
        == 2
    )
    assert "x.bin is one of the recordings: give another name" in capsys.readouterr().err
    assert recording.read_bytes() == before


def test_a_gpu_that_is_not_there(tmp_path, model, capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    wav(tmp_path / "x.wav")
    status = said(capsys, "detect", tmp_path / "x.wav", "--model", model, "--device", "cuda")
    assert status == 1
    assert "torch sees 0 CUDA devices. Choose auto or cpu" in capsys.readouterr().err


def test_what_is_odd_is_in_the_summary_and_the_exit_status_is_0(tmp_path, model, caplog):
    odd = tmp_path / "odd.wav"
    sound = 0.5 * rising_noise(48_000)
    soundfile.write(odd, np.stack([sound, -0.9 * sound], axis=1), 16_000)
    notice = (
        "the channels cancel in their mean, which is 26 dB quieter than they are. Choose the "
        "loudest with --channel 1."
    )
    with caplog.at_level("WARNING", "sed"):
        list(sed.detect(odd, model))
        list(sed.detect(odd, model, channel=1))
    assert caplog.messages == [f"{odd}: {notice}"]
    done = detect(odd, "--model", model)
    assert done.exit_code == 0
    assert f"look at these:\n  {odd}: {notice}\n" in done.stderr
    assert " · 1 to look at · 0 failures" in done.stderr
    assert detect(odd, "--model", model, "-q").stderr == ""
