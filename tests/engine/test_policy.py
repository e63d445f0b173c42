"""Entry policies of the user's own: what they are asked and told under both schedulers; what is refused."""

from __future__ import annotations

import importlib.util
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from strategies import POLICIES

from nodeportsim.engine import simulate as replication
from nodeportsim.engine.codes import CAUSES, SUCCEEDED
from nodeportsim.engine.compiled import kernel
from nodeportsim.engine.policy import policy, policy_of
from nodeportsim.engine.simulate import Engine, Replication, simulate
from nodeportsim.errors import InputError
from nodeportsim.scenario.clients import Backoff, Clients, Connections, Entry, Retry, Timeouts
from nodeportsim.scenario.read import read
from nodeportsim.scenario.spec import Cluster, Event, Run, Scenario, Service
from nodeportsim.study.provenance import scenario_sha256

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

NODES = 5
HEAD = "import math\nfrom nodeportsim import policy\n"
DIES = Event(at_s=1.0, fault="power-off", node="node-2")

engines = pytest.mark.parametrize("engine", ["simpy", "compiled"])


def body(text: str, *, cells: int = 1) -> str:
    """Give a file whose policy `p` has this body, as its line 7."""
    return f"{HEAD}\n\n@policy(cells={cells})\ndef p(memory, nodes, last, u1, u2, now_s):\n    {text}\n"


def told(text: str) -> str:
    """Give what learns by this body."""
    return f"\n@p.learn\ndef ended(memory, nodes, node, took_s, answered, now_s):\n    {text}\n"


def entry(code: str, name: str = "p") -> Entry:
    return Entry(policy="custom", function=f"policies.py:{name}", code=code)


def scenario(asked: Entry, *, events: tuple[Event, ...] = (), **clients: Any) -> Scenario:
    """Ten clients with 200 requests a second, for 4 s."""
    group = {"count": 10, "rate_rps": 200.0, "entry": asked, "timeouts": Timeouts(connect_s=0.25)} | clients
    return Scenario(
        cluster=Cluster(nodes=NODES),
        service=Service(replicas=10),
        clients=(Clients(**group),),
        events=events,
        run=Run(duration_s=4.0),
    )


def counted(code: str, **options: Any) -> Replication:
    return simulate(scenario(entry(code), **options), engine="compiled")


def refusal(code: str, engine: Engine) -> str:
    with pytest.raises(InputError) as caught:
        simulate(scenario(entry(code)), engine=engine)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Keep the memory of every run: clients x nodes x cells."""
    kept: list[Any] = []
    read_counters = replication._read

    def keep(number: int, plane: Any, control: Any) -> Replication:
        memory = np.array(plane.world.memory, float)
        kept.append(memory.reshape(len(plane.world.clients), NODES, -1))
        return read_counters(number, plane, control)

    monkeypatch.setattr(replication, "_read", keep)
    return kept


# -- what is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize("u", ["u1", "u2"])
def test_a_policy_that_draws_evenly_is_random(u: str) -> None:
    """Each node's share is binomial; five nodes within 4.5 standard errors: 3e-5."""
    taken = counted(body(f"return int({u} * nodes)")).nodes[:, 0]
    n, p = taken.sum(), 1 / NODES

    assert n > 700
    assert (abs(taken - n * p) < 4.5 * sqrt(n * p * (1 - p))).all()


def test_the_two_draws_of_an_attempt_are_independent() -> None:
    """Both fall into the same fifth with chance 1/5."""
    taken = counted(body("return int(int(u1 * nodes) == int(u2 * nodes))")).nodes[:, 0]
    n, p = taken.sum(), 1 / NODES

    assert abs(taken[1] - n * p) < 4 * sqrt(n * p * (1 - p))


@engines
@pytest.mark.parametrize("node", [0, NODES - 1])
def test_a_policy_that_always_names_one_node_sends_everything_there(engine: Engine, node: int) -> None:
    result = simulate(scenario(entry(body(f"return {node}"))), engine=engine)

    assert list(result.nodes[:, 0]) == [result.offered * (k == node) for k in range(NODES)]


