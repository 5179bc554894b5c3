from typing import Any

import numpy as np
from numpy.typing import NDArray

from vnasfast.dispatch.dispatcher import Dispatcher
from vnasfast.dispatch.explanation import Explanation

def explain_key(dispatcher: Dispatcher, key: NDArray[Any] | np.void) -> Explanation: ...
def explain_frame(
    dispatcher: Dispatcher,
    frame: object,
    link_type: int | None,
    source_pid: int,
    wire_length: int | None,
    time_ns: int,
) -> Explanation: ...
