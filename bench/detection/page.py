"""`python -m bench.detection.page RUN.json ...`: docs/detection.md and its plots, from what the bench printed.

Each file holds the output of `python -m bench detection --json`. What a file holds of a set replaces what
docs/detection.json had of it, so that sets may be measured one at a time; page and plots are then written anew. With
no file they are written from docs/detection.json alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from bench.detection import SETS
from bench.detection.goals import GOALS, Goal
from bench.detection.svg import Axis, chart
from bench.figures import ROOT

_AROUND = ("measured_on", "machine", "python", "versions", "commit", "load_before", "load_after", "quick")
_BASELINES = {
    "first_seen": "first seen",
    "static_impact": "static impact",
    "half_space_trees": "half-space trees",
    "rrcf": "random cut forest",
}
_LEVELS = ("slow", "guide", "approval", "block")
Run = Mapping[str, Any]

app = typer.Typer(add_completion=False)


@app.command()
def main(
    runs: Annotated[list[Path] | None, typer.Argument(help="Files with the bench's JSON.")] = None,
    out: Annotated[Path, typer.Option(help="The folder to write to.")] = ROOT / "docs",
) -> None:
    """Write docs/detection.md and its plots from the bench's JSON."""
    kept = out / "detection.json"
    sets: dict[str, Run] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for path in runs or ():
        sets |= split(json.loads(path.read_text(encoding="utf-8")))
    for name, text in written(sets).items():
        (out / name).write_text(text, encoding="utf-8")


def split(run: Run) -> dict[str, Run]:
    """By set its part of one output, with where and when it was measured.

    Raises:
        ValueError: for a quick run, whose figures mean nothing.
    """
    if run["quick"]:
        raise ValueError("quick: expected a whole run, for the figures of a quick one mean nothing")
    around = {name: run[name] for name in _AROUND if name in run}
    found: dict[str, Run] = {}
    for name in SETS:
        part = {key: value for key, value in run.items() if set_of(key) == name}
        if part:
            found[name] = part | around
    return found


def set_of(key: str) -> str:
    """The set that a key of the bench's JSON belongs to: the longest one that it begins with; itself where none is."""
    return max((name for name in SETS if key == name or key.startswith(f"{name}_")), key=len, default=key)


def written(sets: Mapping[str, Run]) -> dict[str, str]:
    """By file name what the folder of pages shall hold; the sets as `split` gives them, all of them measured."""
    if missing := [name for name in SETS if name not in sets]:
        raise ValueError(f"sets: expected all of {', '.join(SETS)}; not measured yet: {', '.join(missing)}")
    kept = json.dumps({name: sets[name] for name in SETS}, indent=1)
    return {"detection.json": kept + "\n", "detection.md": page(sets), **plots(sets)}


def page(sets: Mapping[str, Run]) -> str:
    """The page's text."""
    all_figures = {key: value for run in sets.values() for key, value in run.items()}
    template = Path(__file__).with_name("page.md").read_text(encoding="utf-8")
    return template.format(
        surroundings=_surroundings(sets),
        goals=_goals(all_figures),
        sea=_sea(all_figures),
        agents=_agents(all_figures),
        sans=_sans(all_figures["sans"]),
        firsts=_firsts(all_figures),
        cost=_cost(all_figures["cost"]),
    )


def _surroundings(sets: Mapping[str, Run]) -> str:
    rows = []
    for name in SETS:
        run = sets[name]
        machine = run["machine"]
        where = (
            f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_mib'] // 1024} GiB, {machine['system']}"
        )
        loads = f"{run['load_before']}, {run['load_after']}"
        rows.append([f"`{name}`", run["measured_on"], run["commit"], where, run["python"], loads])
    table = _table(["set", "date", "commit", "machine", "Python", "load before, after"], rows)
    versions = sets["cost"]["versions"]
    return f"{table}\n\nVersions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + "."


def _goals(figures: Run) -> str:
    rows = []
    for goal in GOALS:
        value = look_up(figures, goal.name)
        told = _shown if goal.share or isinstance(value, bool) else _shown_count
        between = look_up(figures, f"{goal.name}_ci")
        interval = "" if between is None else f"{told(between[0])} to {told(between[1])}"
        rows.append([f"`{goal.name}`", told(value), interval, goal.text, _met(goal, value)])
    return _table(["figure", "reached", "95% interval", "goal", ""], rows)


