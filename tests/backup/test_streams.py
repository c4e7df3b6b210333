"""What is looked at while rows stream by."""

from __future__ import annotations

import pytest

from include.backup.streams import EndMarker, EndMarkerFound

HELD = {
    "after the header": b"id\n\\.\n",
    "in a value": b'id\n"a\n\\.\nb"\n',
    "before a carriage return": b'id\n"a\n\\.\r\nb"\n',
    "at the very beginning": b"\\.\n1\n",
    "at the very end": b"id\n\\.",
    "alone": b"\\.",
}
FREE = {
    "end of a value": b'id\n"a\n\\."\n',
    "longer line": b'id\n"\n\\.x\n\\. \nx\\.\n"\n',
    "two backslashes": b'id\n"\n\\\\.\n"\n',
    "nothing": b"",
}


def holds_marker(content: bytes, block_bytes: int) -> bool:
    marker = EndMarker()
    try:
        for start in range(0, len(content), block_bytes):
            marker.look_at(content[start : start + block_bytes])
        marker.end()
    except EndMarkerFound:
        return True
    return False


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 4, 5, 100])
@pytest.mark.parametrize("case", [*HELD, *FREE])
def test_end_marker_is_found_wherever_blocks_end(case: str, block_bytes: int) -> None:
    """A line that is only the marker is found, and nothing else is."""
    content = HELD.get(case, FREE.get(case, b""))
    assert holds_marker(content, block_bytes) == (case in HELD)
