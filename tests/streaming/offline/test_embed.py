"""Embeddings of recordings: against the network itself, and against all frames at once."""

import dataclasses
import math
import os
import pickle
import time

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import sed
from sed.audio.find import Recording
from sed.errors import RecordingError, UsageError
from sed.events.embedding_store.store import EmbeddingStore, read_store_config
from sed.models.checkpoint import save_checkpoint
from sed.timeline import Timeline
from streaming.engines.select import open_engine
from streaming.offline.detections.embedding_rows import (
    EmbeddingConfig,
    EmbeddingRows,
    frames_between,
)
from streaming.offline.embed import embed, place_clips
from streaming.offline.executor import EMBEDDINGS_AHEAD
from streaming.offline.job_config import JobConfig, result_settings
from streaming.offline.outputs import OutputConfig
from streaming.offline.scan import Scan
from streaming.pipeline.config import DetectorConfig
from tests.conftest import rising_noise

RATE = 8_000
SECONDS = 7.3
N_FEATURES = 288  # of the tiny model


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "noise.wav"
    soundfile.write(path, rising_noise(round(SECONDS * RATE)), RATE, subtype="FLOAT")
    return str(path)


@pytest.fixture(scope="module")
def engine(tiny_checkpoint):
    return open_engine(tiny_checkpoint, device="cpu", n_streams=1, layer="features")


@pytest.fixture(scope="module")
def frames(recording, engine):
    """Return all frames of the recording, (frames, features)."""
    clip = sed.Event(0.0, math.inf, "", 1.0, recording)
    ((event, frames),) = embed(clips=[clip], model=engine, pool=())
    assert (event.onset, event.offset) == (0.0, SECONDS)
    return frames


@torch.inference_mode()
def test_frames_are_the_features_of_the_network(recording, engine, tiny_checkpoint):
    clip = sed.Event(0.0, math.inf, "", 1.0, recording)
    ((_, frames),) = embed(clips=[clip], model=engine, pool=(), hop_seconds=1.0, batch_size=3)
    samples = torch.from_numpy(sed.read_recording(recording, RATE))
    model = tiny_checkpoint.model
    log_mel = model.log_mel.forward_padded(samples[None])
    n_columns = tiny_checkpoint.window_columns
    expected = model.frame_features(log_mel[:, n_columns : 2 * n_columns])[0]
    n_frames = tiny_checkpoint.spec.n_frames
    if n_columns % tiny_checkpoint.spec.frame_columns == 0:
        np.testing.assert_allclose(frames[n_frames : 2 * n_frames], expected, atol=2e-4)
    n_middles = round(SECONDS / tiny_checkpoint.timeline.frame_seconds)
    assert frames.shape == (n_middles, N_FEATURES)


@pytest.mark.parametrize("every", [0.5, 1.0, 2.9])
def test_each_frame_is_in_one_part(recording, engine, frames, tiny_checkpoint, every):
    rows = list(embed(recording, engine, every_seconds=every))
    frame = tiny_checkpoint.timeline.frame_seconds
    middles = (np.arange(len(frames)) + 0.5) * frame
    for n, (event, vector) in enumerate(rows):
        assert event.onset == pytest.approx(n * every)
        assert event.offset == pytest.approx(min((n + 1) * every, SECONDS))
        assert (event.file, event.label) == (recording, "")
        chosen = (middles >= n * every) & (middles < min((n + 1) * every, SECONDS))
        np.testing.assert_allclose(vector, frames[chosen].mean(axis=0), atol=1e-5)
    assert rows[-1][0].offset == SECONDS


def test_clips_may_overlap_and_be_shorter_than_a_frame(recording, engine, frames, tiny_checkpoint):
    frame = tiny_checkpoint.timeline.frame_seconds
    times = [(0.0, 3.0), (1.0, 1.001), (2.5, 99.0), (0.0, 3.0)]
    clips = [sed.Event(*t, f"clip {n}", 0.5, recording) for n, t in enumerate(times)]
    rows = {event.label: (event, vector) for event, vector in embed(clips=clips, model=engine)}
    assert rows.keys() == {f"clip {n}" for n in range(4)}
    np.testing.assert_array_equal(rows["clip 0"][1], rows["clip 3"][1])
    np.testing.assert_allclose(rows["clip 1"][1], frames[int(1.0005 / frame)], atol=1e-6)
    assert rows["clip 2"][0].offset == SECONDS
    assert rows["clip 1"][0].score == 0.5


def test_a_clip_behind_the_end_is_an_error_and_the_others_are_kept(recording, engine):
    clips = [sed.Event(a, a + 1, "", 1.0, recording) for a in (1.0, 50.0, 60.0)]
    errors = []
    rows = list(embed(clips=clips, model=engine, on_error=errors.append))
    assert [event.onset for event, _ in rows] == [1.0]
    (error,) = errors
    assert "2 clips of the table start behind its end at 7.3 s, the first at 50 s" in str(error)
    with pytest.raises(RecordingError, match="start behind its end"):
        list(embed(clips=clips, model=engine))


