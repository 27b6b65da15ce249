"""Proving a run exact, without I/O: what the input must come to (`fold`), what was written (`outputs`), the verdict.

`expected` is what the fold is told and says, `partition`, `states` and `model` compare, `report` is what they find.
"""
