# -*- test-case-name: tests.plugins.test_log -*-
"""*log*: a line for each query that is answered."""

from kdns.plugins.log.config import Config, LogDirective
from kdns.plugins.log.lines import QueryLog, Rule

directive = LogDirective()

__all__ = ["Config", "LogDirective", "QueryLog", "Rule", "directive"]
