"""Results of load-test tools to parameters of a scenario, with intervals and what they do not tell."""

from nodeportsim.calibrate.loadtests.estimates import estimates
from nodeportsim.calibrate.loadtests.read import detect, read_sample
from nodeportsim.calibrate.loadtests.sample import Sample

__all__ = ["Sample", "detect", "estimates", "read_sample"]
