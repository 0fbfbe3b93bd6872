"""Tests of kdns.plugins.nomad, and a Nomad for them."""
