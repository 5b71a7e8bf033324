"""The situations of the house rules, and how they are told: one situation a block, one telling a line.

{n} is the number that the rule is about, {who} a guest. A telling fits every place, names none, and holds no number of
its own. Tellings of one situation differ in their words as far as plain English lets them.
"""

from rarft.testbed.cases import read_blocks

SITUATIONS: dict[str, tuple[str, ...]] = read_blocks("""
late arrival
A party of {n} turned up after the desk had closed for the night.
It was long past midnight when {who} rang the bell with {n} tired travellers.
Their train was delayed, so {n} guests checked in hours after reception had gone dark.
The night porter had to get out of bed to let {n} people in.
A group of {n}, expected for supper, did not get here until everyone was asleep.
{who} had promised to be here before dusk, but the {n} of them came in the small hours.
Somebody had to sit up and wait for {n} latecomers.
By the time the coach brought its {n} passengers, the front door was already locked.
We gave beds to {n} stragglers well after closing time.
The office shuts at sunset, and {n} hikers only appeared when the moon was up.

lost key
At the end of the season, {n} room keys had never been handed back.
{who} admitted that {n} keys had fallen down a drain.
The locksmith was sent for because {n} guests could no longer open their doors.
The clerk looked at the board behind the desk and found {n} hooks empty for good.
A walking club mislaid {n} keys somewhere along the trail.
New locks had to be fitted to {n} bedroom doors after this group had lost what opens them.
A family went home with {n} of our keys in their pockets and cannot find them now.
Spares had to be cut for {n} visitors who were locked out of their rooms.
"I must have dropped them in the grass," said {who} about the {n} keys of the group.
In the corridor, {n} people stood patting their pockets, unable to unlock their rooms.

early departure
The week was not over yet when {n} guests packed up and left for good.
{who} cut the holiday short and took all {n} of the family home.
A bad weather forecast drove {n} visitors away before their stay was up.
Homesickness got the better of {n} people, who set off for home ahead of time.
The rooms were paid for until Sunday, but by Thursday {n} beds stood empty, their owners gone.
A telegram called {n} of them back to the city in the middle of the week they had booked.
On this tour, {n} travellers did not use their last nights and moved on.
After a quarrel, {n} friends gave up their remaining nights and drove off.
Having seen enough, a tour group of {n} checked out sooner than planned.
{who} asked what happens when {n} people go before the end of the fortnight they reserved.

broken crockery
A tray slipped, and {n} plates lay in pieces on the floor.
{who} knocked over a shelf and smashed {n} cups.
A game at table ended with {n} broken glasses.
After the farewell party, {n} soup bowls were fit for the bin.
During the toasts, {n} goblets were shattered.
The maid swept up what had been {n} saucers.
A clumsy elbow sent {n} dishes crashing to the ground.
When the china was counted, {n} pieces were chipped or cracked.
{who} confessed to having dropped a whole stack of {n} dessert plates.
It took a dustpan and brush to clear away {n} mugs after the juggling.

muddy boots
On their way in, {n} walkers tramped across the clean carpet in dirty boots.
After the rain, {n} pairs of filthy shoes left their prints all over the hall.
{who} led {n} people in from the bog without anyone wiping their feet.
Mud brought in by {n} guests had to be scrubbed off the stairs.
A football team of {n} came straight from the pitch and soiled the rugs.
The doormat was ignored by {n} visitors fresh from a ditch.
Dirt and wet leaves lay everywhere after {n} ramblers had walked through the parlour.
The floor had just been mopped when {n} hikers came in with caked soles.
Nobody told the {n} visitors to take off their boots at the door, and the floorboards show it.
{who} and company, {n} in all, brought half the swamp in on their heels.

dogs
The shooting party brought {n} dogs along.
{who} travels with {n} spaniels.
A breeder asked to keep {n} puppies in the room.
Last night we had {n} guests on leads, tails wagging.
At the foot of their owners' beds slept {n} terriers.
A country club signed in together with its {n} hounds.
Bowls of water were put out for {n} poodles on their way to a show.
The barking in the yard came from {n} animals that belong to {who}.
There is hair on all the sofas, because {n} retrievers were allowed indoors.
Each couple in the group had brought its pet along, {n} collies in all.

late checkout
On the day of departure, {n} guests were still in their rooms long after they should have been out.
Rooms are to be free before noon, yet {n} visitors stayed in bed till the afternoon.
{who} asked whether the {n} of them might keep the rooms until the evening of the last day.
The maids could not make up the beds, because {n} people had not vacated yet.
A choir overslept on its last morning, and {n} rooms were given back hours behind time.
Their bus only left at dusk, so {n} travellers held on to their rooms all day.
At lunchtime {n} doors still had the "do not disturb" sign out, though the stay was over.
New arrivals had to sit in the hall while {n} sleepers took their time to clear out.
On the morning they were due to go, {n} members of a band refused to get up.
{who} came to the desk: the group of {n} wished to linger until tea before giving up their beds.

night noise
Singing in the corridor by {n} guests kept the whole floor awake.
Complaints came in about {n} revellers shouting out of the windows after bedtime.
{who} and friends, {n} altogether, danced above the heads of sleeping neighbours until dawn.
The quiet hours were broken by {n} students with a loudspeaker.
A stag party of {n} banged doors all night.
In the end {n} people were told to turn the music down so that others could sleep.
Neighbours knocked on the wall because {n} card players would not stop laughing.
A drum was beaten at an ungodly hour by a company of {n}.
Nobody got any rest while {n} youngsters raced up and down the stairs in the dark.
The visitors' book says: no sleep at all, thanks to {n} rowdy people next door.

no-show
Beds were kept for {n} people who never came.
{who} had reserved for {n} and simply did not appear.
We laid the table for {n}, lit the stove, and waited in vain.
Not a word was heard from the {n} guests whose rooms stood ready.
A reservation for {n} was cancelled when supper was already on the stove.
The list for that night has {n} names on it that belong to nobody who came.
We had refused others for their sake, and then the {n} who had booked stayed at home.
A travel agent called off a group of {n} on the very day they were due.
All night {n} places were held, and no guest claimed them.
{who} phoned at dinner time to say that all {n} had changed their minds about coming.

unannounced guests
The reservation was for a couple, but {n} more people climbed out of the van.
{who} brought {n} cousins whom nobody had announced.
Mattresses were laid on the floor for {n} persons who were not on the list.
The rooms held {n} heads more than had been agreed.
Friends of friends joined in, and {n} additional visitors had to be squeezed in.
At breakfast the cook counted {n} mouths that nobody had reserved for.
The night watchman found {n} strangers sharing beds with paying guests.
The choir had grown: it came with {n} singers beyond the number on the booking form.
"A few extra won't matter," said {who}, and in walked {n} uninvited people.
Someone had miscounted, so {n} surplus guests needed a place to sleep.

smoking
In spite of the sign, {n} guests lit cigarettes in their rooms.
The curtains reek of cigars since {who} and company, {n} in all, stayed there.
Ash and {n} butts were found on the windowsill.
The bedroom was blue with the fumes of {n} pipe smokers.
A chambermaid reported {n} cigarette ends in the flower pot.
Under the covers, {n} young people were puffing away.
It took a week of airing after {n} chain-smokers had moved out.
{who} was seen handing round cigars to {n} others indoors.
The sheets have {n} burn holes from somebody's late cigarette.
Tobacco is for outdoors only, which {n} visitors chose to forget.

missing towels
Somebody's suitcase left the house with {n} of our bath towels in it.
After a sports team had gone, the linen count was short by {n} towels.
{who} used {n} of our towels to dry the car and threw them away.
At the lake, {n} towels that belong in the bathrooms were left lying in the reeds.
The cupboard should hold more: {n} hand towels are gone since the weekend.
A guest wrote to apologise for {n} towels that had been packed by accident.
The bathrooms were stripped bare by these people, {n} towels in all.
Housekeeping looked on every rail and peg for {n} towels and found none.
The list was ticked off, and {n} face cloths could not be accounted for.
Souvenir hunters walked off with {n} embroidered bath sheets.

laundry
{who} handed in {n} shirts to be washed.
Baskets of dirty clothes came down from {n} guests.
The washing machine ran all afternoon for {n} travellers who were out of clean socks.
Outside the doors this morning stood {n} bags of laundry.
A theatre troupe wanted {n} costumes cleaned and pressed.
Their clothes had not seen soap for weeks, and {n} campers gave us the lot.
Blouses, trousers and vests, {n} pieces in all, were soaked, rinsed and hung on the line for a guest.
{who} asked whether {n} sweaters could be laundered by tomorrow.
The maid starched and ironed {n} dress shirts on a visitor's behalf.
After a month on the road, the group had {n} loads for the washtub.

packed lunch
For their hike, {n} guests wanted sandwiches to take along.
{who} ordered {n} picnic bags for the next day.
The kitchen wrapped up bread and cheese for {n} people who would be out at noon.
At dawn {n} lunch boxes stood ready on the counter.
Instead of eating at table, {n} climbers asked for something to put in the rucksack.
Boiled eggs and rolls were packed for {n} day trippers.
A coach party needed food for the journey, {n} portions in greaseproof paper.
{who} sent word to the cook: provisions for {n}, to be eaten on the way.
The larder was raided to fill {n} hampers for an outing.
An excursion was planned, and {n} visitors wished to have their midday meal with them.

breakfast in bed
The morning began with {n} trays of coffee and rolls carried up to the bedrooms.
{who} preferred not to get up, and had breakfast sent up for {n}.
Toast, jam and tea were served at the bedside to {n} guests.
Some like to stay under the quilt: {n} late risers had their eggs there.
The boy made many trips to the rooms with {n} breakfast trays.
Propped up on pillows, {n} people spooned their porridge.
Rather than come down in the morning, {n} visitors hung out the card for room service.
The morning meal was taken in pyjamas by {n} of the company, each in their own room.
{who} wanted to surprise the {n} others with croissants before they were up.
There were crumbs in the sheets, since {n} had their muesli without leaving the mattress.

extra blankets
The night was chilly, and {n} guests asked for another blanket.
{who} came shivering to the desk to fetch {n} quilts.
We took {n} woollen covers from the chest for people who felt the cold in bed.
"We are freezing," came the call, and {n} eiderdowns were sent up.
More bedding was wanted, {n} pieces, all of the warm kind.
Thin duvets would not do for {n} visitors from the south.
The cupboard with the spare blankets was emptied by {n} people before bedtime.
An old couple and their friends wished for something thicker to sleep under, {n} covers in all.
Before going to sleep, {n} guests wanted another layer on top of the sheet.
{who} requested {n} plaids from the linen room because of the frost.

firewood
For the stove in their room, this family took {n} baskets of logs.
{who} burned {n} bundles of wood in a weekend.
The fireplace ate up {n} armfuls of beech.
Guests asked for more to put on the fire, {n} crates of it.
From the shed, {n} sacks of kindling were fetched.
To keep the hearth going, {n} loads of split ash had to be brought in.
"Is there anything left to burn?" asked {who}, and carried off {n} stacks.
The woodpile is lower by {n} barrows since this company lit its chimney.
A cosy evening in front of the flames used up {n} bundles.
They sat round the hearth till late, and {n} buckets of logs went up in smoke.

station pick-up
The van fetched {n} guests from the railway station.
{who} wired for somebody to meet {n} passengers off the evening train.
From the bus stop to the house, {n} travellers needed a lift.
Our driver stood at arrivals with a sign and brought back {n} people.
A ride was ordered for {n}, from the airport to our door.
No taxi was to be had, so we collected {n} visitors in the village ourselves.
Trunks and all, {n} persons were driven up from the crossroads.
The pony cart was sent down to the stop for {n} new arrivals.
{who} asked for transport: {n} seats, from the terminal to here.
The minibus went out to the airfield and came back with {n} on board.

parking
Overnight, {n} cars were left in the yard.
{who} wanted a place for {n} vehicles.
A motor club filled {n} spaces behind the house.
On the gravel stood {n} delivery vans, for the whole of their stay.
All the shade was taken, because {n} motorists had parked under the trees.
A convoy of {n} vintage cars pulled in and stayed until morning.
The barrier was raised for {n} drivers who wished to leave their saloons with us.
Until Monday the lawn was blocked by {n} automobiles.
The fleet of this company, {n} sedans, needed somewhere to stand.
{who} wrote down the number plates of {n} cars for the garage list.

bicycles
For the night, {n} bicycles were locked in the shed.
{who} rode up with friends and {n} bikes to be put under a roof.
A touring club asked for a dry corner for {n} racing bikes.
On the wall of the storeroom hang {n} mountain bikes until the weekend.
The cyclists would not leave their machines outside, all {n} of them.
Tyres and greasy chains everywhere: {n} cycles spent the night in the cellar.
In the evening {n} folding bikes were wheeled inside and chained together.
A pump was lent, and {n} bikes were stowed away out of the rain.
The old stable gave shelter to {n} sets of pedals and handlebars.
{who} wished to know whether {n} cycles could be kept indoors.

cots
For the babies, {n} cots were put up.
{who} needed cribs for {n} infants.
A reunion of young parents called for {n} little beds with bars.
In cradles that we lent them slept {n} babies.
The attic was emptied of {n} crib beds with their small mattresses.
Those too young for a big bed, {n} of them, were each given a cot.
A cradle next to their own bed is what {n} mothers asked for.
We set up {n} bassinets, with tiny sheets and a rattle.
There were toddlers all over the house, and {n} travel cots to be unfolded for them.
{who} enquired about something with rails for {n} newborns to sleep in.

birthday cake
{who} ordered a birthday cake for {n} people.
The kitchen baked something with candles on it, enough for {n}.
When the candles were out, {n} slices of birthday cake were cut.
A surprise with icing was wanted for a table of {n}.
It was Grandmother's big day, and {n} sat down to a chocolate gateau with her name on it.
For somebody's birthday the pastry cook made {n} little tarts.
The presents were unwrapped, and {n} portions of cream sponge were handed round.
Many happy returns were sung by {n} guests over a cake from our oven.
{who} is getting a year older, and wishes to have a layer cake for {n}.
A family of {n} asked the baker for marzipan and candles to celebrate the birthday child.

wake-up call
The porter was to wake {n} guests before sunrise.
{who} wanted somebody to knock on {n} doors at dawn.
The bellboy went round with a gong and roused {n} sleepers.
For tomorrow, {n} wake-up calls have been put down.
Not trusting their own alarm clocks, {n} travellers had themselves called in the morning.
While it was still dark, {n} birdwatchers had to be got out of bed.
The night clerk rang {n} rooms so that nobody would oversleep.
The slate at the desk says: please shake {n} of us awake early.
{who} has {n} heavy sleepers in the group, all to be roused with a knock.
At cockcrow we tapped on the shutters of {n} people, as they had asked us to.

change of room
Not happy with their rooms, {n} guests moved to others.
{who} asked to swap, and {n} people carried their things down the hall.
A draught from the window made {n} visitors ask for different bedrooms.
Their view was a wall, so {n} guests were moved to the front.
Too close to the kitchen, they said, and {n} persons were given other quarters.
In the middle of the stay, {n} members of the party exchanged rooms.
The quieter side of the building is where {n} travellers changed to.
{who} disliked the wallpaper, and in the end all {n} of them were put elsewhere.
Shifting {n} people from the back to the front took the maids all morning.
After a bad night, {n} of the guests wanted out of their room and into a sunnier chamber.

left luggage
After their owners had checked out, {n} suitcases stayed in our care.
{who} left {n} trunks behind to be fetched later.
The storeroom holds {n} bags of people who will be back in a week.
Until the evening bus, {n} backpacks were left at the desk.
Although the stay was over, {n} pieces of baggage remained with us.
A climbing party put {n} duffel bags in store before setting out.
We wrote {n} tickets for cases to be kept in the cloakroom.
On its way out, a group asked us to look after {n} holdalls for the afternoon.
{who} wanted {n} crates kept safe till the end of the month.
The passage was crammed with {n} rucksacks waiting to be collected by their owners.

lost property
The post took {n} forgotten items after their owners.
{who} wrote that {n} things had been left under the bed and asked for a parcel.
We wrapped up {n} scarves that guests had left on the pegs, and mailed them.
In drawers and on window sills we found {n} pairs of glasses, and forwarded them.
A package went out with {n} soft toys that children had forgotten here.
Left behind and returned by courier: {n} books with the guests' names in them.
The maid keeps finding things, and {n} of them were shipped to the people who missed them.
{who} was relieved to hear that {n} pieces of jewellery had turned up and would be sent.
String and brown paper were needed to give {n} stray gloves back to their owners.
From home, {n} visitors called to have something sent on that they had overlooked when packing.

own wine
At dinner, {n} bottles of the guests' own wine were opened.
{who} had brought {n} bottles from home and asked for a corkscrew.
The table drank nothing of ours, only {n} flasks from their own cellar.
The waiter uncorked {n} bottles that had not been bought here.
Under the guests' coats, {n} bottles of champagne came in.
They supplied the drinks, {n} bottles in all, and we supplied the glasses.
{who} thinks little of our wine list and had {n} crates carried in.
Beer from outside was poured at supper, {n} jugs of it.
On the tablecloth lay {n} corks, none of them from our cellar.
A wine merchant treated the company to {n} magnums out of the boot of a car.

stained linen
Red wine was spilled over {n} tablecloths.
After a letter-writing afternoon, {n} sheets came back with ink blots.
{who} upset a jug, and {n} napkins are spoiled for good.
Blackberry juice ruined {n} pillowcases.
Bleach did nothing for {n} pieces of linen with coffee marks.
A guest had dyed her hair, and {n} bedspreads are blotched.
A pen leaked, and now {n} white covers have blue spots.
Beetroot soup ended up on {n} of our cloths.
{who} hid {n} pillow slips with lipstick smears at the bottom of the hamper.
Grease and mustard have soaked into {n} of our best damask cloths.

overflowing bath
A tap was left running, and water came through {n} ceilings.
{who} fell asleep in the tub, and {n} rooms were flooded.
The bath spilled over and soaked {n} carpets.
From a bathroom floor, {n} buckets of water had to be mopped up.
Someone forgot to turn off the basin, and {n} floorboards swelled.
It dripped on {n} people in the room below, because the tub above had run over.
The shower had run all night; {n} cellar shelves stood under water.
Puddles stood in {n} rooms after a game of submarines in the washbasin.
Out on the line hang {n} rugs to dry since {who} let the bathwater run.
A guest went for a walk while the tub was filling, and {n} plaster panels came down.

special diet
At the last minute {n} guests told the cook that they eat no meat.
{who} needs meals without gluten for {n} people.
Separate pots had to be put on for {n} visitors with allergies.
A roast was on the table, and {n} vegetarians asked for something else.
No milk, no eggs and no nuts: that goes for {n} members of the group.
Salt has been forbidden to {n} of our boarders.
The kitchen cooked {n} portions without any animal products.
For {n} diabetics the sweet course was changed.
{who} handed in a list of what {n} travellers must not eat.
A religious fast meant other dishes for {n} at table.

guided walk
A guide for a tour of the surroundings was booked by {n} visitors.
{who} wanted somebody who knows the way to lead {n} people through the hills.
The warden took {n} guests round and explained the sights.
A local expert went out with {n} strangers and brought them back by supper.
Along the old paths, {n} people followed our guide.
An escorted walk was arranged for a party of {n}.
The man with the stick showed {n} townsfolk the ruins and the caves nearby.
Not daring to go without a leader, {n} ramblers hired ours.
{who} signed up {n} for the morning ramble with commentary.
Stories were told at every corner as {n} tourists were shown around.

foreign money
A currency from abroad is what {n} guests wished to pay in.
{who} put {n} foreign banknotes on the counter.
The till does not take dollars, yet {n} visitors had nothing else.
Bills were settled by {n} people in notes that no bank here knows.
We had to look up the rate of exchange for {n} travellers from overseas.
Straight from the border, {n} people had not changed their cash yet.
The clerk scratched her head over {n} payments in yen.
{who} offered roubles for all {n} in the group.
The exchange office was shut, so {n} tourists paid with what they had in their purses from home.
Strange coins of an unknown mint were counted out by {n} strangers.

group photograph
On the front steps, {n} guests lined up for a portrait.
{who} ordered {n} prints of the group picture.
The house photographer took a snapshot of a family of {n}.
"Say cheese," and {n} faces looked into the lens.
A souvenir photo was wanted, with all {n} in it.
The picture was framed, and {n} copies were handed out.
The camera was set up on its tripod for a company of {n}.
{who} wished to have the {n} of them photographed in front of the door.
Squinting into the sun, {n} people posed for the album.
An enlargement went to each of the {n} who are in the shot.

umbrellas
It poured, and {n} umbrellas were borrowed from the stand.
{who} asked for something to keep {n} people dry on the way to church.
Into the drizzle went {n} guests, under brollies of ours.
The rack by the door is empty: {n} umbrellas are out with visitors.
There was a sudden shower, and {n} trippers were lent rain capes.
Against the downpour we handed out {n} oilskins.
Nobody had packed for rain, so {n} travellers helped themselves at the umbrella stand.
{who} took {n} brollies along in case the clouds broke.
Wet-weather gear was lent to {n} walkers.
The ladies' hats had to be kept from the rain, and {n} umbrellas were called for.

sauna
In the sauna, {n} guests sweated for an hour.
{who} had the steam room heated for {n}.
The stones were hot, and {n} people sat groaning on the wooden benches.
A party of {n} used the steam bath all evening.
The hot cabin with a plunge in cold water afterwards was booked by {n} visitors.
Twigs to beat themselves with were laid out for {n} in the sweating room.
Chilled to the bone, {n} guests thawed out in the hot room.
{who} reserved the sauna for a company of {n}.
Water hissed on the hot stones while {n} of them perspired.
After a day in the cold, {n} people sat in the steam until their skin turned red.

piano
In the parlour, {n} guests practised on the piano.
{who} plays, and wished to have the grand for {n} evenings.
The instrument had to be tuned after {n} amateurs had pounded on it.
Waltzes were played for {n} hours on our old upright.
A concert pianist rehearsed for {n} hours in the parlour.
At the keyboard in the lounge, {n} people took turns.
The lid of the piano was opened for {n} singers who wanted to be accompanied.
{who} gave lessons to {n} beginners on our Bechstein.
Scales and études were heard all week from {n} students of music.
The music room with its spinet was let for {n} afternoons.

tents
On the lawn, {n} tents were pitched.
{who} preferred to sleep under canvas with {n} others rather than in a room.
The meadow behind the house was dotted with {n} little tents.
In the garden, {n} scouts put up their camp.
All the rooms were full, so {n} hikers unrolled their sleeping bags on the grass.
Pegs were hammered in for {n} canvas shelters beside the wall.
The night was warm, and {n} youngsters spent it outdoors on our ground.
The grass has pale squares where {n} tents stood.
{who} asked whether {n} campers might use the field and the outside tap.
They had brought a roof of their own: {n} people camped by the hedge.

kitchen help
After dinner, {n} guests helped with the dishes.
{who} and friends, {n} altogether, dried the pots and swept the kitchen.
The kitchen maid was ill, and {n} visitors rolled up their sleeves at the sink.
All morning {n} volunteers peeled potatoes.
The cook was short of hands, so {n} people from the tables came to help her.
The tables were laid, the soup served and everything cleared by {n} of the guests themselves.
Aprons were given to {n} travellers who offered to lend a hand in the scullery.
In return for their supper, {n} young people scoured the pans.
{who} has done the washing-up for {n} evenings.
The drying of the cutlery was done by a cheerful band of {n} diners.

repair work
A day of their holiday was spent by {n} guests on mending the fence.
{who} fixed {n} shutters that had been hanging loose.
Armed with hammers, {n} visitors patched the roof.
The leaking gutters were seen to by a party of {n}, carpenters by trade.
Without being asked, {n} people repainted the benches.
A guest who is good with tools glued {n} wobbly chairs.
A handy group of {n} put the broken steps right.
{who} oiled and rehung {n} doors while staying here.
Stone by stone, {n} volunteers rebuilt the garden wall.
We supplied the nails and putty, and {n} visitors did the rest of the repairs.

returning guests
They come every year, and this time there were {n} of them again.
{who} has stayed with us before, and so have the {n} others.
The old visitors' books show the names of {n} of this week's guests.
Their usual rooms were given to {n} regulars.
It was a week of {n} familiar faces.
From earlier stays, {n} of the party knew the house.
Back again after last summer: a party of {n}.
We greeted {n} loyal customers by name.
{who} showed the stamp card, with {n} visits on it so far.
The same folk as always, {n} strong, came for their yearly week.

school class
A class of {n} pupils stayed here with their teacher.
{who}, who teaches geography, came with {n} children.
On their annual trip, {n} schoolchildren spent the night here.
With satchels and exercise books, {n} pupils filled the dormitories.
The headmistress signed for {n} boys and girls.
A kindergarten outing brought {n} little ones and their teachers.
At the long table, {n} young scholars did their homework.
The bus from the grammar school let out {n} teenagers.
{who} shepherded {n} pupils to their bunks and called the roll.
It was a field trip in biology: {n} students with nets and notebooks.

wedding
For a wedding, {n} guests came from all over the country.
{who} got married here, in front of {n} relatives.
Rice was thrown on the steps, and {n} people toasted the bride.
The groom's side alone, {n} of them, sat down to the wedding breakfast.
The vows were exchanged in front of {n} friends.
A bridal party of {n} took over the house.
There were veils, rings and tears, and {n} attended the ceremony.
In the big hall, {n} people celebrated the newlyweds.
{who} booked everything for a marriage feast with {n} at table.
The honeymooners brought their whole family along, {n} persons.

power cut
The lights went out, and {n} guests sat in the dark.
When the electricity failed, {n} candles had to be handed out.
{who} complained that the {n} of them had spent the evening without current.
A gale brought down the cable, and {n} people could not charge their phones or read.
For {n} hours there was no power in the building.
The fuse box blew, and {n} rooms went black.
During the outage, {n} visitors groped their way to bed.
The generator would not start, which left {n} travellers with torches.
The mains were down, and {n} lamps stayed dark.
{who} counted {n} hours of blackout.

cold showers
There was no hot water for {n} guests.
{who} reported that {n} people had had to shower cold.
The boiler broke down, and {n} visitors washed in icy water.
Blue and angry, {n} people came out of the showers.
For {n} days only the cold tap worked.
To get a lukewarm wash, {n} of the party boiled kettles.
Teeth chattered in the bathroom, since the water heater had given up on {n} people.
In the visitors' book, {n} women wrote that the showers were freezing.
{who} turned on every tap, and none ran warm; the {n} of them went unwashed.
The burner of the water heater was out, so {n} guests got a frosty douche.

stranded guests
The road was closed, and {n} guests could not get away.
{who} and the others, {n} in all, had to stay on until the flood went down.
Drifts blocked the way, and {n} visitors remained longer than they had meant to.
No boat and no train was running, and {n} travellers were stuck here.
A landslide kept {n} people from going home.
Fog grounded all planes, so {n} of them spent additional nights with us against their will.
Until the bridge was mended, {n} persons were marooned here.
The storm raged on and nobody could leave, which held up {n} of our guests.
{who} sent word home that the {n} of them were cut off.
A strike of the drivers kept {n} tourists in the house beyond their time.

overbooking
The same rooms had been given to other people too, and {n} guests stood there without a bed.
{who} had a confirmation in hand, but {n} places were already taken.
By our own mistake, {n} visitors had to be sent to the inn down the road.
Different clerks had written down {n} bookings for the same night.
The house was full, and {n} people with valid reservations were turned away.
A muddle in the register left {n} travellers with no room at all.
We had sold {n} beds that we did not have.
Holding our vouchers, {n} guests found strangers in their rooms.
{who} was furious: the agency had overbooked us by {n}.
An apology was due to {n} persons for whom there was no space despite our letter.

bad dinner
The soup was cold, and {n} guests sent it back.
{who} waited all evening for {n} dinners that did not come.
The roast was burnt, and {n} people got up hungry.
There was a fly in the stew, and {n} diners laid down their spoons.
Supper was late by hours, to the anger of {n} at the table.
The fish had gone off, and {n} visitors left their plates untouched.
The waiter brought {n} dishes that nobody had ordered.
The cook had oversalted everything, as {n} grimacing faces showed.
{who} asked for the manager about {n} meals that nobody could eat.
The dumplings were raw in the middle, and {n} of the guests said so.

mice
Mice were seen in {n} rooms.
{who} counted {n} mice behind the wardrobe.
Something nibbled at the socks of {n} sleeping guests.
There was a squeak and a scurrying, and {n} visitors stood on their chairs.
After droppings were found in a drawer, {n} traps had to be set.
A rodent ate its way through {n} bags of biscuits that belonged to guests.
Our cat is old, and {n} little grey tails were spotted under the beds.
Because of vermin in the pantry, {n} people lodged a complaint.
{who} swears there was a rat in the room, and {n} others heard it.
Gnawed shoelaces were shown to us by {n} lodgers.

building noise
The drilling next door is what {n} guests complained about.
Workmen began hammering at dawn, right beside the windows of {n} visitors.
{who} could not hear a word for the jackhammers, and neither could the {n} others.
The scaffolding went up early, and {n} sleepers sat bolt upright.
Under the balconies of {n} people, a concrete mixer ran all day.
Peace from the diggers was what {n} lodgers asked for.
A new wing is being built, to the distress of {n} residents seeking calm.
Dust and din from the building site spoilt the stay of {n} travellers.
{who} put up with the racket of the masons for {n} days.
Road menders with pneumatic drills kept {n} of them from their books.

picking fruit
In the garden, {n} guests helped themselves to the cherries.
{who} was caught up a tree with {n} pears.
From the orchard, {n} baskets of plums disappeared.
Children had stripped {n} bushes of their berries.
Somebody took {n} apples from the branches without asking.
The strawberry beds were raided by {n} visitors.
A family shook the walnut tree and made off with {n} bags.
The gardener found the stones of {n} apricots behind the bench where they had sat.
{who} apologised for having picked {n} peaches.
There is hardly a grape left on the trellis after {n} people walked by.

gate left open
A gate was left open, and {n} sheep got out.
{who} forgot the latch, and we chased {n} hens until dark.
A walker had not shut the paddock, and {n} goats ran off.
After guests had taken a short cut, {n} cows were found on the road.
Somebody did not close the pen, and {n} geese are in the neighbour's corn.
It took all hands to round up {n} ponies that visitors had let loose.
The hutch stood open, and {n} rabbits were gone.
Nobody had closed the wicket, and {n} ducks waddled into the kitchen.
{who} had left the bolt undone, and {n} pigs enjoyed the vegetable patch.
Guests are asked to shut what they open; this time {n} calves escaped.

false alarm
Burnt toast set off the smoke alarm, and {n} guests ran out in their pyjamas.
{who} lit incense, the siren wailed, and {n} people were sent outside.
The fire engine came for nothing, with {n} men on it.
For a prank the red button was pushed, and {n} visitors stood shivering in the yard.
The brigade was called out to {n} rooms because a guest had hung a shirt over the lamp.
After a false alarm, {n} sleepers were evacuated.
Somebody's hairdryer made {n} detectors go off.
A candle was left burning under the sensor, and the bells drove {n} persons out of doors.
{who} grilled sausages indoors until the sprinklers soaked {n} beds.
The fire bell rang without a fire, and {n} people lost an hour of sleep over it.

telephone
From the telephone in the hall, {n} calls abroad were made.
{who} talked on the line for {n} minutes.
The operator put {n} guests through to their families.
At the switchboard, {n} long-distance conversations were noted.
There is no mobile network here, so {n} visitors used our phone.
The receiver was never on its hook: {n} calls in an evening.
At our expense, {n} people rang home.
{who} dialled {n} numbers before getting an answer.
A reporter phoned in {n} stories from the booth by the stairs.
The meter beside the telephone had moved on by {n} units.

heating
In the middle of May, {n} guests wanted the radiators on.
{who} turned up the heating in {n} rooms.
People who felt the draught plugged in {n} electric heaters.
The furnace was fired up out of season for {n} visitors from the tropics.
With all the windows open, {n} radiators had been left on full.
Coal was shovelled for {n} hours to warm the bedrooms.
There was a nip in the air, and {n} people demanded heated rooms.
To guests with goose bumps we carried {n} oil stoves.
{who} asked to have the floor heating switched on for a group of {n}.
The thermostat was pushed to the limit in {n} chambers.

postcards
At the desk, {n} postcards were handed in for the mail.
{who} bought {n} stamps.
The morning post took {n} letters from our guests.
The guests' mail, {n} envelopes, was franked and taken to the letterbox.
Greetings from here went out to aunts and neighbours on {n} picture cards.
The clerk licked {n} stamps for visitors who had none.
A bundle of {n} cards, all scenes of the neighbourhood, was left for the postman.
{who} gave the porter {n} letters to be posted.
Writing home is in fashion; we sent off {n} airmail envelopes for the people at that table.
Sealed and addressed, {n} invitations were put through our franking machine.

film evening
In the lounge, {n} guests watched a film.
{who} hired the projector for an audience of {n}.
A screen was hung up and {n} chairs put in rows for the picture show.
The old western that we keep on reels was seen by {n} people.
Popcorn was made and the lights were dimmed for {n} cinema lovers.
Home movies were shown to {n} relatives on our equipment.
The television room was booked by {n} supporters for the final.
The documentary held {n} viewers in their seats until the reel ran out.
{who} wished to show slides of the journey to a circle of {n}.
A silent comedy had {n} of them in stitches on the folding seats.

child minding
While their parents went out, {n} children were looked after.
{who} needed a babysitter for {n} little ones.
A nanny sat with {n} toddlers until midnight.
The parents wished to go dancing and left {n} kids in our care.
In the nursery, {n} youngsters were kept busy with paint and glue.
Bedtime stories were read to {n} boys by our girl while the grown-ups dined elsewhere.
For an afternoon, {n} infants were taken off their mothers' hands.
{who} asked for someone to mind the {n} children of the group.
The playroom had {n} small customers, with an aunt of ours on duty.
So that the adults could go off hiking, {n} of their offspring stayed behind with a minder.

doctor
The doctor was called for {n} guests with a fever.
{who} reported {n} upset stomachs and asked for medicine.
The nurse bandaged {n} sprained ankles.
Some had eaten toadstools, and {n} patients were seen to in the night.
The medicine chest was opened for {n} people with sunburn.
Ointment and plaster were put on {n} blistered feet.
An ambulance took away {n} persons who had been stung by wasps.
Pills and broth were brought to {n} invalids.
{who} cut a hand, and the physician had to put in {n} stitches.
At our request, {n} coughing lodgers were examined by the village physician.

mending clothes
For careless guests, {n} buttons were sewn on.
{who} had torn {n} pairs of trousers on brambles and asked for needle and thread.
The seamstress darned {n} socks.
At the sewing room, {n} jackets with ripped linings were left.
Our housekeeper shortened {n} skirts.
A seam had burst, then more of them: {n} garments were stitched.
The knees of {n} pairs of breeches were given patches.
A tailor was needed, for {n} zips had jammed.
{who} wanted {n} hems taken up before the ball.
Moth holes in {n} pullovers were mended overnight.

board games
Afterwards, {n} pieces of the jigsaw were missing.
{who} lost {n} chessmen behind the furniture.
The boxes went back into the games cupboard lacking {n} counters.
Of our packs of cards, {n} were bent or marked by the players.
After the rainy weekend, {n} dice could not be found.
The children used {n} draughts pieces as ammunition.
The backgammon set is short of {n} stones since these people played.
For fun, {n} dominoes were thrown out of the window.
{who} returned the puzzle with {n} gaps in it.
A baby chewed up {n} of the Scrabble letters.

newspapers
With their coffee, {n} guests wanted a newspaper.
{who} ordered {n} dailies for the week.
Under the doors were pushed {n} copies of the morning paper.
The newsagent's boy now brings {n} more papers to the house.
Without the headlines, {n} visitors would not start the day.
A foreign journal had to be got for {n} subscribers among the boarders.
From the rack, {n} magazines were taken up to the rooms and kept.
The crossword was so popular that {n} papers had to be bought.
{who} asked for the financial pages, and so did {n} gentlemen at the next table.
Somebody reads a lot: {n} gazettes were put on the account of a room.

printing
The office printed {n} boarding passes.
{who} needed {n} pages from our printer.
For a guest's lecture, {n} sheets came out of the copying machine.
The clerk photocopied {n} passports for a group that needs visas.
A novelist asked to have {n} pages of manuscript run off.
For the hikers, {n} maps were copied.
The toner ran out while {n} leaflets were being made for a visitor.
Wanting their tickets on paper, {n} guests sent them to the desk.
{who} had a thesis to hand in: {n} copies, please.
The words of the hymns were duplicated for {n} singers.

gambling
In the parlour, {n} guests were caught playing poker for money.
{who} ran a roulette wheel for {n} visitors.
Bets on the race were taken from {n} people at table.
A card sharp relieved {n} travellers of their wages.
The house forbids playing for stakes, and {n} people were found at it in the morning.
Under the lamp lay the wagers of {n} players.
Dice were thrown for cash by a circle of {n}.
Behind drawn curtains, {n} gentlemen lost their purses at baccarat.
{who} kept the bank, and {n} punters put their money down.
A lottery was got up in the lounge, and {n} tickets were sold for real money.

scribbled walls
Small artists had drawn on {n} walls with crayons.
{who} carved initials into {n} bedposts.
The wallpaper in {n} rooms shows ships and suns in felt pen.
Hearts and arrows were scratched into {n} doors.
Someone wrote poems on {n} window frames.
The painter has to come for {n} panels that were scribbled on.
With lipstick, a joker left messages on {n} mirrors.
A penknife did its work on {n} tabletops.
{who} let the twins loose with chalk and paint, and {n} surfaces had to be washed down.
Moustaches were added to {n} of the portraits in the hall.

broken windows
A ball flew through {n} window panes.
{who} was practising golf and broke {n} windows.
The glazier was sent for because of {n} panes.
Snowballs cost us {n} panes of glass on the front of the house.
Stones from a catapult went through {n} skylights.
A slammed shutter left {n} windows without glass.
Cardboard now covers {n} frames where boys had been playing cricket.
Splinters lay on the sill: {n} panes had been hit by an arrow or a stone.
{who} owned up to a stray shot that cracked {n} panes of the conservatory.
It is draughty, since {n} casements were smashed in a pillow fight.

advance payment
Months before coming, {n} guests had paid for everything.
{who} sent the full sum for {n} people in spring.
The money for {n} beds was in our account long before the stay.
A cheque arrived well ahead of time, and covered {n} persons.
We were paid in advance by a club, for {n} members.
Nothing is left to settle at the end, as {n} travellers had prepaid.
A deposit for the whole amount came for {n} of the rooms by Christmas.
Instead of paying on leaving, {n} visitors settled up when they booked.
{who} is the careful sort, and had put down the money for all {n} a season early.
The books show {n} accounts cleared before anyone had set foot in the house.

messy rooms
The rooms of {n} guests were left in such a state that it took all day to clean them.
{who} left {n} sacks of rubbish on the floor.
Bottles, peelings and old papers were cleared out of {n} rooms.
A special scrub was needed where {n} anglers had gutted their catch on the carpet.
The maids refused to set foot in {n} rooms, so dirty were they.
Sticky floors and crumbs in every corner are what {n} youngsters left us.
Confetti had to be picked out of {n} rooms by hand.
Behind the departing guests stayed {n} bins full of litter.
{who} had kept straw in the wardrobe, and {n} buckets of filth were carried out.
It looked like a pigsty where {n} people had lodged, and the cleaners stayed on till evening.

own cooking
On camping stoves in their rooms, {n} guests fried their own supper.
{who} asked for the use of the range to cook for {n}.
A stew for {n} was cooked by the guests themselves in our kitchen.
Self-caterers, {n} of them, queued for the oven.
Rather than eat what we serve, {n} visitors made their own pancakes on our hob.
Pots and a ring of the stove were lent to {n} travellers who cook for themselves.
The smell of curry came from {n} people boiling rice over a spirit burner.
They had their groceries with them, and {n} students took over the cooker.
{who} baked pizzas for {n} in our oven.
The barbecue was lent to {n} guests, who had brought meat of their own.

porter
A porter carried {n} suitcases up to the rooms.
{who} would not lift a finger, and had {n} trunks taken up.
Our strongest man hauled {n} boxes of books from the road to the door.
On the handcart lay {n} hatboxes for the upper floor.
The stairs are steep, and {n} ladies had their bags carried for them.
A sledge was needed to drag {n} heavy cases to the house.
The lad was tipped by nobody for lugging {n} kitbags.
Bad backs were the reason why {n} visitors wanted help with their baggage.
{who} came with {n} crates, and our boys bore them in on their shoulders.
A donkey brought up the belongings of {n} guests.
""")
