"""The engine: plan, forward, sweep, decide, and where it runs."""
