"""What fuzzing and the sanitizers found (see tests/fuzz), each as a small input."""

import pytest
from captures_builder import Frame, block, enhanced, interface, option, read_all, section

from vnasfast import ServerMachine, TableFileError
from vnasfast.capture import open_capture


def test_the_list_of_interfaces_keeps_its_rows_while_it_grows():
    """It grew row by row, each time with a copy of all rows before; now its room doubles."""
    n = 130
    described = [interface(options=option(14, (number * 1000).to_bytes(8, "little"))) for number in range(n)]
    frames = [Frame(b"x", 7, 1, number) for number in range(n)]
    mixed = b"".join(one + enhanced(frame) for one, frame in zip(described, frames, strict=True))
    data = section() + block(5, bytes(4)) + mixed
    assert read_all(data) == (frames, None)
    with open_capture(data) as capture:
        assert capture.read() == n
        assert capture.times_ns.tolist() == [number * 1000 * 10**9 + 7000 for number in range(n)]
        assert [capture.format_time(row, 7) for row in (0, 1, 2, 64, 129)] == [
            "0.000007",
            "1000.000007",
            "2000.000007",
            "64000.000007",
            "129000.000007",
        ]


@pytest.mark.parametrize("text", ["a\u2028b\x85c\x1ed", "a\x0bb\x0cc", "a"])
@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_line_of_a_table_file_is_counted_as_toml_counts(text, end):
    """Line separators of Unicode counted as ends of lines, so the message named a line behind the file's last."""
    with pytest.raises(TableFileError, match="where the file ends") as caught:
        ServerMachine.from_toml(f"embodiment = 1\n[[vnas]]\nname = '{text}{end}")
    assert caught.value.line == 3
