"""The report of a real (tiny) run: what it says agrees with the rollouts, and it asks the network for nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rarft.core.artifacts import read_manifest, write_json
from rarft.core.errors import InputError
from rarft.evaluation import EvaluateConfig, evaluate, read_rollouts
from rarft.records.rollouts import Rollout
from rarft.report import ReportConfig, problems
from rarft.report import write_report as report
from rarft.report.collect import align, headline, load_runs, pooled, retriever_rows, systems_of
from rarft.report.plots import curves, forest
from rarft.report.table import headline_table


class Tags(HTMLParser):
    """Checks that tags nest, and keeps what could reach the network."""

    VOID = frozenset({"meta", "link", "input", "br", "use", "path", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given[name] or "" for name in ("href", "src", "xlink:href") if name in given]
        self.ids += [given["id"] or ""] if "id" in given else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.ids += [value or "" for name, value in attrs if name == "id"]

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = report(ReportConfig(runs=[str(run)]), tmp_path_factory.mktemp("report") / "one")
    return (folder / "report.html").read_text()


def test_page_is_whole_and_needs_no_network(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert len(tags.ids) == len(set(tags.ids)), "ids of the plots don't clash"
    assert all(link.startswith(("#", "data:")) for link in tags.links), tags.links
    assert "url(http" not in page and "@import" not in page
    targets = {link[1:] for link in tags.links if link.startswith("#")}
    assert targets <= set(tags.ids), "every link within the page leads somewhere"


def test_plots_follow_the_page_s_colours(page: str) -> None:
    plots = re.findall(r"<svg.*?</svg>", page, flags=re.S)
    assert len(plots) >= 4
    for plot in plots:
        colours = set(re.findall(r"(?:fill|stroke): ?([^;\"]+)", plot))
        assert colours and all(colour in ("none",) or colour.startswith("var(--") for colour in colours), colours
        assert 'aria-label="' in plot


def test_text_of_problems_is_escaped(page: str) -> None:
    assert "three &lt;b&gt;cows&lt;/b&gt;" in page
    assert "<b>cows</b>" not in page


def test_headline_agrees_with_the_rollouts(run: Path, page: str) -> None:
    for stage in ("evaluate-bare", "evaluate-ra-rft"):
        rows = read_rollouts(run / stage)
        by_problem = {row.problem_id: [r.reward for r in rows if r.problem_id == row.problem_id] for row in rows}
        value = 100 * np.mean([np.mean(rewards) for rewards in by_problem.values()])
        assert f"{value:.1f} <span" in page
        assert f"{value:.1f} [" in headline_table(run)


def test_every_section_is_there(page: str) -> None:
    for name in ("headline", "training", "contexts", "problems", "ledger", "config"):
        assert f'<section id="{name}"' in page
    assert 'id="retrievers"' not in page, "no evaluate-retriever stage in this run"
    assert "Verification reasons, ra-rft" in page
    assert "structure: s0" in page
    assert "so \\boxed{" in page


def test_runs_are_aligned_on_the_problems_they_share(run: Path, other_run: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "fewer"
    shutil.copytree(other_run, fewer)
    from rarft.records.rollouts import write_rollouts

    for stage in ("evaluate-bare", "evaluate-ra-rft"):
        rows = [row for row in read_rollouts(fewer / stage) if row.problem_id not in ("p0", "p1")]
        write_rollouts(fewer / stage / "rollouts.parquet", rows)
    runs = load_runs([run, fewer])
    systems = align([system for one in runs for system in systems_of(one)])
    assert [system.run.label for system in systems] == ["seed-0", "seed-0", "fewer", "fewer"]
    assert all(set(system.groups["bench"]) == {f"p{i}" for i in range(2, 12)} for system in systems)
    rows = headline(systems)
    assert rows[0].gain is None and rows[2].gain is None and rows[3].gain is not None
    expected = np.mean([np.mean(list(systems[3].values["bench"].values()))])
    assert rows[3].scores["avg"].value == pytest.approx(expected)
    over_seeds = pooled(systems)
    assert [row.label for row in over_seeds] == ["bare", "RA-RFT"]
    assert over_seeds[1].scores["avg"].n_seeds == 2
    assert over_seeds[1].scores["avg"].value == pytest.approx(
        (rows[1].scores["avg"].value + rows[3].scores["avg"].value) / 2
    )
    folder = report(ReportConfig(runs=[str(run), str(fewer)]), tmp_path / "report")
    text = (folder / "report.html").read_text()
    assert "10 problems" in text and "seed-0: RA-RFT" in text and "Over 2 seeds" in text


def test_the_same_questions_in_another_house(run: Path, tmp_path: Path) -> None:
    """An arm that was asked them from another file, with other answers, is a row like the others."""
    copy, house = tmp_path / "copy", tmp_path / "swapped"
    shutil.copytree(run, copy)
    house.mkdir()
    rows = [json.loads(line) for line in (run.parent / "data" / "bench.jsonl").read_text().splitlines()]
    rows = [row | {"answer": str(int(row["answer"]) % 3 + 1)} for row in rows]
    (house / "bench.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = read_manifest(copy / "evaluate-ra-rft")["config"] | {"problems": [str(house / "bench.jsonl")]}
    evaluate(EvaluateConfig.model_validate(config), copy / "evaluate-swapped")
    recipe = json.loads((copy / "run.json").read_text())
    recipe["order"].append("evaluate-swapped")
    recipe["arms"].append({"name": "RA-RFT in another house", "evaluate": "evaluate-swapped", "train": "ra-rft"})
    write_json(copy / "run.json", recipe)
    systems = align(systems_of(load_runs([copy])[0]))
    assert [len(system.groups["bench"]) for system in systems] == [12, 12, 12]
    page = (report(ReportConfig(runs=[str(copy)]), tmp_path / "report") / "report.html").read_text()
    told = re.findall(r"<h4>RA-RFT in another house: \d of 4 right, answer (\d)</h4>", page)
    assert sorted(told) == sorted(row["answer"] for row in rows)
    assert not re.search(r"<h4>(bare|RA-RFT): \d of 4 right, answer", page)


def test_page_is_made_again_when_a_stage_changed(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    config = ReportConfig(runs=[str(copy)])
    report(config, copy / "report")
    assert report.status(config, copy / "report").state == "done"
    manifest = json.loads((copy / "evaluate-bare" / "manifest.json").read_text())
    write_json(copy / "evaluate-bare" / "manifest.json", manifest | {"digest": "changed"})
    assert report.status(config, copy / "report").state == "changed"


def test_baseline_arm_can_be_chosen(run: Path, tmp_path: Path) -> None:
    folder = report(ReportConfig(runs=[str(run)], baseline="RA-RFT"), tmp_path / "report")
    assert "the dashed line is RA-RFT" in (folder / "report.html").read_text()
    with pytest.raises(InputError, match=r"no arm called 'nobody' .there are: bare, RA-RFT"):
        report(ReportConfig(runs=[str(run)], baseline="nobody"), tmp_path / "other")


def test_retrievers_and_audits(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    stage = copy / "retriever-scores"
    stage.mkdir()
    manifest = json.loads((copy / "ra-rft" / "manifest.json").read_text()) | {"stage": "evaluate-retriever"}
    write_json(stage / "manifest.json", manifest)
    audit = copy / "audit"
    audit.mkdir()
    write_json(audit / "manifest.json", manifest | {"stage": "audit"})
    kappa = {"value": 0.7123, "low": 0.6, "high": 0.8}
    comparison = {"a": "judge", "b": "likelihood", "n_pairs": 120, "kappa": kappa, "auc_a_for_b": None}
    write_json(audit / "audit.json", {"labelers": [{"name": "judge", "pairs": 120}], "comparisons": [comparison]})
    interval = {"value": 0.91, "low": 0.85, "high": 0.95}
    write_json(stage / "scores.json", {"retrievers": {"retriever": {"R@1": interval}, "untuned": {"R@1": interval}}})
    recipe = json.loads((copy / "run.json").read_text())
    recipe["order"] += ["retriever-scores", "audit"]
    recipe["arms"][1]["retriever"] = "retriever-scores"
    write_json(copy / "run.json", recipe)
    loaded = load_runs([copy])[0]
    assert [row["system"] for row in retriever_rows(loaded.stages["retriever-scores"])] == ["retriever", "untuned"]
    rows = headline(align(systems_of(loaded)))
    assert [row.r_at_1 for row in rows] == [None, 0.91]
    assert headline_table(copy).splitlines()[3].endswith("0.91")
    text = (report(ReportConfig(runs=[str(copy)]), tmp_path / "report") / "report.html").read_text()
    assert '<section id="retrievers"' in text and "0.850 to 0.950" in text
    assert '<section id="labels"' in text and "audit: comparisons" in text and "0.712" in text


def test_bad_input(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no run\.json"):
        report(ReportConfig(runs=[str(tmp_path)]), tmp_path / "report")
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    from rarft.records.rollouts import write_rollouts

    rows = read_rollouts(copy / "evaluate-bare")
    from dataclasses import replace

    renamed = [replace(row, problem_id="x" + row.problem_id) for row in rows]
    write_rollouts(copy / "evaluate-bare" / "rollouts.parquet", renamed)
    with pytest.raises(InputError, match="share no problem"):
        report(ReportConfig(runs=[str(copy)]), tmp_path / "report")


DAMAGE = [b"", b"[]", b"3", b"{", b"\xff", b"[" * 100_000, b'{"order": 3}', b'{"order": [], "arms": [{"name": "a"}]}']


@pytest.mark.parametrize("text", DAMAGE, ids=range(len(DAMAGE)))
def test_a_damaged_run_is_told_in_one_line(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes(text)
    with pytest.raises(InputError, match=r"run\.json: damaged") as told:
        report(ReportConfig(runs=[str(tmp_path)]), tmp_path / "report")
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"benchmarks": 3}', b"\xff"])
def test_a_damaged_stage_is_told_in_one_line(text: bytes, run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    (copy / "evaluate-bare" / "scores.json").write_bytes(text)
    with pytest.raises(InputError, match=r"evaluate-bare.*scores\.json"):
        report(ReportConfig(runs=[str(copy)]), tmp_path / "report")


def test_run_without_evaluations(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"name": "empty", "order": ["evaluate"], "arms": []})
    assert "no finished evaluation" in headline_table(tmp_path)
    folder = report(ReportConfig(runs=[str(tmp_path)]), tmp_path / "report")
    assert "<h1>empty</h1>" in (folder / "report.html").read_text()


def test_seeds_with_problems_of_their_own_are_pooled_not_aligned(
    run: Path, run_maker: Callable[..., Path], tmp_path: Path
) -> None:
    elsewhere = run_maker(tmp_path / "elsewhere" / "seed-2", 2, n=8)
    bench = elsewhere.parent / "data" / "bench.jsonl"
    manifest = json.loads((elsewhere / "evaluate-bare" / "manifest.json").read_text())
    assert manifest["config"]["problems"] == [str(bench)]
    bench.write_text(bench.read_text().replace("what", "say"))  # the same ids, other questions
    for stage in ("evaluate-bare", "evaluate-ra-rft"):
        path = elsewhere / stage / "manifest.json"
        changed = json.loads(path.read_text())
        changed["inputs"]["problems.0"]["digest"] = "another"
        write_json(path, changed)
    folder = report(ReportConfig(runs=[str(run), str(elsewhere)]), tmp_path / "report")
    text = (folder / "report.html").read_text()
    assert "others in every run" in text and "Over 2 seeds" in text
    recipe = json.loads((elsewhere / "run.json").read_text())
    write_json(elsewhere / "run.json", recipe | {"name": "another recipe"})
    with pytest.raises(InputError, match="share no problem"):
        report(ReportConfig(runs=[str(run), str(elsewhere)]), tmp_path / "other")


def test_long_texts_are_shortened_and_say_so(run: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from rarft.records.rollouts import write_rollouts

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    rows = read_rollouts(copy / "evaluate-bare")
    long = "START " + "x" * 50_000 + " \\boxed{END}"
    write_rollouts(copy / "evaluate-bare" / "rollouts.parquet", [replace(row, completion=long) for row in rows])
    text = (report(ReportConfig(runs=[str(copy)]), tmp_path / "report") / "report.html").read_text()
    assert "START" in text and "boxed{END}" in text and f"{len(long) - 4000:,} characters left out" in text
    assert len(text) < 600_000


def test_arms_with_different_numbers_of_samples_share_k(run: Path, tmp_path: Path) -> None:
    from rarft.records.rollouts import write_rollouts

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    rows = [row for row in read_rollouts(copy / "evaluate-bare") if row.sample < 2]
    write_rollouts(copy / "evaluate-bare" / "rollouts.parquet", rows)
    found = headline(align(systems_of(load_runs([copy])[0])))
    assert [row.k for row in found] == [2, 2]
    assert [row.scores["avg"].n_samples for row in found] == [2, 4]
    assert "avg@2" in headline_table(copy)


def test_a_dollar_sign_in_a_name_is_only_a_dollar_sign() -> None:
    rows = [("costs $x_{ and $\\frac", 1.0, 0.5, 1.5)]
    assert "costs $x_{ and $\\frac" in forest(rows, xlabel="$", alt="$")
    assert "a $^ b $" in curves({"a $^ b $": ([1, 2], [1, 2]), "$": ([1], [1])}, xlabel="$", ylabel="$_", alt="")


def test_the_benchmarks_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """One on which the arms differ more does not crowd out the other."""

    def rollout(benchmark: str, key: str, reward: float) -> Rollout:
        return Rollout(benchmark, key, 0, 0, [], "text", None, reward, "wrong", 1, False)

    monkeypatch.setattr(problems, "_Texts", lambda systems: SimpleNamespace(problem=lambda *_: None))
    means = [
        {"eval": {"a": 0.0, "b": 0.0, "c": 0.0}, "seen": {"d": 0.0, "e": 0.0}},
        {"eval": {"a": 0.1, "b": 0.3, "c": 0.2}, "seen": {"d": 0.9, "e": 1.0}},
    ]
    systems = [
        SimpleNamespace(
            label=str(n),
            values=values,
            groups={
                benchmark: {key: [rollout(benchmark, key, value)] for key, value in own.items()}
                for benchmark, own in values.items()
            },
        )
        for n, values in enumerate(means)
    ]
    found = problems.entries(systems, max_problems=4, max_rollouts=1)  # type: ignore[arg-type]
    told = [(one.benchmark, one.problem_id) for one in found]
    assert told == [("eval", "b"), ("seen", "e"), ("eval", "c"), ("seen", "d")]
