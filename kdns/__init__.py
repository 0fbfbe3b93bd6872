"""kdns: cluster DNS for Kubernetes on Twisted, configured by CoreDNS's Corefile."""

__version__ = "0.1.0"
