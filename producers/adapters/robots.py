"""User agents of robots that say they are one: crawlers, previews, headless browsers, monitors.

Only of what runs the scripts of a page, for nothing else comes into a clickstream by itself. HTTP libraries are left
out on purpose, although lists of robots have them: python-requests and okhttp in an event are the shop's own server
that tells a purchase, and the shop's own app, and to learn nothing of those would be worse than any robot. The words
are ours; which agents there are is known from the lists of monperrus/crawler-user-agents, omrilotan/isbot and Matomo's
device-detector. A robot that says it is a person is not found here (see `session.py` in the core).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

#: What is looked at of a user agent. The longest honest ones, of apps within apps, have some 500 characters.
_LENGTH_MAX: Final = 512

#: A site sees a few thousand different user agents a day; 4,096 of the longest take 3 MB.
_KEPT: Final = 4_096

#: Each is looked for anywhere, case ignored. No two quantifiers in a row, so that no text makes it slow.
_SIGNS: Final = (
    # what they call themselves; Cubot makes telephones, iRobot cleaners and Talbots clothes, and have apps
    r"(?<!cu)(?<!tal)(?<!iro)bots?(?![a-z])",
    "(?<!i)robot",
    "crawl",
    "spider",
    "slurp",
    # the page that explains what they are: browsers have none
    r"\+https?://",
    # of the great ones that call themselves something else
    "googleother",
    "google-(?:inspectiontool|read-aloud|pagerenderer|extended|safety|notebooklm)",
    "mediapartners-google",
    "apis-google",
    "feedfetcher",
    "bingpreview",
    "facebookexternalhit",
    "facebookcatalog",
    "meta-external",
    "bytespider",
    "ia_archiver",
    "archive\\.org",
    "heritrix",
    "(?:chatgpt|perplexity|claude|mistralai|duckassist)-user",
    "anthropic-ai",
    "cohere-ai",
    "diffbot",
    "screaming frog",
    "siteimprove",
    "sitebulb",
    # link previews
    "skypeuripreview",
    "vkshare",
    "w3c_validator",
    # headless browsers, and what drives them
    "headless",
    "phantomjs",
    "slimerjs",
    "puppeteer",
    "playwright",
    "selenium",
    "webdriver",
    "cypress",
    "prerender",
    "rendertron",
    "splash/",
    "jsdom",
    # monitors
    "lighthouse",
    "pagespeed",
    r"\bptst/",
    "pingdom",
    "gtmetrix",
    "statuscake",
    "site24x7",
    "uptime",
    "datadogsynthetics",
    "ruxitsynthetic",
    "newrelicsynthetic",
    "catchpoint",
    "speedcurve",
    "checkly",
    "synthetic",
)

_SIGN: Final = re.compile("|".join(_SIGNS), re.IGNORECASE | re.ASCII)


def declares_robot(user_agent: str) -> bool:
    """Whether whoever calls itself so says that it is no person's browser or app."""
    return _declares(user_agent[:_LENGTH_MAX])


@lru_cache(maxsize=_KEPT)
def _declares(user_agent: str) -> bool:
    return _SIGN.search(user_agent) is not None
