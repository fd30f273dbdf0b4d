"""The report of a search, as data and as a page."""
