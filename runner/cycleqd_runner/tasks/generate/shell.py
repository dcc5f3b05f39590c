"""Instructions about files, with their commands and what must come of them.

The expected outcome is computed here, in Python, so the gold command and the judge check one another. Paths, words
and a quarter of the combinations are reserved for the unseen pool.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from cycleqd_runner.tasks.generate.pools import SEEN_ITEMS, UNSEEN_ITEMS, Dice, Pool, draw_pool, held_out
from cycleqd_runner.tasks.items import ShellItem


@dataclass(frozen=True)
class Vocabulary:
    """Names that a pool's trees are made of."""

    folders: tuple[str, ...]
    stems: tuple[str, ...]
    endings: tuple[str, ...]
    words: tuple[str, ...]


SEEN_VOCABULARY = Vocabulary(
    ("data", "logs", "src", "docs", "tmp", "notes", "backup", "reports"),
    ("users", "report", "todo", "main", "log", "names", "input", "prices", "list", "readme", "table", "output"),
    ("txt", "csv", "log", "md"),
    ("error", "red", "apple", "open", "north", "done", "cat", "blue", "sale", "warn"),
)
UNSEEN_VOCABULARY = Vocabulary(
    ("archive", "photos", "music", "inbox", "drafts", "lab"),
    ("orders", "scores", "guests", "plan", "history", "items", "cities", "budget"),
    ("dat", "tsv", "cfg", "rst"),
    ("green", "south", "lost", "bird", "fail", "closed", "plum", "snow"),
)
OTHER_WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
LINES = 9
"""Lines of a file."""


@dataclass(frozen=True)
class Scene:
    """A small tree and the path that the instruction is about."""

    dice: Dice
    pool: Pool
    vocabulary: Vocabulary
    path: str
    other: str
    """A path that is free."""
    files: dict[str, str]

    @property
    def lines(self) -> list[str]:
        """The lines of the file at ``path``."""
        return self.files[self.path].splitlines()

    def word(self) -> str:
        """Return a word that is in the file."""
        present = [word for word in self.vocabulary.words if word in self.files[self.path]]
        return self.dice.pick(present)


@dataclass(frozen=True)
class Step:
    """A filter: words, command (first in a pipe or after another), and what it does to lines."""

    name: str
    words: str
    command: str
    apply: Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class Outcome:
    """An instruction, its command, and what must come of it."""

    prompt: str
    gold: str
    stdout: str | None
    files: dict[str, str]
    directories: tuple[str, ...] = ()


def _sources(scene: Scene) -> tuple[Step, ...]:
    word, count = scene.word(), scene.dice.between(2, 6)
    field = scene.dice.between(1, 3)
    return (
        Step("grep", f"the lines with {word} in", f"grep {word}", lambda lines: [x for x in lines if word in x]),
        Step(
            "grep-v",
            f"the lines without {word} in",
            f"grep -v {word}",
            lambda lines: [x for x in lines if word not in x],
        ),
        Step("head", f"the first {count} lines of", f"head -n {count}", lambda lines: lines[:count]),
        Step("tail", f"the last {count} lines of", f"tail -n {count}", lambda lines: lines[-count:]),
        Step("cut", f"column {field} of", f"cut -d, -f{field}", lambda lines: [x.split(",")[field - 1] for x in lines]),
        Step("from", f"the lines from line {count} on of", f"tail -n +{count}", lambda lines: lines[count - 1 :]),
        Step("grep-i", f"the lines that start with {word} in", f"grep ^{word}", lambda lines: _starting(lines, word)),
        Step("line", f"line {count} of", f"sed -n {count}p", lambda lines: lines[count - 1 : count]),
    )


def _starting(lines: list[str], word: str) -> list[str]:
    return [line for line in lines if line.startswith(word)]


