"""Makes what a workshop needs from the notebooks: ``python -m workshop``, or ``make workshop``.

Built in floors; a module imports only from floors below its own, or from further left on its own:

0. anatomy, archive, captions, excerpts, html: the parts of a notebook; zips that repeat byte by
   byte; the words for figures; code that fits on a slide; pages
1. plans, notes, carry, wording, welcome, browser: what a plan keeps and for how long; the
   teacher's notes; what kept cells need from those left out; what a copy says about them; what is
   projected before the first section; Chromium
2. copies, slides, sheets, schedules, run_times: what is written
"""
