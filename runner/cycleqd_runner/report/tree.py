"""The lineage of a blend as a layered drawing, in the coordinates of an SVG. Markup is the template's.

The blend is on top, experts are at the bottom, and everybody is below all of their descendants. A line that crosses
rows passes through a waypoint in each of them, and lines to one parent share their waypoints.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cycleqd_runner.report.ancestry import ancestry
from cycleqd_runner.report.formats import PERCENT
from cycleqd_runner.report.people import People

MAX_CHILDREN = 40
"""Children in one drawing: more cannot be read."""
NODE = (100.0, 38.0)
"""Width and height of a node, in SVG units."""
GAP = 10.0
WAYPOINT = 12.0
"""Width that a line takes in a row it crosses."""
ROW = 74.0
"""Distance of the rows' tops."""
SWEEPS = 12
"""Passes that straighten the lines; drawings of 40 nodes stop changing after about ten."""
BLEND = -1
OMITTED = -2

Place = tuple[int, int]
"""(id, row) of a node, or of a waypoint on the way to that id."""


@dataclass(frozen=True)
class Node:
    """A box of the drawing.

    Attributes:
        who: id of an individual; None for the blend and for the omitted ancestors.
        kind: ``blend``, ``child``, ``expert`` or ``omitted``.
        left, top: in SVG units.
        name: first line in the box.
        detail: second line.
        text: what a reader sees on hovering.
    """

    who: int | None
    kind: str
    left: float
    top: float
    name: str
    detail: str
    text: str


@dataclass(frozen=True)
class Tree:
    """A drawing.

    Attributes:
        width, height: in SVG units.
        nodes: from top to bottom.
        lines: ``d`` attributes of SVG paths.
        omitted: ancestors that are not drawn.
    """

    width: float
    height: float
    nodes: tuple[Node, ...]
    lines: tuple[str, ...]
    omitted: int


def lineage_tree(people: People, weights: Mapping[int, float], limit: int = MAX_CHILDREN) -> Tree:
    """Return the drawing of a blend and its nearest ancestors, ``limit`` children at most."""
    found = ancestry(people, weights, limit)
    shown = set(found.shown)
    parents: dict[int, list[int]] = {BLEND: sorted(weights)}
    for individual in found.shown:
        own = people.parents(individual)
        drawn = [parent for parent in own if parent in shown]
        parents[individual] = drawn if len(drawn) == len(own) else [*drawn, OMITTED]
    if found.omitted:
        parents[BLEND] = [member if member in shown else OMITTED for member in parents[BLEND]]
        reached = {parent for own in parents.values() for parent in own}
        parents[OMITTED] = [who for who in found.shown if who not in reached]
    parents = {who: list(dict.fromkeys(own)) for who, own in parents.items()}
    rows = _rows(people, parents)
    order = _order(rows, links := _links(rows, parents))
    centres, width = _straighten(order, links)
    nodes = tuple(
        _node(people, weights, found.omitted, place, centres[place])
        for row in order
        for place in row
        if place[1] == rows[place[0]]
    )
    lines = tuple(_line(upper, lower, centres, rows) for upper, lower in links)
    return Tree(width, max(rows.values()) * ROW + NODE[1], nodes, lines, found.omitted)


def _rows(people: People, parents: Mapping[int, list[int]]) -> dict[int, int]:
    """Return everybody's row: below all descendants, and all experts in the last one."""
    rows = dict.fromkeys(parents, 0)
    for _ in parents:  # a longest path has fewer steps than there are nodes, also where damaged data has a circle
        for who, own in parents.items():
            for parent in own:
                rows[parent] = max(rows[parent], min(rows[who] + 1, len(parents)))
    if OMITTED in rows:
        rows[OMITTED] = 1 + max(row for who, row in rows.items() if who >= 0 and not people.is_expert(who))
    last = 1 + max((row for who, row in rows.items() if who < 0 or not people.is_expert(who)), default=0)
    return {who: last if who >= 0 and people.is_expert(who) else row for who, row in rows.items()}


def _links(rows: Mapping[int, int], parents: Mapping[int, list[int]]) -> list[tuple[Place, Place]]:
    """Return the lines' pieces, each from a row to the next one."""
    pieces: dict[tuple[Place, Place], None] = {}
    for who, own in parents.items():
        for parent in own:
            above: Place = (who, rows[who])
            for row in range(rows[who] + 1, rows[parent] + 1):
                pieces[above, (parent, row)] = None
                above = (parent, row)
    return list(pieces)


