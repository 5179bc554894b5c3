from typing_extensions import disjoint_base

from vnasfast.dispatch.dispatcher import Dispatcher
from vnasfast.replay.deliveries import DeliveryWriter
from vnasfast.replay.misses import MissTable

@disjoint_base
class Lane:
    def __init__(self, dispatcher: Dispatcher, misses: MissTable, deliveries: DeliveryWriter | None) -> None: ...
