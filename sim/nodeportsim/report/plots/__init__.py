"""The figures, a module per kind of question.

Each figure is three pure functions: `frames` picks its tidy tables out of a run (none where the run does
not carry them), `text` makes title, caption and alternative text from the numbers of these tables, and
`draw` draws from the tables alone, so that the CSV files written beside a figure are all it takes to draw
it again.
"""
