"""The grammar of the synthetic reviews: questions about small places, and answers of one to four sentences.

An answer mixes glad and gloomy opinions, scenes for the senses and plain facts, each in long and short forms. The words
that decide an objective stand in the three sets below, so that scoring an answer is counting.
"""

from __future__ import annotations

import itertools
import random
import re
from typing import Literal

WORDS = re.compile(r"\w+")
MARKS = re.compile(r"\w+|[^\w\s]")
"""The tokens of a text: words and marks."""

GLAD = frozenset(
    WORDS.findall("""
    lovely wonderful delightful charming perfect great kind friendly happy cheerful glad gladly loved enjoyed laughed
    smiled best joy
    """)
)
GLOOMY = frozenset(
    WORDS.findall("""
    dull gloomy dreary terrible boring sad rude grumpy unfriendly tired hated regret worst sighed frowned never
    disappointing
    """)
)
SENSORY = frozenset(
    WORDS.findall("""
    golden silver amber grey pale dark bright crimson blue green warm cold cool hot soft rough smooth velvet sticky
    crisp sweet bitter salty smoky spicy glowing gleaming steaming crackling humming whispering rustling echoing
    cinnamon salt pine smoke lemon lavender honey moss rain mist leaves bells shadows thunder smell smelled glowed
    gleamed shimmered hummed rustled echoed drifted curled tapped
    """)
)

PLACES: dict[str, dict[str, str]] = {
    "cafe": {
        "coffee": "dark hot smoky steaming",
        "cake": "golden sticky sweet soft",
        "terrace": "cool bright green warm",
    },
    "bakery": {
        "bread": "crisp golden warm soft",
        "pie": "sticky spicy steaming sweet",
        "oven": "glowing hot smoky amber",
    },
    "inn": {
        "soup": "spicy steaming hot salty",
        "fire": "crackling amber warm bright",
        "bed": "soft velvet cool smooth",
    },
    "market": {
        "fruit": "crimson sweet sticky bright",
        "cheese": "salty smooth pale bitter",
        "fish": "silver cold salty smoky",
    },
    "garden": {
        "path": "green cool rustling soft",
        "pond": "silver dark gleaming cold",
        "hedge": "green rough rustling dark",
    },
    "beach": {
        "sand": "pale warm golden rough",
        "water": "blue cold gleaming salty",
        "shore": "whispering salty cool pale",
    },
    "museum": {
        "hall": "echoing pale cold dark",
        "clock": "humming golden amber gleaming",
        "statue": "smooth pale cold grey",
    },
    "library": {
        "room": "whispering warm dark echoing",
        "lamp": "amber glowing humming bright",
        "chair": "velvet soft smooth crimson",
    },
}
"""Places, what one finds there, and how that may look, sound, smell, taste or feel."""
QUESTIONS = (
    "Tell me about the {old} {harbour} {place}.",
    "What is the {old} {harbour} {place} like?",
    "How was your visit to the {old} {harbour} {place}?",
    "Should I go to the {old} {harbour} {place}?",
    "Would you go back to the {old} {harbour} {place}?",
)

Kind = Literal["glad", "gloomy", "scene", "fact"]
LONG: dict[Kind, tuple[str, ...]] = {
    "glad": (
        "The people were {kind} and {kind}, and we laughed all afternoon.",
        "I loved the {thing}, and the owner smiled at us as we left.",
        "It was a {lovely} place for a {lovely} morning with my friends.",
        "We enjoyed the {thing} so much that we will gladly come again next week.",
        "The {thing} was {lovely}, and everyone at our table was happy.",
        "It was the best day of our whole trip, and we were so glad to be there.",
    ),
    "gloomy": (
        "The people were {rude} and {rude}, and nobody looked up when we came in.",
        "I hated the {thing}, and the owner frowned at us as we left.",
        "It was a {dull} place for a {dull} morning with my friends.",
        "We waited an hour at the {place}, and I regret that we stayed.",
        "The {thing} was {dull}, and everyone at our table was sad.",
        "It was the worst day of our whole trip, and we will never go there again.",
    ),
    "scene": (
        "The air smelled of {pine} and {pine}, and the {look} {thing} {glowed} in the {silver} light.",
        "I can still see the {look}, {look} {thing} and the {silver} light on the wall.",
        "{Rain} {outside}, and the {look} {thing} {glowed} in the {silver} light.",
        "There was {pine} in the air, {pine} on the wind, and {silver} light on the {look} {thing}.",
        "Even now I dream of the {look}, {look} {thing} and the smell of {pine} and {pine}.",
    ),
    "fact": (
        "It opens at {nine} in the morning and closes at {nine} in the evening.",
        "You can take the bus and then walk for {nine} minutes along the road.",
        "We paid with a card, and there was a place to park near the road.",
        "The {place} is next to the bridge, and there is a map by the gate.",
        "We went there on a {Monday} and stayed for about {nine} hours.",
    ),
}
SHORT: dict[Kind, tuple[str, ...]] = {
    "glad": (
        "{Lovely}!",
        "I loved it.",
        "A {lovely} place.",
        "The {thing} was {lovely}.",
        "What a joy!",
        "We laughed.",
    ),
    "gloomy": ("{Dull}.", "I hated it.", "A {dull} place.", "The {thing} was {dull}.", "Never again.", "We sighed."),
    "scene": (
        "{Rain} {outside}.",
        "It smelled of {pine}.",
        "The {thing} was {look} and {look}.",
        "The {thing} {glowed}.",
    ),
    "fact": (
        "It was fine.",
        "It opens at {nine}.",
        "The {thing} was fine.",
        "You can walk there.",
        "It is near the road.",
    ),
}
"""Sentences by kind; a slot is named after one of its fillings and capitalised as it stands."""
FILLINGS: dict[str, tuple[str, ...]] = {
    "old": ("little", "old", "quiet", "new", "famous", "tiny", "big", "hidden"),
    "harbour": ("harbour", "village", "river", "hill", "forest", "island", "castle", "station"),
    "place": tuple(PLACES),
    "lovely": ("lovely", "wonderful", "delightful", "charming", "perfect", "great"),
    "kind": ("kind", "friendly", "cheerful", "happy", "charming"),
    "dull": ("dull", "gloomy", "dreary", "terrible", "boring", "disappointing"),
    "rude": ("rude", "grumpy", "unfriendly", "sad", "tired"),
    "pine": ("cinnamon", "salt", "pine", "smoke", "lemon", "lavender", "honey", "moss"),
    "silver": ("golden", "silver", "amber", "grey", "pale", "crimson"),
    "glowed": ("glowed", "gleamed", "shimmered"),
    "rain": (
        "silver rain tapped", "cold mist drifted", "crisp leaves rustled", "soft bells echoed", "blue smoke curled",
        "dark shadows drifted", "distant thunder hummed",
    ),
    "outside": ("by the window", "over the roof", "along the wall", "behind the trees"),
    "nine": ("five", "six", "seven", "eight", "nine", "ten"),
    "monday": ("Monday", "Tuesday", "Friday", "Saturday", "Sunday"),
}  # fmt: skip

