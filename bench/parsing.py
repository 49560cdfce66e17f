"""How long `thinking.split` takes: ordinary responses of 10 KB, and hostile ones of 1 MB.

The hostile ones are one idea each of how a text may be made slow to take apart: floods of
tags, of what makes a tag quoted, of code fences, of white space, of Harmony's tokens.
"""

import statistics
import time
from typing import Any, NamedTuple

from hiddenrisk.thinking import split

ORDINARY_SIZE = 10_000
HOSTILE_SIZE = 1_000_000
ORDINARY_LIMIT_US = 50.0
HOSTILE_LIMIT_MS = 50.0
"""What we want to stay below; the table marks what does not."""
_WORDS = "The request asks for a thing that, on reflection, needs some care: 1 < 2, so 'fine'. "
_PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
)
_ALL_OPEN = "".join(o for o, _ in _PAIRS)
_ALL_CLOSE = "".join(c for _, c in _PAIRS)
_ANALYSIS = "<|start|>assistant<|channel|>analysis<|message|>"
_FINAL = "<|start|>assistant<|channel|>final<|message|>"


class Shape(NamedTuple):
    """A text, and what the caller declares of it."""

    text: str
    prefilled: bool = False
    tags: tuple[str, str] | None = None


def measure_parsing() -> dict[str, Any]:
    """Print what each text takes, the slowest first, and give the numbers."""
    usual = {name: _median_s(shape, 1001) * 1e6 for name, shape in ordinary().items()}
    floods: dict[str, float] = {}
    for name, flood in hostile().items():
        for prefilled in (False, True):
            shape = flood.shape(HOSTILE_SIZE, prefilled=prefilled)
            floods[name + "; prefilled" * prefilled] = _median_s(shape, 5) * 1e3
    _print("ordinary, 10 KB, median of 1,001", usual, ORDINARY_LIMIT_US, "us")
    _print("hostile, 1 MB, median of 5", floods, HOSTILE_LIMIT_MS, "ms")
    return {"ordinary_us": usual, "hostile_ms": floods}


def _print(title: str, taken: dict[str, float], limit: float, unit: str) -> None:
    print(f"\nParsing, {title}")
    for name, value in sorted(taken.items(), key=lambda item: -item[1]):
        print(f"  {value:7.1f} {unit}  {name}{'  <-- OVER' if value > limit else ''}")
    over = sum(value > limit for value in taken.values())
    print(f"  {over} of {len(taken)} over {limit:.0f} {unit}")


def _median_s(shape: Shape, times: int) -> float:
    """The processor's time: what else the machine does is not in it."""
    taken: list[float] = []
    for _ in range(times):
        start = time.process_time()
        split(shape.text, prefilled=shape.prefilled, tags=shape.tags)
        taken.append(time.process_time() - start)
    return statistics.median(taken)


