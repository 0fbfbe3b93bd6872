"""Tests of the fakes that kdns ships."""
