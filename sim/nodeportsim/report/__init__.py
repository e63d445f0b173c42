"""Tables in, words and pictures out: terminal table, CSV, Markdown, figures, one offline page."""
