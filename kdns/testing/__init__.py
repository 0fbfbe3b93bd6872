"""Verified fakes for tests of kdns and of programs that embed it: a network in memory and an upstream."""
