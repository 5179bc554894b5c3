import numpy as np
from numpy.typing import NDArray

def touch(region: NDArray[np.uint8], lines: NDArray[np.uint32]) -> int: ...
