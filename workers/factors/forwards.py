"""The one shape into which every format of both frameworks is brought: numpy in, numpy out."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]

Forward = Callable[[Images], NDArray[np.float32]]
"""Images FP32 [N,28,28] to logits FP32 [N,10]."""
