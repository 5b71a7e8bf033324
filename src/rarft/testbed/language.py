"""The English of the testbed: themes, names and wordings, each with the role it may play.

A *theme* is a scene: a thing that is counted and two ways to open the story. A *wording* is a sentence that tells one
operation, made of a pattern and fillers. The fillers are dealt out by the testbed's seed, so an evaluation problem tells
its operations in words that no other role has. A reader who knows English sees at once what to do; a policy that
learned its English from the warm-up alone does not. `rarft.testbed.leaks` measures how far that holds.

Placeholders: {who} a name, {friend} another one, {they} {them} {their} pronouns of the first, {n} the number, {thing}
{things} what is counted. The sentences are data; the grammar that puts them together is in `problems.py`.
"""

# ruff: noqa: E501  (tables: one theme a line)
from __future__ import annotations

import random
import re
from typing import NamedTuple


class Theme(NamedTuple):
    """A scene: what is counted, and how the story opens."""

    name: str
    thing: str
    things: str
    openings: tuple[str, str]


OPERATIONS: tuple[str, ...] = ("+", "-", "*", "/")
VERBS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}

# fmt: off
THEMES: tuple[Theme, ...] = (
    Theme("bakery", "muffin", "muffins", ("{who} runs a small bakery with {n} muffins on the counter.", "There are {n} muffins cooling in the bakery of {who}.")),
    Theme("library", "book", "books", ("{who} looks after {n} books in the village library.", "The reading room that {who} manages holds {n} books.")),
    Theme("beach", "shell", "shells", ("{who} walks along the beach with {n} shells in a bucket.", "A bucket on the beach contains {n} shells that belong to {who}.")),
    Theme("orchard", "apple", "apples", ("{who} carries {n} apples out of the orchard.", "Under the trees of the orchard, {who} counts {n} apples.")),
    Theme("sewing room", "button", "buttons", ("{who} keeps {n} buttons in a sewing box.", "The sewing box of {who} is filled with {n} buttons.")),
    Theme("building site", "brick", "bricks", ("{who} stacks {n} bricks at the building site.", "A wall is planned, and {who} starts with {n} bricks.")),
    Theme("flower shop", "rose", "roses", ("{who} opens the flower shop with {n} roses in a vase.", "This morning the flower shop of {who} shows {n} roses.")),
    Theme("arcade", "token", "tokens", ("{who} enters the arcade with {n} tokens.", "At the arcade, {who} begins with {n} tokens in a cup.")),
    Theme("art class", "crayon", "crayons", ("{who} prepares {n} crayons for the art class.", "The art class of {who} owns {n} crayons.")),
    Theme("pottery", "bowl", "bowls", ("{who} shapes {n} bowls in the pottery.", "On the bench of the pottery stand {n} bowls by {who}.")),
    Theme("post office", "postcard", "postcards", ("{who} sorts {n} postcards at the post office.", "A sack at the post office holds {n} postcards for {who}.")),
    Theme("playground", "ball", "balls", ("{who} takes {n} balls to the playground.", "In a net at the playground, {who} sees {n} balls.")),
    Theme("museum", "coin", "coins", ("{who} displays {n} old coins in the museum.", "A glass case in the museum shows {n} coins of {who}.")),
    Theme("workshop", "screw", "screws", ("{who} has a jar of {n} screws in the workshop.", "The jar in the workshop of {who} contains {n} screws.")),
    Theme("laundry", "sock", "socks", ("{who} hangs {n} socks on the line.", "A laundry basket with {n} socks waits for {who}.")),
    Theme("festival", "lantern", "lanterns", ("{who} lights {n} lanterns for the festival.", "For the summer festival, {who} has painted {n} lanterns.")),
    Theme("farm", "egg", "eggs", ("{who} fetches {n} eggs from the barn.", "The hens of {who} have laid {n} eggs.")),
    Theme("garden", "seedling", "seedlings", ("{who} plants {n} seedlings in the garden.", "The greenhouse of {who} protects {n} seedlings.")),
    Theme("jewellery", "bead", "beads", ("{who} threads {n} beads on a string.", "A necklace made by {who} counts {n} beads.")),
    Theme("record shop", "record", "records", ("{who} owns {n} records of jazz music.", "The shelf of {who} is lined with {n} records.")),
    Theme("toy shop", "marble", "marbles", ("{who} plays with {n} marbles.", "A leather pouch with {n} marbles hangs from the belt of {who}.")),
    Theme("forest", "pinecone", "pinecones", ("{who} strolls through the forest with {n} pinecones.", "On the forest path, {who} has {n} pinecones in a hood.")),
    Theme("theatre", "ticket", "tickets", ("{who} stands at the theatre with {n} tickets.", "The theatre desk of {who} has {n} tickets ready.")),
    Theme("harbour", "anchor", "anchors", ("{who} repairs {n} anchors at the harbour.", "In a shed by the harbour, {who} stores {n} anchors.")),
    Theme("candle maker", "candle", "candles", ("{who} pours {n} candles from wax.", "The wax has set, and {who} looks at {n} candles.")),
    Theme("stamp album", "stamp", "stamps", ("{who} glues {n} stamps into an album.", "The album of {who} shows {n} stamps.")),
    Theme("quarry", "stone", "stones", ("{who} loads {n} stones at the quarry.", "A truck leaves the quarry with {n} stones for {who}.")),
    Theme("bicycle shop", "tyre", "tyres", ("{who} pumps up {n} tyres in the bicycle shop.", "The bicycle shop of {who} has {n} tyres on a rack.")),
    Theme("market", "melon", "melons", ("{who} brings {n} melons to the market.", "The stall of {who} at the market offers {n} melons.")),
    Theme("camp", "torch", "torches", ("{who} checks {n} torches at the camp.", "In the tent of {who} lie {n} torches.")),
    Theme("print shop", "poster", "posters", ("{who} prints {n} posters for the concert.", "Fresh from the press, {who} admires {n} posters.")),
    Theme("pharmacy", "bottle", "bottles", ("{who} fills {n} bottles in the pharmacy.", "Behind the desk of the pharmacy, {who} arranges {n} bottles.")),
)

