"""
Benchmarks: every figure that the documents give comes from one of these modules, with its yardstick in the same run.

``python -m bench`` runs all of them, each in a process of its own; ``python -m bench NAME`` one. They are programs for a checkout and no
part of what is installed.
"""
