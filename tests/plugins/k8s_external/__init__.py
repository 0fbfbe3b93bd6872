"""Tests of ``k8s_external``."""
