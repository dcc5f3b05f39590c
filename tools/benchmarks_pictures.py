"""The pictures of docs/benchmarks.md, each a function of the figures in benchmarks/results/*.json."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from matplotlib.figure import Figure

Values = Mapping[str, float]
"""Figures of one benchmark, by name."""

MET, SHORT, PLAIN = "#3a7d44", "#b5322a", "#8d99ae"
MOST = 100.0
"""Factor beyond which it no longer matters by how much a target is passed."""
WIDTH, ROW, REST = 7.5, 0.24, 1.1
"""Inches: of a picture, of a bar, of axes and titles."""


def margin(value: float, target: str) -> float:
    """Return by which factor ``>= 5 x`` or ``<= 2 %`` is passed, at most :data:`MOST`; below 1 it is missed."""
    sign, bound = target.split()[:2]
    larger, smaller = (value, float(bound)) if sign == ">=" else (float(bound), value)
    return MOST if smaller <= 0 else max(1 / MOST, min(MOST, larger / smaller))


def targets(rows: Iterable[tuple[str, float, str]]) -> Figure:
    """Draw by which factor each figure passes its target.

    Args:
        rows: name, value and target.
    """
    found = [(name, margin(value, target)) for name, value, target in rows][::-1]
    picture = Figure(figsize=(WIDTH, ROW * len(found) + REST), layout="constrained")
    axes = picture.add_subplot()
    names, factors = zip(*found, strict=True)
    bars = axes.barh(names, [factor - 1 for factor in factors], left=1, height=0.7)
    for bar, factor in zip(bars, factors, strict=True):
        bar.set_color(MET if factor >= 1 else SHORT)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times the target (1: just met)")
    axes.tick_params(axis="y", labelsize=7)
    axes.margins(y=0.01)
    return picture


def peers(rows: Iterable[tuple[str, float, str]]) -> Figure:
    """Draw how many times as long as ours each peer takes, beside the target where there is one.

    Args:
        rows: name, ratio, and target (``>= 5 x`` or empty).
    """
    names, ratios, targets = zip(*list(rows)[::-1], strict=True)
    bounds = [float(target.split()[1]) if target else None for target in targets]
    picture = Figure(figsize=(WIDTH, ROW * len(names) + REST), layout="constrained")
    axes = picture.add_subplot()
    bars = axes.barh(names, [ratio - 1 for ratio in ratios], left=1, height=0.7)
    for bar, name, ratio, bound in zip(bars, names, ratios, bounds, strict=True):
        bar.set_color(PLAIN if bound is None else MET if ratio >= bound else SHORT)
        if bound is not None:
            axes.plot([bound], [name], marker="|", color="black", markersize=14, markeredgewidth=2)
    axes.set_xscale("log")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("times as long as ours (mark: target; grey: none)", loc="right")
    axes.tick_params(axis="y", labelsize=7)
    axes.use_sticky_edges = False
    axes.margins(x=0.03, y=0.01)
    return picture


def scaling(values: Values) -> Figure:
    """Draw what the workers' time is made of, a bar for each number of workers."""
    parts = {"busy": MET, "idle at the end, while others finish": PLAIN, "rest": SHORT}
    names = [name.partition(":")[0] for name in values if name.endswith(": busy")]
    shares = [[values[f"{name}: {part}"] for part in list(parts)[:2]] for name in names]
    picture = Figure(figsize=(WIDTH, ROW * 2 * len(names) + REST), layout="constrained")
    axes, left = picture.add_subplot(), [0.0] * len(names)
    for number, (part, colour) in enumerate(parts.items()):
        widths = [own[number] if number < len(own) else 100 - sum(own) for own in shares]
        axes.barh(names, widths, left=left, color=colour, label="coordination" if part == "rest" else part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.axvline(95, color="black", linewidth=0.8, linestyle="--")
    axes.set_xlim(80, 100)
    axes.set_xlabel("share of the workers' time in % (dashed: target)")
    axes.invert_yaxis()
    picture.legend(loc="outside upper center", ncols=len(parts), fontsize=8)
    return picture


def racing(values: Values) -> Figure:
    """Draw what racing saves, and how many of those that it stops would have entered, for each threshold."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for name, value in values.items():
        if match := re.fullmatch(r"(.+), threshold (\S+): (items saved|of those stopped, would have entered)", name):
            setting, threshold, what = match.groups()
            found.setdefault(what, {}).setdefault(setting, []).append((100 * float(threshold), value))
    picture = Figure(figsize=(WIDTH, 3.0), layout="constrained")
    for place, (what, settings) in enumerate(found.items(), start=1):
        axes = picture.add_subplot(1, len(found), place)
        for setting, points in settings.items():
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=setting)
        if what.startswith("of"):
            limits = [threshold for threshold, _ in points]
            axes.plot(limits, limits, color="black", linewidth=0.8, linestyle="--", label="target: below")
        axes.set_xlabel("threshold in %")
        axes.set_title(f"{what}, in %", fontsize=9)
        axes.legend(fontsize=7)
    return picture


def five_skills(values: Values) -> Figure:
    """Draw what each kind of archive reaches, with standard errors over the seeds."""
    score, error = ": true mean score of the last 100 children", r": standard error over \d+ seeds"
    means = {name.removesuffix(score): value for name, value in values.items() if name.endswith(score)}
    errors = {re.sub(f"{error}$", "", name): value for name, value in values.items() if re.search(f"{error}$", name)}
    picture = Figure(figsize=(WIDTH, ROW * 1.6 * len(means) + REST), layout="constrained")
    axes = picture.add_subplot()
    spread = [errors.get(name, 0.0) for name in means]
    axes.errorbar(list(means.values()), list(means), xerr=spread, fmt="o", color=MET, capsize=3)
    axes.set_xlabel("true mean score of the last 100 children in %, with its standard error")
    axes.margins(y=0.15)
    axes.invert_yaxis()
    return picture


PICTURES: dict[str, Callable[[Values], Figure]] = {"five_skills": five_skills, "racing": racing, "scaling": scaling}
"""By name of the benchmark; the other ones say all in their tables."""
