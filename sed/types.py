"""Types shared by many modules."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
