"""The command line: what people type, what they read, and what scripts may rely on.

Exit codes: 0 fine, 1 a threshold or a verification failed, 2 the input is not usable (a file, an option, a
folder that cannot be written), 3 a bug of ours, 130 interrupted, 141 the reader of our output went away.
Data goes to stdout, everything else to stderr, progress only to a terminal. Tracebacks need ``--debug``.

Whatever takes long to import is imported inside the command that needs it: ``--help`` takes a moment only.
"""

from __future__ import annotations

import rich_click as click

from nodeportsim.cli.answers import check, experiment, run
from nodeportsim.cli.compare import compare
from nodeportsim.cli.diagnose import diagnose
from nodeportsim.cli.explain import explain
from nodeportsim.cli.fitting import calibrate
from nodeportsim.cli.importing import import_
from nodeportsim.cli.incidents import incidents
from nodeportsim.cli.looks import list_, ports, schema
from nodeportsim.cli.measuring import measure
from nodeportsim.cli.plumbing import Commands, debug
from nodeportsim.cli.sensitivity import sensitivity
from nodeportsim.cli.sizing import capacity, size
from nodeportsim.cli.sweeps import sweep
from nodeportsim.cli.validate import validate
from nodeportsim.cli.verifying import runs, verify


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nodeportsim")
@debug
def main() -> None:
    """Simulate the traffic that enters a Kubernetes cluster through a NodePort."""


for command in (
    run,
    check,
    compare,
    size,
    capacity,
    import_,
    experiment,
    sweep,
    sensitivity,
    incidents,
    diagnose,
    measure,
    calibrate,
    validate,
    ports,
    explain,
    verify,
    runs,
    list_,
    schema,
):
    main.add_command(command)
