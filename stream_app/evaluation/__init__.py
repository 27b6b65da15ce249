"""`stream-app evaluate`: how good are the models on a shop's own history, measured so that a sceptic may believe it.

**One pass, the very same core.** Files are read in the order of their event times and go through
`core.processor.PartitionProcessor`, one partition, as they would live: each record is stamped with its own event time,
so the watermark, the sessions, the features and the moment at which an outcome is known are those of a shop on that
day. Online models learn through `core.learner.Learner` and score through `core.model.IntentModel`, as the trainer and
the scorers do. Features do not depend on a model, so events are folded once, and all models are beside each other on
the same rows.

**No label before its time.** History is cut into *ticks* of `freshness_ms` of event time. A tick's events are scored by
the models as they were before it; then what it resolved (a checkout, or a session whose gap has passed) is learned.
A label is therefore used by the tick after the one in which it came to be known, never earlier. What is left open at
the end of the history has no label and is left out, and so is everything scored in the last gap before the end, where
checkouts would be known and their absence would not.

**Test, then learn.** Rows scored in the burn-in (the first fifth) are not judged. The rest is cut into *folds*. At each
fold's start, batch models are fitted to everything whose label is known by then, and thresholds for F1 are fixed on the
past; every row of the fold is then scored before its label is known, by everyone. So one pass gives the prequential
figures (all folds), a temporal cross-validation with expanding training sets (fold by fold), and, with one fold that
begins at a date, a plain train/test split. An online model that goes on learning has its *frozen* twin there, whose
classifier stays as it was at the fold's start.

**The same matrix for batch models.** They are fitted and tested on the inputs that the online classifiers see: the
features, and the priors as they were counted when the event was scored. Their settings are chosen on the last fifth of
their training rows, by log-loss. They learn each row once, as online models do.

**What a row stands for.** The rows are the examples that the product learns from: at most K of an episode (the
reservoir of `core.outcomes`), each with weight n/K. Weighted figures are those of all scored events, without bias; the
price is some variance from sessions longer than K, which the intervals contain. A larger reservoir (`--reservoir-size`)
would change what is learned, so that what is measured would not be what is served.

**Intervals** come from a Poisson bootstrap of *sessions*: all rows of a session are drawn together, and all models see
the same draw, so that the difference of two models has an interval of its own.

**Memory does not grow with the file.** A file out of order is sorted on disk; visitors' states that are not in use lie
on disk; results are appended to columns on disk and read back in chunks; what batch models are fitted to is a sample of
whole sessions with a stated bound. What is in memory grows with the sessions that are open at one time, the catalogue's
priors (bounded in the core) and the models.
"""
