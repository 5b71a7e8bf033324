"""The English of the testbed: themes, names and wordings, each with the role it may play.

A *theme* is a scene: a thing that is counted and two ways to open the story. A *wording* is a sentence that tells one
operation; every role (warm-up, training, evaluation, corpus) has wordings of its own, so an evaluation problem tells
its operations in sentences that no other split has. A reader who knows English sees at once what to do; a policy
that learned its English from the warm-up alone does not. `rarft.testbed.leaks` measures how far that holds.

Placeholders: {who} a name, {friend} another one, {they} {them} {their} pronouns of the first, {n} the number, {thing}
{things} what is counted. The sentences are data; the grammar that puts them together is in `problems.py`.
"""

# ruff: noqa: E501  (tables: one theme a line)
from __future__ import annotations

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
ROLES: tuple[str, ...] = ("warmup", "train", "eval", "corpus")

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

WORDINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "+": {
        "warmup": (
            "{they} buys {n} more of them.",
            "{n} extra {things} arrive in one crate.",
            "{friend} comes by and adds another {n} {things}.",
            "a neighbour gives {them} {n} new {things}.",
            "{they} puts {n} additional {things} among them.",
        ),
        "train": (
            "{they} finds {n} of them behind a cupboard.",
            "{friend} hands over {n} {things} as one big present.",
            "{they} wins {n} {things} in a raffle and puts them with the others.",
            "{they} picks up {n} {things} on the way home.",
            "a delivery of {n} {things} comes in.",
            "{they} opens a drawer and discovers {n} forgotten {things}.",
            "{they} collects {n} {things} from a cousin.",
            "for one job, {they} earns {n} {things} as a reward.",
            "{friend} contributes {n} {things} of {their} own.",
            "the mayor awards {them} {n} {things}.",
            "{they} unpacks a parcel with {n} {things}.",
            "{they} borrows {n} {things} from {friend}.",
        ),
        "eval": (
            "{they} receives {n} {things} for {their} birthday.",
            "{they} inherits {n} {things} from an uncle.",
            "{they} gains {n} {things} in a contest.",
            "{they} acquires {n} {things} at a fair.",
            "{friend} brings {n} {things} along.",
            "{they} purchases {n} {things} with {their} savings.",
        ),
        "corpus": (
            "{friend} sends {them} {n} {things}.",
            "{they} gathers {n} {things} during a walk.",
            "{they} is lucky and obtains {n} {things} for free.",
            "{they} digs out {n} {things} from an old trunk.",
            "{they} gratefully accepts {n} {things} from a teacher.",
            "a supply of {n} {things} is dropped off at the door.",
        ),
    },
    "-": {
        "warmup": (
            "{they} gives {n} of them away.",
            "{n} of the {things} are lost in one week.",
            "{they} sells {n} {things} and writes it down.",
            "{they} uses up {n} of them.",
            "{n} {things} go missing, one by one.",
        ),
        "train": (
            "{they} throws out {n} spoiled {things}.",
            "one thief steals {n} of them.",
            "{they} leaves {n} {things} on a bus.",
            "{n} {things} are put in the rain and ruined.",
            "{they} takes {n} {things} to a charity and donates them.",
            "{they} misplaces {n} {things}.",
            "a dog grabs {n} of them and runs off.",
            "{they} discards {n} faulty {things}.",
            "{they} has to part with {n} {things}.",
            "{n} {things} sink in the river.",
            "the police come and confiscate {n} of them.",
            "{they} breaks {n} {things} by mistake.",
        ),
        "eval": (
            "{n} {things} get destroyed in an accident.",
            "{they} removes {n} damaged {things}.",
            "{n} {things} vanish overnight.",
            "a storm wrecks {n} {things}.",
            "{n} {things} perish in a flood.",
            "{they} gambles and forfeits {n} {things}.",
        ),
        "corpus": (
            "{n} {things} end up in the bin.",
            "{n} {things} fall out of a torn bag and disappear.",
            "a fire burns {n} {things}.",
            "{they} forgets {n} {things} at the station.",
            "{they} rejects {n} cracked {things}.",
            "burglars rob {them} of {n} {things}.",
        ),
    },
    "*": {
        "warmup": (
            "soon there are {n} times as many of them.",
            "luckily the number of {things} is multiplied by {n}.",
            "the total becomes {n} times what it was, and everyone cheers.",
            "the number of {things} rises to {n} times the old one.",
        ),
        "train": (
            "the stock of {things} grows by a factor of {n}.",
            "the {things} become {n} times more numerous.",
            "{friend} trades {n} {things} for each one of {theirs}.",
            "a machine copies every {thing} until it exists {n} times.",
            "a magician turns each {thing} into {n}.",
            "every {thing} proves to be a pack of {n}.",
            "{they} repeats the same effort, and {n} such lots of {things} are ready.",
            "{n} shops ask for that many {things} each, and {they} supplies them all.",
            "the heap expands to {n} times its size.",
            "production multiplies, with {n} {things} where there was one.",
        ),
        "eval": (
            "the quantity of {things} swells {n}-fold.",
            "a merchant exchanges every single {thing} for {n}.",
            "the set of {things} is duplicated {n}-fold.",
            "the hoard of {things} is scaled up by {n}.",
            "the amount of {things} is magnified by {n}.",
        ),
        "corpus": (
            "the pile is enlarged to {n} times the size.",
            "{they} clones each {thing} so that {n} come from one.",
            "the collection of {things} undergoes {n}-fold growth.",
            "a spell replaces every {thing} with {n}.",
            "{n} towns want this many {things} each, and {they} provides them.",
        ),
    },
    "/": {
        "warmup": (
            "{they} shares them equally with others, {n} people in all, and looks at one share.",
            "the {things} are divided by {n}.",
            "{they} divides the {things} into {n} equal parts and keeps a part.",
            "only one out of every {n} {things} is kept.",
        ),
        "train": (
            "{they} splits them into {n} piles of the same height and holds on to a single pile.",
            "the {things} are distributed evenly among {n} tables, and only the first table matters.",
            "{they} deals them out fairly to {n} players and watches one player.",
            "{they} packs {n} in a bag and from now on counts bags.",
            "the lot is cut down to one {n}-th.",
            "{they} separates the {things} into {n} matching groups and picks a group.",
            "the {things} are broken up into {n} even batches, and just one batch is for {who}.",
            "the family of {n} gets identical portions, and {they} has one portion.",
            "the stock of {things} shrinks by a factor of {n}.",
            "{they} ties the {things} in bundles of {n} and then counts bundles.",
        ),
        "eval": (
            "{they} partitions the {things} in {n} like sections and retains a section.",
            "{they} sorts them in {n} stacks of equal height and guards a stack.",
            "the {things} are allotted uniformly to {n} helpers, {who} included.",
            "{they} apportions the {things} to {n} baskets alike and lifts a basket.",
            "{they} arranges them in {n} rows of like length and chooses a row.",
        ),
        "corpus": (
            "{they} carves the lot into {n} equal heaps and keeps a heap.",
            "{n} children each get the same ration, and {they} is one of the children.",
            "{they} puts {n} in each box and counts boxes afterwards.",
            "{they} distributes them to {n} villages in equal measure and follows one village.",
            "the {things} dwindle to one {n}-th.",
        ),
    },
}
# fmt: on

NONSENSE: tuple[str, ...] = tuple(
    onset + vowel + coda
    for onset in [
        "bl",
        "br",
        "dr",
        "fl",
        "gl",
        "gr",
        "kl",
        "kr",
        "pl",
        "pr",
        "sk",
        "sm",
        "sn",
        "sp",
        "st",
        "sw",
        "tr",
        "v",
        "w",
        "z",
    ]
    for vowel in "aeiou"
    for coda in ["mpo", "nda", "rko", "fti", "lba", "zzo"]
)


def words(text: str) -> list[str]:
    """The words of a text, placeholders and punctuation left out: `{n}-fold` gives `fold`."""
    return re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", " ", text))
