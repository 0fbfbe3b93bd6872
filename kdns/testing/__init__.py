"""Verified fakes for tests of kdns and of programs that embed it: network, upstream, cluster API."""
