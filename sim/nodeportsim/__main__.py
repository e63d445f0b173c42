"""``python -m nodeportsim`` is ``nodeportsim``."""

from nodeportsim.cli import main

main(prog_name="nodeportsim")