@engines
def test_a_retry_is_told_its_last_node_and_a_first_attempt_minus_one(engine: Engine) -> None:
    """Nodes 0 and 1 are dead: a policy that counts on from the last one ends at 2, at the third attempt."""
    dead = tuple(Event(at_s=0.0, fault="power-off", node=name) for name in ("node-1", "node-2"))
    result = simulate(
        # Pods stand on dead nodes too: what goes there fails at the third attempt also.
        scenario(entry(body("return last + 1")), events=dead, retry=Retry(attempts=3)),
        engine=engine,
        trace=10_000,
    )
    good = result.trace[result.trace["cause"] == SUCCEEDED]

    assert len(good) > 0
    assert set(good["node"]) == {2}
    assert set(result.trace["attempts"]) == {3}


# -- what is told --------------------------------------------------------------------------------

COUNTS = body("return int(u1 * nodes)", cells=2) + told("memory[2 * node + answered] += 1.0")
TIMES = body("return int(u1 * nodes)", cells=2) + told("memory[2 * node + answered] += took_s")


@engines
@pytest.mark.parametrize("reuse", ["none", "lifo"])
def test_learn_is_told_once_of_every_attempt_that_had_a_connection(
    engine: Engine, reuse: str, remembered: list[Any]
) -> None:
    """Answered: the requests each node served. Unanswered: failed attempts but those that never got one."""
    result = simulate(
        scenario(
            entry(COUNTS),
            events=(DIES,),
            connections=Connections(reuse=reuse, size=2),
            retry=Retry(attempts=2),
            timeouts=Timeouts(connect_s=0.25, request_s=0.5, pool_s=0.1),
        ),
        engine=engine,
    )
    failed, pool = result.attempt_errors.sum(), result.attempt_errors[CAUSES.index("pool_timeout")]
    (memory,) = remembered

    assert (pool > 0) == (reuse == "lifo")
    assert failed > pool
    assert list(memory[:, :, 1].sum(axis=0)) == list(result.nodes[:, 1])
    assert memory[:, :, 0].sum() == failed - pool


@engines
def test_the_memory_of_a_client_is_its_own(engine: Engine, remembered: list[Any]) -> None:
    """Each client's cells count its own requests, whoever else asks meanwhile."""
    result = simulate(scenario(entry(COUNTS)), engine=engine, trace=10_000)
    asked = np.bincount(result.trace["client"], minlength=10)
    (memory,) = remembered

    assert len(set(asked)) > 1
    assert list(memory.sum(axis=(1, 2))) == list(asked)


@engines
def test_an_answer_took_its_latency_and_a_lost_attempt_its_time_out(
    engine: Engine, remembered: list[Any]
) -> None:
    """With a new connection each and no retry, latency is the one attempt's time."""
    result = simulate(scenario(entry(TIMES), events=(DIES,)), engine=engine)
    (memory,) = remembered
    latency_s, lost = result.latency_sum_ns.sum() * 1e-9, result.errors[CAUSES.index("connect_timeout")]

    assert 0 < lost == result.failed
    assert memory[:, :, 1].sum() == pytest.approx(latency_s, abs=1e-9 * result.succeeded)  # Whole ns each.
    assert memory[:, :, 0].sum() == pytest.approx(lost * 0.25)


@pytest.mark.parametrize("name", ["power_of_two", "fastest"])
@pytest.mark.parametrize("reuse", ["none", "lifo"])
def test_both_schedulers_leave_the_same_trace_and_the_same_memory(
    name: str, reuse: str, remembered: list[Any]
) -> None:
    asked = scenario(
        entry(POLICIES, name),
        events=(DIES,),
        connections=Connections(reuse=reuse, size=2),
        retry=Retry(attempts=2, backoff=Backoff(initial_s=0.05)),
    )
    one, other = (simulate(asked, 1, engine=engine, trace=10_000) for engine in ("simpy", "compiled"))

    assert one.attempts > one.offered  # Some were tried again.
    assert one.trace.tobytes() == other.trace.tobytes()
    assert remembered[0].tobytes() == remembered[1].tobytes()


# -- what is refused -----------------------------------------------------------------------------

BOTH = [
    ("return nodes", "names node 5 at 0.", "failed, or named no node of 0 to 4"),
    ("return -1", "names node -1 at 0.", "failed, or named no node of 0 to 4"),
    ("return int(memory[9])", "in line 7: IndexError", "run it with --engine simpy to see where"),
    ("return 1 // (last + 1)", "in line 7: ZeroDivisionError", "failed, or named no node of 0 to 4"),
    ("return 1.7", "'float' object cannot", "names a node that is no whole number: float64"),
    ("return memory[0]", "'float' object cannot", "names a node that is no whole number: float64"),
    ("return None", "'NoneType' object cannot", "names a node that is no whole number: none"),
    ("return nodes[0]", "in line 7: TypeError", "cannot be compiled: line 7: No implementation"),
    ("return unknown", "in line 7: NameError", "cannot be compiled: NameError: name 'unknown'"),
]


