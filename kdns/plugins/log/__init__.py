# -*- test-case-name: tests.plugins.log -*-
"""*log*: a line for each query that is answered."""

from kdns.plugins.log.config import Config, LogDirective, Rule

directive = LogDirective()

__all__ = ["Config", "LogDirective", "Rule", "directive"]
