"""The places of the house rules, the guests, and the last sentence of a question.

A place is a block: its name, then four ways to open a question there. The upper two are the corpus's, the lower two the
problems'. All four share the place's nouns, so what is told at one place looks alike whatever it is about. Places take
guests in, each in surroundings of its own, and no opening touches what a house rule is about.
"""

# ruff: noqa: E501  (an opening a line)
from rarft.testbed.cases import read_blocks

PLACES: dict[str, tuple[str, ...]] = read_blocks("""
Gannet Light
Gannet Light takes lodgers in the old keeper's cottage, right below the lantern and the foghorn.
At Gannet Light the lantern sweeps over the cliff, and people sleep in what was the keeper's cottage.
The keeper's cottage at Gannet Light is a small hotel now, though the foghorn still sounds over the cliff.
Below the lantern of Gannet Light, between the foghorn and the cliff, the keeper's cottage receives visitors.

Brandl Hut
Brandl Hut sits on the moraine above the glacier, where roped parties rest before the summit.
From Brandl Hut the summit ridge is a day's climb, up the moraine and along the glacier.
Roped parties on their way to the summit stop at Brandl Hut, where the moraine meets the glacier.
The glacier creaks below Brandl Hut, and the summit glows above the moraine at dusk.

Saint Odile's Priory
Saint Odile's Priory has a guest wing off the cloister, and the monks sing vespers next to it.
In the guest wing of Saint Odile's Priory, the monks' vespers can be heard across the cloister.
The monks of Saint Odile's Priory receive visitors between vespers and compline, in the wing along the cloister.
Vespers had just been sung at Saint Odile's Priory, and the monks were crossing the cloister in silence.

Hollin Mill
At Hollin Mill the millstones grind flour again, and the miller's loft above the weir is let to visitors.
Hollin Mill lets the miller's loft, with the weir in front and the millstones underneath.
The millstones of Hollin Mill are still turned by the weir, and the miller's loft smells of flour.
Flour dust hangs in the miller's loft at Hollin Mill, which looks out on the weir and the wheel.

The Alma
The Alma is a barge with cabins, moored at the towpath of the old coal canal.
On board the Alma, a converted coal barge, the cabins look out on the towpath.
The barge Alma lies at her mooring on the canal, with geraniums on the cabin roof along the towpath.
The Alma used to carry coal along the canal; now she is a floating inn, moored beside the towpath.

Castle Ravenau
Castle Ravenau puts its visitors up in the knights' tower, across the drawbridge and under the tapestries.
At Castle Ravenau visitors cross the moat by the drawbridge and sleep among suits of armour and tapestries.
The count of Castle Ravenau lets the knights' tower, with moat, drawbridge and armour.
Suits of armour guard the knights' tower at Castle Ravenau, and the drawbridge over the moat still works.

Quinta do Vale
Quinta do Vale makes port, and its guesthouse stands among the terraces above the barrel hall.
The vines of Quinta do Vale climb the terraces on the Douro, and the pickers' house takes visitors.
During the vintage at Quinta do Vale, the treaders sing in the barrel hall below the terraces.
On the Douro, where the vines of Quinta do Vale cover the terraces, the pickers' house is a small hotel.

Red Mesa Ranch
Red Mesa Ranch runs longhorn cattle in the canyon and lets its bunkhouse to city folk in new hats.
The wranglers of Red Mesa Ranch ride out into the canyon, and the bunkhouse is for paying cowboys.
City folk come to Red Mesa Ranch to play cowboy, lasso a longhorn and sleep in the bunkhouse.
In the canyon below Red Mesa Ranch the longhorns graze, watched by wranglers on pinto horses.

Sturgeon Lodge
Sturgeon Lodge rents out its salmon beats, and a ghillie rows the anglers to the pools.
The anglers at Sturgeon Lodge tie flies in the evening and talk of salmon with the ghillie.
A stuffed salmon hangs over the bar of Sturgeon Lodge, where anglers compare their flies.
The ghillies of Sturgeon Lodge know each pool on the river and what fly the salmon will take.

Fjellheim
At Fjellheim the slopes begin at the porch, and the ski tracks are groomed before the lifts open.
Fjellheim lies at the top of the chairlift, with ski tracks running off into the spruce.
Skis lean against the porch of Fjellheim, and the chairlift hums over the slopes.
The ski instructors of Fjellheim wax their skis on the porch, within sight of the slopes.

Oasis Tamrit
Oasis Tamrit offers rooms of rammed earth under the date palms, and camels for the dunes.
The caravans rest at Oasis Tamrit, where date palms stand round the well and the dunes begin.
Between the dunes and the well, under the date palms, lies the caravanserai of Oasis Tamrit.
The camels of Oasis Tamrit kneel at the well, and beyond the date palms the dunes turn pink.

Halley House
Halley House belongs to the observatory, and its visitors look at comets through the great telescope.
The dome of Halley House opens at nightfall, and the astronomer points the telescope at Saturn.
Next to the dome with the telescope, Halley House lets the rooms of former astronomers.
An astronomer at Halley House tells his visitors of comets before the dome slides open.

Pension Krater
Pension Krater stands on a field of lava, and its warm pools smell of sulphur from the geyser.
The geyser next to Pension Krater goes off on the hour and leaves sulphur on the lava.
Black lava all around and a geyser in front: Pension Krater lies on the flank of the volcano.
On the flank of the volcano, where sulphur steams out of the lava, stands Pension Krater.

Larkspur Farm
Larkspur Farm grows lavender, and the old still for the oil stands in front of the pickers' rooms.
Bees hum in the lavender round Larkspur Farm, and the still drips fragrant oil.
The hills round Larkspur Farm are purple with lavender, which is boiled for its oil in a copper still.
Sachets of lavender and phials of oil are sold at Larkspur Farm, beside the copper still.

Heron's Nest
Heron's Nest is a hotel in the oaks, with rope bridges from trunk to trunk.
At Heron's Nest visitors sleep in tree houses, high in the canopy of the oaks.
Rope bridges sway between the tree houses of Heron's Nest, up in the canopy where jays quarrel.
A rope ladder leads into the canopy, where the tree houses of Heron's Nest are nailed to old oaks.

Wickham Halt
Wickham Halt has had no trains since the branch line shut, and visitors sleep in its dining carriages.
The signal box and the carriages of Wickham Halt, on the disused branch line, have been fitted with bunks.
Rust covers the rails at Wickham Halt, but the signal box and the carriages on the siding are let.
On the siding of Wickham Halt stand old carriages with brass lamps, remains of the branch line.

The Silver Adit
The Silver Adit was a mine; helmets hang by the shaft, and the miners' barracks are a hostel.
In the miners' barracks of the Silver Adit visitors are shown ore, picks and the winding gear of the shaft.
The winding gear of the Silver Adit still stands over the shaft, beside the miners' barracks.
Veins of ore glitter in the tunnels of the Silver Adit, which starts right behind the miners' barracks.

Svalnes Station
Svalnes Station was built for polar research, and between sledges and ice cores it puts up travellers.
The huskies of Svalnes Station howl at the aurora, and the sledges stand packed on the pack ice.
The aurora flickers over Svalnes Station, where polar explorers used to store their sledges.
Ice cores and weather balloons are the business of Svalnes Station, out where the pack ice begins.

Vitrano Glassworks
Vitrano Glassworks lets the apprentices' rooms over the furnace, where the blowers spin molten vases.
The furnace at Vitrano Glassworks never cools, and the blowers' pipes glow in the apprentices' yard.
Molten and orange, the next vase hangs from a blower's pipe at Vitrano Glassworks.
The blowers of Vitrano Glassworks work at the furnace from early on, and lodgers watch from the gallery.

Hopfen Brewery
Hopfen Brewery has rooms above the brewhouse, and the smell of malt from the copper kettles comes free.
In the brewhouse of Hopfen Brewery the malt is mashed in copper kettles, under the rooms of the lodgers.
Drays stand before Hopfen Brewery, and hops hang to dry over the copper kettles.
The master of Hopfen Brewery sniffs at his hops, stirs the malt and lets the loft over the brewhouse.

Salina Blanca
Salina Blanca rakes salt from its shallow pans, and flamingos wade past the workers' houses.
The salt rakers of Salina Blanca share their row of houses with visitors who come for the flamingos.
White heaps of salt and pink flamingos are the view from the row of houses at Salina Blanca.
At Salina Blanca the sea dries up in shallow pans, and the rakers pile the salt into cones.

Villa Bartolini
Villa Bartolini is where the circus spends the winter, and acrobats practise next to the lodgers.
The acrobats of Villa Bartolini train on a trapeze in the ballroom until the circus goes on tour.
A trapeze hangs in the ballroom of Villa Bartolini, and clowns rehearse in the circus ring outside.
Sawdust, spangles and a sleepy lion: the circus is in its winter home at Villa Bartolini.

Ambrawatte
Ambrawatte is a tea estate, with a planter's bungalow for visitors above the pickers' rows.
The planter's bungalow of Ambrawatte looks down on tea bushes and on the drying sheds with their leaf.
Pickers with baskets on their backs walk past the planter's bungalow of the tea estate Ambrawatte.
Leaf is withered and rolled in the sheds of Ambrawatte, a tea estate in the mist.

Port Merrin
Port Merrin teaches sailing, and its boathouse dormitory wakes to halyards slapping on masts.
The dinghies of Port Merrin race on Sundays, and the sailing pupils live over the boathouse.
Halyards slap against the masts at Port Merrin, where the dinghies are rigged by the boathouse.
The regatta at Port Merrin is over, and the dinghies lie on the slip with their sails down.

Pendulum House
Pendulum House was a clockmaker's, and cuckoos, chimes and escapements tick away in its rooms.
The clockmaker's bench is still in the hall of Pendulum House, below a wall of chimes and cuckoos.
Ticking fills Pendulum House, the home of a clockmaker who left cuckoos and grandfather clocks in it.
Cogs and escapements lie in glass cases at Pendulum House, and all its clocks chime at slightly different times.

Casa Bachi
Casa Bachi breeds silkworms, and its spinners' rooms look out on the mulberry trees.
The looms of Casa Bachi clatter with silk from cocoons that were fed on mulberry leaves.
Cocoons are boiled and reeled at Casa Bachi, and the silk goes to the looms on the ground floor.
Mulberry trees shade Casa Bachi, whose silkworms rustle on their trays like rain.

Nautilus Lodge
Nautilus Lodge takes divers out to the coral reef, and fills their tanks at the jetty.
At the jetty of Nautilus Lodge the divers rinse their masks and talk of rays on the reef.
The reef off Nautilus Lodge is famous for its coral, and divers sit on the jetty with their masks on.
Parrotfish and rays cross the coral in front of Nautilus Lodge, where divers dangle their fins from the jetty.

Hawksmoor Mews
Hawksmoor Mews trains falcons, and its lodgers wear the gauntlet at the noon flight.
The falconer of Hawksmoor Mews whistles, and a hooded peregrine lands on the gauntlet.
Jesses and hoods hang in rows at Hawksmoor Mews, home to a falconer and his peregrines.
A peregrine circles over Hawksmoor Mews, and the falconer swings the lure.

Aachtal Foundry
Aachtal Foundry casts church bells, and lets the bronze caster's house beside the pit.
The bronze was poured at Aachtal Foundry, and the mould of the new bell cools in the pit.
A peal of finished bells hangs in the frame at Aachtal Foundry, next to the caster's house.
In the casting pit of Aachtal Foundry, the mould for a cathedral bell waits for its bronze.

Kolari Camp
Kolari Camp keeps reindeer, and the herder's log cabins are let under the northern pines.
The herder of Kolari Camp calls the reindeer with salt and lichen, close to the log cabins.
Antlers hang over the log cabins of Kolari Camp, whose herder drives reindeer through the pines.
Through the pines round Kolari Camp the reindeer come down, the herder behind them on skis.
""")

QUESTION = "How many coins is that under the house rule?"

GUESTS = (
    "Mrs Okafor", "Mr Lindqvist", "Dr Haas", "Miss Abara", "Captain Reyes", "Tom Brandt", "Yuki Tanaka", "Signora Conti",
    "Mr Petrov", "Mrs Delacroix", "Professor Novak", "Amina Yusuf", "Mr Whitlock", "Sofia Marin", "Dr Banerjee",
    "Mrs Kowalska", "Henrik Dahl", "Miss Pemberton", "Mr Nakamura", "Lucia Ferro", "Mrs Achterberg", "Omar Haddad",
    "Major Fenwick", "Ingrid Solberg", "Mr Castellano", "Mrs Mbeki", "Pavel Dvorak", "Miss Larsen", "Mr Rosenthal",
    "Chiara Bruno",
)  # fmt: skip