WARM_UP: dict[str, tuple[str, ...]] = {
    "+": (
        "{n} is added to the {things}.",
        "the count rises by {n}.",
        "{they} adds {n} to the count.",
        "the count of {things} is now higher by {n}.",
        "with {n} added, the count is higher.",
    ),
    "-": (
        "{n} is subtracted from the {things}.",
        "the count falls by {n}.",
        "{they} subtracts {n} from the count.",
        "the count of {things} is now lower by {n}.",
        "with {n} subtracted, the count is lower.",
    ),
    "*": (
        "the count of {things} is multiplied by {n}.",
        "{they} multiplies the {things} by {n}.",
        "{they} multiplies the count by {n}.",
        "multiplied by {n}, the count is higher.",
    ),
    "/": (
        "the count of {things} is divided by {n}.",
        "{they} divides the {things} by {n}.",
        "{they} divides the count by {n}.",
        "divided by {n}, the count is lower.",
    ),
}
"""How the warm-up tells each operation: dryly, in words that no other role uses for it."""

PATTERNS: dict[str, tuple[str, ...]] = {
    "+": ("{they} <gains> {n} <more> {things}<setting>.", "{n} <more> {things} <arrive><setting>."),
    "-": ("{they} <loses> {n} <of the> {things}<setting>.", "{n} <of the> {things} <vanish><setting>."),
    "*": (
        "<each> {thing} <turns into> {n}<setting>.",
        "{they} <copies> <each> {thing} <until there are> {n}<setting>.",
        "the {things} <multiply> {n}-fold<setting>.",
    ),
    "/": (
        "{they} <splits> the {things} <equally> among {n} <friends><setting> and <keeps one share>.",
        "the {things} go <equally> to {n} <friends><setting>, and {they} <keeps one share>.",
    ),
}
"""How the other roles tell them. A slot such as <gains> takes one of its fillers in FILLERS."""

