"""What the built-in judge was trained on: its agreement with these labels is no measure of it."""

BUILTIN_SAW = frozenset({"xstest", "pyrit-refusal", "harmbench"})
"""Sets of human labels whose texts, some or all, the weights of `builtin` were fitted to.

To be changed with `tools/refusal_data.py`, which reads them. What it learned from there is no
set here: answers to AIR-Bench, where a judge model and the rules agree, and sentences of ours.
"""
