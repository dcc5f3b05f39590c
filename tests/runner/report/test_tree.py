"""The drawing of a lineage: everybody below their descendants, nobody on top of somebody else."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from cycleqd.report import Individual
from cycleqd_runner.report.ancestry import ancestry
from cycleqd_runner.report.formats import PERCENT
from cycleqd_runner.report.people import People
from cycleqd_runner.report.tree import MAX_CHILDREN, NODE, Node, lineage_tree
from tests.runner.report.support import demo_report

EXPERTS = ("a", "b")


def people_of(parents: dict[int, tuple[int, ...]]) -> People:
    """Return two experts and these children."""
    individuals = [Individual(id=0), Individual(id=1)]
    individuals += [Individual(id=i, parents=own, active_task=0, emitter="Paper") for i, own in parents.items()]
    return People(("sql", "shell"), EXPERTS, {one.id: one for one in individuals})


@st.composite
def lineages(draw: st.DrawFn) -> dict[int, tuple[int, ...]]:
    """Return children of earlier individuals."""
    count = draw(st.integers(1, 25))
    return {i: tuple(draw(st.lists(st.integers(0, i - 1), min_size=2, max_size=2))) for i in range(2, 2 + count)}


def by_who(nodes: tuple[Node, ...]) -> dict[int, Node]:
    return {node.who: node for node in nodes if node.who is not None}


@settings(max_examples=40, deadline=None)
@given(lineages(), st.integers(1, 30))
def test_boxes_are_apart_inside_and_below_their_descendants(parents: dict[int, tuple[int, ...]], limit: int) -> None:
    newest = max(parents)
    tree = lineage_tree(people_of(parents), {newest: 0.5, newest - 1: 0.5}, limit)
    rows: dict[float, list[float]] = {}
    for node in tree.nodes:
        rows.setdefault(node.top, []).append(node.left)
        assert -1e-6 <= node.left <= tree.width - NODE[0] + 1e-6
        assert 0 <= node.top <= tree.height - NODE[1]
    for lefts in rows.values():
        assert all(after - before > NODE[0] for before, after in pairwise(sorted(lefts)))
    drawn = by_who(tree.nodes)
    for who, own in parents.items():
        if who in drawn:
            assert all(drawn[parent].top > drawn[who].top for parent in own if parent in drawn)
    assert {node.top for node in tree.nodes if node.kind == "expert"} <= {max(node.top for node in tree.nodes)}


@given(lineages())
def test_without_a_limit_all_ancestors_are_drawn(parents: dict[int, tuple[int, ...]]) -> None:
    newest = max(parents)
    expected, waiting = set(), {newest}
    while waiting:
        who = waiting.pop()
        expected.add(who)
        waiting |= set(parents.get(who, ())) - expected
    tree = lineage_tree(people_of(parents), {newest: 1.0}, limit=len(parents))
    assert set(by_who(tree.nodes)) == expected
    assert tree.omitted == 0


def test_lines_connect_each_box_with_its_parents() -> None:
    tree = lineage_tree(people_of({2: (0, 1), 3: (2, 0)}), {3: 1.0})
    drawn = by_who(tree.nodes)
    (blend,) = (node for node in tree.nodes if node.kind == "blend")
    starts = [line[1:].split("C")[0] for line in tree.lines]
    # merged-3, 3-2, 2-0, 2-1, and 3-0 in two pieces; both lines to 0 meet where the first one ends
    assert len(tree.lines) == 6
    for node, lines in ((blend, 1), (drawn[3], 2), (drawn[2], 2)):
        bottom = f"{node.left + NODE[0] / 2:.1f} {node.top + NODE[1]:.1f}"
        assert starts.count(bottom) == lines


def test_the_nearest_ancestors_are_drawn_and_the_rest_counted() -> None:
    report = demo_report(3, children=200)
    people = People.of(report)
    chosen = report.chosen
    assert chosen
    everybody = ancestry(people, chosen.weights, limit=1000)
    tree = lineage_tree(people, chosen.weights)
    children = [who for who in everybody.shown if not people.is_expert(who)]
    drawn = by_who(tree.nodes)
    assert [who for who in children if who in drawn] == children[:MAX_CHILDREN]
    assert tree.omitted == len(children) - MAX_CHILDREN > 0
    assert {who for who in drawn if people.is_expert(who)} == {0, 1, 2}
    (omitted,) = (node for node in tree.nodes if node.kind == "omitted")
    assert str(tree.omitted) in omitted.name


def test_a_child_older_than_its_parent_is_drawn_above_it() -> None:
    drawn = by_who(lineage_tree(people_of({2: (9, 0), 9: (0, 1)}), {2: 1.0}).nodes)
    assert drawn[2].top < drawn[9].top < drawn[0].top


def test_a_blend_of_experts_is_two_rows() -> None:
    tree = lineage_tree(people_of({}), {0: 0.5, 1: 0.5})
    assert sorted(node.kind for node in tree.nodes) == ["blend", "expert", "expert"]
    assert len(tree.lines) == 2


def test_the_members_are_told_with_their_shares() -> None:
    tree = lineage_tree(people_of({2: (0, 1)}), {2: 0.75, 0: 0.25})
    (blend,) = (node for node in tree.nodes if node.kind == "blend")
    assert blend.text == f"the merged model\n25{PERCENT} a\n75{PERCENT} child 2"
    assert (
        by_who(tree.nodes)[2].text
        == f"child 2 (Paper for sql)\nno complete scores\nfrom a and b\n75{PERCENT} of the merged model"
    )
