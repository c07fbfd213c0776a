import dataclasses
import re

import pytest
import soundfile
from typer import Typer
from typer.testing import CliRunner

import streaming.bench.bench
from sed.errors import MissingExtraError, RecordingError, UsageError
from sed.models.checkpoint import save_checkpoint
from streaming.bench.bench import Bench, EngineSpeed, advice, bench
from streaming.bench.stages import Stages
from streaming.cli.bench import bench as bench_command
from tests.conftest import rising_noise

FOUND = Bench(
    format="WAV PCM_16",
    sample_rate=16_000,
    model_rate=16_000,
    window_seconds=5.0,
    hop_seconds=5.0,
    mode="sliding_window",
    engine="torch on cpu",
    n_cores=2,
    stages=Stages(0.0001, 0.0, 0.0001, 0.0007, 0.0001, 0.0),
    engines=(EngineSpeed("torch", "torch on cpu", 1_400.0),),
    processed_seconds=1_800.0,
    wall_seconds=1.0,
)


def changed(**values):
    costs = {name: values.pop(name) for name in list(values) if hasattr(FOUND.stages, name)}
    return dataclasses.replace(FOUND, stages=dataclasses.replace(FOUND.stages, **costs), **values)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(streaming.bench.bench, "ENGINE_SECONDS", 0.02)
    monkeypatch.setattr(streaming.bench.bench, "find_spec", lambda _: "everything is installed")
    monkeypatch.setattr(streaming.bench.bench, "NOISE_SECONDS", 6)
    monkeypatch.setenv("SED_CACHE", str(tmp_path))


def test_efficiency_is_the_share_of_the_limit():
    assert FOUND.throughput_limit == pytest.approx(2_000.0)
    assert FOUND.speed == pytest.approx(1_800.0)
    assert FOUND.efficiency == pytest.approx(0.9)


def test_more_cores_are_advised_where_nothing_stands_out():
    assert advice(FOUND) == ["Nothing stands out: more processor cores, or a GPU."]


def test_less_overlap_is_advised_first():
    text = advice(changed(hop_seconds=0.5))[0]
    assert text.startswith("--hop 5 runs the network 10 × less often")
    assert text.endswith("Up to 2.7 × faster.")  # 1 / (0.3 + 0.07)


def test_a_fully_convolutional_run_gets_no_advice_about_its_hop():
    assert not any(
        "--hop" in text for text in advice(changed(hop_seconds=0.5, mode="fully_convolutional"))
    )


def test_wav_or_flac_is_advised_for_compressed_recordings():
    assert advice(changed(format="OGG VORBIS", decode=0.0011))[0] == (
        "Decoding OGG VORBIS takes 55%: record WAV or FLAC. Up to 2.2 × faster."
    )
    assert not any("WAV or FLAC" in text for text in advice(changed(decode=0.0011)))


def test_ffmpeg_is_advised_for_vorbis_where_it_is_missing(monkeypatch):
    vorbis = changed(format="OGG VORBIS", decode=0.0011)
    assert not any("FFmpeg" in text for text in advice(vorbis))
    monkeypatch.setattr(streaming.bench.bench, "find_spec", lambda _: None)
    assert advice(vorbis)[1] == (
        "FFmpeg decodes Ogg Vorbis faster: pip install 'sed-engine[av]'. Up to 1.2 × faster."
    )
    assert not any("FFmpeg" in text for text in advice(changed(format="MP3", decode=0.0011)))


def test_resampling_and_the_front_end_are_mentioned_where_their_share_is_large():
    assert advice(changed(sample_rate=48_000, resample=0.001))[0].startswith(
        "Resampling takes 50%: record at 16,000 Hz"
    )
    assert advice(changed(log_mel=0.0011))[0].startswith("The front end takes 55%")


