"""Speed and memory as ratios within one run: ``python -m tests.bench`` from the repository root.

Nothing is asserted: a figure that misses its target on a busy machine is printed as missed, and the
exit code stays 0. Each topic is a file with a function that yields its rows.
"""
