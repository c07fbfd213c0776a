import librosa
import numpy as np
import pytest
import torch
import torchlibrosa

from sed.features.log_mel import LogMelConfig, hz_to_mel, mel_filterbank, mel_to_hz
from sed.features.log_mel_torch import LogMel

BIRDS = LogMelConfig(
    sample_rate=32_000,
    win_length=2048,
    hop_length=500,
    n_fft=2048,
    n_mels=128,
    f_min=20,
    f_max=16_000,
    mel_scale="slaney",
    filter_interpolation="hz",
    norm="slaney",
    power=2,
    log="db",
    amin=1e-10,
)
YAMNET = LogMelConfig()


def test_equals_torchlibrosa():
    samples = torch.from_numpy(np.random.default_rng(0).normal(0, 0.2, (2, 64_000)).astype("f4"))
    spectrogram = torchlibrosa.Spectrogram(
        n_fft=2048, hop_length=500, win_length=2048, center=False, freeze_parameters=True
    )
    filters = torchlibrosa.LogmelFilterBank(
        sr=32_000, n_fft=2048, n_mels=128, fmin=20, fmax=16_000, ref=1.0, amin=1e-10, top_db=None
    )
    expected = filters(spectrogram(samples))[:, 0]
    assert (LogMel(BIRDS)(samples) - expected).abs().max() < 1e-4


def test_equals_yamnets_front_end(shared):
    samples = np.random.default_rng(1).normal(0, 0.1, 16_000)
    filters = np.load(shared / "weights" / "yamnet_mel_64x257.npy")
    filters = filters if filters.shape[0] == 257 else filters.T
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    frames = np.stack([samples[i : i + 400] for i in range(0, 16_000 - 399, 160)]) * hann
    expected = np.log(np.abs(np.fft.rfft(frames, 512)) @ filters + 0.001)
    columns = LogMel(YAMNET)(torch.from_numpy(samples.astype("f4"))).numpy()
    assert columns.shape == expected.shape == (98, 64)
    assert np.abs(columns - expected).max() < 1e-3


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("norm", ["none", "slaney"])
def test_filters_equal_librosas(scale, norm):
    config = LogMelConfig(mel_scale=scale, filter_interpolation="hz", norm=norm)
    expected = librosa.filters.mel(
        sr=16_000,
        n_fft=512,
        n_mels=64,
        fmin=125,
        fmax=7_500,
        htk=scale == "htk",
        norm=None if norm == "none" else norm,
    )
    np.testing.assert_allclose(mel_filterbank(config).T, expected, atol=1e-6)


def test_filters_equal_torchaudios():
    try:
        from torchaudio.functional import melscale_fbanks
    except (ImportError, OSError, RuntimeError) as error:  # refuses some builds of torch
        pytest.skip(f"torchaudio cannot be imported here: {error}")
    config = LogMelConfig(mel_scale="htk", filter_interpolation="hz")
    expected = melscale_fbanks(257, 125.0, 7_500.0, 64, 16_000, None, "htk").numpy()
    np.testing.assert_allclose(mel_filterbank(config), expected, atol=1e-5)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
def test_mels_and_hertz_are_inverse(scale):
    hz = np.array([0.0, 50.0, 999.0, 1_000.0, 1_001.0, 16_000.0])
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz, scale), scale), hz, atol=1e-9)


@pytest.mark.parametrize("config", [YAMNET, BIRDS], ids=["yamnet", "birds"])
@pytest.mark.parametrize("hz", [300.0, 1_000.0, 4_000.0])
def test_a_tone_lands_in_its_band(config, hz):
    time = torch.arange(2 * config.sample_rate) / config.sample_rate
    columns = LogMel(config)(torch.sin(2 * torch.pi * hz * time))
    low, high = hz_to_mel(np.array([config.f_min, config.f_max]), config.mel_scale)
    mel = hz_to_mel(np.array(hz), config.mel_scale)
    band = (mel - low) / (high - low) * (config.n_mels + 1) - 1  # band centres lie on whole numbers
    assert abs(columns.mean(0).argmax().item() - band) <= 1


def test_ten_times_the_amplitude_is_twenty_decibels():
    samples = torch.from_numpy(np.random.default_rng(2).normal(0, 0.01, 32_000).astype("f4"))
    log_mel = LogMel(BIRDS)
    assert torch.allclose(log_mel(10 * samples) - log_mel(samples), torch.tensor(20.0), atol=1e-3)


def test_columns_of_a_part_are_part_of_the_columns():
    samples = torch.from_numpy(np.random.default_rng(3).normal(0, 0.1, 16_000).astype("f4"))
    log_mel = LogMel(YAMNET)
    whole, part = log_mel(samples), log_mel(samples[160 * 20 :])
    torch.testing.assert_close(part, whole[20:], atol=1e-5, rtol=0)


def test_a_centred_clip_has_a_column_for_each_hop():
    click = torch.zeros(80_000)
    click[40_080] = 1.0  # in the middle of hop 250
    columns = LogMel(YAMNET).forward_padded(click)
    assert columns.shape == (500, 64)
    assert columns.mean(1).argmax() == 250


def test_normalisation_by_constants():
    samples = torch.from_numpy(np.random.default_rng(4).normal(0, 0.1, 4_000).astype("f4"))
    plain = LogMel(YAMNET)(samples)
    scaled = LogMel(LogMelConfig(mean=-4.0, std=2.0))(samples)
    torch.testing.assert_close(scaled, (plain + 4.0) / 2.0)


def test_stays_in_fp32_under_autocast():
    loud = torch.full((4_000,), 200.0)  # whose power overflows fp16
    with torch.autocast("cpu", torch.bfloat16):
        columns = LogMel(BIRDS.__class__(power=2))(loud)
    assert columns.dtype == torch.float32
    assert columns.isfinite().all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hop_length": 500}, "hop_length <= win_length <= n_fft"),
        ({"f_max": 9_000.0}, "half the sample rate"),
        ({"mel_scale": "bark"}, "mel_scale to be one of"),
        ({"power": 3}, "power 1 .magnitude. or 2"),
    ],
)
def test_impossible_configs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        LogMelConfig(**change)


def test_too_few_samples_are_refused():
    with pytest.raises(ValueError, match="at least 400 samples, got 399"):
        LogMel(YAMNET)(torch.zeros(399))
