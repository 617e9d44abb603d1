"""What the nodes' reports, put together, mean for the cluster. Pure."""

from collections.abc import Sequence
from itertools import combinations
from typing import Final

from paceline.node.doctor.finding import Finding, ok, problem, warning
from paceline.node.doctor.report import Answer, Reach, Report, ToolReport, Way

CLOCK_WARNING_MS: Final = 2_000.0
STATE_AHEAD_MS: Final = 60_000
SLOW_CONNECT_MS: Final = 200.0
LOW_BYTES: Final = 2 * 1024**3


def judge(answers: Sequence[Answer]) -> list[Finding]:
    """Answer the findings of a cluster, from what asking each member gave."""
    reports = [each.report for each in answers if each.report is not None]
    names = {each.node_id: each.name for each in answers}
    return [
        *_silent(answers),
        *_ways(reports, names),
        *_clocks(answers),
        *_versions(reports),
        *_tools(reports),
        *_isolation(reports),
        *_disks(reports),
    ]


def _silent(answers: Sequence[Answer]) -> list[Finding]:
    return [
        problem(
            "nodes",
            f"does not answer: {each.error}",
            "start it, or see what is between the machines; one that is gone for good: "
            f"`paceline revoke {each.name}`",
            subject=each.name,
        )
        for each in answers
        if each.report is None
    ]


# --- ways -----------------------------------------------------------------------------------------


def _ways(reports: Sequence[Report], names: dict[str, str]) -> list[Finding]:
    answered = {each.node_id for each in reports}
    found, count, slowest = [], 0, 0.0
    for report in reports:
        for way in report.ways:
            if way.to not in answered:
                continue  # said once already, of the node itself
            count += 1
            subject = f"{report.name} -> {names.get(way.to, way.to)}"
            finding = _way(way, subject)
            if finding is not None:
                found.append(finding)
            times = [each.connect_ms or 0.0 for each in (way.control, way.bulk)]
            slowest = max(slowest, *times)
    if count and not found:
        text = f"all {count} ways between nodes are open (slowest connect {slowest:.0f} ms)"
        found.append(ok("reach", text))
    return found


def _way(way: Way, subject: str) -> Finding | None:
    for lane, reach in (("control", way.control), ("bulk", way.bulk)):
        if reach.connect_ms is None:
            return problem("reach", _closed(lane, reach), _advice(reach), subject=subject)
    if not way.up:
        refused = f"; its key was refused {way.refusals} times" if way.refusals else ""
        return problem(
            "reach",
            f"the port is open, but there is no connection{refused}",
            "see the log of both nodes; after a change of members this mends itself in seconds",
            subject=subject,
        )
    slowest = max(way.control.connect_ms or 0.0, way.bulk.connect_ms or 0.0)
    if slowest > SLOW_CONNECT_MS:
        return warning(
            "reach",
            f"connecting takes {slowest:.0f} ms",
            "commits wait for the network: see to Wi-Fi or VPN",
            subject=subject,
        )
    return None


def _closed(lane: str, reach: Reach) -> str:
    return f"the {lane} port cannot be reached at {reach.address}: {reach.error}"


def _advice(reach: Reach) -> str:
    if reach.error == "refused":
        return "nothing listens there: is the node running, and with the same --port?"
    if reach.error == "no answer":
        port = reach.address.rpartition(":")[2]
        return f"a firewall drops it, or the address is out of date: let TCP port {port} pass there"
    return "there is no way to that address: see to the network between the machines"


# --- clocks ---------------------------------------------------------------------------------------


