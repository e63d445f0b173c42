"""``python -m nodeportsim.calibrate.shipped``."""

from nodeportsim.calibrate.shipped.build import main

main()
