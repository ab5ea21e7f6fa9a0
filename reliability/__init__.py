"""Long runs that show how far the course can be relied on: what is tried, how often, what came out.

``python -m reliability VERB`` runs one of them. Each writes a record into ``records/``, and
``python -m reliability report`` puts the tables and numbers of the records into the page
``docs/reliability.md``. They are run from a checkout; the course itself never imports them.
"""
