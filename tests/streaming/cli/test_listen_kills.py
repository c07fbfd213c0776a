"""`sed listen` killed at random moments: what its outputs have afterwards."""

import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress

import pytest
import soundfile

from sed.events.reading.events import read_events
from sed.models.checkpoint import save_checkpoint
from streaming.offline.detect import detect
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from tests.conftest import ROOT, rising_noise

N_KILLS = 25
RATE, SECONDS, SPEED = 8_000, 12, 4.0
LOOKAHEAD = 0.25
STATED_SECONDS = 1.0  # of saved sound that a kill may cost
# Plays the file faster than real time.
PROGRAM = f"""
import sys
from streaming.live import sources
sources.FILE_SPEED = {SPEED}
from sed.__main__ import main
sys.argv[0] = "sed"
main()
"""


def length_of(path):
    """Return the seconds that can be read of a FLAC file that was not finished."""
    n = 0
    # It ends in the middle of a frame.
    with suppress(soundfile.LibsndfileError), soundfile.SoundFile(path) as file:
        while part := len(file.read(1_000)):
            n += part
    return n / RATE


@pytest.mark.slow
def test_kills_lose_nothing_but_the_last_second_double_nothing_and_leave_no_parts(
    tiny_checkpoint, tmp_path
):
    model, sound = tmp_path / "tiny.safetensors", tmp_path / "garden.wav"
    save_checkpoint(tiny_checkpoint, model)
    soundfile.write(sound, rising_noise(SECONDS * RATE), RATE)
    config = {"hop_seconds": 0.5, "lookahead_seconds": LOOKAHEAD}
    expected = list(detect(sound, model, device="cpu", engine="torch", batch_size=1, **config))
    expected.sort(key=lambda event: event.offset)
    delay = Detector(tiny_checkpoint, DetectorConfig(**config)).delay_seconds
    database, lines, saved = tmp_path / "e.sqlite", tmp_path / "e.csv", tmp_path / "saved"
    command = [
        *(sys.executable, "-c", PROGRAM, "listen", "--input", sound, "--model", model),
        *("--lookahead", LOOKAHEAD, "--device", "cpu", "--engine", "torch", "--output", lines),
        *("--db", database, "--clips", tmp_path / "clips", "--save-audio", saved),
    ]
    generator = random.Random(0)
    lengths, n_killed = [], 0
    for n in range(N_KILLS + 1):
        known = set(saved.iterdir()) if saved.exists() else set()
        process = subprocess.Popen(
            [str(part) for part in command], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        while "listening" not in process.stderr.readline():
            assert process.poll() is None
        if n < N_KILLS:
            time.sleep(generator.uniform(0.2, SECONDS / SPEED))
            process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        n_killed += process.returncode == -signal.SIGKILL
        new = sorted(set(saved.iterdir()) - known) if saved.exists() else []
        lengths.append(sum(map(length_of, new)))
    assert n_killed == N_KILLS
    assert process.returncode == 0

    key = [(event.label, round(event.onset, 3)) for event in expected]
    in_lines = [(event.label, round(event.onset, 3)) for event in read_events(lines, "csv")]
    with closing(sqlite3.connect(database)) as connection:
        sessions = connection.execute("SELECT id FROM sessions ORDER BY id").fetchall()
        rows = connection.execute(
            "SELECT session_id, label, onset, clip_path FROM events ORDER BY id"
        ).fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert len(sessions) == N_KILLS + 1
    n_lost = n_doubled = n_strange = 0
    for (session,), length in zip(sessions, lengths, strict=True):
        kept = [(label, round(onset, 3)) for s, label, onset, _ in rows if s == session]
        n_doubled += len(kept) - len(set(kept))
        n_strange += len(set(kept) - set(key))
        due = [
            (event.label, round(event.onset, 3))
            for event in expected
            if event.offset + delay <= length - STATED_SECONDS
        ]
        n_lost += len(set(due) - set(kept))
    # A line is written after its row: a kill between the two costs one line.
    n_missing_lines = len(rows) - len(in_lines)
    clips = [path for *_, path in rows if path is not None]
    n_broken_clips = sum(length_of(path) == 0 for path in clips)
    parts = [path for path in tmp_path.rglob("*") if ".part" in path.name]
    print(f"{N_KILLS} kills, {len(rows)} events, {len(clips)} clips, {sum(lengths):.0f} s saved")
    assert (n_lost, n_doubled, n_strange, n_broken_clips, parts) == (0, 0, 0, 0, [])
    assert 0 <= n_missing_lines <= N_KILLS
    assert len(rows) > 2 * N_KILLS
    assert sum(lengths) > N_KILLS
    assert set(key) == {(label, round(onset, 3)) for s, label, onset, _ in rows if s == session}
