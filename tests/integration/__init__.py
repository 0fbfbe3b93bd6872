"""Tests on real sockets with real clients."""
