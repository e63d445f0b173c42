"""A scenario in real life: clients, rules and pods of one machine do what is predicted (docs/live.md)."""