class Flood(NamedTuple):
    """A start, what is written again and again, and an end."""

    start: str
    unit: str
    end: str
    tags: tuple[str, str] | None = None

    def shape(self, size: int, *, prefilled: bool = False) -> Shape:
        """The text of which the flood has so many characters."""
        flood = (self.unit * (size // len(self.unit) + 1))[:size]
        return Shape(self.start + flood + self.end, prefilled, self.tags)


def ordinary() -> dict[str, Shape]:
    """Responses of 10,000 characters as models write them; 80% is thinking where there is any."""
    thought, answer = _prose(8_000), _prose(1_950)
    other = "这是一个需要仔细考虑的问题。我们先看一看。"
    fenced = _prose(900) + "\n\n```python\nfor i in range(3):\n    print(`i`)\n```\n\n"
    shapes = {
        "no thought": Shape(_prose(ORDINARY_SIZE)),
        "markdown and code, no thought": Shape(fenced * 10),
        "<think>": Shape(f"<think>\n{thought}\n</think>\n\n{answer}"),
        "<think>, Chinese": Shape(f"<think>\n{other * 380}\n</think>\n\n{other * 95}"),
        "<think>, code in both": Shape(f"<think>\n{fenced * 8}\n</think>\n\n{fenced * 2}"),
        "<think>, cut": Shape(f"<think>\n{_prose(9_990)}"),
        "<think>, empty": Shape(f"<think>\n\n</think>\n\n{_prose(9_980)}"),
        "<think>, <answer>": Shape(f"<think>{thought}</think> <answer>{answer}</answer>"),
        "</think> alone": Shape(f"{thought}\n</think>\n\n{answer}"),
        "</think> alone, code in both": Shape(f"{fenced * 8}\n</think>\n\n{fenced * 2}"),
        "prefilled": Shape(f"{thought}\n</think>\n\n{answer}", prefilled=True),
        "prefilled, code in both": Shape(f"{fenced * 8}\n</think>\n\n{fenced * 2}", prefilled=True),
        "prefilled, cut": Shape(_prose(ORDINARY_SIZE), prefilled=True),
        "prefilled, opened again": Shape(f"<think>\n{thought}\n</think>\n\n{answer}", True),
        "Harmony": Shape(f"{_ANALYSIS[18:]}{thought}<|end|>{_FINAL}{answer}<|return|>"),
        "Harmony, tokens dropped": Shape(f"analysis{thought}assistantfinal{answer}"),
        "own tags": Shape(f"<plan>{thought}</plan>\n\n{answer}", tags=("<plan>", "</plan>")),
    }
    shapes |= {o: Shape(f"{o}\n{thought}\n{c}\n\n{answer}") for o, c in _PAIRS[1:]}
    return shapes


def hostile() -> dict[str, Flood]:
    """Texts of any size, each slow in a way of its own, if any."""
    floods: dict[str, Flood] = {}
    for name, unit in (_tag_units() | _span_units() | _space_units()).items():
        floods[name] = Flood("", unit, "")
    for name, (start, unit, end) in _framed().items():
        floods[name] = Flood(start, unit, end)
    for name, (tags, unit) in _own_units().items():
        floods[f"own {tags[0][:9]} {tags[1][:9]}: {name}"] = Flood("", unit, "", tags)
    return floods


def _tag_units() -> dict[str, str]:
    units: dict[str, str] = {}
    for opening, closing in _PAIRS:
        units |= {
            f"{opening} only": opening,
            f"{closing} only": closing,
            f"{opening} lines": f"{opening}\n",
            f"{closing} lines": f"x\n{closing}\n",
            f"{opening} thoughts": f"{opening}\nx\n{closing}\ny\n",
            f"{opening} thoughts on a line": f"{opening}x{closing}y",
            f"{opening} thoughts, empty": f"{opening}{closing}",
            f"{opening} in code spans": f"`{opening}` `{closing}` ",
            f"{opening} half quoted": f'"{opening} {closing}" ',
            f"{opening} and a fence": f"{opening}\n```\n{closing}\n",
        }
    return units | {
        "all opening": _ALL_OPEN,
        "all closing": _ALL_CLOSE,
        "all, opening and closing": _ALL_OPEN + _ALL_CLOSE,
        "all, nested": "<think><thinking><reasoning>x</reasoning></thinking></think>\n",
        "all, crossed": "<think><thinking>[THINK]</think></thinking>[/THINK]\n",
        "all thoughts, in turn": "".join(f"{o}\nx\n{c}\ny\n" for o, c in _PAIRS),
        "all, in prose": "".join(f"a {o} b {c} " for o, c in _PAIRS),
        "closed by the other": "<think>\nx\n</thinking>\ny\n",
        "closing before opening": "</think> <think> ",
        "words between tags": ("<think> <thinking>\n[/THINK] " + "lorem ipsum `d` " * 11),
        "text and tag on a line": "word<think>\nx",
        "long thoughts": "<think>\n" + "word " * 400 + "\n</think>\n" + "word " * 100,
        "turns on a line": "Assistant: <think> x. </think> Y. ",
        "sentences and closing tags": "x. </think> y. ",
        "sentences and opening tags": "x. <think>\n",
        "tokens alone": "<|im_end|>\n",
        "answers of tokens": "<think>\nx\n</think>\n<|im_end|>\n",
        "answer tags": "<think> x </think> <answer> y </answer> ",
        "parts of tags": "<think</think<|think>/think>",
    }


def _span_units() -> dict[str, str]:
    units: dict[str, str] = {}
    for before, after in (("`", "`"), ('"', '"'), ("'", "'"), ("“", "”"), ("(", ")"), ("`", "")):
        units[f"{before}<think>{after}"] = f"{before}<think>{after} "
        units[f"{before}</think>{after}"] = f"{before}</think>{after} "
        units[f"x {before}<think>{after} </think>"] = f"x {before}<think>{after}x</think> "
    return units | {
        "backticks": "`",
        "fences": "```\n",
        "fences, long": "``````````\n",
        "fences, indented": "    ```\n",
        "fences, then a backtick": "``` `\n",
        "fences, then a tag and a backtick": "```<think>`\n",
        "fence and opening tag": "\n```<think>\n",
        "fence and closing tag": "```</think>",
        "fence, tags, fence": "```\n<think>\n</think>\n```\n",
        "fence and thought": "<think>\n```\nx\n</think>\ny\n```\n",
        "fence never closed in a thought": "<think>\n```\nx\n</think>\ny\n",
        "fences in thoughts": "<think>\n```\nx\n```\n</think>\ny\n",
        "ticks on one line": "`<think>` `x` </think>` ",
        "half a code span": "`</think> ",
        "half a code span, opening": "x `<think> ",
    }


def _space_units() -> dict[str, str]:
    units = {"spaces": " ", "lines": "\n", "CRLF": "\r\n", "tabs": "\t", "NUL": "\0"}
    units |= {"lone surrogates": "\ud800", "byte order marks": "\ufeff", "nbsp": "\u00a0"}
    units |= {"line separators": "\u2028", "indented lines": "\n     ", "astral": "🙂"}
    return units | {
        "CRLF thoughts": "<think>\r\nx\r\n</think>\r\ny\r\n",
        "NUL and tags": "\0<think>\0</think>",
        "surrogates and tags": "\ud800<think>\udfff</think>",
        "astral and tags": "🙂<think>🙂</think>\n",
        "byte order marks and tags": "\ufeff<think>\n",
        "spaces and opening tags": "          <think>",
        "spaces and closing tags": "          </think>",
        "unicode spaces and tags": "\u2003\u2028<think>\u3000</think>",
        "form feeds and tags": "\f<think>\v</think>",
        "angles": "<",
        "slashes": "</",
    }


def _own_units() -> dict[str, tuple[tuple[str, str], str]]:
    units: dict[str, tuple[tuple[str, str], str]] = {}
    for tags in (("<", ">"), ("a", "b"), ("aa", "aaa"), ("aaa", "aa"), ("`", "``")):
        opening, closing = tags
        for name, unit in (
            ("opening", opening),
            ("closing", closing),
            ("thoughts", f"{opening}\nx\n{closing}\ny\n"),
            ("tight", opening + closing),
            ("words", f"x {opening} y {closing} z "),
        ):
            units[f"{name} {opening}"] = (tags, unit)
    long = ("<" + "p" * 1000 + ">", "</" + "p" * 1000 + ">")
    units["long"] = (long, long[0] + long[1])
    units["long, nearly"] = (long, long[0][:-1] + "x")
    units["long, only p"] = (("p" * 1000 + "x", "p" * 1000 + "y"), "p")
    units["with <think>"] = (("<think>", "</thinking>"), "<think>\nx\n</thinking>\n</think>\n")
    return units


def _framed() -> dict[str, tuple[str, str, str]]:
    """A start, what floods, and an end."""
    end, message = "<|end|>", "<|message|>"
    channel = "<|channel|>analysis<|message|>"
    return {
        "thought of words": ("<think>\n", "word ", "\n</think>\nA"),
        "thought of lines": ("<think>", "\n", "</think>A"),
        "thought of spaces": ("<think>", " ", "</think>A"),
        "thought of fences": ("<think>\n", "```\n", "</think>\nA"),
        "thought of fences and a tick": ("<think>\n", "```x`\n", "</think>\nA"),
        "thought of backticks": ("<think>\n", "`x` ", "\n</think>\nA"),
        "thought of other tags": ("<think>\n", "<thinking></thinking>", "\n</think>\nA"),
        "thought of quoted tags": ("<think>\n", "`</think>` ", "\n</think>\nA"),
        "thought of opening tags": ("<think>\n", "\n<think>\n", "\n</think>\nA"),
        "answer of tags": ("<think>\nT\n</think>\nA", " <think> </think>", ""),
        "answer of quoted tags": ("<think>\nT\n</think>\nA", "`<think>` `</think>` ", ""),
        "answer of fences": ("<think>\nT\n</think>\nA", "\n```\n<think>\n```\n", ""),
        "closing tag, late": ("", "word ", "\n</think>\nA"),
        "opening tags, one closing": ("", "x <think> ", "</think>"),
        "many thoughts, then cut": ("", "<think>\nx\n</think>\ny\n", "<think>\nU"),
        "nested as deep as it goes": ("", "<think>", "</think>" * 100_000),
        "one long line of ticks, then tags": ("`" * 500_000, "`<think>`</think>", ""),
        "half-open spans on one line": ("`", "<think>` `", "</think>"),
        "Harmony: messages": ("", f"{_ANALYSIS}x{end}{_FINAL}y{end}", ""),
        "Harmony: analysis heads": ("", _ANALYSIS, ""),
        "Harmony: final heads": ("", _FINAL, ""),
        "Harmony: bare channels": ("", channel, ""),
        "Harmony: channels, not known": (channel, "<|channel|>other<|message|>", ""),
        "Harmony: <|start|>": ("", "<|start|>", ""),
        "Harmony: <|channel|>": ("", "<|channel|>", ""),
        "Harmony: <|message|>": ("", message, ""),
        "Harmony: <|end|>": ("", end, ""),
        "Harmony: <|end|> in an answer": (_FINAL, end, ""),
        "Harmony: <|end|> and spaces": (_FINAL, f"{end}          ", ""),
        "Harmony: <|end|>, then spaces": (f"{_FINAL}{end}", " ", ""),
        "Harmony: <|end|> and <|start|>": (_FINAL, f"{end}<|start|>", ""),
        "Harmony: <|end|> and a user": (_FINAL, f"{end}<|start|>user{message}x", ""),
        "Harmony: <|return|>": (_FINAL, "x<|return|>", ""),
        "Harmony: <|call|>": (channel, "<|call|><|start|>x", ""),
        "Harmony: <|constrain|>": (f"{_FINAL}x", "<|channel|>final<|constrain|>json", ""),
        "Harmony: heads cut": (_FINAL, "<|start|>assistant<|channel|>fin", ""),
        "Harmony: heads with long names": (_FINAL, f"<|start|>{'a' * 100} {'b' * 200}", ""),
        "Harmony: heads with long recipients": (
            _FINAL, f"<|start|>assistant {'b' * 199}<|channel|>final {'c' * 199}<|constrain|>", "",
        ),
        "Harmony: a name without end": (_FINAL + "<|channel|>", "a", ""),
        "Harmony: a role, then spaces": ("<|start|>assistant", " ", message),
        "Harmony: fences in an answer": (_FINAL, f"```{end}<|start|>assistant{message}", ""),
        "Harmony: quoted tokens": (_FINAL, f"`{end}` `<|start|>` ", ""),
        "Harmony: in a thought": ("<think>\n", f"{end}{_FINAL}", "\n</think>\nA"),
        "Harmony: handed over": ("T", f"{end}{_FINAL}", ""),
        "Harmony: prose of bars": ("<|message|>", "<| |> a <|b|> ", ""),
        "Harmony: turns dropped": ("analysis", "assistantanalysis", "assistantfinalA"),
        "Harmony: turns dropped, words": ("analysis", "x assistantanalysis ", "assistantfinalA"),
        "Harmony: many finals dropped": ("analysisT", "assistantfinal", ""),
        "Harmony: spaces before": ("", " ", "analysisTassistantfinalA"),
    }  # fmt: skip


def _prose(size: int) -> str:
    """So many characters of sentences in lines of about 500."""
    line = (_WORDS * 6)[:498] + "\n\n"
    return (line * (size // 500 + 1))[:size]
