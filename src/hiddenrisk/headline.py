"""Whose word counts: the samples of a run as the judges of its headline decide.

One place, for whatever counts them: a cell that was not told its rule or its cascade would
give other scores.
"""

from hiddenrisk.benchmarks.base import Loaded
from hiddenrisk.cell import Cell
from hiddenrisk.opening import Opened
from hiddenrisk.records import Records


def headline_cell(opened: Opened, found: Records, model: str, benchmark: Loaded) -> Cell:
    """The samples of a model on a benchmark, as the judges of the headline decide; maybe none."""
    cell = found.cells.get((model, benchmark.name)) or Cell()
    cell.abstaining, cell.rule = opened.abstaining(), opened.plan.jury
    cell.cascade = opened.cascade_of(benchmark)
    return cell
