"""Control frames are read as they were written, and nothing else is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.plugins.dnstap.frames import CONTENT_TYPE, BadFrame, Control, ControlReader, control_frame, data_frame
from tests.fuzz_dnstap import run_dnstap

ACCEPT = control_frame(Control.ACCEPT, CONTENT_TYPE)


class ControlTests(SynchronousTestCase):
    def test_written(self) -> None:
        """The bytes are those of the Frame Streams specification."""
        self.assertEqual(control_frame(Control.STOP), bytes.fromhex("00000000 00000004 00000003"))
        self.assertEqual(
            control_frame(Control.START, b"ab"), bytes.fromhex("00000000 0000000e 00000002 00000001 00000002 6162")
        )
        self.assertEqual(data_frame(b"abc"), b"\0\0\0\x03abc")

    def test_read_in_pieces(self) -> None:
        """Frames may come in any pieces."""
        frames = ACCEPT + control_frame(Control.FINISH)
        for cut in range(len(frames) + 1):
            reader = ControlReader()
            found = reader.feed(frames[:cut]) + reader.feed(frames[cut:])
            self.assertEqual(found, [(Control.ACCEPT, [CONTENT_TYPE]), (Control.FINISH, [])])

    def test_refused(self) -> None:
        """Data frames, impossible lengths, unknown types and fields that are cut short are refused."""
        for text in (
            "00000001",
            "00000000 00000003",
            "00000000 00000201",
            "00000000 00000004 00000006",
            "00000000 00000008 00000001 00000001",
            "00000000 0000000c 00000001 00000001 00000001",
            "00000000 0000000c 00000001 00000001 ffffffff",
        ):
            self.assertRaises(BadFrame, ControlReader().feed, bytes.fromhex(text.replace(" ", "")).ljust(8, b"\0"))

    def test_other_fields(self) -> None:
        """Fields of another kind are passed over."""
        frame = bytes.fromhex("00000000 0000000d 00000001 00000009 00000001 61".replace(" ", ""))
        self.assertEqual(ControlReader().feed(frame), [(Control.ACCEPT, [])])

    @given(st.binary(max_size=600))
    def test_anything(self, octets: bytes) -> None:
        """Any bytes of a reader are frames or the end of its connection."""
        run_dnstap(octets)

    @given(st.binary(max_size=100))
    def test_anything_behind_accept(self, octets: bytes) -> None:
        run_dnstap(ACCEPT + octets)