def look_up(figures: Run, name: str) -> Any:
    """The figure at a dotted name; None where it is not there."""
    found: Any = figures
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _met(goal: Goal, value: Any) -> str:
    if value is None:
        return "**not measured**"
    return "" if goal.met(value) else "**missed**"


def _sea(figures: Run) -> str:
    rows = []
    for label, key in (
        ("all 50 users", "sea"),
        ("users 1 to 25, where the filter was chosen", "sea.users_1_to_25"),
        ("users 26 to 50", "sea.users_26_to_50"),
        ("all 50 where nobody vouched for the first 5,000", "sea_unvouched"),
        ("100 commands of one's own", "sea_cold100"),
        ("1,000 commands of one's own", "sea_cold1000"),
        ("at every event, epochs shifted by 50", "sea_online"),
        ("the same where nobody vouched for the first 5,000", "sea_online_unvouched"),
        ("that through every decision, which says what is learned", "sea_gate.online"),
        *((text, f"sea_baselines.{name}") for name, text in _BASELINES.items()),
    ):
        found = look_up(figures, key)
        if isinstance(found, str):
            rows.append([label, found, "", "", ""])
        else:
            names = ("auc", "hit_fa_1_0", "hit_fa_1_3", "hit_fa_4_6")
            rows.append([label, *(_with_interval(found, name) for name in names)])
    head = ["", "area under the curve", "hits at 1.0% false alarms", "at 1.3%", "at 4.6%"]
    poison = figures["sea_poison"]
    text = (
        f"Slow poisoning, where somebody else's share of the commands grows from 2 to 100%: at 5% false alarms "
        f"{_shown(poison['alarm_fa_5'])} of the last ten blocks alarm "
        f"({_shown(poison['alarm_fa_5_ci'][0])} to {_shown(poison['alarm_fa_5_ci'][1])}), by the epoch score alone "
        f"{_shown(poison['alarm_by_h_alone'])}; without an attacker {_shown(poison['alarm_without_attacker'])}."
    )
    pictures = (
        "![Hits against false alarms on SEA](detection-sea.svg)",
        "![Alarms while poisoning grows](detection-poison.svg)",
    )
    return "\n\n".join((_table(head, rows), pictures[0], text, pictures[1]))


def _agents(figures: Run) -> str:
    session, rows = figures["agentdojo_session"], []
    for label, found in (
        ("with context, half A (tuned on)", session["tune"]),
        ("the same, strict labels", session["tune_strict"]),
        ("with context, half B (confirm)", session["confirm"]),
        ("the same, strict labels", session["confirm_strict"]),
        ("nothing declared, half B", session["undeclared"]["confirm"]),
        ("without context, tasks seen before", figures["agentdojo_same"]),
        ("without context, tasks never seen: learned on A, tried on B", figures["agentdojo_disjoint"]),
        ("the same, learned on B, tried on A", figures["agentdojo_disjoint"]["swapped"]),
        *(
            (f"{text}, tasks {tasks}", figures[key][name])
            for key, tasks in (("agentdojo_same", "seen before"), ("agentdojo_disjoint", "never seen"))
            for name, text in (("event_alone", "event score alone"), *_BASELINES.items())
        ),
    ):
        if isinstance(found, str):
            rows.append([label, found, "", ""])
        else:
            middle = _with_interval(found, "recall_fpr_1")
            rows.append([label, _shown(found["recall_fpr_01"]), middle, _shown(found["recall_fpr_5"])])
    head = ["", "recall at .1% false positives", "at 1%", "at 5%"]
    text = (
        f"At level {session['level']}, from which a call has to be confirmed: "
        f"{_with_interval(session, 'clean_sessions_flagged')} of the clean sessions of half B have some call flagged, "
        f"and {_shown(session['attacked_sessions_flagged'])} of {session['attacked_sessions']} attacked ones an "
        "injected call. Intervals are over tasks. See [agents.md](agents.md)."
    )
    picture = "![Recall against false positives on AgentDojo](detection-agentdojo.svg)"
    return "\n\n".join((_table(head, rows), picture, text))


