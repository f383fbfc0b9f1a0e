"""The swap scenario: versions change places again and again under a steady load, and every answer is looked at."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from loadtest.admin import Gateway, Ledger, Operator, OperatorError, Rollout
from loadtest.arrivals import poisson_arrivals
from loadtest.known_answers import KnownAnswers
from loadtest.open_loop import WRONG, Fate, OpenLoop, Target
from loadtest.swap_report import Observed, Swap, SwapReport, find_ledger_fault, make_report

LEDGER_TIMEOUT_S = 10.0
FOLLOW_TIMEOUT_S = 5.0
_PAUSE_S = 0.2


@dataclass(frozen=True)
class SwapPlan:
    """What is done: `promotes` promotes to that of two versions that is not live, each after a rest of `gap_s`.

    `keep` is how many other versions each promote leaves loaded, `last_keep`, unless None, the last one. The load
    begins `lead_s` before the first swap.
    """

    versions: tuple[int, int]
    rate_per_s: float
    promotes: int
    keep: int = 0
    last_keep: int | None = None
    is_rolled_back: bool = False
    lead_s: float = 4.0
    gap_s: float = 1.0
    seed: int = 0
    swap_timeout_s: float = 300.0

    @property
    def swaps(self) -> int:
        return self.promotes * (2 if self.is_rolled_back else 1)

    def keep_of(self, number: int) -> int:
        """How many others the swap of that number, counted from 0, leaves loaded."""
        is_last = number == self.swaps - 1
        return self.last_keep if is_last and self.last_keep is not None else self.keep


Say = Callable[[str], None]


class SwapRun:
    """One run of a plan. `say` gets a line of progress a swap. Nobody else may ask this model meanwhile.

    `observed` is what the report was made of, once there is one.
    """

    def __init__(self, plan: SwapPlan, gateway: Gateway, target: Target, known: KnownAnswers, say: Say) -> None:
        self._plan = plan
        self._operator = Operator(gateway, target.model, plan.swap_timeout_s)
        self._load = OpenLoop(target, known, run_name=f"swaps-{secrets.token_hex(4)}")
        self._say = say
        self._swaps: list[Swap] = []
        self.observed: Observed | None = None

    async def run(self, interrupted: asyncio.Event | None = None) -> SwapReport:
        """Run the plan, or what of it comes before `interrupted` is set. Raises OperatorError before any load."""
        interrupted = interrupted or asyncio.Event()
        clock = asyncio.get_running_loop().time
        async with self._operator:
            shown = await self._operator.show()
            missing = set(self._plan.versions) - set(shown.ledgers)
            if missing:
                raise OperatorError(f"versions {sorted(missing)} are not published, only {sorted(shown.ledgers)}")
            self._say(f"version {shown.live} is live; {self._plan.rate_per_s:g} requests a second from now on")
            started_at = clock()
            await self._swap_under_load(interrupted)
            after = await self._read_settled(shown.ledgers)
        self.observed = Observed(
            started_at, self._load.outcomes, self._swaps, shown.ledgers, after, interrupted.is_set()
        )
        return make_report(self.observed)

    async def _swap_under_load(self, interrupted: asyncio.Event) -> None:
        stop = asyncio.Event()
        arrivals = poisson_arrivals(self._plan.rate_per_s, self._plan.seed)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._load.run(arrivals, stop))
            swapping = group.create_task(self._swap_all())
            waiting = group.create_task(interrupted.wait())
            await asyncio.wait({swapping, waiting}, return_when=asyncio.FIRST_COMPLETED)
            swapping.cancel()
            waiting.cancel()
            stop.set()
            self._say(f"the load ends; waiting for {self._load.outstanding} answers")

    async def _swap_all(self) -> None:
        await asyncio.sleep(self._plan.lead_s)
        for _ in range(self._plan.promotes):
            await self._swap("promote")
            if self._plan.is_rolled_back:
                await asyncio.sleep(self._plan.gap_s)
                await self._swap("rollback")
            await asyncio.sleep(self._plan.gap_s)

    async def _swap(self, kind: str) -> None:
        clock = asyncio.get_running_loop().time
        started_at = clock()
        live = version = 0
        phases: dict[str, float] = {}
        fault = "interrupted"
        try:
            live = (await self._operator.show()).live
            version = self._other(live)
            started_at = clock()
            phases = (await self._change(kind, version)).phases
            ended_at = clock()
            fault = await self._find_fault(version)
        except OperatorError as error:
            ended_at, fault = clock(), str(error)
        except asyncio.CancelledError:
            ended_at = clock()
            raise
        finally:
            self._end(Swap(kind, live, version, started_at, ended_at, fault, phases))

    async def _change(self, kind: str, version: int) -> Rollout:
        keep = self._plan.keep_of(len(self._swaps))
        if kind == "promote":
            return await self._operator.promote(version, keep)
        return await self._operator.roll_back(keep)

    async def _find_fault(self, version: int) -> str:
        """Whether the gateway did what it says. Another of its processes may be asked, and follow a moment later; what
        that one answers meanwhile is counted as stale."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + FOLLOW_TIMEOUT_S
        while (live := (await self._operator.show()).live) != version:
            if clock() > deadline:
                return f"version {live} is live {FOLLOW_TIMEOUT_S:g} s later, expected {version}"
            await asyncio.sleep(_PAUSE_S)
        return ""

    def _other(self, live: int) -> int:
        """The version to go to; a rollback must lead back there too, since only these two take turns."""
        first, second = self._plan.versions
        return second if live == first else first

    def _end(self, swap: Swap) -> None:
        self._swaps.append(swap)
        counts = self._load.counts
        kinds = (Fate.FAILED, Fate.LOST, Fate.NOT_SENT, WRONG)
        self._say(
            f"{len(self._swaps)}/{self._plan.swaps} {swap.kind} {swap.from_version} to {swap.version}: "
            f"{swap.fault or 'done'} in {swap.ended_at - swap.started_at:.2f} s; "
            f"{len(self._load.outcomes)} requests, {', '.join(f'{counts[kind]} {kind}' for kind in kinds)}"
        )

    async def _read_settled(self, before: dict[int, Ledger]) -> dict[int, Ledger]:
        """The ledgers once they agree with our count, at the latest after LEDGER_TIMEOUT_S: the last answers may be
        entered after they have arrived."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + LEDGER_TIMEOUT_S
        while True:
            try:
                after = (await self._operator.show()).ledgers
            except OperatorError as error:
                self._say(str(error))
                after = {}
            if not find_ledger_fault(before, after, self._load.outcomes) or clock() > deadline:
                return after
            await asyncio.sleep(_PAUSE_S)
