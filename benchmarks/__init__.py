"""How fast the helpers are, beside the textbook's way and other libraries: `make bench`.

One module a table; each returns rows, which `report` prints and `results.json` keeps. The clock is
in `timing`, what is timed in `textbook`, `peers` and the tables themselves, what is to be reached
in `targets`.
"""