def _steps(scene: Scene) -> tuple[Step, ...]:
    old, new = scene.word(), scene.dice.pick(OTHER_WORDS)
    return (
        Step("none", "", "", lambda lines: lines),
        Step("none", "", "", lambda lines: lines),
        Step("count", "counted", "wc -l", lambda lines: [str(len(lines))]),
        Step("sort", "sorted", "sort", sorted),
        Step("sort-r", "sorted in reverse", "sort -r", lambda lines: sorted(lines, reverse=True)),
        Step("unique", "sorted without repeats", "sort -u", lambda lines: sorted(set(lines))),
        Step("upper", "in upper case", "tr a-z A-Z", lambda lines: [x.upper() for x in lines]),
        Step(
            "sed",
            f"with {old} replaced by {new}",
            f"sed s/{old}/{new}/g",
            lambda lines: [x.replace(old, new) for x in lines],
        ),
        Step("tac", "in reverse order", "tac", lambda lines: lines[::-1]),
        Step("number", "without commas", "tr -d ,", lambda lines: [x.replace(",", "") for x in lines]),
    )


def _pipe(scene: Scene) -> Outcome | None:
    source, step = scene.dice.pick(_sources(scene)), scene.dice.pick(_steps(scene))
    sink = scene.dice.pick(("print", "print", "save", "append"))
    if held_out(source.name, step.name, sink) != (scene.pool == "unseen"):
        return None
    found = source.apply(scene.lines)
    lines = step.apply(found)
    if not lines or (step.command and lines == found) or (source.name == "line" and step.name == "count"):
        return None  # what would the step be there for
    text = "".join(f"{line}\n" for line in lines)
    what = f"{source.words} {scene.path}" + (f" {step.words}" if step.words else "")
    command = f"{source.command} {scene.path}" + (f" | {step.command}" if step.command else "")
    if sink == "print":
        return Outcome(f"Print {what}.", command, text, scene.files)
    if sink == "save":
        return Outcome(
            f"Save {what} to {scene.other}.", f"{command} > {scene.other}", None, scene.files | {scene.other: text}
        )
    target = scene.dice.pick([path for path in scene.files if path != scene.path])
    files = scene.files | {target: scene.files[target] + text}
    return Outcome(f"Append {what} to {target}.", f"{command} >> {target}", None, files)


def _change(scene: Scene) -> Outcome | None:
    old, new, number = scene.word(), scene.dice.pick(OTHER_WORDS), scene.dice.between(2, 6)
    path, lines = scene.path, scene.lines
    options = {
        "replace": (
            f"Replace {old} by {new} in {path}.",
            f"sed -i s/{old}/{new}/g {path}",
            [x.replace(old, new) for x in lines],
        ),
        "drop": (
            f"Delete the lines with {old} from {path}.",
            f"sed -i /{old}/d {path}",
            [x for x in lines if old not in x],
        ),
        "line": (f"Delete line {number} of {path}.", f"sed -i {number}d {path}", lines[: number - 1] + lines[number:]),
        "add": (f"Append the line {new} to {path}.", f"echo {new} >> {path}", [*lines, new]),
        "sort": (f"Sort {path} in place.", f"sort -o {path} {path}", sorted(lines)),
        "keep": (f"Keep only the first {number} lines of {path}.", f"sed -i '{number}q' {path}", lines[:number]),
    }
    prompt, command, after = options[scene.dice.pick(sorted(options))]
    return Outcome(prompt, command, None, scene.files | {path: "".join(f"{line}\n" for line in after)})


