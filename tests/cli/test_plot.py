from __future__ import annotations

from pathlib import Path

from cycleqd_cli import pictures
from cycleqd_cli.opening import open_run
from cycleqd_cli.pictures import REDRAW_SECONDS, PictureWriter
from cycleqd_cli.standing import read_snapshot
from cycleqd_cli.where import Where
from tests.cli.support import SCORES, add_report, add_result, cycleqd, objects, started

PNG = b"\x89PNG"


def test_plot_draws_into_the_run_folder_or_where_it_is_told(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path)
    told = cycleqd("plot", manifest)
    assert told.exit_code == 0, told.stderr
    drawn = [Path(line) for line in told.stdout.splitlines()]
    assert {path.parent for path in drawn} == {tmp_path / "run" / "pictures"}
    assert all(path.read_bytes().startswith(PNG) for path in drawn)

    told = cycleqd("plot", manifest, "--children", "1", "--output", tmp_path / "early")
    assert told.exit_code == 0, told.stderr
    for path in drawn:
        assert (tmp_path / "early" / path.name).read_bytes() != path.read_bytes(), "another moment, another picture"


def test_plot_before_the_experts_have_scores_says_so(tmp_path: Path) -> None:
    manifest, _ = started(tmp_path, [0, 1])
    told = cycleqd("plot", manifest)
    assert told.exit_code == 75
    assert "no archives yet" in told.stderr


def test_report_renders_again_and_leaves_the_data_alone(tmp_path: Path) -> None:
    manifest, store = started(tmp_path)
    assert cycleqd("report", manifest).exit_code == 2
    add_report(store)
    before = objects(tmp_path / "run")

    told = cycleqd("report", manifest, "--output", tmp_path / "page")
    assert told.exit_code == 0, told.stderr
    assert objects(tmp_path / "run") == before
    assert (
        (tmp_path / "page" / "report.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    )

    assert cycleqd("report", manifest).exit_code == 0
    after = objects(tmp_path / "run")
    assert {key: after[key] for key in before} == before
    assert "final/report.html" in after


def test_the_writer_draws_what_changed_and_not_too_often(tmp_path: Path) -> None:
    manifest, store = started(tmp_path, [0, 1])
    opened = open_run(str(manifest), Where())
    clock = [0.0]
    folder = tmp_path / "pictures"
    writer = PictureWriter(folder, "tiny", opened.spec, clock=lambda: clock[0])

    assert writer.offer(read_snapshot(opened).population) is None
    writer.settle()
    assert not folder.exists(), "there are no archives before all experts have scores"

    add_result(store, 2, SCORES[2])
    assert writer.offer(read_snapshot(opened).population) is None
    writer.settle()
    assert writer.offer(read_snapshot(opened).population) == folder, "told once, when the first pictures are there"
    first = objects(folder)
    assert first

    add_result(store, 3, SCORES[3])
    writer.offer(read_snapshot(opened).population)
    writer.settle()
    assert objects(folder) == first, "too soon"

    clock[0] += REDRAW_SECONDS
    assert writer.offer(read_snapshot(opened).population) is None
    writer.close()
    assert objects(folder) != first
    assert pictures.REDRAW_SECONDS >= 10
