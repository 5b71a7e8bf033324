"""The themes of the library's tasks, and the words and names that its functions are tried on.

A block is who wants something, then `things, helpers`, then four ways to open a question: the corpus's two, then the
problems'. All four share the theme's nouns, so what is asked in one theme looks alike whatever function it needs.
"""

from rarft.testbed.cases import read_blocks

THEMES: dict[str, tuple[str, ...]] = read_blocks("""
the baker
loaves, apprentices
The baker of Mill Lane kneads rye and spelt dough before dawn, and her oven is never cold.
Rye and spelt loaves come out of the oven in Mill Lane, and the baker dusts off the flour.
In Mill Lane the baker slides rye dough into the oven with a long wooden peel.
The smell of spelt and rye drifts from the oven in Mill Lane, where the baker has been up since midnight.

the florist
bouquets, gardeners
The florist at the cemetery gate ties lilies and ferns into bouquets and wreaths.
Wreaths, lilies and buckets of ferns crowd the pavement in front of the florist.
Lilies come from the market by van, and the florist trims their stems and strips the ferns.
The florist's window is green with ferns, and a wreath of lilies hangs on the door.

the fishmonger
crates, deckhands
The fishmonger sells mackerel and crabs on crushed ice, straight from the trawler.
Gulls follow the trawler, and the fishmonger packs her mackerel on ice at the quay.
On the quay the fishmonger hoses down the slab, with crabs still crawling in the mackerel.
The trawler is in with mackerel, and the fishmonger shovels ice on the slab.

the beekeeper
jars, wardens
The beekeeper smokes the hives in the lime avenue and spins honey from the combs.
Heavy combs come out of the hives, and the beekeeper's smoker glows under the limes.
Honey drips from the spinner in the beekeeper's shed, and the empty combs go back to the hives.
A swarm hangs in the limes, and the beekeeper fetches a veil, a smoker and a spare hive.

the cheesemaker
wheels, milkers
The cheesemaker stirs the curd in a copper vat, and ripens the wheels in a cave.
In a cave behind the dairy, the cheesemaker turns the wheels and washes their rind with brine.
Rennet is added to the vat, and the cheesemaker cuts the curd with a harp of wires.
The cheesemaker knocks on the rind of each wheel in the cave, and listens.

the bookbinder
volumes, binders
The bookbinder sews folded sheets, glues the spine and presses gold leaf into the leather.
Gold leaf and calfskin lie on the bookbinder's bench, next to the press with the spines.
The bookbinder pares the leather thin and rounds the spine with a hammer before it goes in the press.
Glue simmers beside the bookbinder's press, and gold leaf trembles at each draught.

the candlemaker
candles, dippers
The candlemaker dips wicks in beeswax, over and over, until they are as thick as a thumb.
Wicks hang in rows above the candlemaker's trough of molten beeswax.
Tallow is out of fashion, so the candlemaker melts beeswax and braids the wicks from cotton.
From the beams of the candlemaker's shop the wicks drip beeswax on the tiles.

the cobbler
shoes, journeymen
The cobbler hammers brass nails into soles and keeps the lasts on a shelf up to the ceiling.
Wooden lasts and scraps of sole leather fill the cobbler's cellar in Chapel Street.
In Chapel Street the cobbler waxes the thread and pulls it through the welt of a sole.
The cobbler holds brass nails between his lips and taps them into a sole on the last.

the potter
jugs, throwers
The potter throws jugs on a kick wheel, and fires them with a blue glaze in the kiln.
Clay spins under the potter's wet hands, and the kiln is being stacked with glazed ware.
The kiln is still too hot to open, so the potter wedges clay for the wheel.
Blue glaze runs down the jugs as the potter dips them for the kiln.

the toymaker
dolls, carvers
The toymaker carves puppets of limewood, strings them and paints their cheeks red.
A rocking horse and a row of puppets look down from the toymaker's shelf.
The toymaker glues a mane of horsehair to a rocking horse, among half-painted puppets.
Shavings of limewood curl from the toymaker's knife, and a puppet gets its nose.

the printer
posters, compositors
The printer sets wooden type by hand, rolls on the ink and pulls the lever of an iron press.
Drawers of type and tins of ink surround the printer's iron press.
The printer locks the type in its frame and wipes the ink off the rollers of the press.
With a groan the iron press comes down on the type, and the printer peels off a sheet wet with ink.

the cooper
barrels, coopers
The cooper bends oak staves over a fire and drives the iron hoops down with a mallet.
Staves stand round the fire in the cooper's yard, and hoops hang from the wall.
A hoop rings as the cooper's mallet drives it down over the staves.
Oak staves are toasted over the fire until the cooper can force them into a hoop.

the weaver
shawls, spinners
The weaver throws the shuttle through the warp, and the wool is dyed with walnut and indigo.
Skeins of wool, indigo and rust, hang over the weaver's loom.
The shuttle flies across the weaver's loom, and the warp hums with each beat.
Indigo drips from the skeins in the yard, while the weaver ties new warp to the loom.

the jeweller
rings, engravers
The jeweller sets garnets in silver, with a loupe in one eye and tweezers in hand.
Silver filings gather in the leather lap of the jeweller's bench, under the lamp and the loupe.
Under the loupe the jeweller bends a silver claw over a garnet.
The jeweller weighs garnets on a tiny balance and heats silver with a blowpipe.

the ferryman
tickets, oarsmen
The ferryman winds his raft across the brown river on a cable, from reeds to reeds.
A bell on the far bank calls the ferryman, and the raft creaks along its cable.
The river is high, and the ferryman checks the cable before the raft leaves the bank.
Between the reeds the ferryman leans on his pole until the raft touches the bank.

the saddler
saddles, stitchers
The saddler stuffs saddles with wool and stitches bridles with waxed linen.
Bridles, girths and stirrups hang in the saddler's window by the racecourse.
By the racecourse the saddler oils a bridle and replaces the buckle of a girth.
The saddler measures a mare for a new girth, with the stirrups over one arm.

the confectioner
truffles, tasters
The confectioner tempers chocolate on marble and rolls the truffles in cocoa.
Nougat cools on the confectioner's marble, and cocoa dust is everywhere.
The marble slab gleams with chocolate, which the confectioner spreads and scrapes.
The confectioner pipes ganache, boils nougat and wipes cocoa off the marble.

the kite maker
kites, flyers
The kite maker splits bamboo, stretches silk over it and adds a tail of ribbons.
Dragons of silk and bamboo strain at their lines outside the kite maker's hut on the dunes.
On the dunes the kite maker tests a dragon with a tail of ribbons.
The kite maker paints scales on silk, and the bamboo ribs dry in the wind of the dunes.

the lamp maker
lanterns, tinsmiths
The lamp maker cuts stars into tin, and solders a little door for the flame.
Tin stars glitter on the lamp maker's ceiling, and the soldering iron smokes.
The soldering iron hisses as the lamp maker closes the seam of a tin lamp.
With a punch and a stencil, the lamp maker turns a sheet of tin into a sky of stars.

the basket weaver
baskets, cutters
The basket weaver soaks willow rods in the brook and works them round a wicker base.
Bundles of willow rods stand in the brook behind the basket weaver's barn.
The brook runs over the willow rods until the basket weaver can bend them like string.
Round and round go the willow rods, and the basket weaver beats the wicker down with an iron.

the ice-cream seller
cones, scoopers
The ice-cream seller pushes his cart along the promenade with pistachio, lemon and vanilla.
A striped awning shades the ice-cream seller's cart, where the vanilla is melting.
Children run down the promenade after the cart of the ice-cream seller and shout for pistachio.
Lemon is sold out, and the ice-cream seller's cart tinkles back along the promenade.

the hatter
hats, milliners
The hatter steams felt over wooden blocks and trims the brims with pheasant feathers.
Blocks for heads of all sizes line the hatter's wall, and felt steams on the stove.
The hatter brushes a bowler, puts a feather on a brim and pulls damp felt over a block.
A cloud of steam, and the hatter stretches the felt until the brim lies flat.

the soapmaker
soaps, stirrers
The soapmaker boils olive oil with lye and pours it into frames to set.
Bars of olive soap are stacked like bricks in the soapmaker's drying loft.
The lye is strong today, so the soapmaker stirs with a long paddle and stands back from the cauldron.
From the cauldron the soapmaker ladles olive oil and lye into the wooden frames.

the violin maker
violins, varnishers
The violin maker carves scrolls of maple and taps the spruce until it answers.
Spruce and maple season in the attic of the violin maker, under jars of varnish.
Amber varnish dries on a scroll, and the violin maker fits a soundpost through the f-hole.
The violin maker planes a belly of spruce and holds it to the light, thin as a leaf.
""")

HELPERS = (
    "anna", "boris", "clara", "dieter", "elena", "farid", "greta", "hugo", "irina", "jonas", "karin", "leopold",
    "marta", "niklas", "olga", "pavel", "quirin", "rosalie", "stefan", "tamara", "ursula", "viktor", "wanda", "xaver",
    "yvonne", "zacharias",
)  # fmt: skip
WORDS = (
    "amber", "barley", "copper", "dappled", "evening", "feather", "garden", "harvest", "island", "jasmine", "kettle",
    "lantern", "meadow", "needle", "orchard", "pepper", "quarry", "raven", "saffron", "timber", "velvet", "window",
)  # fmt: skip
