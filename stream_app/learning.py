"""A learner as the settings want it: for the trainer, and for whoever repeats what it did."""

from __future__ import annotations

from stream_app.core.bands import Bands, BandThresholds, Offer
from stream_app.core.learner import Learner
from stream_app.settings import Settings


def new_learner(settings: Settings) -> Learner:
    """One that has learned nothing. Raises ValueError for a model that is not in the zoo."""
    return Learner(
        settings.models,
        base_rate=settings.base_rate,
        hold_ms=settings.label_hold_ms,
        window=settings.champion_window,
        bands=BandThresholds(
            settings.band_rule,
            Bands(settings.band_fence_min, settings.band_likely_min),
            Offer(settings.offer_margin, settings.offer_discount, settings.offer_effect, settings.offer_cost),
        ),
    )
