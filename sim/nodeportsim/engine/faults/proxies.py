"""Faults of a node's kube-proxy: gone, restarted, hung, late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .script import repaired

if TYPE_CHECKING:
    from nodeportsim.engine.control import Control, Process
    from nodeportsim.scenario.events import Event


def proxy_stop(control: Control, n: int, event: Event, _number: int) -> Process:
    """Stop kube-proxy: the rules stay as they are, unless they are flushed."""
    _stop(control, n, event)
    yield from repaired(control, event)
    _start(control, n)


def proxy_restart(control: Control, n: int, event: Event, _number: int) -> Process:
    """Stop kube-proxy and start it again, at once unless it is said how long that takes."""
    _stop(control, n, event)
    yield from repaired(control, event if event.for_s else event.model_copy(update={"for_s": 0.0}))
    _start(control, n)


def _stop(control: Control, n: int, event: Event) -> None:
    control.proxies[n].stopped += 1
    control.proxies[n].end()
    if event.flush:
        control.flush(n)
    control.disturb([])


def _start(control: Control, n: int) -> None:
    """Start the process: it lists everything and writes it, whether it has changed or not."""
    control.proxies[n].stopped -= 1
    control.resync(n, "restart")


def proxy_hang(control: Control, n: int, event: Event, _number: int) -> Process:
    """kube-proxy hears of changes and never writes them, until somebody restarts it."""
    control.proxies[n].hung += 1
    control.disturb([])
    yield from repaired(control, event)
    control.proxies[n].hung -= 1
    control.proxies[n].end()
    control.resync(n, "restart")


def proxy_lag(control: Control, n: int, event: Event, _number: int) -> Process:
    """Every sync of the node begins later by a delay."""
    delay_s = event.delay_s or 0.0
    control.proxies[n].lags_s.append(delay_s)
    control.disturb([])
    yield from repaired(control, event)
    control.proxies[n].lags_s.remove(delay_s)
