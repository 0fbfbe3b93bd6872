"""Durations, numbers and addresses in Go's syntax and words."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.corefile.values import (
    BadValue,
    ListenAddress,
    format_duration,
    parse_duration,
    parse_float,
    parse_int,
    parse_listen_address,
    parse_uint,
    quote,
    split_host_port,
)


class RefusalTests(SynchronousTestCase):
    """What is refused, and in which words."""

    def check(self, parse: Callable[[str], object], *wanted: tuple[str, str]) -> None:
        """Each text is refused with its words."""
        for text, words in wanted:
            with self.assertRaises(BadValue, msg=text) as caught:
                parse(text)
            self.assertEqual(str(caught.exception), words)

    def test_durations(self) -> None:
        """A unit is needed, and it must be one of Go's."""
        self.check(
            parse_duration,
            ("5", 'time: missing unit in duration "5"'),
            ("1h5", 'time: missing unit in duration "1h5"'),
            ("1.5.5s", 'time: missing unit in duration "1.5.5s"'),
            ("x", 'time: invalid duration "x"'),
            ("", 'time: invalid duration ""'),
            ("-", 'time: invalid duration "-"'),
            (".s", 'time: invalid duration ".s"'),
            ("--1s", 'time: invalid duration "--1s"'),
            ("5d", 'time: unknown unit "d" in duration "5d"'),
            ("5 s", 'time: unknown unit " s" in duration "5 s"'),
            ("5\u0663s", 'time: unknown unit "\u0663s" in duration "5\u0663s"'),
            ("300000000h", 'time: invalid duration "300000000h"'),
            ("9" * 5000 + "h", f'time: invalid duration "{"9" * 5000}h"'),
        )

    def test_integers(self) -> None:
        """Only decimal digits and a sign, in 64 bits."""
        self.check(
            parse_int,
            ("x", 'strconv.Atoi: parsing "x": invalid syntax'),
            ("", 'strconv.Atoi: parsing "": invalid syntax'),
            ("1_0", 'strconv.Atoi: parsing "1_0": invalid syntax'),
            ("\u0663", 'strconv.Atoi: parsing "\u0663": invalid syntax'),
            ("1\n", 'strconv.Atoi: parsing "1\\n": invalid syntax'),
            ("9223372036854775808", 'strconv.Atoi: parsing "9223372036854775808": value out of range'),
            ("1" * 9000, f'strconv.Atoi: parsing "{"1" * 9000}": value out of range'),
        )

    def test_unsigned(self) -> None:
        """No sign, and no more than the bits asked for."""
        self.check(
            parse_uint,
            ("-1", 'strconv.ParseUint: parsing "-1": invalid syntax'),
            ("+1", 'strconv.ParseUint: parsing "+1": invalid syntax'),
            ("18446744073709551616", 'strconv.ParseUint: parsing "18446744073709551616": value out of range'),
        )
        self.check(
            lambda text: parse_uint(text, 16), ("65536", 'strconv.ParseUint: parsing "65536": value out of range')
        )

    def test_floats(self) -> None:
        """Python's other spellings of numbers are none."""
        self.check(
            parse_float,
            ("x", 'strconv.ParseFloat: parsing "x": invalid syntax'),
            ("1_0.5", 'strconv.ParseFloat: parsing "1_0.5": invalid syntax'),
            (" 1", 'strconv.ParseFloat: parsing " 1": invalid syntax'),
            ("1e999", 'strconv.ParseFloat: parsing "1e999": value out of range'),
        )

    def test_addresses(self) -> None:
        """Host and port must be there, and fit together."""
        self.check(
            parse_listen_address,
            ("nowhere", "address nowhere: missing port in address"),
            ("[::1]", "address [::1]: missing port in address"),
            ("[::1]x:5", "address [::1]x:5: missing port in address"),
            ("[::1:5", "address [::1:5: missing ']' in address"),
            ("::1:5", "address ::1:5: too many colons in address"),
            ("[::1]:5:6", "address [::1]:5:6: too many colons in address"),
            ("a]:5", "address a]:5: unexpected ']' in address"),
            ("a[:5", "address a[:5: unexpected '[' in address"),
            ("a:65536", "address 65536: invalid port"),
            ("a:domain", "address a:domain: unknown port"),
        )


