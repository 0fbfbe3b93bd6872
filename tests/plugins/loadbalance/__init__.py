"""Tests of ``loadbalance``."""