def _sans(sans: Run) -> str:
    caught = "caught" if sans["jmerckle_caught"] else "**missed**"
    low, high = (_shown_count(end) for end in sans["benign_hours_alarmed_ci"])
    text = (
        f"{sans['benign_hours_alarmed']} of {sans['benign_hours']} benign identity-hours alarm ({sans['alarm']}); when "
        f"the {sans['benign_identities']} identities are drawn anew, {low} to {high}: so few identities say little "
        f"about a rate, and one of them acted a single time. `jmerckle` is {caught}; the burst alarms after "
        f"{sans['exfil_s']} s and {sans['exfil_actions']} actions, and "
        f"{_shown(sans['exfil_alarmed_share'])} of its actions do."
    )
    equal = sans["at_equal_catch"]
    rows = [
        [text, str(equal.get(name, "not measured"))] for name, text in (("ours", "total score"), *_BASELINES.items())
    ]
    head = ["method", "benign hours alarmed where both attacks are, the burst within 5 s"]
    return f"{text}\n\n{_table(head, rows)}\n\n{_own_levels(sans['at_own_level'])}"


def _own_levels(told: Run) -> str:
    rows = [
        [label, *(_shown(told[name][what]) for what in ("benign_hours_alarmed", "burst_caught", "jmerckle_caught"))]
        for label, name in (("an action new to the identity", "first_seen"), ("impact of 2 or more", "static_impact"))
    ]
    return _table(["a simple rule as it is used", "benign hours alarmed", "the burst", "`jmerckle`"], rows)


def _firsts(figures: Run) -> str:
    rows = []
    gate, first, sans = figures["sea_gate"], figures["agentdojo_session"]["first"], figures["sans"]["first"]
    for name, key in (
        ("the whole pack", "pack"),
        ("epoch rules alone", "rules"),
        ("bands of the total alone", "bands"),
    ):
        for level in ("slow", "guide", "block"):
            found = gate[key][level]
            seconds = _shown_count(found["seconds_median"])
            episodes = f"{found['benign_episodes_per_1000']} episodes in 1,000"
            cost = f"{_shown(found['benign_actions'])} of benign commands, {episodes}"
            reached = _shown(found["reached"])
            rows.append([f"SEA, {name}", level, reached, _shown_count(found["actions_median"]), seconds, cost])
    for level in ("slow", "guide", "approval"):
        found = first[level]
        cost = f"{_shown(found['before'])} of the calls before the injected one"
        rows.append(["AgentDojo", level, _shown(found["reached"]), _shown_count(found["actions_median"]), "", cost])
    rows.append(["AgentDojo", "block", "no call", "", "", "nothing there justifies one"])
    for attack, told in sans.items():
        for level in ("slow", "guide", "block"):
            found = told[level]
            reached = "no" if found is None else "yes"
            actions, took = ("", "") if found is None else (f"{found['actions']}", f"{found['seconds']:g}")
            rows.append([f"SANS, {attack}", level, reached, actions, took, ""])
    head = ["set", "at least", "reached", "actions (median)", "seconds", "what it costs"]
    note = f"On SEA a command is 7 s by convention; {gate['masquerades']} masquerades. AgentDojo has no times."
    picture = "![How many masquerades are reached after so many commands](detection-first.svg)"
    return "\n\n".join((_table(head, rows), picture, note, _answered(figures)))


def _answered(figures: Run) -> str:
    """What answers change: by setting the figures with these names."""
    told = 'What an answered "this was me" or "this was not me" changes'
    names = ("auc", "hit_fa_1_0", "hit_fa_4_6", "guided_hit", "guided_false")
    head = [
        "answers",
        "area",
        "hits at 1.0%",
        "at 4.6%",
        "guided hits",
        "guided falsely",
        "questions in 10,000 actions",
    ]
    rows = [
        [setting.replace("_", " "), *(_shown(found[name]) for name in names), _shown_count(found["questions"])]
        for setting, found in figures["sea_answered"].items()
    ]
    return f"{told}, on SEA at every event:\n\n{_table(head, rows)}"


