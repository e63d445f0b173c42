"""Discrete-event engine: the steps once, two schedulers, the control plane as SimPy processes."""
