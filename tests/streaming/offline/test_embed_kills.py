"""A store of embeddings loses and doubles nothing, whenever the scan is killed."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter

import numpy as np
import pytest

from sed.events.embedding_store.store import EmbeddingStore, StoreConfig, create_store
from tests.conftest import ROOT

# Recordings are merged into parts after every few, so that kills fall into that too.
SCRIPT = """
import sys
from functools import partial
sys.path.insert(0, {tests!r})
if __name__ == "__main__":
    from sed.events.embedding_store.store import Compactor
    from streaming.offline import scan
    from streaming.offline.detections.embedding_rows import EmbeddingConfig
    from streaming.offline.job_config import JobConfig
    from streaming.offline.outputs import OutputConfig
    from streaming.offline.workers import ProcessExecutor
    from tests.streaming.offline import jobs
    scan.Compactor = partial(Compactor, every=5)
    store = sys.argv[2]
    outputs = OutputConfig(output=store, embeddings=EmbeddingConfig(store), events=False)
    executor = ProcessExecutor(2, make_runner=jobs.EmbeddingRunner)
    run = scan.Scan(JobConfig(outputs, "none"), executor, resume=True)
    run._report_progress = lambda: print("on", flush=True)
    run.run([sys.argv[1]])
"""


@pytest.mark.parametrize("n_kills", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_kills_lose_no_row_and_double_none(tmp_path, n_kills):
    pytest.importorskip("pyarrow")
    n_recordings = 8 * (n_kills + 1)
    folder, store = tmp_path / "archive", tmp_path / "store"
    folder.mkdir()
    expected = Counter()
    for n in range(n_recordings):
        (folder / f"{n:03}.wav").write_text("x " * (n % 4))
        expected |= {(f"{folder}/{n:03}.wav", k / 3, k): 1 for k in range(n % 4)}
    create_store(store, StoreConfig("none", "", "features", ("mean",), 4, "events", {}))
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(tests=str(ROOT)))
    program = [sys.executable, script, folder, store]
    chance = random.Random(1)
    for _ in range(n_kills):
        with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
            for _ in range(chance.randrange(14)):  # signs of life that are waited for
                assert process.stdout.readline() == b"on\n"
            time.sleep(chance.uniform(0, 0.03))
            process.kill()
        assert process.returncode == -signal.SIGKILL
    subprocess.run(program, stdout=subprocess.PIPE, check=True)
    opened = EmbeddingStore(store)
    rows = np.arange(opened.n_rows)
    vectors = opened.vectors(rows)
    found = [(e.file, e.onset, v[0]) for e, v in zip(opened.events(rows), vectors, strict=True)]
    assert Counter(found) == expected
    assert not list((store / "recordings").glob("*.part"))
    np.testing.assert_array_equal(vectors, vectors[:, :1] * np.ones(4))