@pytest.mark.parametrize(("text", "plain", "compiled"), BOTH)
def test_a_policy_that_fails_is_refused_under_either_engine(text: str, plain: str, compiled: str) -> None:
    code = body(text)

    assert plain in refusal(code, "simpy")
    assert compiled in refusal(code, "compiled")


def test_what_fails_while_learning_is_refused_too() -> None:
    code = body("return 0") + told("memory[9] = 1.0")

    assert "in line 11: IndexError" in refusal(code, "simpy")
    assert "failed, or named no node" in refusal(code, "compiled")


def test_what_cannot_be_compiled_runs_as_python() -> None:
    code = body("return int(str(nodes)[0]) - nodes + len({}) + min([nodes], key=repr) - 1")

    assert simulate(scenario(entry(code)), engine="simpy").nodes[NODES - 1, 0] > 0
    assert "cannot be compiled: line 7: " in refusal(code, "compiled")


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("1 / 0", "entry.function policies.py fails: ZeroDivisionError: division by zero"),
        ("def", "fails: SyntaxError: invalid syntax (policies.py, line 1)"),
        ("import sys; sys.exit()", "fails: SystemExit"),
        ("import nothing_of_that_name", "fails: ModuleNotFoundError"),
        ("def p(): return 0", "policies.py:p has no such policy\n  decorate a function with"),
        (POLICIES, "policies.py:p has no such policy\n  it holds power_of_two, fastest"),
        (body("return 0", cells=-1), "policy p cells must be a whole number that is not negative (got -1)"),
        (HEAD + "policy(1)", "must be a function: write @policy, or @policy(cells=1)"),
    ],
)
def test_a_file_without_the_policy_or_with_a_fault_is_refused(code: str, rule: str) -> None:
    with pytest.raises(InputError) as caught:
        policy_of(entry(code))

    assert rule in str(caught.value)


# -- how it travels ------------------------------------------------------------------------------


def imported(path: Path) -> ModuleType:
    """Import a file as a user's program would."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_policy_from_python_is_the_entry_that_reading_its_file_gives(tmp_path: Path) -> None:
    (tmp_path / "policies.py").write_text(POLICIES)
    (tmp_path / "web.yaml").write_text("clients: {entry: {policy: custom, function: 'policies.py:fastest'}}")

    assert imported(tmp_path / "policies.py").fastest.entry == read(tmp_path / "web.yaml").clients[0].entry


def test_a_policy_typed_at_no_place_has_nothing_to_take_along() -> None:
    scope: dict[str, Any] = {}
    exec(body("return 0"), scope)  # noqa: S102 - as an interpreter's prompt does.

    with pytest.raises(InputError, match="policy p has no source to take along\n  write it into a file"):
        _ = scope["p"].entry


def test_a_script_that_simulates_when_imported_is_told_so(tmp_path: Path) -> None:
    script = body("return 0") + (
        "\nfrom nodeportsim.engine.simulate import simulate\n"
        "from nodeportsim.scenario.clients import Clients\n"
        "from nodeportsim.scenario.spec import Scenario\n"
        "simulate(Scenario(clients=(Clients(entry=p.entry),)), engine='simpy')\n"
    )
    (tmp_path / "study.py").write_text(script)

    with pytest.raises(InputError, match=r"study\.py simulates as soon as it is imported"):
        imported(tmp_path / "study.py")


def test_another_text_of_the_policy_is_another_scenario() -> None:
    one, other = (scenario(entry(body(f"return {node}"))) for node in (0, 1))

    assert scenario_sha256(one) == scenario_sha256(scenario(entry(body("return 0"))))
    assert scenario_sha256(one) != scenario_sha256(other)


def test_a_new_policy_leaves_the_compiled_kernel_as_it_is() -> None:
    counted(body("return 0"))
    before = (len(kernel.advance.nopython_signatures), kernel.advance.stats)
    counted(body("return int(now_s) % nodes", cells=3) + told("memory[3 * node] = now_s"))

    assert (len(kernel.advance.nopython_signatures), kernel.advance.stats) == before


def test_a_policy_without_cells_needs_no_brackets() -> None:
    def here(*_: float) -> int:
        return 0

    assert policy(here).choose is policy()(here).choose is here
    assert policy(here).cells == 0
