from fractions import Fraction

import pytest
from captures_builder import Frame, enhanced, interface, option, section
from hypothesis import example, given
from hypothesis import strategies as st

from vnasfast.capture import Interface, open_capture
from vnasfast.errors import InvalidValue

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)


def captured(resolution, offset, ticks):
    options = option(9, bytes([resolution])) + option(14, offset.to_bytes(8, "little", signed=True))
    return section() + interface(options=options) + enhanced(Frame(b"", ticks, 0))


def exact_text(value, digits):
    """The decimal text of an exact fraction, by the definition."""
    scaled = value * 10**digits
    assert scaled.denominator == 1
    whole, fraction = divmod(abs(scaled.numerator), 10**digits)
    return f"{'-' if value < 0 else ''}{whole}" + (f".{fraction:0{digits}d}" if digits else "")


@given(
    resolution=st.integers(0, 255),
    offset=st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-5, 5)),
    ticks=st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 2**24)),
)
@example(resolution=6, offset=0, ticks=2**64 - 1)
@example(resolution=19, offset=-(2**63), ticks=2**64 - 1)
@example(resolution=19, offset=2**63 - 1, ticks=2**64 - 1)
@example(resolution=0, offset=2**63 - 1, ticks=2**64 - 1)
@example(resolution=2, offset=-5, ticks=25)
@example(resolution=128, offset=-1, ticks=1)
@example(resolution=128 + 63, offset=1, ticks=2**64 - 1)
@example(resolution=128 + 64, offset=1, ticks=2**64 - 1)
def test_times_are_exact_at_every_resolution(resolution, offset, ticks):
    exponent, binary = resolution & 127, resolution >= 128
    value = Fraction(ticks, (2 if binary else 10) ** exponent) + offset
    with open_capture(captured(resolution, offset, ticks)) as capture:
        assert capture.read() == 1
        assert capture.ticks.tolist() == [ticks]
        nanoseconds = min(max((value * 10**9).__floor__(), INT64_MIN), INT64_MAX)
        assert capture.times_ns.tolist() == [nanoseconds]
        assert capture.format_time(0, ticks) == exact_text(value, exponent)
        assert capture.interfaces[0].format_time(ticks) == exact_text(value, exponent)


def test_usual_texts():
    assert Interface(1, 0).format_time(1_700_000_000_000_001) == "1700000000.000001"
    assert Interface(1, 0, exponent=9).format_time(5) == "0.000000005"
    assert Interface(1, 0, exponent=2, binary=True).format_time(7) == "1.75"
    assert Interface(1, 0, exponent=2, offset_seconds=-5).format_time(25) == "-4.75"


def test_times_of_several_interfaces_in_one_block():
    data = section() + interface() + interface(options=option(9, b"\3"))
    data += b"".join(enhanced(Frame(b"", 1_500, 0, row)) for row in (0, 1, 1, 0))
    with open_capture(data) as capture:
        assert capture.read() == 4
        assert capture.times_ns.tolist() == [1_500_000, 1_500_000_000, 1_500_000_000, 1_500_000]


@pytest.mark.parametrize("row", [-1, 1, 2**40])
def test_a_row_that_is_none(row):
    with open_capture(captured(6, 0, 1)) as capture:
        capture.read()
        with pytest.raises(InvalidValue):
            capture.format_time(row, 1)
