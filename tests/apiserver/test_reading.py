"""Requests are cut out of a stream of bytes however it is cut itself."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.apiserver.reading import MAX_HEAD, BadHttp, RequestReader

STREAM = (
    b"GET /api/v1/pods?watch=true&labelSelector=a%3Db%2Cc&continue= HTTP/1.1\r\nHost: h\r\nAccept: x\r\nAccept: y\r\n\r\n"
    b"POST /api HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
    b"PUT /api HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n"
)


class RequestReaderTests(SynchronousTestCase):
    """RequestReader."""

    @given(st.lists(st.integers(0, len(STREAM)), max_size=8))
    def test_any_cut(self, cuts: list[int]) -> None:
        """Four requests come out, wherever the stream is cut."""
        reader, found = RequestReader(), []
        places = [0, *sorted(cuts), len(STREAM)]
        for start, end in itertools.pairwise(places):
            reader.feed(STREAM[start:end])
            while (one := reader.next()) is not None:
                found.append(one)
        methods = [(request.method, request.path, request.body, keep) for request, keep in found]
        self.assertEqual(
            methods,
            [
                ("GET", "/api/v1/pods", b"", True),
                ("POST", "/api", b"hello", True),
                ("PUT", "/api", b"abcde", True),
                ("GET", "/last", b"", False),
            ],
        )
        first = found[0][0]
        self.assertEqual(first.query, {"watch": "true", "labelSelector": "a=b,c", "continue": ""})
        self.assertEqual(first.headers["accept"], "x, y")

    def test_expects_continue(self) -> None:
        """A client that waits before it sends its body is noticed."""
        reader = RequestReader()
        reader.feed(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n")
        self.assertIsNone(reader.next())
        self.assertTrue(reader.expects_continue)

    def test_refused(self) -> None:
        """What is no request, or too large a one, has the code of the refusal."""
        for data, code in (
            (b"HELLO\r\n\r\n", 400),
            (b"GET / HTTP/2\r\n\r\n", 400),
            (b"GET http://h/ HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nBad : x\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
            (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
            (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
            (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
            (b"x" * (MAX_HEAD + 1), 431),
        ):
            reader = RequestReader()
            reader.feed(data)
            self.assertEqual(self.assertRaises(BadHttp, reader.next).code, code, data[:60])