def _order(rows: Mapping[int, int], links: Iterable[tuple[Place, Place]]) -> list[list[Place]]:
    """Return the places of each row, ordered by the mean position of their neighbours above, then below."""
    places = dict.fromkeys([(who, row) for who, row in rows.items()] + [end for link in links for end in link])
    order: list[list[Place]] = [[] for _ in range(max(rows.values()) + 1)]
    for place in places:
        order[place[1]].append(place)
    above, below = _neighbours(links)
    for sweep in range(SWEEPS):
        for row in order if sweep % 2 == 0 else reversed(order):
            position = {place: index for other in order for index, place in enumerate(other)}
            near = above if sweep % 2 == 0 else below
            row.sort(key=lambda place: _mean([position[n] for n in near.get(place, ())], position[place]))
    return order


def _straighten(order: list[list[Place]], links: Iterable[tuple[Place, Place]]) -> tuple[dict[Place, float], float]:
    """Return the centre of each place, and the width of the drawing: near the neighbours, in order, apart."""
    rows = {who: row for level in order for who, row in level}
    above, below = _neighbours(links)
    taken = {place: _width(place, rows) for row in order for place in row}
    x = {place: 0.0 for row in order for place in row}
    for _ in range(SWEEPS):
        for row in [*order, *reversed(order)]:
            wanted = [_mean([x[n] for n in (*above.get(place, ()), *below.get(place, ()))], x[place]) for place in row]
            x |= dict(zip(row, _apart(wanted, [taken[place] for place in row]), strict=True))
    left = min(x[place] - taken[place] / 2 for place in x)
    right = max(x[place] + taken[place] / 2 for place in x)
    return {place: centre - left for place, centre in x.items()}, right - left


def _apart(wanted: list[float], widths: list[float]) -> list[float]:
    """Return centres near the wanted ones that leave everybody their width: between a push right and a push left."""
    rightwards, leftwards = list(wanted), list(wanted)
    for i in range(1, len(wanted)):
        rightwards[i] = max(wanted[i], rightwards[i - 1] + (widths[i - 1] + widths[i]) / 2 + GAP)
    for i in range(len(wanted) - 2, -1, -1):
        leftwards[i] = min(wanted[i], leftwards[i + 1] - (widths[i + 1] + widths[i]) / 2 - GAP)
    return [(a + b) / 2 for a, b in zip(rightwards, leftwards, strict=True)]


def _neighbours(links: Iterable[tuple[Place, Place]]) -> tuple[dict[Place, list[Place]], dict[Place, list[Place]]]:
    above: dict[Place, list[Place]] = {}
    below: dict[Place, list[Place]] = {}
    for upper, lower in links:
        above.setdefault(lower, []).append(upper)
        below.setdefault(upper, []).append(lower)
    return above, below


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _width(place: Place, rows: Mapping[int, int]) -> float:
    return NODE[0] if rows[place[0]] == place[1] else WAYPOINT


def _line(upper: Place, lower: Place, centres: Mapping[Place, float], rows: Mapping[int, int]) -> str:
    """Return a piece of a line: straight through a waypoint's row, curved between rows."""
    start, end = centres[upper], centres[lower]
    top, bottom = upper[1] * ROW + NODE[1], lower[1] * ROW
    middle = (top + bottom) / 2
    through = "" if rows[lower[0]] == lower[1] else f"V{bottom + NODE[1]:.1f}"
    return f"M{start:.1f} {top:.1f}C{start:.1f} {middle:.1f} {end:.1f} {middle:.1f} {end:.1f} {bottom:.1f}{through}"


def _node(people: People, weights: Mapping[int, float], omitted: int, place: Place, centre: float) -> Node:
    who, row = place
    left, top = centre - NODE[0] / 2, row * ROW
    if who == BLEND:
        members = "\n".join(
            f"{100 * share:.0f}{PERCENT} {people.name(member)}" for member, share in sorted(weights.items())
        )
        count = f"{len(weights)} member{'' if len(weights) == 1 else 's'}"
        return Node(None, "blend", left, top, "merged", count, f"the merged model\n{members}")
    if who == OMITTED:
        text = f"{omitted} ancestors are not drawn"
        return Node(None, "omitted", left, top, f"+ {omitted}", "not drawn", text)
    text = people.describe(who)
    if who in weights:
        text += f"\n{100 * weights[who]:.0f}{PERCENT} of the merged model"
    if people.is_expert(who):
        return Node(who, "expert", left, top, people.name(who), "expert", text)
    known = people.by_id.get(who)
    task = "" if known is None or known.active_task is None else people.tasks[known.active_task]
    return Node(who, "member" if who in weights else "child", left, top, people.name(who), task, text)
