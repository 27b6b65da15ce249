"""What is to be foreseen: a purchase, or that something is put into the cart or bought.

For `cart-or-purchase` the stream itself is changed before the core sees it: putting something into the cart counts as
the checkout. All that follows is then the core's own: the outcome is known at the cart, the episode ends there, what
comes after it is asked anew whether it will fill the cart (again) or buy, and no feature tells of a cart before it.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from stream_app.core.events import Event

Target = Literal["purchase", "cart-or-purchase"]
TARGETS: Final[tuple[Target, ...]] = get_args(Target)


def as_target(event: Event, target: Target) -> Event:
    """The event as it counts for the target."""
    if target == "cart-or-purchase" and event.event_type == "add_to_cart":
        return msgspec.structs.replace(event, event_type="purchase")
    return event
