"""What a visit has looked at, as far as events show it, and how likely each intent was to look there."""

from __future__ import annotations

from typing import Final

from producers.synthetic.likelihood import Factor, Likelihood

_TURNS_TO_CATEGORY: Final = ("search", "view_item_list")


class Looking:
    """Keeps the same memory as the shop's own `Visit`. Numbers of categories and items; −1 is none yet."""

    __slots__ = ("_category", "_item", "_seen", "_selected")

    def __init__(self) -> None:
        self._category = -1
        self._item = -1
        self._selected = False
        self._seen: set[int] = set()

    def at(self, likelihood: Likelihood, event_type: str, *, category: int, item: int) -> Factor | float:
        """Take in where an event looks; how likely each intent is to look there, 1 where none has a choice."""
        selected, self._selected = self._selected, event_type == "select_item"
        if event_type in _TURNS_TO_CATEGORY:
            return self._turn_to_category(likelihood, category)
        if event_type == "view_item" and selected:
            return 1.0
        if event_type in ("select_item", "view_item") or (event_type == "add_to_cart" and self._item < 0):
            return self._turn_to_item(likelihood, category, item)
        return 1.0

    def _turn_to_item(self, likelihood: Likelihood, category: int, item: int) -> Factor:
        factor: Factor = self._turn_to_category(likelihood, category) * likelihood.items[item]
        if self._seen:
            again = likelihood.revisit / len(self._seen) if item in self._seen else 0.0
            factor = again + (1.0 - likelihood.revisit) * factor
        self._item = item
        self._seen.add(item)
        return factor

    def _turn_to_category(self, likelihood: Likelihood, category: int) -> Factor:
        chances: Factor = likelihood.categories[category]
        if self._category >= 0:
            chances = likelihood.stay * (category == self._category) + (1.0 - likelihood.stay) * chances
        self._category = category
        return chances