def test_a_clip_behind_the_middle_of_the_last_frame_takes_that_frame(recording, engine, frames):
    clips = [sed.Event(SECONDS - 0.02, end, "", 1.0, recording) for end in (SECONDS, math.inf)]
    for event, vector in embed(clips=clips, model=engine):
        assert (event.onset, event.offset) == (SECONDS - 0.02, SECONDS)
        np.testing.assert_allclose(vector, frames[-1], atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 64])
def test_rows_come_in_the_order_of_their_ends(recording, engine, batch_size):
    times = [(0.0, 5.0), (0.5, 99.0), (0.7, 4.0), (1.0, 2.0)]
    clips = [sed.Event(*t, "", 1.0, recording) for t in times]
    rows = embed(clips=clips, model=engine, batch_size=batch_size)
    assert [event.offset for event, _ in rows] == [2.0, 4.0, 5.0, SECONDS]


def test_no_clip_is_left_out_without_an_error(recording, engine):
    folder = os.path.dirname(recording)
    clips = [
        sed.Event(0, 1, "a", 1.0, recording),
        sed.Event(0, 1, "b", 1.0, f"{folder}/./noise.wav"),
        sed.Event(0, 1, "c", 1.0, "noise.wav"),
    ]
    errors = []
    rows = list(embed(folder, engine, clips=clips, on_error=errors.append))
    assert [event.label for event, _ in rows] == ["a", "b"]
    assert [str(error) for error in errors] == [
        "noise.wav: has clips, and is not among the recordings. Name it as they do, by its path."
    ]


@settings(max_examples=50, deadline=None)
@given(st.floats(0.05, 20.0), st.integers(0, 500))
def test_consecutive_parts_share_no_frame_and_leave_none_out(seconds, n):
    timeline = Timeline(16_000, 160, 32)
    first, stop = frames_between(timeline, n * seconds, (n + 1) * seconds)
    following, _ = frames_between(timeline, (n + 1) * seconds, (n + 2) * seconds)
    assert first < stop
    if seconds > timeline.frame_seconds:
        assert following == stop


def test_several_statistics_are_one_vector(recording, engine, frames):
    clip = sed.Event(0.0, math.inf, "", 1.0, recording)
    ((_, vector),) = embed(clips=[clip], model=engine, pool=("max", "std"))
    expected = np.concatenate([frames.max(axis=0), frames.std(axis=0)])
    np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-5)


def test_few_rows_are_computed_before_they_are_asked_for(recording, engine, monkeypatch):
    made = []
    push = EmbeddingRows.push
    monkeypatch.setattr(EmbeddingRows, "push", lambda *args: made.append(1) or push(*args))
    rows = embed(recording, engine, every_seconds=0.1, hop_seconds=0.1, batch_size=1)
    next(rows)
    time.sleep(0.5)
    n_made = len(made)
    assert n_made <= EMBEDDINGS_AHEAD + 8
    assert len(list(rows)) == 73
    assert len(made) > 2 * n_made


def test_options_that_cannot_be_are_refused(recording, engine):
    with pytest.raises(UsageError, match="above 0 s, got 0"):
        list(embed(recording, engine, every_seconds=0.0))
    with pytest.raises(UsageError, match="parts of equal length, clips, or events"):
        EmbeddingConfig(every_seconds=1.0, of_events=True)
    with pytest.raises(UsageError, match="gives the layer features, not hidden: open it with"):
        list(embed(recording, engine, layer="hidden"))
    with pytest.raises(UsageError, match="set file of each Event"):
        list(embed(clips=[sed.Event(0, 1, "", 1.0)], model=engine))


# Stores.


