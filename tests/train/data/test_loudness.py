"""Non-silent parts of clips."""

import numpy as np

from train.data.loudness import active_frames, trim_silence


def test_frame_targets_are_where_the_clip_is_loud():
    samples = np.zeros(8_000, np.float32)
    samples[3_040:3_840] = 0.5  # frames of 1000 samples, stretches of 160
    samples[6_080:6_880] = 0.5 * 10 ** (-40 / 20)  # too faint beside it
    edges = np.arange(9) * 1_000
    assert active_frames(samples, 8_000, edges).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert active_frames(np.zeros(8_000, np.float32), 8_000, edges).tolist() == [0] * 8


def test_the_active_part_of_a_clip_is_what_is_between_its_silences():
    samples = np.zeros(8_000, np.float32)
    samples[3_200:4_800] = 0.5
    assert len(trim_silence(samples, 8_000)) == 1_600
    assert trim_silence(np.zeros(100, np.float32), 8_000).size == 100