LEAN: dict[Kind, float] = {"glad": -0.1, "gloomy": 0.3, "scene": -0.4, "fact": 0.4}
"""How much likelier than others a kind of sentence is long."""
LONGEST = 40
"""Longest answer in tokens."""


def questions() -> list[tuple[str, str]]:
    """Every question with its place, in a fixed order."""
    olds, harbours, places = (FILLINGS[name] for name in ("old", "harbour", "place"))
    return [
        (form.format(old=old, harbour=harbour, place=place), place)
        for form, old, harbour, place in itertools.product(QUESTIONS, olds, harbours, places)
    ]


def answer(rng: random.Random, place: str) -> str:
    """An answer of 1 to 4 sentences and at most LONGEST tokens, no sentence form twice.

    Any two objectives disagree on about a third of all pairs of answers and agree on as many: what is said in more
    words leaves more room for gladness and for scenes, but the short forms hold as much of either per word.
    """
    scenic = rng.betavariate(0.8, 0.8)
    mood: Kind = "glad" if rng.random() < 0.5 + 0.2 * scenic else "gloomy"
    talkative = rng.betavariate(0.8, 0.8)
    odds: dict[Kind, float] = {mood: 1 - scenic, "scene": scenic, "fact": 0.15}
    sentences: list[str] = []
    used: set[str] = set()
    tokens = 0
    for kind in rng.choices(list(odds), list(odds.values()), k=rng.randint(1, 4)):
        form = rng.choice((LONG if rng.random() < talkative + LEAN[kind] else SHORT)[kind])
        text = _fill(form, rng, {"place": place, "thing": rng.choice(list(PLACES[place]))}, PLACES[place])
        length = len(MARKS.findall(text))
        if form in used or tokens + length > LONGEST:
            continue
        sentences.append(text)
        used.add(form)
        tokens += length
    return " ".join(sentences)


def _fill(form: str, rng: random.Random, chosen: dict[str, str], looks: dict[str, str] | None = None) -> str:
    """Replaces the slots of a form, never twice by the same word."""
    used: set[str] = set()

    def filling(slot: re.Match[str]) -> str:
        name = slot[1]
        if name in chosen:
            return chosen[name]
        options = (looks or {})[chosen["thing"]].split() if name == "look" else FILLINGS[name.lower()]
        word = rng.choice([option for option in options if option not in used])
        used.add(word)
        return word[0].upper() + word[1:] if name[0].isupper() else word

    return re.sub(r"\{(\w+)\}", filling, form)


def vocabulary() -> list[str]:
    """Every word and mark that the grammar can write, sorted."""
    fillings = FILLINGS | {
        "thing": tuple(thing for things in PLACES.values() for thing in things),
        "look": tuple(look for things in PLACES.values() for looks in things.values() for look in looks.split()),
    }
    words: set[str] = set()
    for form in itertools.chain(QUESTIONS, *LONG.values(), *SHORT.values()):
        words.update(MARKS.findall(re.sub(r"\{\w+\}", " ", form)))
        for name in re.findall(r"\{(\w+)\}", form):
            for filling in fillings[name.lower()]:
                words.update((filling[0].upper() + filling[1:] if name[0].isupper() else filling).split())
    return sorted(words)
