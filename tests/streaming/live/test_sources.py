"""Files at real speed, pipes, and URLs that come and go."""

import contextlib
import http.server
import io
import socketserver
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import soundfile

from sed.audio.decode import open_recording
from sed.audio.decoders.ffmpeg import ContainerDecoder
from sed.errors import RecordingError
from sed.models.checkpoint import save_checkpoint
from streaming.live import sources as module
from streaming.live.capture import AudioChunk, CaptureBuffer, Disconnect, SampleGap
from streaming.live.sources import FileSource, _without_secrets, open_source
from streaming.messages import Problem
from tests.conftest import ROOT, rising_noise
from tests.sed.audio.decoders.containers import clicks, onsets, write_movie

RATE = 8_000


def collect(source, seconds=60.0):
    """Return the items of a source until it ends, or for this many seconds of sound."""
    buffer = CaptureBuffer(
        hop_length=source.sample_rate,
        capacity_samples=600 * source.sample_rate,
        wake=threading.Condition(),
        sample_rate=source.sample_rate,
    )
    source.start(buffer)
    items = []
    while not buffer.is_done and buffer.n_processed < seconds * source.sample_rate:
        if (item := buffer.pop(10**9)) is None:
            time.sleep(0.005)
        else:
            items.append(item)
    source.stop()
    while (item := buffer.pop(10**9)) is not None:
        items.append(item)
    return items, buffer


def samples_of(items):
    return np.concatenate([item.block for item in items if isinstance(item, AudioChunk)])


class Samples:
    """A decoder of what is in memory."""

    sample_rate, n_channels, format = RATE, 1, "memory"

    def __init__(self, n_samples):
        self.n_samples = n_samples
        self.is_closed = False

    def blocks(self):
        yield rising_noise(self.n_samples)[:, None]

    def close(self):
        self.is_closed = True


def test_a_file_comes_at_real_speed_in_blocks_of_a_twentieth_of_a_second():
    decoder = Samples(RATE)
    began = time.monotonic()
    items, _ = collect(FileSource("x", decoder))
    assert 0.9 < time.monotonic() - began < 4.0
    np.testing.assert_array_equal(samples_of(items)[:, 0], rising_noise(RATE))
    assert decoder.is_closed


def test_what_is_piped_faster_than_real_time_is_held_back_after_two_seconds():
    began = time.monotonic()
    items, buffer = collect(open_source("-", stdin=Samples(3 * RATE)))
    assert len(samples_of(items)) == 3 * RATE
    assert 0.85 < time.monotonic() - began < 2.8  # 3 s / 1.02 - 2 s
    assert buffer.n_dropped == 0


def test_a_pipe_is_read_before_listening_starts():
    """The program that writes into it must not wait until the model is loaded."""

    class Counted(Samples):
        n_read = 0

        def blocks(self):
            for block in np.array_split(rising_noise(self.n_samples), 20):
                self.n_read += len(block)
                yield block[:, None]

    decoder = Counted(RATE)
    source = open_source("-", stdin=decoder)
    deadline = time.monotonic() + 5
    while decoder.n_read < RATE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    items, _ = collect(source)
    np.testing.assert_array_equal(samples_of(items)[:, 0], rising_noise(RATE))


def test_damage_is_reported_and_the_sound_before_it_is_delivered(tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, rising_noise(10 * RATE), RATE)
    path.write_bytes(path.read_bytes()[:-20_000])
    items, _ = collect(FileSource("cut", open_recording(path), speed=None))
    assert len(samples_of(items)) > RATE / 2
    (notice,) = [item for item in items if isinstance(item, Problem)]
    assert "cut.flac: damaged at" in notice.text


class Broken(Samples):
    """A decoder whose library raises what it should not."""

    has_end = False

    def blocks(self):
        yield from super().blocks()
        raise KeyError("rtsp://me:s3cret@cam/live")


def test_a_reader_that_raises_anything_has_failed_and_says_so():
    items, buffer = collect(FileSource("x", Broken(RATE), speed=None))
    assert len(samples_of(items)) == RATE
    (notice,) = [item for item in items if isinstance(item, Problem)]
    assert notice.text == buffer.failure == "x: reading failed: KeyError"
    assert buffer.state == "ended"