def test_a_faster_engine_is_named_and_one_that_is_missing_too():
    other = EngineSpeed("openvino", "OpenVINO on cpu, bf16", 2_800.0)
    why = "OpenVINO needs an extra: pip install 'sed-engine[openvino]'"
    missing = EngineSpeed("openvino", why, None)
    assert advice(changed(engines=(*FOUND.engines, other))) == [
        "--engine openvino runs the network 2.0 × as fast as torch on cpu does. Up to 1.5 × faster."
    ]
    assert advice(changed(engines=(*FOUND.engines, missing))) == [
        f"The engine openvino was not measured: {why}"
    ]
    assert not any("not measured" in t for t in advice(changed(engines=(missing,), network=0.0001)))


def test_the_most_effective_change_comes_first():
    texts = advice(changed(hop_seconds=2.5, format="OGG VORBIS", decode=0.002, wall_seconds=10.0))
    assert [text.split()[0] for text in texts] == ["Decoding", "--hop", "Only"]
    assert texts[-1].startswith("Only 26% of the limit was reached")


def test_a_recording_is_measured_from_end_to_end(tiny_checkpoint, tmp_path):
    path = tmp_path / "noise.flac"
    soundfile.write(path, rising_noise(16_000 * 7), 16_000)
    measured = bench(path, tiny_checkpoint, hop_seconds=1.0)
    assert (measured.format, measured.sample_rate) == ("FLAC PCM_16", 16_000)
    assert (measured.model_rate, measured.window_seconds, measured.hop_seconds) == (8_000, 1.0, 1.0)
    assert measured.processed_seconds == pytest.approx(7.0)
    assert measured.speed > 1
    assert measured.engine in {engine.description for engine in measured.engines}
    assert any(engine.speed for engine in measured.engines)


@pytest.fixture
def without_openvino(monkeypatch):
    def no_openvino(model, *, engine="auto", **rest):
        if engine == "openvino":
            raise MissingExtraError("OpenVINO", "openvino")
        return opened(model, engine=engine, **rest)

    opened = streaming.bench.bench.open_engine
    monkeypatch.setattr(streaming.bench.bench, "open_engine", no_openvino)


def test_an_engine_that_is_not_installed_has_its_error_as_description(
    tiny_checkpoint, without_openvino
):
    measured = bench(model=tiny_checkpoint)
    assert measured.format == "WAV PCM_16"
    assert measured.processed_seconds == pytest.approx(6.0)
    speeds = {engine.name: engine for engine in measured.engines}
    assert list(speeds) == ["torch", "openvino", "onnx"]
    why = "OpenVINO needs an extra: pip install 'sed-engine[openvino]'"
    assert speeds["openvino"] == EngineSpeed("openvino", why, None)


def test_wrong_options_and_files_are_refused(tiny_checkpoint, tmp_path):
    with pytest.raises(UsageError, match="hop"):
        bench(model=tiny_checkpoint, hop_seconds=0.3)
    with pytest.raises(RecordingError, match="no such file"):
        bench(tmp_path / "nothing.wav", tiny_checkpoint)


def test_the_command_prints_stages_limit_engines_and_advice(
    tiny_checkpoint, tmp_path, without_openvino, monkeypatch
):
    monkeypatch.setattr(streaming.bench.bench, "ENGINES", ("auto", "torch", "openvino"))
    save_checkpoint(tiny_checkpoint, tmp_path / "tiny.safetensors")
    soundfile.write(tmp_path / "noise.wav", rising_noise(16_000 * 7), 16_000)
    app = Typer()
    app.command()(bench_command)
    done = CliRunner().invoke(
        app,
        [
            *(str(tmp_path / "noise.wav"), "--model", str(tmp_path / "tiny.safetensors")),
            *("--engine", "torch"),
        ],
    )
    assert done.exit_code == 0, done.output
    for words in ("decoding", "front end", "network", "limit on", "measured from end to end, 7 s"):
        assert words in done.output
    assert "WAV PCM_16, 16,000 Hz" in done.output
    assert "torch: torch" in done.output
    assert "'sed-engine[openvino]'" in done.output
    assert re.search(r"\bused\b", done.output)
    assert "what would make it faster" in done.output
