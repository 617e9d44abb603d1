"""One run of a command-line agent: its output read, its turns and its money watched."""

from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping

from paceline.tools.cost import cost
from paceline.tools.definition import Definition
from paceline.tools.events import Event, Log, SessionStarted
from paceline.tools.judging import Ended
from paceline.tools.process import Ending, Line, ProcessSpec, child_process
from paceline.tools.reading import Reader
from paceline.tools.wishes import Wishes

STDERR_LINES = 60
"""So much of the end of standard error is kept, to tell why a run failed."""

STDERR_LINE_LENGTH = 1000


class ProgramRun:
    """One run: reads the child to its end, and stops it when it has had its turns or its money."""

    def __init__(
        self, definition: Definition, terms: Wishes, prices: Mapping[str, Mapping[str, float]]
    ) -> None:
        self.reader = Reader(definition)
        self.exit_code: int | None = None
        self._definition = definition
        self._terms = terms
        self._prices = prices
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._stopped = ("", "")
        self._session = ""

    async def events(self, spec: ProcessSpec) -> AsyncGenerator[Event, None]:
        """Give the run's events; everything of the child is gone when this ends."""
        async with child_process(spec) as child:
            async for line in child:
                for event in self._line(line):
                    yield event
                if self._over():
                    break
            else:
                self._note(child.ending, spec)
        for event in self.reader.end():
            yield event
        self.exit_code = child.exit_code
        if child.dropped_bytes:
            yield Log("tool", f"{child.dropped_bytes} bytes of output were not kept")

    def _line(self, line: Line) -> Iterator[Event]:
        if line.stream == "stdout":
            yield from self.reader.line(line.text)
            yield from self._session_told()
        else:
            self._stderr.append(line.text[:STDERR_LINE_LENGTH])
            yield Log("stderr", line.text)

    def _session_told(self) -> Iterator[Event]:
        """Give the session's name once it is known, of a program whose sessions go on."""
        session = self.reader.findings.session
        if self._definition.session_resumes and session != self._session:
            self._session = session
            yield SessionStarted(session)

    def _over(self) -> bool:
        """Answer whether the agent has used up what it was given."""
        findings, terms = self.reader.findings, self._terms
        if findings.finished and not self._definition_goes_on():
            return False
        if findings.calls > terms.max_turns:
            self._stopped = ("max_turns", f"it had its {terms.max_turns} turns (max_turns)")
        elif terms.budget_usd is not None:
            usd, _ = cost(
                findings.usage,
                model=next(iter(self._prices), ""),
                prices=self._prices,
                reported_usd=findings.reported_usd,
                believed=True,
            )
            if usd is not None and usd > terms.budget_usd:
                words = f"it cost {usd:.4f} USD, more than its budget of {terms.budget_usd:g} USD"
                self._stopped = ("budget_usd", words)
        return bool(self._stopped[0])

    def _definition_goes_on(self) -> bool:
        """Answer whether several final events may come (one per step)."""
        return any(rule.final and rule.add for rule in self._definition.events)

    def _note(self, ending: Ending, spec: ProcessSpec) -> None:
        if ending is Ending.TIMEOUT:
            self._stopped = ("timeout", f"it ran for longer than {spec.timeout_s:g} s")
        elif ending is Ending.IDLE:
            self._stopped = ("idle", f"it said nothing for {spec.idle_timeout_s:g} s")
        elif ending is Ending.MEMORY:
            limit = spec.memory_limit_bytes / 1024**2
            self._stopped = ("memory", f"its processes had more than {limit:.0f} MiB of memory")

    def ended(self, changed: bool | None) -> Ended:
        """Answer everything that the judgement needs."""
        return Ended(
            findings=self.reader.findings,
            exit_code=self.exit_code,
            stderr="\n".join(self._stderr),
            stopped=self._stopped[0],
            stopped_words=self._stopped[1],
            permission=self._terms.permission,
            changed=changed,
        )
