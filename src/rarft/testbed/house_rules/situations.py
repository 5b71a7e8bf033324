"""The situations of the house rules, and how they are told: one situation a block, one telling a line.

{n} is the number that the rule is about, {who} a guest. A telling names no place, fits nearly every one, and holds no
number of its own. Tellings of one situation differ in all but its key words.
"""

from rarft.testbed.cases import read_blocks

SITUATIONS: dict[str, tuple[str, ...]] = read_blocks("""
late arrival
A party of {n} arrived late at night, after the desk had closed.
It was long past midnight when {who} and {n} others arrived.
Their train was late, so {n} guests arrived in the middle of the night.
The night porter had to get out of bed for {n} late arrivals.
A group of {n} arrived so late that everyone was asleep.
{who} had promised to be here before dusk, but the {n} of them arrived long after midnight.
Somebody had to stay up late for {n} guests who did not arrive until midnight.
The coach was delayed, and its {n} passengers arrived after the front door had been locked for the night.
We let {n} people in very late at night, hours after closing time.
The desk shuts at sunset, and {n} hikers arrived late, when the moon was up.

lost key
At the end of the season, {n} room keys were lost.
{who} lost {n} keys down a drain.
The locksmith was sent for because {n} guests had lost their keys.
The clerk looked at the key rack and found {n} room keys missing.
A walking club lost {n} keys somewhere along the trail.
New locks had to be fitted to {n} doors after a group had lost the keys.
A family went home with {n} of our room keys and cannot find them now.
New keys had to be cut for {n} visitors who had lost theirs.
"I must have dropped them in the grass," said {who} about the {n} room keys of the group.
Locked out and without keys, {n} people stood in the corridor.

early departure
Before their stay was over, {n} guests departed early.
{who} cut the stay short and departed early with all {n} of the family.
Bad weather drove {n} visitors home days before the end of their stay.
Homesick, {n} people departed before their stay was over.
They had booked until Sunday, but {n} of them departed on Thursday, before the end of their stay.
A telegram came, and {n} guests cut their stay short and departed.
On this tour, {n} travellers cut their stay short and departed days early.
After a quarrel, {n} friends departed before their stay was over.
Having seen enough, a group of {n} cut its stay short and departed early.
{who} had booked for the week, but all {n} of the party departed before the end of it.

broken crockery
A tray slipped, and {n} plates were broken.
{who} knocked over a shelf and broke {n} cups.
A game at table ended with {n} broken plates.
After the farewell party, {n} soup bowls were broken.
In the dining room, {n} glasses and plates were smashed to pieces.
The maid swept up {n} broken saucers.
A clumsy elbow sent {n} dishes crashing to the floor.
When the china was counted, {n} cups and plates were chipped or broken.
{who} dropped a whole stack of {n} dessert plates, which broke.
After the juggling, {n} smashed cups and saucers lay on the floor.

muddy boots
On their way in, {n} walkers tramped across the clean carpet in muddy boots.
After the rain, {n} pairs of muddy shoes left their prints all over the floor.
{who} led {n} people in from the bog, all with mud on their boots.
Mud from the boots of {n} guests had to be scrubbed off the stairs.
A football team of {n} came in with muddy boots and soiled the carpet.
The doormat was ignored by {n} visitors with muddy shoes.
There was mud on all the carpets after {n} ramblers had walked in.
The floor had just been mopped when {n} hikers came in with dirty, muddy boots.
Nobody told the {n} visitors to take off their muddy boots, and the carpet shows it.
{who} and company, {n} in all, brought half the swamp in on their dirty boots.

dogs
A shooting party brought {n} dogs along.
{who} travels with {n} dogs, all of them spaniels.
A breeder asked to keep {n} puppies in the room.
Last night we had {n} dogs in the house, tails wagging.
At the foot of their owners' beds slept {n} dogs.
A country club signed in together with its {n} hounds.
Bowls of water were put out for the guests' {n} dogs.
The barking in the yard came from {n} dogs that belong to {who}.
There is dog hair on all the sofas, because {n} retrievers were allowed indoors.
Each couple in the group had brought its dog along, {n} of them in all.

late checkout
Check-out is before noon, but {n} guests were still in their rooms in the afternoon.
Long after the check-out time, {n} visitors had not left their rooms.
{who} asked for a late check-out for {n} people.
The maids could not make up the beds, because {n} guests had not checked out in time.
A choir overslept on its last morning and gave {n} rooms back hours after check-out.
Their bus left at dusk, so {n} travellers kept their rooms all day instead of checking out at noon.
At noon {n} rooms had still not been vacated, though it was the day of check-out.
New arrivals had to sit and wait because {n} guests checked out too late.
On the last morning, {n} members of a band refused to get up and check out.
{who} wished to keep the rooms until evening and check out {n} guests after tea.

night noise
Loud singing by {n} guests kept the whole floor awake at night.
Complaints came in about {n} noisy people shouting at night.
{who} and {n} friends were so loud at night that nobody could sleep.
At night, {n} students with a loudspeaker kept everyone awake.
A stag party of {n} shouted and banged doors all night.
In the middle of the night, {n} people had to be told to turn the loud music down.
Neighbours knocked on the wall at night because {n} card players were too noisy.
A company of {n} beat a drum at night, and nobody could sleep.
Nobody got any sleep with the noise that {n} youngsters made all night.
The visitors' book says: no sleep at all, thanks to {n} noisy people next door.

no-show
Beds were kept for {n} people who never came.
{who} had booked for {n} and never turned up.
We laid the table and waited in vain for {n} guests who had booked but did not come.
Their rooms stood ready, but the {n} guests who had booked never turned up.
A booking for {n} was cancelled at the last minute, when supper was on the stove.
Of those who had booked for that night, {n} did not show up.
We waited for {n} guests who had booked and then stayed at home.
A travel agent cancelled the booking of {n} on the very day they were to come.
All night {n} beds were held for people who did not turn up.
{who} cancelled at dinner time and said that all {n} were not coming.

smoking
In spite of the sign, {n} guests smoked in their rooms.
The curtains have smelled of smoke ever since {who} and company, {n} in all, had their cigars there.
Ash and {n} cigarette ends were found in a no-smoking room.
The bedroom was blue with the smoke of {n} pipes.
A chambermaid found {n} cigarette ends in the flower pot.
In bed, {n} young people were smoking cigarettes.
It took a week to air the rooms after {n} smokers had moved out.
{who} was seen smoking cigars indoors with {n} others.
The sheets have {n} burn holes from somebody's cigarettes.
Smoking is allowed outdoors only, which {n} visitors chose to forget.

missing towels
Somebody's suitcase left the house with {n} of our towels in it.
After a sports team had gone, {n} towels were missing.
{who} used {n} of our towels to dry the car and threw them away.
At the lake, {n} of our bath towels were left lying in the reeds.
The cupboard should hold more: {n} hand towels have gone missing.
A guest wrote to apologise for {n} towels that had been packed by accident.
The bathrooms were stripped of their towels, {n} in all.
Housekeeping looked everywhere for {n} missing bath towels.
In the linen count, {n} towels could not be found.
Souvenir hunters walked off with {n} embroidered towels.

laundry
{who} handed in {n} shirts to be washed.
Baskets of dirty laundry came down from {n} guests.
The washing machine ran all afternoon with the clothes of {n} travellers.
Outside the doors this morning stood {n} bags of laundry.
A theatre troupe wanted {n} costumes washed and ironed.
Their clothes were filthy, and {n} campers gave us all their laundry.
Shirts, trousers and socks, {n} pieces in all, were washed for a guest.
{who} asked whether {n} shirts could be washed and dried by tomorrow.
The laundry maid washed and ironed {n} shirts for a visitor.
After a month on the road, the group had {n} loads of dirty clothes to wash.

packed lunch
For their hike, {n} guests wanted sandwiches to take along.
{who} ordered {n} packed lunches for the next day.
The kitchen packed sandwiches for {n} people who would be out at noon.
At dawn {n} lunch boxes stood ready on the counter.
Instead of eating at table, {n} climbers wanted a packed lunch for the rucksack.
Lunch with eggs and sandwiches was packed for {n} day trippers.
A coach party needed {n} packed lunches for the journey.
{who} asked the cook to pack a lunch for {n}, to be eaten on the way.
Picnic baskets with sandwiches were packed for {n}.
An excursion was planned, and {n} visitors wished to take a picnic lunch along.

breakfast in bed
The day began with {n} breakfast trays carried up to the bedrooms.
{who} preferred not to get up, and wanted breakfast in bed for {n}.
Toast, jam and tea were served in bed to {n} guests.
For {n} late risers, breakfast was brought to their beds.
The boy went up and down with {n} breakfast trays for people in bed.
Propped up on pillows, {n} people had their breakfast in bed.
Rather than come down in the morning, {n} visitors had breakfast sent to their rooms.
Coffee and rolls were taken in bed by {n} of the company.
{who} surprised {n} others with breakfast in their beds.
There were crumbs in the sheets, since {n} had eaten their breakfast in bed.

extra blankets
The night was chilly, and {n} guests asked for another blanket.
{who} came shivering to the desk to fetch {n} blankets.
We took {n} woollen blankets from the chest for people who were cold in bed.
"We are freezing," came the call, and {n} blankets were sent up.
Extra blankets were wanted, {n} of them, all of the warm kind.
Their bedding was too thin for {n} visitors, who asked for warm blankets.
The cupboard with the spare blankets was emptied by {n} people.
A cold bed is no pleasure, and {n} more blankets were handed out.
Before going to sleep, {n} guests wanted another blanket on their bed.
{who} requested {n} extra quilts and blankets because of the frost.

firewood
For the stove in their room, a family took {n} baskets of firewood.
{who} burned {n} bundles of firewood in a weekend.
The fireplace ate up {n} crates of logs.
Guests asked for more wood to put on the fire, {n} crates of it.
From the shed, {n} sacks of firewood were fetched.
To keep the fire going, {n} loads of logs had to be brought in.
"Is there any firewood left?" asked {who}, and carried off {n} stacks.
The woodpile has been lower by {n} barrows of logs since a company of guests lit its fire.
A cosy evening by the fire used up {n} bundles of wood.
The guests sat round the fire till late and burned {n} armfuls of wood.

station pick-up
The van picked up {n} guests at the railway station.
{who} asked us to pick up {n} passengers from the evening train.
From the bus station to the house, {n} travellers were given a lift.
Our driver picked up {n} people at the airport.
A ride from the airport was ordered for {n}.
There was no taxi at the station, so we drove down and picked up {n} visitors.
Our driver met {n} persons at the train and drove them to the house.
The pony cart was sent to the station for {n} passengers.
{who} asked for transport from the airport for {n}.
The minibus drove to the station and came back with {n} passengers.

parking
Overnight, {n} cars were parked in the yard.
{who} wanted parking for {n} cars.
A motor club filled {n} parking spaces behind the house.
On the gravel {n} vans were parked for the whole of their stay.
All the shade was taken, because {n} cars were parked under the trees.
A convoy of {n} vintage cars was parked beside the house until morning.
The barrier was raised for {n} drivers who wished to park their cars with us.
Until Monday the lawn was blocked by {n} parked cars.
The company needed somewhere to park its {n} cars.
{who} wrote down the number plates of {n} cars for the car park.

bicycles
For the night, {n} bicycles were locked in the shed.
{who} and friends had {n} bicycles to be put under a roof.
A cycling club asked for a dry corner for {n} bikes.
In the storeroom hang {n} mountain bikes until the weekend.
The cyclists would not leave their bikes outside, all {n} of them.
Tyres and greasy chains everywhere: {n} bicycles spent the night in the cellar.
In the evening {n} folding bikes were wheeled inside and chained together.
A pump was lent, and {n} bikes were stored out of the rain.
The old stable gave shelter to {n} bicycles.
{who} wished to know whether {n} bikes could be kept indoors.

cots
For the babies, {n} cots were put up.
{who}, a nurse, needed cots for {n} babies.
Young parents asked for {n} baby cots.
In cots that we lent them slept {n} babies.
The attic was emptied of {n} cots with their small mattresses.
The babies in the group, {n} of them, were each given a cot.
Each of {n} mothers asked for a cradle, to have her baby next to her bed.
We set up {n} baby beds, with tiny sheets and a rattle.
There were babies all over the house, and {n} cots to be unfolded for them.
{who} enquired about cradles for {n} babies to sleep in.

birthday cake
{who} ordered a birthday cake for {n} people.
The kitchen baked a birthday cake with candles, enough for {n}.
The candles were blown out, and {n} slices of birthday cake were cut.
A birthday cake with icing was wanted for a table of {n}.
It was Grandmother's birthday, and {n} sat down to a cake with her name on it.
For somebody's birthday the pastry cook made {n} little cakes.
The presents were unwrapped, and {n} portions of birthday cake were handed round.
"Happy Birthday" was sung by {n} guests over a cake from our oven.
{who} has a birthday, and wishes to have a cream cake for {n}.
A family of {n} asked the baker for a birthday cake with marzipan and candles.

wake-up call
The porter was to wake {n} guests before sunrise.
{who} wanted somebody to knock and wake {n} people at dawn.
Early in the morning the bellboy went round and woke {n} sleepers.
For tomorrow morning, {n} wake-up calls have been put down.
Not trusting their own alarm clocks, {n} travellers asked to be woken early.
While it was still dark, {n} birdwatchers had to be woken.
The night clerk woke {n} guests so that they would not oversleep.
The slate at the desk says: please wake {n} of us early.
{who} has {n} heavy sleepers in the group, all to be woken with a knock.
At cockcrow we knocked to wake {n} people, as they had asked us to.

change of room
Not happy with their rooms, {n} guests moved to other rooms.
{who} asked to change rooms, and {n} people carried their things down the hall.
A draught from the window made {n} visitors ask for a different room.
They did not like the view, so {n} guests were moved to a different room.
Too close to the kitchen, they said, and {n} persons were given another room.
In the middle of the stay, {n} members of the party changed rooms.
To the quieter side of the building {n} travellers moved, into other rooms.
{who} disliked the wallpaper of the room, and all {n} of them were moved to another.
Moving {n} people to different rooms took the maids all morning.
After a bad night, {n} of the guests wanted to change their room.

left luggage
After their owners had checked out, {n} suitcases were left in our storeroom.
{who} left {n} suitcases with us, to be fetched later.
The storeroom holds {n} bags whose owners will be back in a week.
Until the evening, {n} pieces of luggage were left at the desk.
Although the stay was over, {n} pieces of luggage remained in our storeroom.
A climbing party left {n} bags in the luggage store before setting out.
The desk looked after {n} suitcases until their owners came to collect them.
On its way out, a group asked us to look after {n} bags for the afternoon.
{who} wanted to store {n} pieces of luggage with us till the end of the month.
The luggage room was crammed with {n} suitcases waiting to be collected.

lost property
We posted {n} things to guests who had forgotten them here.
{who} had forgotten {n} things under the bed and asked us to post them.
We wrapped up {n} forgotten scarves and sent them to their owners by post.
In the drawers were {n} forgotten pairs of glasses, which we posted to their owners.
A parcel was posted with {n} soft toys that children had forgotten here.
Forgotten by guests and sent after them by post: {n} books.
The maid keeps finding forgotten things, and {n} of them were sent to their owners.
{who} was glad to hear that {n} forgotten pieces of jewellery would be sent home by post.
A parcel had to be made up for {n} gloves that guests had forgotten.
From home, {n} visitors called to have something posted that they had forgotten.

own wine
At dinner, {n} bottles of the guests' own wine were opened.
{who} had brought {n} bottles of wine from home and asked for a corkscrew.
The guests drank none of our wine, only {n} bottles that they had brought.
The waiter uncorked {n} bottles of wine that had not been bought here.
Under their coats the guests brought in {n} bottles of their own champagne.
They drank wine of their own, {n} bottles in all, and we supplied the glasses.
{who} thinks little of our wine list and brought {n} bottles along.
At supper, {n} bottles of wine from the guests' own cellar were poured.
We drew the corks of {n} wine bottles that the company had brought with it.
A wine merchant treated the company to {n} bottles out of the boot of a car.

stained linen
Red wine was spilled over {n} tablecloths, and the stains will not come out.
Somebody wrote letters in bed, and {n} sheets have ink stains.
{who} upset a jug, and {n} tablecloths are stained for good.
Blackberry juice stained {n} pillowcases.
Bleach did nothing for the coffee stains on {n} pieces of linen.
A guest had dyed her hair, and {n} pillowcases are stained.
A pen leaked, and now {n} white sheets have blue stains.
Beetroot soup stained {n} of our tablecloths.
{who} hid {n} pillowcases with lipstick stains.
There are stains of grease and mustard on {n} of our best tablecloths.

overflowing bath
A tap was left running, the bath overflowed, and water came through {n} ceilings.
{who} fell asleep in the bath, and {n} rooms were flooded with water.
The bath overflowed and soaked {n} carpets.
When the bath had overflowed, {n} buckets of water had to be mopped up.
Someone forgot to turn off the tap, and {n} rooms were flooded.
Water dripped on {n} people in the room below, because the bath had overflowed.
A tap had been left running all night, and {n} shelves stood under water.
The water from an overflowing bath ran into {n} rooms.
Out on the line hang {n} rugs to dry, because {who} let the bath overflow.
The taps were left running, the tub overflowed, and {n} floorboards swelled in the water.

special diet
At the last minute {n} guests told the cook that they are vegetarians.
{who} needs meals without gluten for {n} people.
Special meals had to be cooked for {n} visitors with allergies.
A roast was on the table, and {n} vegetarians asked for something else to eat.
Food without milk, eggs and nuts had to be found for {n} members of the group.
A diet without salt was prescribed for {n} of our boarders.
The kitchen cooked {n} vegetarian meals.
A special diet was cooked for {n} diabetics.
{who} handed in a list of foods that {n} travellers must not eat.
Food without meat was asked for by {n} guests.

guided walk
A guide for a walk was booked by {n} visitors.
{who} wanted a guide to lead {n} people through the hills.
The warden guided {n} guests round and explained the sights.
A local guide went out with {n} strangers and brought them back by supper.
Along the old paths, {n} people followed our guide.
A guided walk was arranged for a party of {n}.
The guide showed {n} townsfolk the ruins and the caves.
Not daring to go without a guide, {n} ramblers hired ours.
{who} signed up {n} for the guided walk in the morning.
Our guide told stories as {n} tourists were shown around.

foreign money
On leaving, {n} guests wished to pay with money from abroad.
{who} put {n} foreign banknotes on the counter.
The till does not take dollars, yet {n} visitors had no other money.
Bills were paid by {n} people in a foreign currency.
We had to look up the exchange rate for {n} travellers with foreign money.
Straight from the border, {n} people had only foreign money to pay with.
The clerk scratched her head over {n} payments in a foreign currency.
{who} paid in foreign banknotes for all {n} in the group.
The exchange office was shut, so {n} tourists paid with the money of their own country.
Foreign coins were counted out on the desk by {n} visitors.

group photograph
On the front steps, {n} guests lined up for a photograph.
{who} ordered {n} prints of the group photograph.
The house photographer took a picture of a family of {n}.
"Say cheese," said the photographer to {n} faces.
A souvenir photograph was taken, with all {n} in it.
The group photograph was framed, and {n} copies were handed out.
The photographer set up his camera for a company of {n}.
{who} wished to have the {n} of them photographed in front of the door.
Squinting into the sun, {n} people posed for a photograph.
A print of the photograph went to each of the {n} who are in it.

umbrellas
It rained, and {n} umbrellas were borrowed from the stand.
{who} borrowed {n} umbrellas to walk to church in the rain.
Into the rain went {n} guests, under umbrellas of ours.
The rack by the door is empty: {n} umbrellas are out with visitors.
There was a sudden shower, and {n} trippers were lent umbrellas.
Against the rain we handed out {n} umbrellas.
Nobody had packed for rain, so {n} travellers helped themselves at the umbrella stand.
{who} took {n} of our umbrellas along in case it rained.
On a wet day, umbrellas were lent to {n} walkers.
The ladies' hats had to be kept from the rain, and {n} umbrellas were called for.

sauna
In the sauna, {n} guests sweated for an hour.
{who} had the sauna heated for {n}.
The sauna was hot, and {n} people sat groaning on the wooden benches.
A party of {n} used the sauna all evening.
The sauna with a plunge in cold water was booked by {n} visitors.
In the sauna {n} people were given twigs to beat themselves with.
Chilled to the bone, {n} guests thawed out in the sauna.
{who} reserved the sauna for a company of {n}.
Water hissed on the stones of the sauna while {n} of them sweated.
After a day in the cold, {n} people sat in the steam of the sauna until their skin turned red.

piano
In the parlour, {n} guests practised on the piano.
{who} plays the piano and wished to have ours for {n} evenings.
The piano had to be tuned after {n} amateurs had pounded on it.
Waltzes were played for {n} hours on our old piano.
A concert pianist practised for {n} hours on the piano in the parlour.
At the piano in the lounge, {n} people took turns.
The lid of the piano was opened for {n} singers who wanted to be accompanied.
{who} gave piano lessons to {n} beginners.
Scales were heard all week from {n} students at the piano.
The music room with its piano was let for {n} afternoons.

tents
On the lawn, {n} tents were pitched.
{who} and {n} others preferred their tents to a room.
The meadow behind the house was dotted with {n} tents.
In the garden, {n} scouts pitched their tents.
All the rooms were full, so {n} hikers put up their tents on the grass.
Beside the wall, {n} people camped in tents.
The night was warm, and {n} youngsters camped on our lawn.
The grass has pale squares where {n} tents stood.
{who} asked whether {n} campers might put up tents in the field.
They had brought a roof of their own: {n} tents by the hedge.

kitchen help
After dinner, {n} guests washed the dishes.
{who} and friends, {n} altogether, helped in the kitchen and dried the pots.
The kitchen maid was ill, and {n} visitors helped with washing the dishes.
In the kitchen, {n} guests helped to peel potatoes.
The cook was short of hands, so {n} people came to help her in the kitchen.
The washing-up was done by {n} of the guests themselves.
Aprons were given to {n} travellers who offered to help with the washing-up.
In return for their supper, {n} young people helped the cook and scrubbed the pans.
{who} has helped with the washing-up for {n} evenings.
The dishes were washed and dried by a cheerful band of {n} diners.

repair work
On a day of their holiday, {n} guests repaired the fence.
{who} repaired {n} shutters that had been hanging loose.
With hammers and nails, {n} visitors repaired the roof.
The leaking gutters were repaired by a party of {n}, carpenters by trade.
Without being asked, {n} people painted and repaired the benches.
A guest who is good with tools repaired {n} broken chairs.
A handy group of {n} repaired the garden steps.
{who} took hammer and nails and repaired {n} doors.
The garden wall was rebuilt and repaired by {n} volunteers.
We supplied the nails and the paint, and {n} visitors did the repairs.

returning guests
Some guests come every year, and this year {n} of them came again.
{who} has stayed here before, and so have the {n} others.
The old visitors' books show that {n} of this week's guests have stayed here before.
The same {n} guests come back every summer.
Regular guests, {n} of them, came back this year.
They knew their way about: {n} of the party had stayed here before.
Back again after last summer: a party of {n}.
We greeted {n} regular guests who come back every year.
{who} has been here before and came back with the same {n} friends.
The same people as last year, {n} in all, came back for another week.

school class
A school class of {n} pupils stayed here with their teacher.
{who}, who teaches geography, came with {n} pupils.
On their school trip, {n} pupils spent the night here.
Their teacher told {n} pupils to go to bed.
The headmistress of a school signed for {n} boys and girls.
Teachers and {n} schoolchildren filled the dormitories.
At the long table, {n} pupils did their homework for school.
The school bus let out {n} pupils.
{who} brought a school class, {n} pupils in all, and called the roll.
The biology teacher came on a school trip with {n} students.

wedding
For a wedding, {n} guests came from all over the country.
{who} got married here, and {n} relatives came to the wedding.
Rice was thrown on the steps, and {n} people toasted the bride and groom.
The bride's side alone had {n} wedding guests.
The wedding was celebrated by {n} friends of the bride.
A wedding party of {n} took over the house.
Bride and groom were married in front of {n} guests.
In the big hall, {n} people danced at a wedding.
{who} booked everything for a wedding with {n} guests.
The bride and groom brought their whole family to the wedding, {n} people in all.

power cut
The electricity failed, and {n} guests sat in the dark.
When the lights went out, {n} candles had to be handed out.
{who} complained that the {n} of them had been without electricity all evening.
A gale brought down the cable, and {n} people had no electric light.
For {n} hours there was no electricity in the building.
A fuse blew, and {n} rooms were dark.
During the power cut, {n} visitors groped their way to bed in the dark.
There was a power cut, and {n} travellers needed torches.
The power failed, and {n} lamps stayed dark.
{who} counted {n} hours without light or electricity.

cold showers
There was no hot water in the showers for {n} guests.
{who} reported that {n} people had had a cold shower.
The boiler broke down, and {n} visitors had no hot water.
Blue and angry, {n} people came out of the cold showers.
For {n} days the showers ran cold.
There was no warm water, so {n} of the party washed in cold water.
The water heater had given up, and {n} people took cold showers.
In the visitors' book, {n} women wrote that there was no hot water.
{who} turned on the hot tap, and it ran cold; the {n} of them went unwashed.
The hot water was off, so {n} guests had an icy shower.

stranded guests
The road was blocked by snow, and {n} guests could not leave.
{who} and the others, {n} in all, were stranded by the storm and had to stay on.
Snow blocked the road, and {n} visitors were stuck here for longer than they had planned.
No boat and no bus was running, and {n} travellers were stranded here.
A landslide blocked the road and kept {n} people from leaving.
Fog grounded all planes, so {n} of them were stranded with us.
Until the bridge was mended, {n} persons were stranded here.
The storm raged on, nobody could leave, and {n} of our guests were stuck.
{who} sent word home that the {n} of them were stuck because the road was flooded.
A strike of the drivers left {n} tourists stranded in the house.

overbooking
We had overbooked, and {n} guests stood there without a room.
{who} had a confirmation in hand, but there was no room left for {n} of them.
We were overbooked, and {n} visitors had to be sent to the inn down the road.
By mistake, {n} rooms had each been promised to several guests for the same night.
The house was overbooked, and {n} people with valid bookings were turned away.
A muddle in the bookings left {n} travellers with no room at all.
We had taken too many bookings and had no room for {n} of the guests.
With a confirmed booking, {n} guests found that their room had been given to others.
{who} was furious: we had overbooked, and there was no room for {n}.
An apology was due to {n} persons who had booked and for whom there was no room left.

bad dinner
The soup was cold, and {n} guests sent their dinner back.
{who} complained about {n} dinners that were cold.
The roast was burnt, and {n} people could not eat their dinner.
There was a fly in the soup, and {n} diners sent it back.
The dinner was so bad that {n} at the table complained.
The fish had gone off, and {n} visitors left their dinner untouched.
Complaints about the food came from {n} diners, whose meat was raw.
The cook had oversalted the soup, and {n} guests sent it back.
{who} complained about {n} meals that nobody could eat.
The dumplings were raw in the middle, and {n} of the diners complained.

mice
Mice were seen in {n} rooms.
{who} counted {n} mice behind the wardrobe.
A mouse nibbled at the socks of {n} sleeping guests.
There was a mouse in the room, and {n} visitors stood on their chairs.
After mouse droppings were found in a drawer, {n} traps had to be set.
Mice had eaten their way through {n} bags of biscuits.
Our cat is old, and {n} mice were spotted under the beds.
Because of mice in the pantry, {n} people lodged a complaint.
{who} swears there was a mouse in the room, and {n} others heard it squeak.
Shoelaces gnawed by mice were shown to us by {n} lodgers.

building noise
The drilling on the building site is what {n} guests complained about.
Builders began hammering at dawn, right beside the windows of {n} visitors.
{who} could not hear a word for the drills of the builders, and neither could the {n} others.
The builders put up their scaffolding early and disturbed {n} sleepers.
Under the balconies of {n} people, builders ran a concrete mixer all day.
The noise of drills and diggers was what {n} lodgers complained of.
A new wing is being built, and the noise of the builders disturbs {n} residents.
Dust and noise from the building site spoilt the stay of {n} travellers.
{who} put up with the drilling and hammering of the builders for {n} days.
Workmen with pneumatic drills disturbed {n} of the guests.

picking fruit
In the garden, {n} guests picked cherries from the trees.
{who} was caught up a tree with {n} pears.
From the orchard, {n} baskets of plums were picked without asking.
Children had picked the berries off {n} bushes.
Somebody picked {n} apples off the trees without asking.
The strawberries in the garden were picked by {n} visitors.
A family shook the apple tree and made off with {n} bags of fruit.
The gardener saw {n} people picking his apricots.
{who} apologised for having picked {n} peaches in the garden.
There is hardly an apple left on the tree after {n} people walked by.

gate left open
A gate was left open, and {n} sheep got out.
{who} forgot to close the gate, and we chased {n} hens until dark.
A walker had not shut the gate, and {n} goats ran off.
The gate had been left open by guests, and {n} cows were found miles away.
Somebody left the gate open, and {n} geese are in the neighbour's corn.
It took all hands to catch {n} ponies that ran off through an open gate.
Nobody had closed the gate, and {n} rabbits escaped.
Through a gate that had been left open, {n} ducks escaped.
{who} left the gate open, and {n} pigs got into the vegetable patch.
Guests are asked to shut the gate; this time {n} calves escaped.

false alarm
Burnt toast set off the fire alarm, and {n} guests ran out.
{who} lit incense, the fire alarm went off, and {n} people were sent outside.
The fire brigade came for nothing, with {n} men.
For a prank the alarm button was pushed, and {n} visitors stood in the yard.
A guest had hung a shirt over the lamp and set off {n} smoke alarms.
After a false alarm, {n} sleepers ran out into the yard.
Somebody's hairdryer set off {n} smoke alarms.
A candle set off the fire alarm and drove {n} persons out of doors.
{who} grilled sausages indoors and set off {n} smoke alarms.
The fire alarm rang without a fire, and {n} people had to leave their beds.

telephone
From the telephone in the hall, {n} calls abroad were made.
{who} talked on the telephone for {n} minutes.
The operator made {n} telephone calls for guests.
Long-distance calls were made on our telephone, {n} in all.
There is no mobile network here, so {n} visitors used our telephone.
Somebody was always on the telephone: {n} calls in an evening.
On our telephone {n} people called home.
{who} made {n} telephone calls from the booth by the stairs.
A reporter made {n} long calls to the newspaper on our telephone.
The telephone bill shows {n} calls from a guest's room.

heating
In the middle of May, {n} guests wanted the heating on.
{who} turned up the heating in {n} rooms.
Because of the cold, {n} electric heaters were plugged in.
The heating was turned on out of season for {n} visitors from the tropics.
With all the windows open, {n} radiators had been left on full.
The heating had to run for {n} hours to warm the bedrooms.
There was a nip in the air, and {n} people wanted their rooms heated.
To guests with cold rooms we carried {n} electric heaters.
{who} asked to have the heating switched on for a group of {n}.
The radiators were turned up to the limit in {n} rooms.

postcards
At the desk, {n} postcards were handed in for the mail.
{who} bought {n} stamps for postcards.
The morning post took {n} postcards from our guests.
The guests' letters and postcards, {n} in all, were stamped and mailed.
Greetings from here went out to aunts and neighbours on {n} postcards.
The clerk licked {n} stamps for the visitors' letters.
A bundle of {n} postcards was left for the postman.
{who} gave the porter {n} letters to be mailed.
Everyone at that table writes postcards, and we stamped {n} of them.
Stamps were put on {n} letters and picture postcards.

film evening
In the lounge, {n} guests watched a film.
{who} hired the film projector for an audience of {n}.
A screen was hung up and {n} chairs put in rows for the film.
The old western film that we keep was seen by {n} people.
Popcorn was made and the lights were dimmed for {n} people to watch a film.
Home movies were shown with our projector to {n} relatives.
A film evening was arranged for {n} lovers of the cinema.
A film about whales held {n} viewers in their seats.
{who} wished to show a film of the journey to {n} friends.
A silent movie was shown, and {n} of them laughed.

child minding
While their parents went out, {n} children were looked after.
{who} needed a babysitter for {n} children.
A nanny looked after {n} children until midnight.
The parents went dancing and left {n} children with a babysitter.
In the nursery, {n} children were looked after and kept busy with paint and glue.
A babysitter read bedtime stories to {n} children while the parents dined elsewhere.
For an afternoon, a nanny took {n} children off their mothers' hands.
{who} asked for someone to look after the {n} children of the group.
The playroom had {n} children in it, with a nanny on duty.
So that the parents could go hiking, {n} children stayed behind with a babysitter.

doctor
The doctor was called for {n} guests with a fever.
{who} asked the doctor for medicine for {n} upset stomachs.
The doctor bandaged {n} sprained ankles.
Some had eaten toadstools, and the doctor had to see {n} sick people in the night.
The doctor gave {n} people something for their sunburn.
Medicine and plasters were needed for {n} sore feet, and the doctor came.
The doctor was sent for because {n} persons had been stung by wasps.
Sick guests, {n} of them, were given medicine by the doctor.
{who} came in with a cut hand, and the doctor had to put in {n} stitches.
The village doctor examined {n} coughing guests.

mending clothes
For careless guests, {n} buttons were sewn on.
{who} had torn {n} pairs of trousers, which the seamstress mended.
The seamstress mended {n} torn socks.
In the sewing room, {n} torn jackets were mended.
Our housekeeper mended {n} torn skirts.
A seam had burst, and {n} pieces of clothing had to be sewn.
The knees of {n} pairs of trousers were mended with patches.
A tailor was needed to sew new zips into {n} jackets.
{who} asked for needle and thread to sew on {n} buttons.
Moth holes in {n} pullovers were mended by the seamstress.

board games
When the jigsaw was put away, {n} of its pieces were missing.
{who} lost {n} pieces of the chess set.
The games came back without {n} of their pieces.
Of our playing cards, {n} were lost by the players.
After the rainy weekend, {n} dice were missing from the board games.
The children lost {n} pieces of the board game.
The chess set has been short of {n} pieces since the last guests played.
The dominoes came back with {n} pieces missing.
{who} returned the jigsaw puzzle with {n} pieces missing.
Of the Scrabble game, {n} letters are missing.

newspapers
With their coffee, {n} guests wanted a newspaper.
{who} ordered {n} newspapers for the week.
Under the doors were pushed {n} copies of the morning newspaper.
The newsagent's boy now brings {n} more newspapers to the house.
Without a newspaper, {n} visitors would not start the day.
A foreign newspaper had to be got for {n} boarders.
From the rack, {n} newspapers were taken up to the rooms.
The crossword was so popular that {n} newspapers had to be bought.
{who} asked for the morning newspaper, and so did {n} gentlemen at the next table.
Somebody reads a lot: {n} newspapers were put on the account of a room.

printing
The office printed {n} boarding passes for guests.
{who} needed {n} pages printed.
For a guest's lecture, {n} pages were printed.
The clerk printed {n} visa forms for a group.
A novelist asked to have {n} pages of manuscript printed.
For the hikers, {n} maps were printed at the desk.
The printer ran out of ink while {n} leaflets were being printed for a visitor.
Wanting their tickets on paper, {n} guests had them printed at the desk.
{who} had a thesis printed on our printer, in {n} copies.
The words of the songs were printed in the office for {n} singers.

gambling
In the parlour, {n} guests were caught playing poker for money.
{who} ran a roulette wheel, and {n} visitors gambled.
Bets on a race were taken from {n} people at table.
At cards, {n} travellers gambled away their wages.
Gambling is forbidden in the house, and {n} people were found at it in the morning.
Under the lamp lay the bets of {n} poker players.
Gamblers, {n} of them, threw dice for money.
Behind drawn curtains, {n} gentlemen gambled at cards.
{who} kept the bank, and {n} gamblers put their money down.
A lottery was got up in the lounge, and {n} people gambled on it.

scribbled walls
Children had drawn on {n} walls with crayons.
{who} scribbled on {n} walls.
Drawings of ships and suns were scribbled on the wallpaper of {n} rooms.
Hearts and arrows were scratched into {n} doors.
Someone scribbled poems on {n} walls.
The painter has to come for {n} walls that were scribbled on.
With lipstick, a joker scribbled on {n} walls and mirrors.
Names were scratched and drawn on {n} walls.
{who} let the children loose with crayons, and {n} walls had to be washed.
Moustaches were drawn on {n} portraits, and scribbles on the wall beside them.

broken windows
Since the ball games on the lawn began, {n} windows have been broken.
{who} was practising golf and broke {n} windows.
The glazier was sent for because of {n} broken windows.
A snowball fight cost us {n} windows.
Stones were thrown, and {n} window panes broke.
The shutters slammed in the storm and broke {n} window panes.
Cardboard now covers {n} broken windows where boys had been playing cricket.
Splinters lay on the sill: {n} window panes had been smashed.
{who} owned up to the stray balls that had broken {n} window panes.
It is draughty, because {n} windows were smashed in a brawl.

advance payment
Months before coming, {n} guests had paid in advance.
{who} paid for {n} people in advance.
The money for {n} beds was paid in advance, long before the stay.
A cheque came in advance and paid for {n} persons.
A club paid in advance for {n} members.
Nothing is left to pay at the end, as {n} travellers had paid everything in advance.
The full price was paid in advance for {n} of the rooms.
Instead of paying on leaving, {n} visitors paid when they booked.
{who} is the careful sort, and had paid for all {n} months in advance.
The books show {n} accounts paid in full before the guests had set foot in the house.

messy rooms
The rooms of {n} guests were so dirty that it took all day to clean them.
{who} left {n} bags of rubbish on the floor of the room.
Bottles, peelings and other rubbish were cleared out of {n} rooms.
The cleaners needed all day for the dirty rooms of {n} anglers.
The maids refused to clean {n} rooms, so dirty were they.
Sticky floors and rubbish in every corner are what {n} youngsters left to be cleaned.
Rubbish was left all over {n} rooms and had to be cleaned up.
The guests left {n} bins full of rubbish behind in their rooms.
{who} left the room so filthy that {n} buckets of dirt were carried out.
The room was left as dirty as a pigsty by {n} people, and the cleaners stayed on till evening.

own cooking
On camping stoves in their rooms, {n} guests cooked their own supper.
{who} asked for the use of the stove to cook for {n}.
A stew for {n} was cooked by the guests themselves in our kitchen.
Guests who cook for themselves, {n} of them, queued for the stove.
Rather than eat what we serve, {n} visitors cooked their own meals.
Pots and a stove were lent to {n} travellers who cook for themselves.
The smell of curry came from {n} people cooking rice in their room.
They had their groceries with them, and {n} students cooked for themselves.
{who} cooked pasta for {n} on our stove.
The stove was lent to {n} guests, who cooked meat of their own.
""")
