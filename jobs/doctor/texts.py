"""The texts that `rerank doctor` sends: short, plausible, written for it, of no customer."""

from itertools import product
from typing import Final

QUERY: Final = "How do I keep a tent dry in heavy rain?"

COMMON: Final = (
    "To keep a tent dry in heavy rain, pitch it on high ground and tighten every guy line.",
    "Seal the seams of the tent before the trip, and heavy rain stays outside.",
    "A tent stays dry in rain as long as the fly does not touch the inner wall.",
    "Choose a place where heavy rain runs off, and the floor of the tent stays dry.",
    "A groundsheet that sticks out under the tent collects rain; fold its edges in.",
    "Open the vents even in heavy rain, or your breath makes the tent wet from inside.",
    "Proof the fly of a tent every second year, since sun and rain wear the coating off.",
    "In heavy rain, cook in the porch of the tent and keep wet clothes out of it.",
    "How long a tent keeps heavy rain out depends on its coating and on its seams.",
    "Shake the fly and dry the tent at home after rain, before you put it away.",
    "Down is of no use when it is wet, so keep the sleeping bag in a dry sack.",
    "In the mountains heavy rain is likely in the afternoon; start early.",
    "A tarp over the table keeps the meal dry when it starts to drizzle.",
    "Wet boots dry overnight if you stuff them with newspaper.",
    "On a long walk the weight of a tent matters more than its size.",
    "Broad pegs hold a tent in sand, thin ones in stony ground.",
    "A rain jacket must be washed now and then, or it stops breathing.",
    "Dry wood is found under fallen trees even after days of rain.",
    "Most tents for two weigh between two and three kilograms.",
    "Children sleep well in a tent if they have camped in the garden before.",
    "Campsites by the river are pleasant in summer and flooded in spring.",
    "Carry a paper map in a dry pocket, since batteries fail in the cold.",
    "How do I keep ants away from the food when we camp for a week?",
    "The heavy iron pan is good for frying and bad for carrying.",
    "Rain in May makes the wheat grow, rain in August spoils it.",
    "The cellar of the old school is dry again since the drain was cleared.",
    "A concert in a circus tent was the highlight of the summer fair.",
    "Sourdough needs flour, water, salt and a night of patience.",
    "A bicycle chain lasts longer if it is wiped after every ride.",
    "The lighthouse on the northern cape was lit with whale oil once.",
    "Put the tulip bulbs into the ground before the first frost.",
    "A violin is tuned in fifths, a guitar mostly in fourths.",
    "The night train to the coast leaves from platform nine.",
    "Honey that has turned solid becomes liquid again in warm water.",
    "Read the meter at the end of the month and send us the figures.",
    "Two players share one board and take turns placing stones.",
    "Glass is sorted by colour because brown shards spoil a clear melt.",
    "The museum shows clocks from four centuries, and all of them run.",
    "Cats see well at dusk, but not in complete darkness.",
    "An invoice is due within thirty days of its date.",
)
"""From answers to the query down to unrelated sentences."""

_PLACES: Final = (
    "library",
    "bakery",
    "museum",
    "swimming pool",
    "post office",
    "cinema",
    "town hall",
    "music school",
    "market hall",
    "bicycle shop",
)
_NEWS: Final = (
    "opens at eight on weekdays",
    "is closed for repairs until March",
    "gives pupils half price",
    "is looking for two volunteers",
    "takes cards but no cheques",
    "moved to the square behind the station",
    "shows photographs of the old bridge",
    "serves tea on Thursdays",
    "will be painted green in autumn",
    "has a new director from the coast",
)
EASY: Final = tuple(f"The {place} {news}." for place, news in product(_PLACES, _NEWS))
"""A hundred documents that do not answer the query."""

_MEANS: Final = (
    "A fly that is tensioned well",
    "A porch of one metre",
    "A seam that was sealed at home",
    "A floor with high edges",
    "A groundsheet cut to size",
    "A steep roof",
    "A storm line at every corner",
    "A fresh coat of silicone",
    "A place on a gentle slope",
    "A vent under the hood",
)
_EFFECTS: Final = (
    "keeps a tent dry in heavy rain",
    "keeps heavy rain out of the tent all night",
    "is what keeps your tent dry when heavy rain sets in",
    "helps a tent to stay dry in hours of heavy rain",
    "keeps the tent dry inside, however heavy the rain",
    "lets heavy rain run off, and so the tent stays dry",
    "is the first thing to check if heavy rain gets into the tent",
    "keeps you and the tent dry in heavy rain and wind",
    "saves a tent from getting wet in heavy rain",
    "does more to keep a tent dry in rain than any spray",
)
STRONG: Final = tuple(f"{means} {effect}." for means, effect in product(_MEANS, _EFFECTS))
"""A hundred documents that answer the query."""
