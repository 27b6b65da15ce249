"""A history as one page that opens without a network: `stream-app report`.

    files → block_files → Gathering (all of `analytics`, one pass) → Figures → one HTML file, one JSON file

`gathering.py` feeds every analysis together, so that a history is read once and memory does not grow with it.
`figures/` turns what they have found into plain values with a documented shape (`schema.py`): that is the JSON, and the
page knows nothing else. `pages/` says it in words, tables and plots. `measuring.py` adds `stream_app.evaluation`.

What must not live here: anything that is worked out. A figure that is wrong on the page is wrong in `analytics`.
"""
