"""Tests of kdns in the place of node-cache."""