@pytest.fixture(scope="module")
def model(tiny_checkpoint, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_checkpoint(tiny_checkpoint, path)
    return str(path)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "archive"
    folder.mkdir()
    for n in range(3):
        soundfile.write(folder / f"{n}.wav", rising_noise(RATE * (2 + n), n), RATE)
    return folder


def scan(model, store, sources, *, skip=False, outputs=None, **options):
    outputs = outputs or OutputConfig(
        output=f"{store}/",
        skip_existing=skip,
        embeddings=EmbeddingConfig(str(store), **options),
        events=False,
    )
    config = DetectorConfig(batch_size=4)
    return Scan(JobConfig(outputs, model, config, "torch", "cpu", "fp32")).run([sources])


def test_a_store_has_the_rows_of_all_recordings(model, folder, tmp_path):
    store = tmp_path / "store"
    summary = scan(model, store, folder, every_seconds=1.0, pool=("mean", "max"))
    assert (summary.n_files, summary.n_embeddings, summary.n_failures) == (3, 2 + 3 + 4, 0)
    opened = EmbeddingStore(store)
    rows = np.arange(9)
    expected = list(
        embed(folder, model, every_seconds=1.0, pool=("mean", "max"), engine="torch",
              device="cpu", precision="fp32", batch_size=4)
    )  # fmt: skip
    stored = dict(zip(opened.events(rows), opened.vectors(rows), strict=True))
    assert stored.keys() == {event for event, _ in expected}
    for event, vector in expected:
        np.testing.assert_allclose(stored[event], vector, rtol=1e-3, atol=1e-4)
    config = opened.config
    assert (config.layer, config.pool) == ("features", ("mean", "max"))
    assert config.dimension == 2 * N_FEATURES
    assert (config.model, config.cut) == (model, "every 1 s")


def test_what_is_in_the_store_is_skipped_also_after_it_was_merged(model, folder, tmp_path):
    store = tmp_path / "store"
    scan(model, store, folder / "0.wav")
    assert not list((store / "recordings").iterdir())  # merged
    summary = scan(model, store, folder, skip=True)
    assert (summary.n_files, summary.n_skipped) == (2, 1)
    again = scan(model, store, folder)
    assert again.n_files == 3
    assert EmbeddingStore(store).n_rows == 2 + 3 + 4


def test_recordings_of_several_folders_may_have_the_same_name(model, folder, tmp_path):
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other" / "0.wav", rising_noise(RATE * 5, 9), RATE)
    store = tmp_path / "store"
    scan(model, store, folder / "0.wav")
    summary = scan(model, store, tmp_path / "other", skip=True)
    assert (summary.n_files, summary.n_skipped) == (1, 0)
    opened = EmbeddingStore(store)
    files = {event.file for event in opened.events(np.arange(opened.n_rows))}
    assert files == {str(folder / "0.wav"), str(tmp_path / "other" / "0.wav")}
    assert opened.recordings == files


def test_a_name_that_is_not_utf_8_is_found_in_the_store(model, folder, tmp_path):
    name = os.fsencode(folder) + b"/caf\xe9.wav"
    try:
        os.rename(folder / "0.wav", name)
    except OSError:
        pytest.skip("this disk takes UTF-8 only")
    store = tmp_path / "store"
    scan(model, store, folder)
    summary = scan(model, store, folder, skip=True)
    assert (summary.n_files, summary.n_skipped) == (0, 3)
    outputs = OutputConfig(embeddings=EmbeddingConfig(str(store)), events=False)
    assert outputs.exist(Recording(os.fsdecode(name), "any"))
    assert len(pickle.dumps(outputs)) == len(pickle.dumps(dataclasses.replace(outputs)))


def test_another_layer_or_pooling_does_not_go_into_the_same_store(model, folder, tmp_path):
    store = tmp_path / "store"
    scan(model, store, folder)
    with pytest.raises(UsageError, match="layer"):
        scan(model, store, folder, layer="hidden")
    with pytest.raises(UsageError, match="pool"):
        scan(model, store, folder, pool=("max",))
    assert read_store_config(store).layer == "features"


def test_detection_keeps_an_embedding_of_each_event(model, folder, tmp_path):
    store, table = tmp_path / "store", tmp_path / "events.csv"
    embeddings = EmbeddingConfig(str(store), of_events=True)
    summary = scan(
        model, store, folder, outputs=OutputConfig(output=str(table), embeddings=embeddings)
    )
    alone = tmp_path / "alone.csv"
    scan(model, store, folder, outputs=OutputConfig(output=str(alone)))
    assert table.read_text() == alone.read_text()
    events = sed.read_events(table, "csv")
    opened = EmbeddingStore(store)
    rows = np.arange(opened.n_rows)
    assert len(events) == summary.n_events == summary.n_embeddings == opened.n_rows > 0
    stored = {
        (e.file, e.label, round(e.onset, 3)): vector
        for e, vector in zip(opened.events(rows), opened.vectors(rows), strict=True)
    }
    parts = embed(clips=events, model=model, engine="torch", device="cpu", precision="fp32",
                  batch_size=4)  # fmt: skip
    for event, vector in parts:
        np.testing.assert_allclose(
            stored[event.file, event.label, event.onset], vector, rtol=2e-3, atol=2e-3
        )


def test_names_of_a_table_are_found(folder, tmp_path):
    rows = [sed.Event(0, 1, "", 1.0, name) for name in ("0.wav", "1.wav", "archive/2.wav", "9.wav")]
    placed, missing = place_clips(rows, tmp_path / "table.csv", [str(folder)])
    assert sorted(placed) == [str(folder / f"{n}.wav") for n in range(3)]
    assert missing == ["9.wav"]
    placed, missing = place_clips(rows, folder / "table.csv")
    assert (sorted(placed), missing) == (
        [str(folder / "0.wav"), str(folder / "1.wav")],
        ["archive/2.wav", "9.wav"],
    )
    rows = [sed.Event(0, 1, "", 1.0, name) for name in ("0.wav", "archive/0.wav", "./0.wav")]
    placed, missing = place_clips(rows, tmp_path / "table.csv", [str(folder)])
    assert ({path: len(clips) for path, clips in placed.items()}, missing) == (
        {str(folder / "0.wav"): 3},
        [],
    )


def test_a_scan_is_resumed_with_the_same_store(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = [
        result_settings(JobConfig(OutputConfig(output="out/", embeddings=kept), model))
        for kept in (
            EmbeddingConfig("one", of_events=True),
            EmbeddingConfig(str(tmp_path / "one"), of_events=True),
            EmbeddingConfig("two", of_events=True),
        )
    ]
    assert settings[0] == settings[1]
    assert settings[0] != settings[2]
