import os
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Any, Self

from numpy.typing import ArrayLike, NDArray
from typing_extensions import disjoint_base

from vnasfast.host.answers import Answer

@disjoint_base
class Oracle:
    def __init__(self, netns: int | str | os.PathLike[str] | None = None) -> None: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, *exception: type[BaseException] | BaseException | TracebackType | None
    ) -> None: ...
    def ask_batch(self, keys: NDArray[Any], *, interfaces: ArrayLike = 0) -> NDArray[Any]: ...
    def ask(
        self,
        protocol: str | int,
        local: str | bytes | IPv4Address | IPv6Address,
        local_port: int,
        remote: str | bytes | IPv4Address | IPv6Address,
        remote_port: int,
        *,
        interface: int = 0,
    ) -> Answer | None: ...
