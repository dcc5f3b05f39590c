"""Descriptions of one-line functions, with their tests. A function is composed of a source, a step and a result.

A quarter of the combinations, and other function names, are reserved for the unseen pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cycleqd_runner.tasks.generate.pools import SEEN_ITEMS, UNSEEN_ITEMS, Dice, Pool, draw_pool, held_out
from cycleqd_runner.tasks.items import PythonItem

SEEN_NAMES = ["solve", "compute", "get_result", "process", "work", "run_it", "apply", "handle", "task", "answer"]
UNSEEN_NAMES = ["evaluate", "produce", "derive", "build_value", "calc", "convert"]
TESTS = 5
"""Calls a function is tested with."""

DISTINCT_RESULTS = 3
"""How many different results the calls must have."""


@dataclass(frozen=True)
class Block:
    """A building block: words and an expression with the same placeholders.

    ``{k}`` is a number or ``{c}`` a letter that is drawn; ``{x}`` is the value that the block works on.
    """

    name: str
    words: str
    code: str


NUMBER_FILTERS = (
    Block("all", "", ""),
    Block("even", "even", "x % 2 == 0"),
    Block("odd", "odd", "x % 2 == 1"),
    Block("positive", "positive", "x > 0"),
    Block("negative", "negative", "x < 0"),
    Block("divisible", "that are divisible by {k}", "x % {k} == 0"),
    Block("greater", "greater than {k}", "x > {k}"),
    Block("smaller", "smaller than {k}", "x < {k}"),
    Block("different", "different from {k}", "x != {k}"),
)
NUMBER_STEPS = (
    Block("same", "", "x"),
    Block("squares", "squares", "x * x"),
    Block("doubles", "doubles", "x * 2"),
    Block("halves", "halves rounded down", "x // 2"),
    Block("times", "products with {m}", "x * {m}"),
    Block("plus", "sums with {m}", "x + {m}"),
    Block("minus", "differences from {m}", "{m} - x"),
    Block("remainders", "remainders by {m}", "x % {m}"),
)
NUMBER_RESULTS = (
    Block("sum", "the sum", "sum({x})"),
    Block("list", "a list", "[{x}]"),
    Block("sorted", "the sorted list", "sorted({x})"),
    Block("falling", "the list sorted downwards", "sorted(({x}), reverse=True)"),
    Block("largest", "the largest", "max({x})"),
    Block("smallest", "the smallest", "min({x})"),
    Block("distinct", "the set", "set({x})"),
)
WORD_FILTERS = (
    Block("all", "", ""),
    Block("longer", "longer than {k}", "len(x) > {k}"),
    Block("shorter", "shorter than {k}", "len(x) < {k}"),
    Block("starts", "starting with {c}", "x.startswith('{c}')"),
    Block("ends", "ending with {c}", "x.endswith('{c}')"),
    Block("contains", "containing {c}", "'{c}' in x"),
    Block("lacks", "without {c}", "'{c}' not in x"),
)
WORD_STEPS = (
    Block("same", "", "x"),
    Block("upper", "in upper case", "x.upper()"),
    Block("title", "capitalized", "x.capitalize()"),
    Block("reversed", "reversed", "x[::-1]"),
    Block("cut", "cut to {m} letters", "x[:{m}]"),
    Block("suffix", "with {s} appended", "x + '{s}'"),
    Block("lengths", "as lengths", "len(x)"),
    Block("replaced", "with {c} replaced by {s}", "x.replace('{c}', '{s}')"),
)
WORD_RESULTS = (
    Block("list", "a list", "[{x}]"),
    Block("sorted", "the sorted list", "sorted({x})"),
    Block("first", "the alphabetically first", "min({x})"),
    Block("joined", "the text joined by {j}", "'{j}'.join({x})"),
)
TEXT_STEPS = (
    Block("upper", "turn it to upper case", "{x}.upper()"),
    Block("reverse", "reverse it", "{x}[::-1]"),
    Block("head", "keep the first {k} characters", "{x}[:{k}]"),
    Block("tail", "keep the last {k} characters", "{x}[-{k}:]"),
    Block("replace", "replace {c} by {s}", "{x}.replace('{c}', '{s}')"),
    Block("repeat", "repeat it {k} times", "({x} * {k})"),
    Block("append", "append {s}", "({x} + '{s}')"),
    Block("count", "count {c}", "{x}.count('{c}')"),
    Block("length", "return its length", "len({x})"),
    Block("words", "split it into words", "{x}.split()"),
)
LAST_ONLY = frozenset({"count", "length", "words"})
"""Steps whose result is no text, so nothing can follow."""

WORDS = [
    "apple",
    "bench",
    "cloud",
    "delta",
    "eagle",
    "fable",
    "grape",
    "house",
    "igloo",
    "joker",
    "kite",
    "lemon",
    "mango",
    "night",
    "ocean",
    "piano",
    "river",
]


@dataclass(frozen=True)
class Function:
    """A described function: what is asked, its one parameter and the expression it returns."""

    words: str
    parameter: str
    code: str


def _numbers(dice: Dice, pool: Pool) -> Function | None:
    keep, step, result = dice.pick(NUMBER_FILTERS), dice.pick(NUMBER_STEPS), dice.pick(NUMBER_RESULTS)
    if _reserved(pool, keep, step, result):
        return None
    what = f"{keep.words} numbers" if keep.name in {"even", "odd", "positive", "negative"} else f"numbers {keep.words}"
    of = f"the {step.words} of the {what}" if step.words else f"the {what}"
    return _filled(dice, f"{result.words} of {of}".strip(), "numbers", _comprehension(keep, step, result))


def _words(dice: Dice, pool: Pool) -> Function | None:
    keep, step, result = dice.pick(WORD_FILTERS), dice.pick(WORD_STEPS), dice.pick(WORD_RESULTS)
    if _reserved(pool, keep, step, result) or (step.name == "lengths" and result.name in {"joined", "first"}):
        return None
    words = " ".join(part for part in (result.words, "of the words", keep.words) if part)
    return _filled(dice, f"{words}, {step.words}" if step.words else words, "words", _comprehension(keep, step, result))


def _text(dice: Dice, pool: Pool) -> Function | None:
    first, second = dice.pick(TEXT_STEPS), dice.pick(TEXT_STEPS)
    if first.name in LAST_ONLY or first.name == second.name or _reserved(pool, first, second):
        return None
    code = second.code.replace("{x}", first.code.replace("{x}", "text"))
    return _filled(dice, f"text changed: {first.words}, then {second.words}", "text", code)


KINDS: tuple[Callable[[Dice, Pool], Function | None], ...] = (_numbers, _words, _text)


def generate_python(seed: int, pool: Pool, count: int | None = None) -> list[PythonItem]:
    """Return ``count`` items of a pool, the same for the same seed on every machine.

    Raises:
        BadData: the generator has fewer distinct items than asked for.
    """
    count = count or (UNSEEN_ITEMS if pool == "unseen" else SEEN_ITEMS)
    found = draw_pool("python", seed, pool, count, draft=_draft, prompt_of=lambda item: item.prompt)
    return [item.model_copy(update={"id": f"python-{pool}-{seed}-{n:04d}"}) for n, item in enumerate(found)]


def _draft(dice: Dice, pool: Pool, number: int) -> PythonItem | None:
    function = KINDS[number % len(KINDS)](dice, pool)
    name = dice.pick(UNSEEN_NAMES if pool == "unseen" else SEEN_NAMES)
    arguments = [_argument(dice, number % len(KINDS)) for _ in range(TESTS)]
    if function is None:
        return None
    # The expression is built of the blocks above, nothing of it comes from a model or a user.
    call = eval(f"lambda {function.parameter}: {function.code}")  # noqa: S307
    try:
        results = [call(argument) for argument in arguments]
    except ValueError:
        return None  # the largest of nothing
    if len({repr(result) for result in results}) < DISTINCT_RESULTS:
        return None  # a constant would pass most of the tests
    return PythonItem(
        id="draft",
        pool="unseen" if pool == "unseen" else "seen",
        prompt=f"Write {name}({function.parameter}) that returns {function.words}.",
        gold=f"def {name}({function.parameter}):\n    return {function.code}",
        tests=tuple(f"assert {name}({a!r}) == {_shown(r)}" for a, r in zip(arguments, results, strict=True)),
    )


def _reserved(pool: Pool, *blocks: Block) -> bool:
    return held_out(*(block.name for block in blocks)) != (pool == "unseen")


def _comprehension(keep: Block, step: Block, result: Block) -> str:
    code = f"{step.code} for x in {{source}}"
    return result.code.replace("{x}", f"{code} if {keep.code}" if keep.code else code)


def _filled(dice: Dice, words: str, parameter: str, code: str) -> Function:
    values = {
        "k": str(dice.between(2, 5)),
        "m": str(dice.between(2, 9)),
        "c": dice.pick("aeionlr"),
        "s": dice.pick("xyz"),
        "j": dice.pick("-+/"),
    }
    for letter, value in values.items():
        words, code = words.replace(f"{{{letter}}}", value), code.replace(f"{{{letter}}}", value)
    return Function(words, parameter, code.replace("{source}", parameter))


def _argument(dice: Dice, kind: int) -> list[int] | list[str] | str:
    if kind == 0:
        return [
            6 * dice.between(1, 9),
            -2 * dice.between(1, 9),
            *(dice.between(-19, 30) for _ in range(5)),
            2,
            3,
            4,
            5,
            60,
        ]
    if kind == 1:
        return [
            *dice.several(WORDS, 6),
            "an",
            "areiolno",
            "onil",
            "b",
            "sea",
            "lor",
            "rain",
            "idea",
            "else",
            "noise",
            "taxi",
        ]
    return " ".join(dice.several(WORDS, dice.between(2, 4)))


def _shown(value: object) -> str:
    # A set's own order changes from process to process where its members are texts.
    return f"set({sorted(value)!r})" if isinstance(value, set) else repr(value)