def test_a_stream_whose_reader_raises_anything_is_connected_again(monkeypatch):
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.01)
    made = [Broken(RATE), OSError("refused"), ZeroDivisionError(), Broken(RATE), Broken(RATE)]

    def connect(self, like=None):
        if isinstance(made[0], Exception):
            raise made.pop(0)
        return made.pop(0)

    monkeypatch.setattr(module._UrlSource, "_connect", connect)
    items, buffer = collect(open_source("rtsp://me:s3cret@cam/live"), seconds=2.5)
    assert len(samples_of(items)) == 3 * RATE
    texts = [item.text for item in items if isinstance(item, Problem)]
    assert texts[:3] == [
        "rtsp://cam/live: reading failed: KeyError",
        "rtsp://cam/live: disconnected; trying to connect again",
        "rtsp://cam/live: connected again",
    ]
    assert buffer.failure == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:s3cret@cam.lan:554/live?token=abc", "rtsp://cam.lan:554/live"),
        ("http://radio.example/stream.mp3", "http://radio.example/stream.mp3"),
        ("https://user@host", "https://host"),
        ("http://host/a#b", "http://host/a"),
    ],
)
def test_names_of_urls_hold_no_secrets(url, shown):
    assert _without_secrets(url) == shown


def test_a_url_that_is_not_there_says_so_without_its_password():
    pytest.importorskip("av")
    with pytest.raises(RecordingError, match=r"^http://127\.0\.0\.1:9/x: cannot be read") as caught:
        open_source("http://me:secret@127.0.0.1:9/x?key=secret")
    assert "secret" not in str(caught.value)


