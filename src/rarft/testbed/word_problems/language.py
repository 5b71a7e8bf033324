"""The English of the testbed: themes, names and wordings, each with the role it may play.

A *theme* is a scene: a thing that is counted and two ways to open the story. A *wording* is a sentence that tells one
operation, made of a pattern and fillers. The fillers are dealt out by the testbed's seed, so an evaluation problem tells
its operations in words that no other role has. A reader who knows English sees at once what to do; a policy that
learned its English from the warm-up alone does not. `rarft.testbed.word_problems.leaks` measures how far that holds.

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
    Theme("bakery", "muffin", "muffins", ("{who} runs a small bakery with {n} muffins on the counter.", "There are {n} muffins cooling in {who}'s bakery.")),
    Theme("library", "book", "books", ("{who} looks after {n} books in the village library.", "The reading room that {who} manages holds {n} books.")),
    Theme("beach", "shell", "shells", ("{who} walks along the beach with {n} shells in a bucket.", "A bucket on the beach contains {n} shells that belong to {who}.")),
    Theme("orchard", "apple", "apples", ("{who} carries {n} apples from the orchard.", "Under the orchard's trees, {who} counts {n} apples.")),
    Theme("sewing room", "button", "buttons", ("{who} keeps {n} buttons in a sewing box.", "{who}'s sewing box is filled with {n} buttons.")),
    Theme("building site", "brick", "bricks", ("{who} stacks {n} bricks at the building site.", "A wall is planned, and {who} starts with {n} bricks.")),
    Theme("flower shop", "rose", "roses", ("{who} opens the flower shop with {n} roses in a vase.", "This morning {who}'s flower shop shows {n} roses.")),
    Theme("arcade", "token", "tokens", ("{who} enters the arcade with {n} tokens.", "At the arcade, {who} begins with {n} tokens in a cup.")),
    Theme("art class", "crayon", "crayons", ("{who} prepares {n} crayons for the art class.", "{who}'s art class owns {n} crayons.")),
    Theme("pottery", "bowl", "bowls", ("{who} shapes {n} bowls in the pottery.", "On the bench in the pottery stand {n} bowls by {who}.")),
    Theme("post office", "postcard", "postcards", ("{who} sorts {n} postcards at the post office.", "A sack at the post office holds {n} postcards for {who}.")),
    Theme("playground", "ball", "balls", ("{who} takes {n} balls to the playground.", "In a net at the playground, {who} sees {n} balls.")),
    Theme("museum", "coin", "coins", ("{who} displays {n} old coins in the museum.", "A glass case in the museum shows {who}'s {n} coins.")),
    Theme("workshop", "screw", "screws", ("{who} has a jar with {n} screws in the workshop.", "The jar in {who}'s workshop contains {n} screws.")),
    Theme("laundry", "sock", "socks", ("{who} hangs {n} socks on the line.", "A laundry basket with {n} socks waits for {who}.")),
    Theme("festival", "lantern", "lanterns", ("{who} lights {n} lanterns for the festival.", "For the summer festival, {who} has painted {n} lanterns.")),
    Theme("farm", "egg", "eggs", ("{who} fetches {n} eggs from the barn.", "{who}'s hens have laid {n} eggs.")),
    Theme("garden", "seedling", "seedlings", ("{who} plants {n} seedlings in the garden.", "{who}'s greenhouse protects {n} seedlings.")),
    Theme("jewellery", "bead", "beads", ("{who} threads {n} beads on a string.", "A necklace made by {who} has {n} beads.")),
    Theme("record shop", "record", "records", ("{who} owns {n} records with jazz music.", "{who}'s shelf is lined with {n} records.")),
    Theme("toy shop", "marble", "marbles", ("{who} plays with {n} marbles.", "A leather pouch with {n} marbles hangs from {who}'s belt.")),
    Theme("forest", "pinecone", "pinecones", ("{who} strolls through the forest with {n} pinecones.", "On the forest path, {who} has {n} pinecones in a hood.")),
    Theme("theatre", "ticket", "tickets", ("{who} stands at the theatre with {n} tickets.", "{who}'s theatre desk has {n} tickets ready.")),
    Theme("harbour", "anchor", "anchors", ("{who} repairs {n} anchors at the harbour.", "In a shed by the harbour, {who} stores {n} anchors.")),
    Theme("candle maker", "candle", "candles", ("{who} pours {n} candles from wax.", "The wax has set, and {who} looks at {n} candles.")),
    Theme("stamp album", "stamp", "stamps", ("{who} glues {n} stamps into an album.", "{who}'s album shows {n} stamps.")),
    Theme("quarry", "stone", "stones", ("{who} loads {n} stones at the quarry.", "A truck leaves the quarry with {n} stones for {who}.")),
    Theme("bicycle shop", "tyre", "tyres", ("{who} pumps up {n} tyres in the bicycle shop.", "{who}'s bicycle shop has {n} tyres on a rack.")),
    Theme("market", "melon", "melons", ("{who} brings {n} melons to the market.", "{who}'s stall at the market offers {n} melons.")),
    Theme("camp", "torch", "torches", ("{who} checks {n} torches at the camp.", "In {who}'s tent lie {n} torches.")),
    Theme("print shop", "poster", "posters", ("{who} prints {n} posters for the concert.", "Fresh from the press, {who} admires {n} posters.")),
    Theme("pharmacy", "bottle", "bottles", ("{who} fills {n} bottles in the pharmacy.", "Behind the pharmacy's desk, {who} arranges {n} bottles.")),
)

WARM_UP: dict[str, tuple[str, ...]] = {
    "+": (
        "{n} is added to the {things}.",
        "the count rises by {n}.",
        "{they} adds {n} to the count.",
        "the {thing} count is now higher by {n}.",
        "with {n} added, the count is higher.",
    ),
    "-": (
        "{n} is subtracted from the {things}.",
        "the count falls by {n}.",
        "{they} subtracts {n} from the count.",
        "the {thing} count is now lower by {n}.",
        "with {n} subtracted, the count is lower.",
    ),
    "*": (
        "the {thing} count is multiplied by {n}.",
        "{they} multiplies the {things} by {n}.",
        "{they} multiplies the count by {n}.",
        "multiplied by {n}, the count is higher.",
    ),
    "/": (
        "the {thing} count is divided by {n}.",
        "{they} divides the {things} by {n}.",
        "{they} divides the count by {n}.",
        "divided by {n}, the count is lower.",
    ),
}
"""How the warm-up tells each operation: dryly, in words that no other role uses for it."""

PATTERNS: dict[str, tuple[str, ...]] = {
    "+": (
        "{they} <gains> {n} <more> {things}.",
        "{they} <gains> {n} <more> {things}<aside>.",
        "{n} <more> {things} <arrive>.",
        "{n} <more> {things} <arrive><aside>.",
    ),
    "-": (
        "{they} <loses> {n} <of the> {things}.",
        "{they} <loses> {n} <of the> {things}<aside>.",
        "{n} <of the> {things} <vanish>.",
        "{n} <of the> {things} <vanish><aside>.",
    ),
    "*": (
        "{they} <trades> <each> {thing} for {n} <smaller> ones.",
        "{friend} <gives> {them} {n} <smaller> {things} in place of <each> one.",
        "the <stock> of {things} <grows> to {n} times its <old> size.",
        "{their} <stock> of {things} <grows> to {n} times its <old> size<aside>.",
    ),
    "/": (
        "{they} <splits> the {things} <evenly> into {n} <boxes> and <keeps only one>.",
        "{they} <splits> {their} {things} <evenly> into {n} <boxes> and <keeps only one><aside>.",
        "{they} <makes> {n} <equal> <heaps> of {their} {things} and <keeps only one>.",
        "{they} <makes> {n} <equal> <heaps> of the {things} and <keeps only one><aside>.",
    ),
}
"""How the other roles tell them. A slot such as <gains> takes one of its fillers in FILLERS."""

FILLERS: dict[str, tuple[str, ...]] = {
    "gains": ("buys", "finds", "receives", "wins", "collects", "gathers", "earns", "obtains", "acquires", "inherits", "discovers", "purchases", "is given", "is handed", "is sent", "is awarded", "picks up", "brings home", "fetches", "unpacks", "carries in", "gets"),
    "more": ("more", "additional", "extra", "further", "new", "brand new"),
    "arrive": ("arrive", "turn up", "are delivered", "come by post", "join the others", "show up", "are brought in", "come in", "are dropped off", "are unloaded", "are found"),
    "loses": ("sells", "loses", "gives away", "donates", "throws away", "misplaces", "parts with", "hands over", "is robbed of", "gets rid of", "destroys", "wastes", "leaves behind", "uses up", "sends away", "discards", "gives up", "hands out", "passes on", "gambles away", "ships off", "sacrifices"),
    "of the": ("of the", "of {their}", "of those", "of these", "of {their} own"),
    "vanish": ("vanish", "disappear", "are stolen", "go missing", "are thrown out", "get lost", "are carried off", "are sold", "are taken away", "are used up", "are destroyed", "are confiscated"),
    "trades": ("trades", "exchanges", "swaps", "barters", "gives back", "hands back", "returns", "turns in"),
    "each": ("each", "every", "every single", "each and every"),
    "smaller": ("smaller", "cheaper", "simpler", "plainer", "lighter", "shorter", "thinner", "older"),
    "gives": ("gives", "hands", "sends", "brings", "passes", "mails"),
    "stock": ("stock", "supply", "collection", "store", "pile", "quantity", "stash", "hoard"),
    "grows": ("grows", "swells", "expands", "climbs", "jumps", "increases", "soars", "shoots up"),
    "old": ("old", "former", "previous", "current", "present", "prior"),
    "splits": ("splits", "sorts", "separates", "distributes", "places", "spreads", "portions", "deals", "parcels", "packs"),
    "evenly": ("evenly", "equally", "fairly", "in equal parts", "in equal shares", "in fair shares"),
    "boxes": ("boxes", "baskets", "drawers", "jars", "bags", "trays", "crates", "bins", "chests", "cartons", "tins", "sacks"),
    "makes": ("makes", "forms", "prepares", "lays out", "arranges", "builds", "assembles", "sets up"),
    "equal": ("equal", "identical", "matching", "uniform", "equally large"),
    "heaps": ("heaps", "groups", "stacks", "bundles", "batches", "rows", "clusters", "lots"),
    "keeps only one": ("keeps only one", "takes home just one", "holds on to a single one", "saves only one", "is left with just one", "retains a single one", "walks away with only one", "keeps back a single one"),
    "aside": (" while {friend} watches", ", as {friend} had expected", ", and {friend} hears about it", ", to the surprise of {friend}", ", and {friend} writes it down", ", and nobody complains", ", as so often", ", which {friend} notices at once", ", and {friend} is told", " before {friend} comes by"),
}
"""Fillers of a slot, any of which fits. A testbed deals them out: but for NEUTRAL ones, no two roles share a filler."""

SLOT = re.compile(r"<([^>]+)>")
"""Where a pattern takes a filler."""

NEUTRAL = ("aside",)
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
    """The words of a text, placeholders, slots and punctuation left out."""
    return re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}|<[^>]*>", " ", text))
