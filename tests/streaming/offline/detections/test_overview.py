"""Pictures of recordings: one of short ones, pages besides of long ones, in bounded memory."""

from datetime import datetime

import numpy as np
import pytest
import soundfile

from sed.audio.find import Recording
from streaming.engines.pytorch import TorchEngine
from streaming.offline.detections import overview
from streaming.offline.detections.overview import DetectionPlot, PlotConfig
from streaming.offline.output_files import open_outputs
from streaming.offline.outputs import OutputConfig
from streaming.pipeline.config import DetectorConfig
from streaming.pipeline.detector import Detector
from tests.conftest import rising_noise

plots = pytest.importorskip("sed.events.plots", reason="matplotlib is not installed")

RATE = 8_000


@pytest.fixture
def detector(tiny_checkpoint):
    config = DetectorConfig(hop_seconds=0.5, batch_size=4)
    return Detector(TorchEngine(tiny_checkpoint, "cpu"), config)


@pytest.fixture
def pictures(monkeypatch):
    """Return what is drawn, by the name of the file; pages last two seconds."""
    found = {}
    monkeypatch.setattr(overview, "PAGE_SECONDS", 1.92)  # six frames
    monkeypatch.setattr(plots, "plot_detections", lambda path, **shown: found.update({path: shown}))
    return found


def draw(detector, tmp_path, seconds):
    """Draw noise of so many seconds; return its detections and the largest number of open pages."""
    plot = DetectionPlot(detector, PlotConfig("a.wav", pages=tmp_path / "pages"))
    samples, n_open, detections = rising_noise(round(RATE * seconds)), 0, []
    for part in np.array_split(samples, round(4 * seconds)):
        detections.append(detector.push(part))
        plot.add(detections[-1])
        n_open = max(n_open, len(plot._pages))
    detections.append(detector.flush())
    plot.add(detections[-1])
    plot.draw(tmp_path / "a.png")
    return detections, n_open


def test_a_long_recording_has_pages_that_are_all_of_it(detector, pictures, tmp_path):
    detections, n_open = draw(detector, tmp_path, 19.0)
    numbers = range(1, 11)
    pages = [pictures.pop(tmp_path / "pages" / f"{number:02}.png") for number in numbers]
    (whole,) = pictures.values()
    assert n_open <= 4
    assert [page["page"] for page in pages] == [*numbers]
    assert [page["first_seconds"] for page in pages] == pytest.approx([1.92 * i for i in range(10)])
    probs = np.concatenate([d.frame_probs for d in detections])
    np.testing.assert_array_equal(np.concatenate([page["frame_probs"] for page in pages]), probs)
    log_mel = np.concatenate([d.log_mel for d in detections])
    np.testing.assert_array_equal(np.concatenate([page["log_mel"] for page in pages]), log_mel)
    assert all(page["thresholds"] == detector.decoder.onset_thresholds for page in pages)
    events = [event for d in detections for event in d.events]
    assert whole["n_events"] == len(events) > 10
    assert whole["page"] is None
    for page in pages:
        first, end = page["first_seconds"], page["first_seconds"] + 1.92
        there = {(e.label, e.onset) for e in events if e.onset < end - 1e-6 and e.offset > first}
        assert {(e.label, e.onset) for e in page["events"]} == there
        assert page["n_events"] == len(there)


def test_a_short_recording_is_one_picture(detector, pictures, tmp_path):
    draw(detector, tmp_path, 2.5)
    assert [*pictures] == [tmp_path / "a.png"]


def test_pages_are_bounded_and_those_of_before_are_removed(
    detector, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(overview, "MAX_PAGES", 2)
    (tmp_path / "pages").mkdir()
    for name in ("02.png", "03.png", "12.png", "12 of mine.png"):
        (tmp_path / "pages" / name).touch()
    draw(detector, tmp_path, 9.0)
    assert sorted(path.name for path in pictures) == ["01.png", "02.png", "a.png"]
    assert sorted(path.name for path in (tmp_path / "pages").iterdir()) == [
        "02.png", "12 of mine.png"
    ]  # fmt: skip


@pytest.mark.parametrize(("root", "title"), [("north", "a.wav"), ("", "north · a.wav")])
def test_title_and_clock_of_a_picture(detector, pictures, tmp_path, root, title):
    path = tmp_path / "north" / "20260501_043000.wav"
    path.parent.mkdir()
    soundfile.write(path, rising_noise(RATE), RATE)
    outputs = OutputConfig(output=f"{tmp_path}/out/", plot=True, root=str(tmp_path / root))
    with open_outputs(outputs, Recording(str(path), "a.wav"), detector, 44_100) as files:
        for part in (detector.push(rising_noise(RATE)), detector.flush()):
            files.write(part)
    (shown,) = pictures.values()
    assert shown["title"] == title.replace("a.wav", path.name)
    assert shown["start"] == datetime(2026, 5, 1, 4, 30)
    assert shown["sample_rate"] == 44_100
