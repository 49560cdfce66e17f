"""hiddenrisk: how safe is a reasoning model, in what it thinks and in what it answers?"""

__version__ = "0.1.0"