FILLERS: dict[str, tuple[str, ...]] = {
    "gains": ("buys", "finds", "receives", "wins", "collects", "gathers", "earns", "obtains", "acquires", "inherits", "discovers", "unearths", "orders", "purchases", "gains", "secures", "is given", "is handed", "is sent", "is awarded", "picks up", "comes by", "scoops up", "is granted", "hunts down", "digs up", "rounds up", "brings home", "fetches", "welcomes"),
    "more": ("more", "additional", "extra", "further", "new", "fresh", "brand-new", "bonus"),
    "arrive": ("arrive", "turn up", "are delivered", "come by post", "join the others", "show up", "are brought in", "are donated to {them}", "are presented to {them}", "come in"),
    "loses": ("sells", "loses", "gives away", "donates", "drops", "throws away", "discards", "breaks", "misplaces", "parts with", "scraps", "hands over", "is robbed of", "surrenders", "gets rid of", "burns", "forfeits", "wastes", "sacrifices", "tosses out", "ruins", "smashes", "destroys", "abandons", "leaves behind", "crushes", "gambles away", "dumps", "forgets", "trades away"),
    "of the": ("of the", "of {their}", "of those", "precious", "worn", "older", "poor", "unlucky"),
    "vanish": ("vanish", "disappear", "are stolen", "go missing", "rot away", "fall apart", "are thrown out", "get lost", "perish", "are carried off", "break", "are confiscated"),
    "each": ("each", "every", "every single", "each and every", "any", "every last"),
    "turns into": ("turns into", "becomes", "is exchanged for", "is replaced with", "grows into", "is swapped for", "gives rise to", "is transformed into", "is traded for", "evolves into", "brings forth", "morphs into", "blossoms into", "makes way for", "changes into", "hatches into"),
    "copies": ("copies", "clones", "replicates", "reproduces", "photocopies", "recreates", "prints", "rebuilds", "imitates", "remakes", "repeats", "forges"),
    "until there are": ("until there are", "so as to have", "to reach", "to end up with", "to a total of", "up to"),
    "multiply": ("multiply", "increase", "grow", "swell", "expand", "balloon", "soar", "mushroom", "breed"),
    "splits": ("splits", "shares", "deals out", "distributes", "parcels out", "portions out", "partitions", "allots", "apportions", "hands round", "spreads", "separates", "breaks up", "carves up", "rations", "doles out"),
    "equally": ("equally", "evenly", "fairly", "uniformly", "in equal parts", "justly", "in like amounts", "without favour"),
    "friends": ("friends", "neighbours", "cousins", "boxes", "baskets", "tables", "teams", "drawers", "jars", "classmates", "players", "bags", "shelves", "rooms", "children", "villages"),
    "keeps one share": ("keeps one share", "retains a single portion", "takes home one part", "holds on to just one pile", "is left with a single lot", "guards only one heap", "picks a single group", "stays with one portion", "claims one section", "has just one stack left"),
    "setting": ("", " at the market", " on a walk", " that afternoon", " by chance", " in a hurry", " during the holidays", " with a smile", " as agreed", " without a word", " before noon", " at school", " and nobody minds", " and all is calm", " for the sake of {friend}"),
}
"""Fillers of a slot, any of which fits. A testbed deals them out: no two of its roles have one in common."""

SLOT = re.compile(r"<([^>]+)>")
"""Where a pattern takes a filler."""

NEUTRAL = ("setting",)
"""Slots that tell nothing about the operation; every role has all of their fillers."""

NONSENSE: tuple[str, ...] = tuple(
    onset + vowel + coda
    for onset in ["bl", "br", "dr", "fl", "gl", "gr", "kl", "kr", "pl", "pr", "sk", "sm", "sn", "sp", "st", "sw", "tr", "v", "w", "z"]
    for vowel in "aeiou"
    for coda in ("mpo", "nda", "rko", "fti", "lba", "zzo")
)
# fmt: on


class Lexicon(NamedTuple):
    """What a role says: for each slot the fillers that are its own, and those of the neutral slots."""

    fillers: dict[str, tuple[str, ...]]

    def wording(self, op: str, rng: random.Random) -> str:
        """A sentence that tells `op`, with the placeholders of a theme left in."""
        return SLOT.sub(lambda slot: rng.choice(self.fillers[slot[1]]), rng.choice(PATTERNS[op]))


def deal(rng: random.Random) -> dict[str, Lexicon]:
    """Deal the fillers out among training (half), evaluation and corpus (a quarter each, one at least)."""
    dealt: dict[str, dict[str, tuple[str, ...]]] = {"train": {}, "eval": {}, "corpus": {}}
    for slot, fillers in FILLERS.items():
        shuffled = rng.sample(fillers, len(fillers))
        quarter = max(1, len(shuffled) // 4)
        parts = shuffled[:quarter], shuffled[quarter : 2 * quarter], shuffled[2 * quarter :]
        for role, part in zip(("eval", "corpus", "train"), parts, strict=True):
            dealt[role][slot] = fillers if slot in NEUTRAL else tuple(part)
    return {role: Lexicon(part) for role, part in dealt.items()}


def words(text: str) -> list[str]:
    """The words of a text, placeholders and punctuation left out: `{n}-fold` gives `fold`."""
    return re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}|<[^>]*>", " ", text))