def _clocks(answers: Sequence[Answer]) -> list[Finding]:
    known = [(each, each.offset_ms) for each in answers if each.offset_ms is not None]
    found = []
    for (one, one_ms), (other, other_ms) in combinations(known, 2):
        apart_ms = abs(one_ms - other_ms)
        if apart_ms > CLOCK_WARNING_MS:
            ahead = one if one_ms > other_ms else other
            found.append(
                warning(
                    "clock",
                    f"{apart_ms / 1000:.1f} s apart; {ahead.name} is ahead",
                    "let both keep their time by NTP (`timedatectl set-ntp true`)",
                    subject=f"{one.name}, {other.name}",
                )
            )
    if len(known) > 1 and not found:
        offsets = [offset_ms for _, offset_ms in known]
        found.append(ok("clock", f"at most {max(offsets) - min(offsets):.0f} ms apart"))
    return [*found, *_state_times(answers)]


def _state_times(answers: Sequence[Answer]) -> list[Finding]:
    reports = [each.report for each in answers if each.report is not None]
    return [
        warning(
            "clock",
            f"the cluster's own time is {report.state_ahead_ms / 1000:.0f} s ahead of the clock",
            "a leader's clock was wrong; times in the records stand still until clocks catch up",
            subject=report.name,
        )
        for report in reports
        if report.state_ahead_ms > STATE_AHEAD_MS
    ]


# --- software and machines ------------------------------------------------------------------------


def _versions(reports: Sequence[Report]) -> list[Finding]:
    if not reports:
        return []
    found = []
    for part in ("paceline", "levels"):
        by_version: dict[str, list[str]] = {}
        for report in reports:
            by_version.setdefault(report.versions.get(part, "?"), []).append(report.name)
        if len(by_version) > 1:
            said = "; ".join(f"{each} on {', '.join(names)}" for each, names in by_version.items())
            found.append(_mixed(part, said))
    return found or [ok("versions", f"paceline {reports[0].versions.get('paceline')} everywhere")]


def _mixed(part: str, said: str) -> Finding:
    if part == "levels":
        text = f"format levels differ: {said}; what is new is refused until all are updated"
        return warning("versions", text, "update the older machines, one after the other")
    return warning("versions", f"mixed: {said}", "update the older machines, one after the other")


def _tools(reports: Sequence[Report]) -> list[Finding]:
    return [finding for report in reports for finding in _tools_of(report)]


def _tools_of(report: Report) -> list[Finding]:
    """Answer a node's tools. One that is not installed is no fault; one that fails may be."""
    healthy = [f"{each.name} {each.version}".strip() for each in report.tools if each.healthy]
    absent = [each.name for each in report.tools if _absent(each)]
    aside = f" (not installed: {', '.join(absent)})" if absent else ""
    if healthy:
        found = [ok("tools", ", ".join(healthy) + aside, subject=report.name)]
    else:
        advice = "install an agent there, or start the node with --slots 0"
        found = [warning("tools", f"no tool can be used{aside}", advice, subject=report.name)]
    return found + [
        warning(
            "tools",
            f"{each.name} cannot be used: {each.reason}",
            "mend that, if this node is to use it",
            subject=report.name,
        )
        for each in report.tools
        if not each.healthy and not _absent(each)
    ]


def _absent(tool: ToolReport) -> bool:
    return not tool.healthy and "not installed" in tool.reason


def _isolation(reports: Sequence[Report]) -> list[Finding]:
    """Answer where agents work without a sandbox, or how they are kept apart everywhere."""
    told = [each for each in reports if each.isolation]
    open_doors = [each for each in told if each.no_sandbox]
    if told and not open_doors:
        kinds = ", ".join(sorted({each.isolation for each in told}))
        return [ok("isolation", f"agents are kept apart by {kinds}")]
    return [
        warning(
            "isolation",
            f"agents can read what the node's user can ({each.isolation} only): {each.no_sandbox}",
            "install bubblewrap (`apt install bubblewrap`) and start the node again",
            subject=each.name,
        )
        for each in open_doors
    ]


def _disks(reports: Sequence[Report]) -> list[Finding]:
    return [
        warning(
            "disk",
            f"{report.disk_free_bytes / 1024**3:.1f} GiB free",
            "make room before work fills the disk",
            subject=report.name,
        )
        for report in reports
        if report.disk_free_bytes < LOW_BYTES
    ]