class Radio(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Streams WAV without an end; each listener is cut off after its second."""

    daemon_threads = True
    n_listeners = 0


class _Station(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.n_listeners += 1
        self.send_response(200)
        self.send_header("Content-Type", "audio/wav")
        self.end_headers()
        head = io.BytesIO()
        soundfile.write(head, np.zeros(0, np.float32), RATE, format="WAV", subtype="PCM_16")
        open_end = head.getvalue()[:40] + b"\xff\xff\xff\xff"
        sound = (rising_noise(RATE) * 32767).astype("<i2").tobytes()
        self.wfile.write(open_end + sound)

    def log_message(self, *_):
        pass


def test_a_stream_that_ends_is_connected_again_and_the_gap_is_counted(monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.3)
    with Radio(("127.0.0.1", 0), _Station) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = open_source(f"http://127.0.0.1:{server.server_port}/live")
        assert (source.sample_rate, source.n_channels) == (RATE, 1)
        items, buffer = collect(source, seconds=1.5)
        server.shutdown()
    kinds = [type(item) for item in items if not isinstance(item, AudioChunk)]
    assert kinds[:4] == [Disconnect, Problem, SampleGap, Problem]
    notices = [item.text for item in items if isinstance(item, Problem)]
    assert notices[0].endswith("/live: disconnected; trying to connect again")
    assert notices[1].endswith("connected again")
    gap = next(item for item in items if isinstance(item, SampleGap))
    assert 0.25 < gap.n_samples / RATE < 3.0
    assert buffer.n_missing >= gap.n_samples
    assert server.n_listeners >= 2
    first = samples_of(items[:1])[:, 0]
    np.testing.assert_allclose(first[:RATE], rising_noise(RATE)[: len(first)], atol=1e-4)


def test_a_stream_that_is_disconnected_at_the_end_is_counted(monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 0.2)
    with Radio(("127.0.0.1", 0), _Station) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = open_source(f"http://127.0.0.1:{server.server_port}/live")
        server.shutdown()
    buffer = CaptureBuffer(
        hop_length=RATE, capacity_samples=60 * RATE, wake=threading.Condition(), sample_rate=RATE
    )
    source.start(buffer)
    deadline = time.monotonic() + 20
    while buffer.state != "lost":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    source.stop()
    items = []
    while (item := buffer.pop(10**9)) is not None:
        items.append(item)
    assert isinstance(items[-1], SampleGap)
    assert 0.25 < items[-1].n_samples / RATE < 5.0
    assert buffer.n_missing == items[-1].n_samples


def test_a_packet_that_cannot_be_decoded_is_a_gap_and_no_disconnection(tmp_path, monkeypatch):
    """At a station whose name is not UTF-8, as those of many are."""
    pytest.importorskip("av")
    monkeypatch.setattr(module, "FIRST_PAUSE_SECONDS", 60.0)
    write_movie(
        tmp_path / "x.aac", [(0, clicks(4, 0.5, 3.5))], codec="aac",
        edit=lambda i, data: b"\xff\x00" * (len(data) // 2) if i in (20, 21, 40) else data,
    )  # fmt: skip

    class Latin1(_Station):
        def do_GET(self):
            self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: audio/aac\r\n")
            self.wfile.write(b"icy-name: Radio K\xf6ln\r\n\r\n")
            self.wfile.write((tmp_path / "x.aac").read_bytes())

    with Radio(("127.0.0.1", 0), Latin1) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = open_source(f"http://127.0.0.1:{server.server_port}/radio")
        items, buffer = collect(source, seconds=3.6)
        server.shutdown()
    kinds = [type(item) for item in items]
    before = kinds[: kinds.index(Disconnect)] if Disconnect in kinds else kinds
    gaps = [item for item in items if isinstance(item, SampleGap)][:2]
    assert before.count(SampleGap) == 2
    assert [gap.n_samples for gap in gaps] == [2 * 1_024, 1_024]
    assert {gap.reason for gap in gaps} == {"packets of the stream were lost or cannot be decoded"}
    assert gaps[0].start == 20 * 1_024
    assert buffer.n_missing >= 3 * 1_024
    last = next(i for i in reversed(items) if isinstance(i, AudioChunk))
    found = 0.064 + 3.5  # with the padding of the encoder, of which a stream does not say
    sound = np.zeros(last.stop, np.float32)
    for item in items:
        if isinstance(item, AudioChunk):
            sound[item.start : item.stop] = item.block[:, 0]
    assert onsets(sound)[-1] == pytest.approx(found, abs=0.01)


def test_a_file_behind_a_url_that_breaks_off_says_so(tmp_path):
    pytest.importorskip("av")
    whole = io.BytesIO()
    soundfile.write(whole, rising_noise(4 * RATE), RATE, format="FLAC")
    cut = whole.getvalue()[: len(whole.getvalue()) // 2]

    class Batch(_Station):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "audio/flac")
            self.send_header("Content-Length", str(len(cut)))
            self.end_headers()
            self.wfile.write(cut)

    with Radio(("127.0.0.1", 0), Batch) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        items, buffer = collect(open_source(f"http://127.0.0.1:{server.server_port}/a.flac"))
        server.shutdown()
    assert buffer.state == "ended"
    (notice,) = [item for item in items if isinstance(item, Problem)]
    assert "damaged at" in notice.text


def test_a_container_may_change_its_channels_on_the_way(tmp_path):
    """As radio does: MPEG audio of one channel, and then of two."""
    pytest.importorskip("av")
    parts = []
    for n_channels in (1, 2):
        path = tmp_path / f"{n_channels}.mp3"
        soundfile.write(path, np.tile(rising_noise(16_000)[:, None], (1, n_channels)), 16_000)
        parts.append(path.read_bytes())
    joined = tmp_path / "joined.mp3"
    joined.write_bytes(b"".join(parts))
    decoder = ContainerDecoder(str(joined))
    blocks = []
    with contextlib.suppress(RecordingError):  # the header of the first part is about itself
        blocks.extend(decoder.blocks())
    decoder.close()
    assert {block.shape[1] for block in blocks} == {decoder.n_channels}
    assert sum(map(len, blocks)) > 30_000


@pytest.mark.slow
def test_raw_samples_from_a_pipe_are_tagged_as_they_come(tiny_checkpoint, tmp_path):
    """As `arecord -t raw | sed listen --input -` would."""
    save_checkpoint(tiny_checkpoint, tmp_path / "tiny.safetensors")
    command = [
        *(sys.executable, "-m", "sed", "listen", "--input", "-", "--raw-rate", str(RATE)),
        *("--model", tmp_path / "tiny.safetensors", "--lookahead", "0.25", "--device", "cpu"),
        *("--format", "csv"),
    ]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    sound = (rising_noise(4 * RATE) * 32767).astype("<i2").tobytes()
    out, err = process.communicate(sound, timeout=60)
    assert process.returncode == 0, err.decode()
    lines = out.decode().splitlines()
    assert lines[0] == "file,onset,offset,label,score,time"
    assert len(lines) > 2
    assert all(line.startswith("stdin,") for line in lines[1:])
    assert "0:00:04 processed" in err.decode()
    assert "0 gaps, 0.0 s lost · 0 samples dropped · 0 missing" in err.decode()
