"""hiddenrisk: how safe is a reasoning model, in what it thinks and in what it answers?

import hiddenrisk

run = hiddenrisk.load("runs/r1")     # frames and charts: docs/notebook.md
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = ["StoredRun", "__version__", "load"]

if TYPE_CHECKING:
    from hiddenrisk.loading import StoredRun, load
else:

    def __getattr__(name: str) -> object:
        """Import what notebooks use when it is used: the command line starts in 0.1 s."""
        if name not in ("StoredRun", "load"):
            raise AttributeError(f"module 'hiddenrisk' has no attribute '{name}'")
        from hiddenrisk import loading  # noqa: PLC0415 - see above

        return getattr(loading, name)
