"""Non-silent parts of clips."""

import numpy as np

from train.data.loudness import active_frames, active_ranges


def test_frame_targets_are_where_the_clip_is_loud():
    samples = np.zeros(8_000, np.float32)
    samples[3_040:3_840] = 0.5  # frames of 1000 samples, stretches of 160
    samples[6_080:6_880] = 0.5 * 10 ** (-40 / 20)  # too faint beside it
    edges = np.arange(9) * 1_000
    assert active_frames(samples, 8_000, edges).tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert active_frames(np.zeros(8_000, np.float32), 8_000, edges).tolist() == [0] * 8


def test_active_ranges_bridge_short_pauses_and_leave_out_what_is_faint():
    samples = np.zeros(16_000, np.float32)
    samples[1_600:3_200] = samples[4_000:4_800] = 0.5  # a pause of 0.1 s
    samples[9_600:11_200] = -0.5  # and one of 0.6 s
    samples[14_400:] = 0.5 * 10 ** (-30 / 20)
    assert active_ranges(samples, 8_000, -25.0, 0.5) == [(1_600, 4_800), (9_600, 11_200)]
    assert active_ranges(samples, 8_000, -25.0, 0.05)[:2] == [(1_600, 3_200), (4_000, 4_800)]
    assert active_ranges(samples, 8_000, -35.0, 0.5)[-1] == (9_600, 16_000)
    assert active_ranges(np.zeros(8_000, np.float32), 8_000, -25.0, 0.5) == []
