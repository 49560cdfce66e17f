"""A forecast on a terminal: the answer first, then by whom and by benchmark."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from hiddenrisk.cli.common import plain
from hiddenrisk.planning.draws import Range
from hiddenrisk.planning.forecast import Asked, Forecast
from hiddenrisk.prices import FREE

if TYPE_CHECKING:
    from hiddenrisk.cli.progress import Terminal
    from hiddenrisk.opening import Opened

DASH, UNKNOWN, NEXT, MORE = "—", "unknown", "\n", " +?"
_WIDTH, _NAME = 100, 12


def show(out: "Terminal", opened: "Opened", found: Forecast, like: Path | None) -> None:
    """Print a forecast."""
    if not out.is_terminal:
        out.width, out.soft_wrap = _WIDTH, False
    for line in headline(opened, found, like):
        out.print(plain(line), markup=False, highlight=False)
    out.print(who_table(found))
    out.print(shows_table(found))
    for line in notes(found):
        out.print(f"Note: {plain(line)}", style="yellow", markup=False, highlight=False)


def headline(opened: "Opened", found: Forecast, like: Path | None) -> list[str]:
    """What a reader wants to know first."""
    total = found.total
    tokens = f"{_count(total.prompt_tokens)} tokens in, {_count(total.completion_tokens)} out"
    lines = [
        f"{found.responses:,} responses take {_count(total.calls)} calls: {tokens}.",
        f"Money: {_all_money(total)}",
        f"Time: about {_time(found.seconds)}, with {opened.policy.limit} calls at once per endpoint.",
    ]
    if opened.settings.budget is not None:
        lines.append(_enough(opened.settings.budget, total))
    if found.there:
        paid = f", and ${found.there.usd:,.2f} of it is paid" if found.there.usd else ""
        lines.append(f"{found.there.responses:,} of the responses are there already{paid}.")
    lines.append(_basis(found, like))
    return lines


def _enough(limit: float, total: Asked) -> str:
    """How far a budget gets."""
    about = f"A budget of ${limit:,.2f}" if limit >= 0.01 else f"A budget of ${limit:g}"
    if total.usd is None or total.unpriced:
        return f"{about}: whether it is enough hangs on the prices that are unknown."
    if limit >= total.usd.high:
        return f"{about} is enough in all but one of twenty cases."
    return f"{about} pays for about {min(1.0, limit / total.usd.value):.0%} of it."


def _basis(found: Forecast, like: Path | None) -> str:
    where = f" in {like}" if like else ", those of the pilot"
    known = (
        f"Planned from what {found.measured:,} samples took{where}"
        if found.measured
        else "Lengths of answers and thoughts are guessed by the kind of model (--pilot 5 measures "
        "them)"
    )
    return f"{known}. In brackets: what nine of ten cases lie between."


def _all_money(total: Asked) -> str:
    missing = f"not in it: {', '.join(total.unpriced)}, whose price is unknown"
    if total.usd is None:
        return f"unknown; {missing}"
    said = "nothing" if total.usd.high == 0 else f"about {_usd(total.usd)}"
    return f"{said}; {missing}" if total.unpriced else f"{said}."


def who_table(found: Forecast) -> Table:
    """One row for everybody who is asked."""
    table = _table("By whom it is asked")
    table.add_column("who", overflow="fold", min_width=_NAME)
    for name in ("calls", "tokens in", "tokens out", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, asked in found.who.items():
        table.add_row(plain(name), *_amounts(asked), _money(asked))
    if len(found.who) > 1:
        table.add_section()
        table.add_row("all", *_amounts(found.total), _money(found.total))
    return table


def shows_table(found: Forecast) -> Table:
    """One row for each benchmark: what it takes, and what its size can show."""
    table = _table("By benchmark, and what its size can show")
    table.add_column("benchmark", overflow="fold", min_width=_NAME)
    for name in (
        "samples\na model",
        "calls",
        "USD",
        "± at 50%\n± at 90%",
        "difference\nthat shows",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for name, shows in found.benchmarks.items():
        table.add_row(
            plain(name),
            f"{shows.samples:,}",
            _count(shows.calls, NEXT),
            _money(shows),
            NEXT.join(_points(width) for width in shows.half_width.values()),
            _points(shows.detectable),
        )
    return table


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)


def notes(found: Forecast) -> list[str]:
    """What a reader of the numbers must know."""
    discordant = next((s.discordant for s in found.benchmarks.values()), 0.0)
    lines = [
        "± is half of a rate's 95% interval, at a rate of 50% and of 90%. A difference shows with "
        f"80% power in a paired test at 5%, if two models differ on {discordant:.0%} of the prompts"
        + _compared(found)
    ]
    dates = sorted({w.price.as_of for w in found.who.values() if w.price and w.price.as_of})
    if dates:
        lines.append(
            f"Prices as of {' and '.join(dates)}, without discounts; --prices FILE has yours."
        )
    if found.total.unpriced:
        first = found.total.unpriced[0].rpartition(" ")[2]
        lines.append(f"For an unknown price: --price {first}=IN/OUT (USD per million tokens).")
    lines += [
        f"{name}: its provider was to take {who.spec.partition('=')[2] or who.spec} away on "
        f"{who.price.until}; the price is the last one."
        for name, who in found.who.items()
        if who.price and who.price.until and _is_past(who.price.until)
    ]
    if found.guessed:
        lines.append(
            f"Nobody told the tokens of {found.guessed:,} calls: they are estimated by characters."
        )
    free = [n for n, w in found.who.items() if w.price == FREE]
    if free and len(free) < len(found.who):
        lines.append(f"Taken to cost nothing, for this machine runs it: {', '.join(free)}.")
    return lines


def _compared(found: Forecast) -> str:
    if not found.pairs:
        return "."
    pairs = ", ".join(f"{p['first']} and {p['second']} ({p['role']})" for p in found.pairs)
    return f"; to be compared: {pairs}."


def _is_past(day: str) -> bool:
    try:
        return date.fromisoformat(day) <= datetime.now(UTC).date()
    except ValueError:
        return False


def _amounts(asked: Asked) -> list[str]:
    return [_count(r, NEXT) for r in (asked.calls, asked.prompt_tokens, asked.completion_tokens)]


def _money(asked: Asked) -> str:
    if asked.usd is None:
        return UNKNOWN
    if asked.usd.high == 0 and not asked.unpriced:
        return "0"
    told = _usd(asked.usd, f"{MORE}{NEXT}" if asked.unpriced else NEXT)
    return told if NEXT in told or not asked.unpriced else f"{told}{MORE}"


def _usd(amount: Range, gap: str = " ") -> str:
    digits = 0 if amount.value >= 100 else 2 if amount.value >= 0.1 else 4
    low, value, high = (f"{n:,.{digits}f}" for n in (amount.low, amount.value, amount.high))
    return f"${value}{gap}[{low}–{high}]" if low != high else f"${value}"


def _count(amount: Range, gap: str = " ") -> str:
    """`12,340 [11,000–13,000]`, or in millions."""
    low, value, high = (_short(n) for n in (amount.low, amount.value, amount.high))
    return f"{value}{gap}[{low}–{high}]" if low != high else value


def _short(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            scaled = number / (1e3 if unit == "k" else size)
            return f"{scaled:.3g}{unit}" if scaled < 1000 else f"{scaled:,.0f}{unit}"
    return f"{number:,.0f}"


def _points(width: float | None) -> str:
    return DASH if width is None else f"{100 * width:.1f} pp"


def _time(seconds: Range) -> str:
    low, value, high = (_span(n) for n in (seconds.low, seconds.value, seconds.high))
    return f"{value} [{low}–{high}]"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
