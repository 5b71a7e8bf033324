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
draw a sample of the days for the inspector
choose the sample that goes on the notice board
thin the figures out to a sample
reduce the list to a representative sample
show visitors a sample of the record
print only a sample of the numbers

smooth = counts -> counts: [({p} * a + b) // ({p} + 1) for a, b in zip(x, x[1:])] | 1 2 3
smooth the ups and downs of the curve
smooth the curve of the figures
even out the jumps and get a smoother curve
make the bumpy curve smooth
get a smooth line through the numbers
smooth each day with its neighbour

trim = counts -> counts: sorted(x)[{p}:len(x) - {q}] | 1 2 | 1 2
remove the outliers
drop the outliers, high and low
strike out the extreme values and other outliers
get rid of the outliers at both ends
clean the record of outliers
leave the extreme days out as outliers

cumulate = counts -> counts: [{p} + sum(x[:i + 1]) for i in range(len(x))] | 5 10 20
keep a running total
add up the running total as the days go by
see how the running sum grew
write down the total so far after each day
make a cumulative total
build up the running tally step by step

pack = counts -> counts: [-(-a // {p}) * {p} for a in x] | 3 4 6 8
round up to full boxes
order in full boxes only
bring each number up to complete boxes
see how much to buy when only full boxes are sold
fill up the last box of each day
adjust the amounts to whole boxes

reserve = counts -> counts: [max(0, a - {p}) for a in x] | 2 3 4 5
set the reserve aside
hold back the emergency reserve
take off what is kept in reserve
see what is left without the reserve stock
put a reserve by for a rainy day
leave the reserve untouched and see what remains

limit = counts -> counts: [min(a, {p}) for a in x] | 9 11 13 14
apply the daily limit
cut off what exceeds the limit
keep each day within the permitted limit
enforce the upper limit
cap the figures at the legal limit
disregard anything beyond the maximum limit

change = counts -> counts: [b - a for a, b in zip(x, x[{p}:])] | 1 2 3
find the change from day to day
list the changes up and down
work out the daily change
compare each day with an earlier one and note the change
see by how much the figures changed
get the rise or fall, that is the change

period = counts -> counts: [sum(x[i:i + {p}]) for i in range(0, len(x), {p})] | 2 3 4
get the totals for each accounting period
gather the days into accounting periods
bundle the days into longer periods
close the books period by period
add the days up by period
aggregate the record into periods

best = counts -> counts: sorted(x, reverse=True)[:{p}] | 2 3 4
find the best days
list the best results
see the highest figures, best at the front
choose the best days for the hall of fame
get the best scores
name the record days, the best of all

busy = counts -> counts: [int(a > {p}) for a in x] | 6 8 10 12
mark the busy days
flag the busy days when additional hands were needed
show with ones and zeros which days were busy
tick the busy days
tell the busy days from the quiet ones
see at a glance when it was busy

wastage = counts -> counts: [a + a // {p} for a in x] | 2 3 4 5
add the allowance for waste
reckon with waste and spoilage
provide for breakage and waste
include what is wasted on the way
put the margin for waste on top
make up for what will be wasted

points = counts -> counts: [{p} * a - {q} for a in x] | 3 4 5 | 1 2 3
turn the numbers into points
convert the figures to points
award points to each day
compute the points for the league table
translate the results into points
give each day its points in the club's competition

filing = counts -> counts: sorted(x, key=lambda a: (a % {p}, a)) | 3 4 5
put the slips in filing order
file the entries for the archive
sort the cards for the filing cabinet
bring the record into the filing order of the archive
arrange the numbers for filing
file the daily notes in the cabinet

year = counts -> counts: x[{p}:] + x[:{p}] | 1 2 3
begin the list with the start of the business year
shift the calendar to the start of our year
move the opening day of the year to the front
let the list start where our business year starts
turn the calendar round until it begins with our year
rearrange the days to suit our own calendar year

forecast = counts -> n: x[-1] + (x[-1] - x[0]) // {p} | 2 3 4
forecast tomorrow
make a forecast for the coming day
forecast how many there will be next
predict tomorrow's number
predict what comes next
extend the trend into a forecast for tomorrow

typical = counts -> n: sorted(x)[len(x) // {p}] | 2 3 4
name a typical day
find the typical number
say what is typical
give the number of a typical day
determine a normal, typical level
state how many are typical for a day

verdict = counts -> n: sum(x) - {p} * min(x) | 2 3 4
rate the week as a whole
give the week an overall rating
sum up the week in a single rating
assess how the whole week went and rate it
work out the overall rating
find the total rating of the period

unsteady = counts -> n: sum(abs(a - b) for a, b in zip(x, x[1:])) // {p} | 2 3 4
measure how irregular the days were
find the degree of irregularity
say how irregular the figures are
quantify how much the figures fluctuate irregularly
see how erratic and irregular the record is
work out a measure of irregular ups and downs

bill = counts -> n: {p} * sum(x) + {q} | 2 3 4 | 5 10 15
make out the bill
calculate the customer's bill
total the bill for the customer
write the bill for the lot
work out the bill that has to be paid
see what the customer has to pay on the bill

streak = counts -> n: max(len(s) for s in "".join("1" if a >= {p} else " " for a in x).split(" ")) | 5 6 7
find the longest good streak
tell how long the lucky streak lasted
measure the longest winning streak
count the longest streak of good days in a row
see how long the best streak was
determine the record streak of good days

share = counts, k -> counts: [sum(x[i::{p} * k]) for i in range(k)] | 1 2
share the work among {k} people
split the work between {k} people
divide the work over {k} people
hand the work out to {k} workers
apportion the work to {k} workers
balance the work across {k} workers

shortfall = counts, k -> counts: [max(0, k + {p} - a) for a in x] | 2 3 5
find how many are missing to reach {k}
list the shortfall against a target of {k}
see how far below the target of {k} each day stayed
compute the shortfall, the target being {k}
tell how many more it takes to reach the target of {k}
show how much is missing to the target, which is {k}

latest = counts, k -> counts: x[len(x) - k:][::-1] + x[:{p}] | 1 2
show the latest {k} days
get the last {k} days for the report
look back over the last {k} days
print the figures of the latest {k} days
extract the {k} most recent days
see the last {k} entries of the record

roster = names -> names: x[:{p}][::-1] + x[{p}:] | 2 3 4
set up the next duty roster
move the duty roster on
work out the next turns on the duty roster
advance the duty roster
draw up the coming week's duty roster
pass the duties on to the next on the roster

pairs = names -> names: [a + "{p}" + b for a, b in zip(x[::2], x[1::2])] | & + /
put the {helpers} in pairs
pair everybody up
decide who works together as a pair
make pairs of partners
give everyone a partner to pair up with
form pairs for the day

seats = names -> names: x[::{p}] + [a for i, a in enumerate(x) if i % {p}] | 2 3
arrange the seats at the table
make the seating plan for the table
decide who sits where at the table
place everybody on a seat along the table
lay out the seats for the supper
fill the seats at the table

muster = names -> names: sorted(x, key=lambda a: (a[{p}:], a)) | 1 2 -1
sort the {helpers} for roll call
call the roll in the right order
get the order of the roll call
put the register in order for roll call
line everybody up for the roll call
bring everyone into the order in which the roll is called

badges = names -> names: [a[:{p}].upper() + "{q}" for a in x] | 2 3 | . - *
make the name badges
find what goes on the badges
write the badges for the uniforms
produce the short badges for everybody's coat
print a badge for each
get the text of the badges

numbers = names -> names: [str(i) + "{p}" + a for i, a in enumerate(x, {q})] | : ) # | 1 10 100
number the {helpers}
give each a number for the race
hand out start numbers for the race
put a number before each name
assign a number to everyone
number everyone for the raffle

lots = names -> names: sorted(x, key=lambda a: (sum(map(ord, a)) % {p}, a)) | 5 7 11
draw lots
settle by drawing lots who goes when
decide the order by lot
hold the lottery that decides the order
let the lots decide
shuffle everyone by drawing lots

speaker = names -> text: x[len(x) // {p}] | 2 3 4
choose a spokesperson
elect a speaker for all
determine who will be the spokesperson
pick the one who is to be the speaker
find out who is the spokesperson
appoint a spokesperson for the meeting

notice = names -> text: "{p}".join(sorted(x)) | ; , /
write the notice that says who is on duty
put everyone on the notice
make a notice for the door with everybody on it
turn the {helpers} into a line for the notice
compose the line of names for the notice
hang out a notice with all the names

lettering = names -> n: {p} * sum(map(len, x)) + {q} | 2 3 | 4 6 8
see how much thread it takes to embroider the names
order the thread to embroider everyone's name
estimate the thread for the embroidered names
find how much thread the embroidery of the names needs
calculate the thread for embroidering names on the aprons
reckon how long the thread for the embroidery has to be

groups = names, k -> names: ["{p}".join(x[i::k]) for i in range(k)] | + , -
divide the {helpers} into {k} groups
form {k} groups
split everybody up into {k} groups
sort the people into {k} groups
distribute everyone over {k} groups
make {k} groups of people

duty = names, k -> text: x[k * {p} % len(x)] | 2 3 5
tell who is on duty on day {k}
find who has the night duty on day {k}
say who must come in for duty on day {k}
look up the person on duty on day {k}
see whose duty it is on day {k}
get the name of the one on duty on day {k}

mask = text -> text: x[:{p}] + "*" * (len(x) - {p} - {q}) + x[len(x) - {q}:] | 1 2 | 1 2
mask it so that only the ends can be read
hide the middle of it behind a mask
mask the confidential part
make it unreadable with a mask
mask it for the public list
conceal it, all but the ends, with a mask

cipher = text -> text: "".join(chr((ord(a) - 97 + {p}) % 26 + 97) if a.isalpha() else a for a in x.lower()) | 3 5 7
put it into secret code
encrypt it with the secret code
write it in a secret cipher
encode it for the spies
turn it into a secret message
scramble the letters into a secret code for the courier

slug = text -> text: x.lower().replace(" ", "{p}")[:{q}] | - _ . | 6 7 8
make a file name of it
turn it into a file name
get a file name for the computer
convert it to a file name for saving
derive the name of the computer file
prepare it as a file name on the disk

banner = text -> text: "{p}".join(x.upper()) | . - ~
set it as a banner
lay it out for the big banner
prepare the letters of a banner
make it large and airy for a banner
spread it out on a banner over the shop
turn it into a headline for the banner

seal = text -> text: x + "{p}" + str({q} * len(x)) | # / = | 3 4 7
put the seal at the end
seal it
certify it with a seal
add the official seal
append the seal that makes it genuine
stamp the seal of authenticity on it

dialect = text -> text: x.replace("a", "{p}").replace("e", "{q}") | o u aa | i ey ee
put it into the local dialect
write it in the dialect of the village
translate it into dialect
spell it in dialect like the old folk
render it in the dialect of the valley
give it the accent of the local dialect

lines = text -> names: [x[i:i + {p}] for i in range(0, len(x), {p})] | 3 4 5
break it into short lines for the label
cut it up into lines for the tiny display
wrap the lines for the little screen
split it into lines for the receipt printer
set it in short lines
fit it on a slim strip, line by line

telegram = text -> n: {p} * len(x.split()) + {q} | 3 4 5 | 2 6 9
work out the fee for a telegram
see what it costs to send it as a telegram
compute the charge for the telegram
price it as a telegram
find out what the post office asks for the telegram
get the cost of telegraphing it

shelf = text -> n: sum(map(ord, x)) % {p} | 12 20 30
find the shelf where it is kept
tell on which shelf it belongs
look up the number of its shelf
determine the right shelf in the store
get the shelf that it goes on
locate its shelf

acronym = text -> text: "{p}".join(a[:{q}] for a in x.split()).upper() | . - & | 1 2
make an acronym of it
get the acronym for internal use
boil it down to an acronym of initials
derive the acronym
find the abbreviation, an acronym
contract it to an acronym in capitals

check = n -> n: x * 10 + x * {p} % {q} | 3 7 | 8 9
add the check digit
protect it with a check digit against typing mistakes
complete it with the check digit
append a check digit so that errors are noticed
supply the check digit for the article code
put the control digit behind it, as a check

voucher = n -> text: "{p}" + str(x).zfill({q}) | A N R T | 4 5 6
write it on the ticket
format the ticket number
print the ticket
produce the ticket with its number
fill in the ticket
give it the form of a ticket number

coins = n -> counts: [x // {p}, x % {p} // {q}, x % {p} % {q}] | 20 25 50 | 3 4 6
pay it in coins
break it into coins
fill the pay packet with coins
count it out in coins from the till
give the change in coins
hand it over in coins

loads = n -> counts: [x // {p}, x % {p}] | 6 7 9 12
see how many full cart loads there are, and what is left over
load the carts and note the remainder
fill the carts
divide it into cart loads
load it on carts
work out the cart loads

size = n -> text: "S" if x < {p} else "M" if x < {q} else "L" | 10 15 20 | 30 40 50
find the size class
decide on the size of the box
choose the size
pick the size for the price list
tell whether the size counts as big or small
classify it by size

staff = n -> n: x // {p} + {q} | 4 5 6 | 1 2 3
see how many staff are needed
plan the number of staff
work out how many staff to call in
tell how many staff to hire
find out how large the staff has to be
schedule enough staff

bars = n -> text: "{p}" * (x // {q}) + "." * (x % {q}) | # = * | 3 4 5
draw it as a bar on the chart
show it as a bar of symbols
make a bar chart of it
draw a bar for people who cannot read numbers
represent it with a bar
plot it as a bar on the slate

deposit = n -> n: {p} * (x // {q} + 1) | 2 3 5 | 7 8 10
fix the deposit
say what deposit must be paid beforehand
ask for a deposit
determine the deposit
find the sum to be left as a deposit
claim a deposit as a down payment
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
