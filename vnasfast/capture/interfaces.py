"""What a capture tells of an interface that it was taken on."""

from typing import NamedTuple

from vnasfast.capture.link_types import link_type_text


class Interface(NamedTuple):
    """An interface of a capture: the link type of its frames and the unit of its times.

    A tick is ``10 ** -exponent`` seconds, or ``2 ** -exponent`` seconds if ``binary``.
    """

    #: Number of the link type, see :mod:`vnasfast.capture.link_types`.
    link_type: int
    #: The most bytes captured of a frame; 0: no limit.
    snaplen: int
    #: Of the resolution of the times: 6 is microseconds, 9 nanoseconds.
    exponent: int = 6
    #: Whether the resolution is a power of two.
    binary: bool = False
    #: Seconds to be added to every time.
    offset_seconds: int = 0
    #: The interface's name at the time of the capture; empty where the file has none.
    name: str = ""

    @property
    def ticks_per_second(self) -> int:
        """Ticks in a second, as an exact integer of any size."""
        return int((2 if self.binary else 10) ** self.exponent)

    @property
    def link_type_text(self) -> str:
        """Name and number of the link type, such as ``ETHERNET (1)``."""
        return link_type_text(self.link_type)

    def format_time(self, ticks: int) -> str:
        """Give a time of this interface in seconds since the epoch, with every digit of its resolution.

        Examples
        --------
        >>> Interface(link_type=1, snaplen=0).format_time(1_700_000_000_123_456)
        '1700000000.123456'
        """
        per_second = self.ticks_per_second
        total = ticks + self.offset_seconds * per_second
        whole, fraction = divmod(abs(total), per_second)
        sign = "-" if total < 0 else ""
        if self.exponent == 0:
            return f"{sign}{whole}"
        # 2**-n is 5**n * 10**-n: a binary fraction of n digits has n decimal digits.
        decimals = fraction * 5**self.exponent if self.binary else fraction
        return f"{sign}{whole}.{decimals:0{self.exponent}d}"
