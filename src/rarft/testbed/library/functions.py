"""What the functions of the library do, and what people want when they need them: one function a block.

A block's first line is `key = takes -> gives: expression | values of p | values of q`. `x` is the argument, `k` a second
one that the task states, {p} and {q} are what the seed chooses: the expression is a custom of the house, and nobody can
tell it from what people want. The other lines say what they want, each in its own words; {helpers} are the people of the
theme. Kinds of values: counts (whole numbers, one a day), names, text, n (one whole number).
"""

# ruff: noqa: E501  (a function's expression a line)
from rarft.testbed.cases import read_blocks

FUNCTIONS: dict[str, tuple[str, ...]] = read_blocks("""
sample = counts -> counts: x[{p}::{q}] | 0 1 | 2 3
pick the days that go on the chart
thin out the figures for the notice board
reduce the list to the numbers that are worth printing
choose the entries that visitors get to see
draw the sample that the inspector asks for
shorten the column in the usual manner

smooth = counts -> counts: [({p} * a + b) // ({p} + 1) for a, b in zip(x, x[1:])] | 1 2 3
smooth the ups and downs
iron out the jumps
even out the bumpy record
take the wobble out of the figures
make the curve calmer
blend each day with its neighbour

trim = counts -> counts: sorted(x)[{p}:len(x) - {q}] | 1 2 | 1 2
drop the freak days, good or bad
remove the extreme values
leave aside whatever was out of the ordinary
strike out the flukes
get rid of the outliers
clean the record of lucky and unlucky accidents

cumulate = counts -> counts: [{p} + sum(x[:i + 1]) for i in range(len(x))] | 5 10 20
keep a running total
add up as the days go by
see how the sum grew
write down after each day how many there had been so far
make a cumulative record
build up the tally step by step

pack = counts -> counts: [-(-a // {p}) * {p} for a in x] | 3 4 6 8
round up to full boxes
order in whole cartons only
bring everything up to complete packs
see what must be bought when only sealed crates are sold
adjust the amounts to the size of the package
fill the last tray of each day

reserve = counts -> counts: [max(0, a - {p}) for a in x] | 2 3 4 5
set the reserve aside
hold back the iron ration
take off what is kept for emergencies
see what is left when the safety stock stays untouched
put some by for a rainy day
leave out the part that is never given away

limit = counts -> counts: [min(a, {p}) for a in x] | 9 11 13 14
apply the daily limit
cut off what exceeds the permitted amount
stay within the ceiling
enforce the quota
cap the figures as the law demands
disregard anything beyond the maximum

change = counts -> counts: [b - a for a, b in zip(x, x[{p}:])] | 1 2 3
find how much things rose or fell
list the gains and losses
work out the change
compare with what went before
note the movement up or down
get the differences over time

period = counts -> counts: [sum(x[i:i + {p}]) for i in range(0, len(x), {p})] | 2 3 4
gather the days into accounting periods
lump the entries together for the accountant
get the totals per term
bundle the days into longer stretches
close the books period by period
aggregate the record

best = counts -> counts: sorted(x, reverse=True)[:{p}] | 2 3 4
find the best days
list the record results
see the peaks
choose the days for the hall of fame
get the strongest figures
name the high scores

busy = counts -> counts: [int(a > {p}) for a in x] | 6 8 10 12
mark the busy days
flag when additional hands were needed
show with ones and zeros when it was crowded
tick whatever lies above the threshold
tell the hectic days from the quiet ones
see at a glance when there was a rush

wastage = counts -> counts: [a + a // {p} for a in x] | 2 3 4 5
add the allowance for wastage
reckon with spoilage
provide for breakage
include what goes bad on the way
put the margin for losses on top
make up for what will be spoiled

points = counts -> counts: [{p} * a - {q} for a in x] | 3 4 5 | 1 2 3
turn the numbers into points
convert the figures to scores
award marks to each day
compute the bonus credits
translate the results for the league table
give each day its rating in the club's competition

filing = counts -> counts: sorted(x, key=lambda a: (a % {p}, a)) | 3 4 5
put the slips in filing order
arrange the entries for the archive
sort the cards the way the registry wants them
bring the record into the order of the drawers
line things up for the card index
file the daily notes

year = counts -> counts: x[{p}:] + x[:{p}] | 1 2 3
begin the list with the start of the business year
shift the calendar to our own beginning
move the opening day to the front
let the series start where our season starts
realign the days with the house calendar
turn the record round until it opens on the right day

forecast = counts -> n: x[-1] + (x[-1] - x[0]) // {p} | 2 3 4
predict tomorrow
forecast what comes next
estimate the coming day
guess how many there will be the day after
extend the trend
make a projection

typical = counts -> n: sorted(x)[len(x) // {p}] | 2 3 4
name a typical day
find the normal level
say what is usual
give a representative number
determine the ordinary case
state what can be expected as a rule

verdict = counts -> n: sum(x) - {p} * min(x) | 2 3 4
rate the whole stretch
give an overall verdict
sum up the performance in a single figure
assess how it all went
grade the week
judge the period

unsteady = counts -> n: sum(abs(a - b) for a, b in zip(x, x[1:])) // {p} | 2 3 4
measure how unsteady the days were
find the degree of variation
say how much it fluctuates
quantify the instability
see how erratic the record is
tell how restless the figures are

bill = counts -> n: {p} * sum(x) + {q} | 2 3 4 | 5 10 15
make out the bill
calculate what the customer owes
total the invoice
charge for the lot
settle the account
work out what has to be paid

streak = counts -> n: max(len(s) for s in "".join("1" if a >= {p} else " " for a in x).split(" ")) | 5 6 7
find the longest good streak
tell how long the lucky run lasted
measure the best unbroken spell
count the successful days in a row
see how long things went well without interruption
determine the record winning series

share = counts, k -> counts: [sum(x[i::{p} * k]) for i in range(k)] | 1 2
split the work between {k} people
divide the load over {k} teams
spread the jobs among {k} pairs of hands
hand the tasks out to {k} crews
apportion the effort to {k} workers
balance the burden across {k} shifts

shortfall = counts, k -> counts: [max(0, k + {p} - a) for a in x] | 2 3 5
find what is missing to reach {k}
list the shortfalls against a target of {k}
see how far below {k} things stayed
compute the gaps to the goal, which is {k}
tell how many more it takes to make {k}
show the deficit, {k} being the aim

latest = counts, k -> counts: x[len(x) - k:][::-1] + x[:{p}] | 1 2
show the {k} latest entries
get the last {k} days for the report
look back over the past {k} days
print the {k} newest figures
extract the {k} most recent days
pull up the final {k} lines of the record

roster = names -> names: x[{p}:] + x[:{p}] | 1 2 3
set up the next duty roster
move the rota on
work out whose turn comes next
advance the order of service
draw up the coming week's turns
pass the chores on to the next in line

pairs = names -> names: [a + "{p}" + b for a, b in zip(x[::2], x[1::2])] | & + /
put the {helpers} in pairs
match up partners
decide who works side by side
give everyone a buddy
make couples for the day
form teams of equals

seats = names -> names: x[::{p}] + [a for i, a in enumerate(x) if i % {p}] | 2 3
arrange the seats at the table
make the seating plan
decide who sits where
place everybody along the bench
lay out the place cards
fill the chairs at the supper

muster = names -> names: sorted(x, key=lambda a: (a[{p}:], a)) | 1 2 -1
sort the {helpers} for roll call
put the register in order
get the sequence in which people are called
arrange the {helpers} for the head count
bring everyone into the order of the muster
line up the crew

badges = names -> names: [a[:{p}].upper() + "{q}" for a in x] | 2 3 | . - *
make the badges
find what goes on the name tags
produce the codes for the lockers
mark the coat pegs
abbreviate everybody for the time sheet
label the uniforms

numbers = names -> names: [str(i) + "{p}" + a for i, a in enumerate(x, {q})] | : ) # | 1 10 100
number the {helpers}
give each a start number for the race
hand out numbered cards
assign the numbers for the raffle
put figures before the names
issue everyone with a number plate

lots = names -> names: sorted(x, key=lambda a: (sum(map(ord, a)) % {p}, a)) | 5 7 11
draw lots
let chance decide the order
hold the lottery
shuffle everyone fairly
settle by lot who goes when
leave the sequence to fortune

speaker = names -> text: x[len(x) // {p}] | 2 3 4
choose a spokesperson
elect the one who speaks for all
determine who leads
pick a foreman
find out who is in charge
appoint somebody to go to the meeting

notice = names -> text: "{p}".join(sorted(x)) | ; , /
write the notice that says who is on duty
compose the credits
turn the {helpers} into a line for the poster
put everyone on the sign
make the line of thanks for the programme
set the names for the front page

lettering = names -> n: {p} * sum(map(len, x)) + {q} | 2 3 | 4 6 8
see how much thread it takes to embroider the aprons
order enough brass letters for all the doors
estimate the paint for the lettering
find the cost of engraving everyone's mug
calculate how long the stitched name band gets
reckon the stonemason's fee for the memorial

groups = names, k -> names: ["{p}".join(x[i::k]) for i in range(k)] | + , -
divide the {helpers} into {k} groups
form {k} squads
split everybody up over {k} tables
sort the people into {k} teams
distribute the company over {k} rooms
fill {k} wagons with passengers

duty = names, k -> text: x[k * {p} % len(x)] | 2 3 5
tell who is on duty on day {k}
find who has the watch on night {k}
say who must come in on the day with the number {k}
look up the person responsible in week {k}
see who holds the fort on shift {k}
get the one on call on date {k}

mask = text -> text: x[:{p}] + "*" * (len(x) - {p} - {q}) + x[len(x) - {q}:] | 1 2 | 1 2
hide it from nosy eyes, all but the ends
make it unreadable but recognisable
black out the confidential part
anonymise it
conceal what not everybody should read
mask it for the public list

cipher = text -> text: "".join(chr((ord(a) - 97 + {p}) % 26 + 97) if a.isalpha() else a for a in x.lower()) | 3 5 7
put it into secret writing
encrypt it
write it in cipher
encode it for the spies
scramble the letters for the courier
turn it into a coded message

slug = text -> text: x.lower().replace(" ", "{p}")[:{q}] | - _ . | 6 7 8
make a file name of it
turn it into a web address
get the name of the folder on the computer
convert it to a key for the database
derive the hyperlink
prepare it as a login

banner = text -> text: "{p}".join(x.upper()) | . - ~
blow it up for the banner
set it as a headline
prepare the lettering over the shop front
make it large and airy for the billboard
lay it out for the facade
give it the look of a poster

seal = text -> text: x + "{p}" + str({q} * len(x)) | # / = | 3 4 7
sign it
put the seal at the end
append the mark of authenticity
certify it
stamp it as genuine
add the official ending

dialect = text -> text: x.replace("a", "{p}").replace("e", "{q}") | o u aa | i ey ee
put it into the local dialect
write it as the villagers pronounce it
translate it into the speech of the valley
spell it like the old folk
render it in the regional tongue
give it the accent of these parts

lines = text -> names: [x[i:i + {p}] for i in range(0, len(x), {p})] | 3 4 5
break it into lines for the narrow tag
cut it up for the tiny display
wrap it for the little screen
split it for the receipt printer
fit it on a slim strip
set it in short rows

telegram = text -> n: {p} * len(x.split()) + {q} | 3 4 5 | 2 6 9
work out the fee for a telegram
see what it costs to cable it
compute the charge for wiring it
price it as a classified advertisement
find out what the newspaper asks for it
get the tariff for sending it over the telex

shelf = text -> n: sum(map(ord, x)) % {p} | 12 20 30
find the shelf where it is kept
tell in which drawer it belongs
look up its pigeonhole
determine the storage bin
get the cabinet that it goes into
locate its place in the store

acronym = text -> text: "{p}".join(a[:{q}] for a in x.split()).upper() | . - & | 1 2
make an acronym of it
get the short name for internal use
boil it down to initials
derive the monogram
find the abbreviation
contract it to capital letters

check = n -> n: x * 10 + x * {p} % {q} | 3 7 | 8 9
protect it against typing mistakes
add the check digit
complete the article code
make it safe to dictate over the phone
supply the control figure
extend it so that errors are noticed

voucher = n -> text: "{p}" + str(x).zfill({q}) | A N R T | 4 5 6
write it on the ticket
format the voucher
print the docket
produce the stub
fill in the coupon
give it the form of a receipt number

coins = n -> counts: [x // {p}, x % {p} // {q}, x % {p} % {q}] | 20 25 50 | 3 4 6
pay it in coins
break it into change
fill the pay packet
count it out from the till
make it up in small money
hand it over in notes and pennies

loads = n -> counts: [x // {p}, x % {p}] | 6 7 9 12
see how many full loads there are, and what is left over
pack the wagons and note the remainder
fill the pallets
load the carts
stow it in containers
divide it into shiploads

size = n -> text: "S" if x < {p} else "M" if x < {q} else "L" | 10 15 20 | 30 40 50
find the size class
decide which box is large enough
choose the format
pick the category for the price list
tell whether it counts as big or small
classify it

staff = n -> n: x // {p} + {q} | 4 5 6 | 1 2 3
see how many hands are needed
plan the staff
work out how many people to call in
tell how many workers to hire
find the strength of the crew
schedule enough personnel

bars = n -> text: "{p}" * (x // {q}) + "." * (x % {q}) | # = * | 3 4 5
draw it as a bar for the chart
show it in strokes
make a tally on the slate
picture it for people who cannot read
represent it with symbols
scratch the marks for it on the wall

deposit = n -> n: {p} * (x // {q} + 1) | 2 3 5 | 7 8 10
fix the deposit
say what must be put down beforehand
ask for security
determine the advance
find the sum to be left as a pledge
claim a down payment
""")

NAMES = (
    "alder", "angelica", "barberry", "betony", "bilberry", "borage", "bramble", "bryony", "buckthorn", "burdock",
    "burnet", "campion", "catmint", "celandine", "chicory", "clover", "comfrey", "cowslip", "cranesbill", "dock",
    "dropwort", "elder", "fennel", "feverfew", "figwort", "foxglove", "gorse", "groundsel", "harebell", "hawthorn",
    "hazel", "heather", "hemlock", "henbane", "hogweed", "ivy", "juniper", "knapweed", "larch", "lovage", "madder",
    "mallow", "medick", "melilot", "mugwort", "nettle", "orache", "oxlip", "pimpernel", "plantain", "primrose",
    "privet", "ragwort", "rampion", "rowan", "samphire", "sanicle", "scabious", "sedge", "skullcap", "sloe",
    "soapwort", "sorrel", "speedwell", "spindle", "sundew", "tamarisk", "tansy", "teasel", "thistle", "toadflax",
    "tormentil", "trefoil", "valerian", "vetch", "woad", "woodruff", "wormwood", "yarrow",
)  # fmt: skip
