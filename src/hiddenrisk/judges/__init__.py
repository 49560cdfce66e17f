"""Judges: one `.py` and one `.txt` (the prompt) each; `refusal` needs no model."""