def _cost(cost: Run) -> str:
    names = ("median_us", "p99_us", "p99_answer_us", "p99_first_try_us", "closing_median_us", "p995_with_closing_us")
    head = ["", "median", "p99", "p99 before the answer", "p99 of first tries", "closing events", "p99.5 of all"]
    rows = [
        [label, *(f"{part[name]} us" for name in names)]
        for label, part in (("with a profile", cost), ("without a profile", cost["without_profile"]))
    ]
    share = _shown(cost["closing_share"])
    return (
        f"{_table(head, rows)}\n\nMeasured as: {cost['how']}. {share} of the events close an epoch. "
        f"The fullest record takes {cost['state_bytes']} bytes, baseline with anchor (at most "
        f"{cost['state_bytes_at_most']}); this life's {cost['state_bytes_usual']}.{_control(cost)}"
    )


def _control(cost: Run) -> str:
    """What the control took beside it; nothing for figures that were measured before there was one."""
    if "control_p99_us" not in cost:
        return ""
    return (
        f" The control, a fixed {cost['control_instructions']:,} instructions of plain Python in the same loop, took "
        f"{cost['control_median_us']} us (median) and {cost['control_p99_us']} us (p99)."
    )


def plots(sets: Mapping[str, Run]) -> dict[str, str]:
    """The plots by file name."""
    sea, gate, agents = sets["sea"], sets["sea_gate"]["sea_gate"], sets["agentdojo"]
    rates = Axis(
        "false alarms", 0.001, 0.5, [(0.001, "0.1%"), (0.01, "1%"), (0.046, "4.6%"), (0.2, "20%")], logarithmic=True
    )
    shares = Axis("hits", 0.0, 1.0, [(0.0, "0"), (0.25, "25%"), (0.5, "50%"), (0.75, "75%"), (1.0, "100%")])
    beside = {
        text: sea["sea_baselines"][name]["curve"]
        for name, text in _BASELINES.items()
        if isinstance(sea["sea_baselines"].get(name), Mapping)
    }
    alarms = replace(shares, label="blocks that alarm")
    reached = replace(shares, label="masquerades reached")
    recall = replace(shares, label="recall")
    ours = {"epoch score": sea["sea"]["curve"], **beside}
    context = agents["agentdojo_session"]["curve"]
    calls = {
        "with context": context["corrected"],
        "the same, strict": context["strict"],
        "tasks seen before": agents["agentdojo_same"]["curve"],
        "tasks never seen": agents["agentdojo_disjoint"]["curve"],
    }
    blocks = Axis("blocks of 100 commands since it began", 0, 100, [(0, "0"), (25, "25"), (50, "50"), (100, "100")])
    poison = sea["sea_poison"]["by_block"]
    ramps = {"with an attacker": poison["ramp"], "without": poison["honest"]}
    commands = Axis("commands", 1, 1_000, [(1, "1"), (10, "10"), (100, "100"), (1_000, "1,000")], logarithmic=True)
    first = {f"at least {level}": gate["pack"][level]["reached_by"] for level in ("slow", "guide", "block")}
    return {
        "detection-sea.svg": chart("SEA: masquerades found, by false alarms", rates, shares, ours),
        "detection-agentdojo.svg": chart("AgentDojo: injected calls found", rates, recall, calls),
        "detection-poison.svg": chart("SEA: alarms while poisoning grows", blocks, alarms, ramps),
        "detection-first.svg": chart("SEA: masquerades reached by a verdict", commands, reached, first),
    }


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _with_interval(found: Run, name: str) -> str:
    if name not in found:
        return ""
    between = found.get(f"{name}_ci")
    return _shown(found[name]) + ("" if between is None else f" ({_shown(between[0])} to {_shown(between[1])})")


def _shown(value: Any) -> str:
    """A share in percent, an area with three digits, a count as it is."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "never"}[value]
    if isinstance(value, int) or value > 1:
        return f"{value:g}"
    return f"{100 * value:.1f}%"


def _shown_count(value: float | None) -> str:
    return "never" if value is None else f"{round(value, 1):g}"


if __name__ == "__main__":
    app()
