import numpy as np
from numpy.typing import NDArray

def ask_options(rows: NDArray[np.uint8], places: NDArray[np.int32]) -> tuple[int, int, int, bool]: ...