def _tree(scene: Scene) -> Outcome | None:
    path, other, files = scene.path, scene.other, scene.files
    folder, ending = path.rsplit("/", 1)[0], path.rsplit(".", 1)[1]
    rest = {name: text for name, text in files.items() if name != path}
    match scene.dice.below(6):
        case 0:
            return Outcome(f"Copy {path} to {other}.", f"cp {path} {other}", None, files | {other: files[path]})
        case 1:
            return Outcome(f"Move {path} to {other}.", f"mv {path} {other}", None, rest | {other: files[path]})
        case 2:
            return Outcome(f"Delete {path}.", f"rm {path}", None, rest)
        case 3:
            new = f"{scene.dice.pick(scene.vocabulary.folders)}/{scene.dice.pick(scene.vocabulary.words)}"
            inner = f"{new}/{scene.dice.pick(scene.vocabulary.words)}"
            return Outcome(f"Create the folder {inner}.", f"mkdir -p {inner}", None, files, (inner,))
        case 4:
            kept = {name: text for name, text in files.items() if not _inside(name, folder, ending)}
            return Outcome(f"Delete all {ending} files in {folder}.", f"rm {folder}/*.{ending}", None, kept)
        case _:
            found = sorted(name for name in files if _inside(name, folder, ending))
            text = "".join(f"{name}\n" for name in found)
            return Outcome(f"List all {ending} files in {folder}.", f"ls {folder}/*.{ending}", text, files)


def _inside(name: str, folder: str, ending: str) -> bool:
    return name.startswith(f"{folder}/") and name.endswith(f".{ending}")


KINDS: tuple[Callable[[Scene], Outcome | None], ...] = (_pipe, _pipe, _change, _pipe, _tree)


def generate_shell(seed: int, pool: Pool, count: int | None = None) -> list[ShellItem]:
    """Return ``count`` items of a pool, the same for the same seed on every machine.

    Raises:
        BadData: the generator has fewer distinct items than asked for.
    """
    count = count or (UNSEEN_ITEMS if pool == "unseen" else SEEN_ITEMS)
    found = draw_pool("shell", seed, pool, count, draft=_draft, prompt_of=lambda item: item.prompt)
    return [item.model_copy(update={"id": f"shell-{pool}-{seed}-{n:04d}"}) for n, item in enumerate(found)]


def _draft(dice: Dice, pool: Pool, number: int) -> ShellItem | None:
    scene = _scene(dice, pool)
    outcome = KINDS[number % len(KINDS)](scene)
    if outcome is None or (outcome.stdout is None and outcome.files == scene.files and not outcome.directories):
        return None
    return ShellItem(
        id="draft",
        pool="unseen" if pool == "unseen" else "seen",
        prompt=outcome.prompt,
        gold=outcome.gold,
        files=scene.files,
        stdout=outcome.stdout,
        ordered=not outcome.gold.startswith("ls "),
        files_after=outcome.files,
        directories_after=outcome.directories,
    )


def _scene(dice: Dice, pool: Pool) -> Scene:
    words = UNSEEN_VOCABULARY if pool == "unseen" else SEEN_VOCABULARY
    folders, stems = dice.several(words.folders, 2), dice.several(words.stems, 5)
    first, second = dice.several(words.endings, 2)
    names = [
        f"{folders[0]}/{stems[0]}.{first}",
        f"{folders[0]}/{stems[1]}.{first}",
        f"{folders[0]}/{stems[2]}.{second}",
    ]
    names.append(f"{folders[1]}/{stems[3]}.{first}")
    scene = Scene(dice, pool, words, names[0], f"{folders[1]}/{stems[4]}.{second}", {})
    return replace(scene, files={name: _text(scene) for name in names})


def _text(scene: Scene) -> str:
    words = scene.dice.several(scene.vocabulary.words, 3)
    lines = [_line(scene.dice, words) for _ in range(LINES - 2)]
    lines += [scene.dice.pick(lines), f"{words[0]},{scene.dice.pick(OTHER_WORDS)},{scene.dice.between(1, 99)}"]
    return "".join(f"{line}\n" for line in lines)


def _line(dice: Dice, words: list[str]) -> str:
    return f"{dice.pick(words + OTHER_WORDS[:4])},{dice.pick(words + OTHER_WORDS[4:])},{dice.between(1, 99)}"
