"""
``dnssec``: sign answers while they are given.

Its directive is in ``config``, and not here, so that the program that signs loads nothing that it does not need.
"""