class DurationTests(SynchronousTestCase):
    """Texts to seconds and back."""

    def test_parsed(self) -> None:
        """Units add up, fractions and signs count."""
        for text, seconds in (
            ("300ms", 0.3),
            ("1.5h", 5400.0),
            ("2h45m", 9900.0),
            ("1h0m0.5s", 3600.5),
            ("-1s", -1.0),
            ("+1s", 1.0),
            ("0", 0.0),
            ("-0", 0.0),
            (".5s", 0.5),
            ("5.s", 5.0),
            ("10us", 1e-5),
            ("10\u00b5s", 1e-5),
            ("10\u03bcs", 1e-5),
            ("1ns", 1e-9),
            ("0.100000000000000000000h", 360.0),
            ("0" * 19 + "5s", 5.0),
        ):
            self.assertEqual(parse_duration(text), seconds, text)

    def test_formatted(self) -> None:
        """The largest unit comes first, and zeros behind the point go."""
        for seconds, text in (
            (0, "0s"),
            (5, "5s"),
            (60, "1m0s"),
            (1.5, "1.5s"),
            (0.3, "300ms"),
            (-1, "-1s"),
            (9900, "2h45m0s"),
            (3600, "1h0m0s"),
            (0.00001, "10\u00b5s"),
            (0.0000015, "1.5\u00b5s"),
            (1e-9, "1ns"),
            (61.25, "1m1.25s"),
            (100, "1m40s"),
        ):
            self.assertEqual(format_duration(seconds), text)

    @settings(deadline=None, derandomize=True)
    @given(st.integers(-(2**52), 2**52))
    def test_round_trip(self, nanoseconds: int) -> None:
        """What is printed reads as the same time."""
        seconds = nanoseconds / 1_000_000_000
        self.assertEqual(parse_duration(format_duration(seconds)), seconds)

    @settings(deadline=None, derandomize=True)
    @given(st.text("0123456789.hmsnu-+ "))
    def test_any_text(self, text: str) -> None:
        """Any text is a duration or is refused."""
        try:
            self.assertIsInstance(parse_duration(text), float)
        except BadValue as error:
            self.assertTrue(str(error).startswith("time: "))


class NumberTests(SynchronousTestCase):
    """Texts that are numbers."""

    def test_accepted(self) -> None:
        """Signs, leading zeros and the ends of the ranges pass."""
        self.assertEqual([parse_int(text) for text in ("0", "-1", "+07")], [0, -1, 7])
        self.assertEqual(parse_int("-9223372036854775808"), -(2**63))
        self.assertEqual(parse_int("0" * 5000 + "7"), 7)
        self.assertEqual([parse_uint("4294967295", 32), parse_uint("007")], [2**32 - 1, 7])
        self.assertEqual([parse_float(text) for text in ("1", "-.5", "2.", "1e3")], [1.0, -0.5, 2.0, 1000.0])
        self.assertEqual(parse_float("-Inf"), float("-inf"))


class AddressTests(SynchronousTestCase):
    """Texts that are addresses."""

    def test_accepted(self) -> None:
        """Names, IPv4, bracketed IPv6 and nothing before the colon."""
        for text, host, port in (
            (":8080", "", 8080),
            ("localhost:9153", "localhost", 9153),
            ("[::1]:0", "::1", 0),
            ("127.0.0.1:", "127.0.0.1", 0),
        ):
            self.assertEqual(parse_listen_address(text), ListenAddress(host, port))
        self.assertEqual([str(parse_listen_address(text)) for text in (":80", "[::1]:80")], [":80", "[::1]:80"])
        self.assertEqual(split_host_port("a:domain"), ("a", "domain"))


class QuoteTests(SynchronousTestCase):
    """Names in quotes."""

    def test_escapes(self) -> None:
        """What would not print is written as an escape; letters of any language print."""
        self.assertEqual(quote('b\u00fc"\\\n\x01\u2028\U000e0001'), '"b\u00fc\\"\\\\\\n\\x01\\u2028\\U000e0001"')
