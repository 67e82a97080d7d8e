#!/usr/bin/env python3
"""A seeded grammar of little stories.

All text this module writes is its own: no corpus, no model and no word list is
read. The same seed always gives the same text, on every machine, because the
only source of chance is one `random.Random`.

A story is made in three steps:

1. A cast is drawn: a hero, a friend, their names, kinds and pronouns, a place,
   a thing, a food. They stay the same to the end, which is what the trained
   model has to learn to keep track of.
2. A plot is drawn. A plot is a list of lines; each line is a pattern in which
   `(a|b|c)` is a choice and `{name}` is a slot filled from the cast.
3. The patterns are expanded, and articles and capitals are put right.

Run as a script it prints stories:

    stories.py --seed 7 --count 5            # stories, blank line between
    stories.py --seed 7 --count 5 --chat     # questions and their answers
    stories.py --seed 2 --bytes 40000        # stories up to about that size
"""

import argparse
import random
import re

GIRLS = ["Mia", "Lily", "Anna", "Rosa", "Ella", "Nora", "Zoe", "Ivy", "Clara", "Luna", "Daisy", "Ruby"]
BOYS = ["Tom", "Ben", "Max", "Leo", "Sam", "Finn", "Oscar", "Hugo", "Jack", "Milo", "Toby", "Otto"]

# kind: (where such a one lives, what such a one is quick to do)
ANIMALS = {
    "dog": ("in a wooden house beside the road", "wagged {his} tail"),
    "cat": ("in a warm house by the market", "purred"),
    "rabbit": ("in a burrow under the hill", "hopped up and down"),
    "fox": ("in a den at the edge of the forest", "swished {his} tail"),
    "bear": ("in a cave near the waterfall", "clapped {his} big paws"),
    "mouse": ("in a hole behind the old clock", "squeaked"),
    "duck": ("in a nest beside the pond", "flapped {his} wings"),
    "frog": ("on a green leaf in the pond", "jumped up and down"),
    "owl": ("in a hollow oak tree", "flapped {his} wings"),
    "squirrel": ("at the top of a tall pine tree", "swished {his} tail"),
    "hedgehog": ("under a pile of dry leaves", "wiggled {his} nose"),
    "turtle": ("between the round stones of the lake", "nodded slowly"),
    "pig": ("on a farm with a red barn", "wiggled {his} nose"),
    "goat": ("high up on the mountain", "hopped up and down"),
    "pony": ("in a stable full of straw", "stamped {his} feet"),
}
PEOPLE = {
    "boy": ("in a small house near the sea", "clapped {his} hands"),
    "girl": ("in a yellow house on the hill", "clapped {his} hands"),
}
# What a grown-up friend of a story can be.
TRADES = ["baker", "farmer", "sailor", "gardener", "shepherd"]
TRAITS = ["brave", "shy", "curious", "kind", "clever", "cheerful", "quiet", "gentle", "patient", "lively"]
SIZES = ["little", "small", "young"]
COLORS = ["red", "blue", "green", "yellow", "silver", "golden", "white", "purple"]
THINGS = ["ball", "kite", "hat", "scarf", "drum", "book", "bell", "lantern", "cup", "key", "blanket", "basket"]
# (where, the place itself)
PLACES = [
    ("in the forest", "the forest"),
    ("by the river", "the river"),
    ("on the hill", "the hill"),
    ("in the garden", "the garden"),
    ("at the beach", "the beach"),
    ("in the meadow", "the meadow"),
    ("by the lake", "the lake"),
    ("near the old mill", "the old mill"),
    ("at the market", "the market"),
    ("in the park", "the park"),
    ("near the bridge", "the bridge"),
]
# where a lost thing can lie
SPOTS = ["under a bench", "behind a big rock", "in the tall grass", "under a bush", "beside a tree stump",
         "between two stones", "under a pile of leaves", "behind a fence"]
# (with an amount, alone, pronoun)
FOODS = [
    ("a loaf of bread", "bread", "it"),
    ("a basket of berries", "berries", "them"),
    ("a pot of soup", "soup", "it"),
    ("a honey cake", "cake", "it"),
    ("a bag of nuts", "nuts", "them"),
    ("a plate of cookies", "cookies", "them"),
    ("an apple pie", "pie", "it"),
]
# (to do it, having done it, what goes wrong, what the friend advises)
SKILLS = [
    ("swim across the pond", "swam across the pond", "the water went up {his} nose", "Take a deep breath and kick with your feet"),
    ("fly a kite", "flew a kite", "the kite fell down on the grass", "Wait for the wind and then run"),
    ("bake bread", "baked bread", "the bread turned black", "Use a small fire and wait a little"),
    ("play the drum", "played the drum", "it only made a loud noise", "Count to four and start slowly"),
    ("climb the old oak", "climbed the old oak", "{he} slid down again", "Hold on to the thick branches and look up"),
    ("paint a picture", "painted a picture", "the colors ran together", "Let the first color dry before you add the next"),
    ("sing a song", "sang a song", "{his} voice was too quiet", "Stand up straight and open your mouth wide"),
    ("row a boat", "rowed a boat", "the boat went round in circles", "Pull with both arms at the same time"),
    ("dance", "danced", "{he} fell over {his} own feet", "Listen to the music and take small steps"),
]
# (what frightens, what it is in truth, how it feels then)
FEARS = [
    ("the dark", "The dark is only the day asleep", "looked at the stars and counted them"),
    ("the thunder", "Thunder is only the clouds talking", "listened to the rain and smiled"),
    ("the deep water", "Deep water carries you if you lie still", "floated on {his} back and looked at the sky"),
    ("the old bridge", "The bridge is made of strong wood", "walked to the other side, one step at a time"),
    ("the tall tree", "A tall tree is only many small branches", "climbed up and saw the whole valley"),
    ("the new school", "Everyone there was new once", "went inside and said hello to everyone"),
]
# (where someone is stuck, what is needed, how it is used)
TRAPS = [
    ("in a deep hole", "a long rope", "tied the rope to a tree and let it down"),
    ("at the top of a tall tree", "a ladder", "leaned the ladder against the tree and held it still"),
    ("in the thick mud", "a wide board", "laid the board across the mud"),
    ("on a rock in the river", "a small boat", "rowed the boat to the rock"),
    ("under a heavy branch", "a strong stick", "pushed the stick under the branch and lifted it"),
    ("behind a locked gate", "an old key", "turned the key and opened the gate"),
]
# (what is planted, what it becomes, what is made of it)
SEEDS = [
    ("a tiny seed", "a tall sunflower", "everyone came to look at it"),
    ("a pumpkin seed", "a huge pumpkin", "they made soup for the whole village"),
    ("an apple seed", "an apple tree", "they baked a pie with the first apples"),
    ("a carrot seed", "a fat orange carrot", "they ate it together for dinner"),
    ("a rose seed", "a red rose", "the whole garden smelled sweet"),
    ("a small bean", "a long green vine", "they sat in its shade all summer"),
]
# (what makes the noise, how it sounded, what it needed, what was done)
NOISES = [
    ("a baby bird", "a soft peep", "had fallen out of its nest", "put it gently back into the nest"),
    ("a kitten", "a thin meow", "was cold and wet", "wrapped it in a warm blanket"),
    ("a lamb", "a sad cry", "had lost its mother", "led it back to its mother"),
    ("a bee", "a low buzz", "was stuck behind a window", "opened the window and let it out"),
    ("a puppy", "a small bark", "was hungry", "gave it something to eat"),
]
# (what is made, from what, how)
GIFTS = [
    ("a warm scarf", "wool", "knitted it all night"),
    ("a wooden boat", "a piece of wood", "carved it with care"),
    ("a paper lantern", "colored paper", "folded it and glued it"),
    ("a flower crown", "daisies", "tied the stems together"),
    ("a little song", "words", "practiced it again and again"),
    ("a soft pillow", "old feathers", "sewed it shut with thread"),
]

PLOTS = {}


def plot(theme):
    """Register a function that returns the lines of a plot under its theme."""

    def keep(function):
        PLOTS[theme] = function
        return function

    return keep


@plot("a lost {thing}")
def lost(rng):
    first, second = rng.sample(SPOTS, 2)
    return [
        "{h} had {a_thing}. (It was {his} favorite thing in the world.|{He} took it everywhere.|{His} grandmother had given it to {him}.)",
        "One (morning|day|afternoon), {h} went to play {at}. When {he} came home, the {thing} was gone!",
        "(\"Oh no!\" said {h}. \"Where is my {thing}?\"|{h} was very sad. \"I have lost my {thing},\" {he} said.|{h} began to cry. \"My {thing} is gone!\" {he} said.)",
        "{His} friend {f} the {fkind} (heard {him}|came by|saw that {he} was sad). \"(Do not worry|Do not cry),\" said {f}. \"(I will help you look|We will find it together).\"",
        f"They went back to {{place}}. They looked {first}, but it was not there. Then {{f}} looked {second}. (There was the {{thing}}!|And there it was!)",
        "\"(Thank you|Thank you so much), {f}!\" said {h}, and {he} {joy}.",
        "(From that day on, {h} took good care of the {thing}.|After that, {h} always shared the {thing} with {f}.|{h} and {f} played with the {thing} until the sun went down.)",
    ]


@plot("learning to {skill}")
def wish(rng):
    return [
        "{h} had one big wish. {He} wanted to {skill}.",
        "(Every day|One day|One morning) {h} went to {place} and tried. But {flop}. (\"I can not do it,\" said {h}.|\"It is too hard,\" said {h}.|\"I will never learn it,\" {he} said.)",
        "{f} the {fkind} (was watching|saw {him}|came along). \"(I could not do it at first|It was hard for me too),\" said {f}. \"{advice}.\"",
        "{h} (listened|nodded) and tried again. (The first time it went wrong.|It still went wrong.) (The second time it was a little better.|Then it was a little better.) (The third time|And at last), {h} {did}!",
        "\"(Look|Look, {f})! I can do it!\" {he} (shouted|cried), and {he} {joy}.",
        "{f} (smiled|laughed). \"(I knew you could|You did not give up),\" {fhe} said.",
        "(Now {h} teaches everyone who wants to learn it.|{h} learned that trying again is the best way to learn.|That night {h} fell asleep with a smile.)",
    ]


@plot("sharing")
def share(rng):
    return [
        "One (morning|day), {h} had {food}. {He} was going to eat {it} {at}.",
        "On the way {he} met {f} the {fkind}. {f} looked (tired|sad|pale). \"What is wrong?\" asked {h}. \"I am so hungry,\" said {f}. \"I have had nothing to eat (today|since yesterday).\"",
        "{h} looked at the {meal}. {He} was hungry too. (But {he} felt sorry for {f}.|Then {he} had an idea.) \"(Come and sit with me|Sit down),\" {he} said. \"We can share the {meal}.\"",
        "So they sat down {at} and ate together. (It tasted better than ever.|They talked and laughed.) \"(You are a good friend|You are very kind),\" said {f}.",
        "(A week later|The next day|In the winter), {h} (was lost in the snow|lost {his} way in the fog|had nothing to eat at home). {f} came (at once|right away). \"You helped me, so now I help you,\" {fhe} said.",
        "{h} {joy}. (Since then they have been the best of friends.|And so they learned that kindness comes back.|They were friends forever.)",
    ]


@plot("being afraid of {fear}")
def fear(rng):
    return [
        "{h} was afraid of {fear}. (The others did not know it.|{He} did not tell anyone.|It made {his} heart beat fast.)",
        "One (evening|day), {f} the {fkind} asked, \"(Will|Would) you come with me to {place}?\" {h} (shook {his} head|looked at the ground). \"I am afraid of {fear},\" {he} (whispered|said).",
        "{f} did not laugh. \"{truth},\" said {f}. \"(I was afraid too, once|I will stay beside you|You can hold on to me).\"",
        "{h} took a deep breath. (Slowly, slowly|Step by step), {he} went with {f}. {He} {calm}.",
        "\"(It is not so bad|I am not afraid any more)!\" said {h}, and {he} {joy}.",
        "\"(Being brave means doing it even when you are afraid|I am proud of you),\" said {f}.",
        "(That night {h} slept very well.|From that day on, {h} was not afraid of {fear}.|And they went home together, side by side.)",
    ]


@plot("a rescue")
def rescue(rng):
    return [
        "One (day|windy day|afternoon), {h} was walking {at}. Suddenly {he} heard a voice. \"Help! Help!\"",
        "It was {f} the {fkind}. {f} was stuck {trap}! \"(Please help me|I can not get out),\" said {f}.",
        "{h} (pulled and pulled|tried to reach {fhim}), but {he} was not strong enough. (Then {he} had an idea.|{He} thought hard.) \"Wait here,\" {he} said. \"I need {tool}.\"",
        "{h} ran home as fast as {he} could and came back with {tool}. {He} {use}. (At last {f} was free!|And soon {f} was safe!)",
        "\"(You saved me|Thank you, {h}),\" said {f}. \"(How can I thank you?|I will never forget it.)\"",
        "\"(That is what friends are for|You would do the same for me),\" said {h}, and {he} {joy}.",
        "(Then they went home and drank hot tea.|From then on, they always went out together.|In the evening everyone in the village heard the story.)",
    ]


@plot("a rainy day")
def rain(rng):
    return [
        "It was a (sunny|warm|bright) morning, and {h} wanted to have a picnic {at} with {f} the {fkind}. {He} packed {food}.",
        "But when they came to {place}, dark clouds filled the sky and it began to rain. (\"Our picnic is ruined!\" said {h}.|\"Now we can not have our picnic,\" said {h} sadly.)",
        "(\"Look, there is a cave,\" said {f}.|\"Come under this big tree,\" said {f}.|\"We can sit in the old hut,\" said {f}.) They ran there and sat down. It was dry and (cozy|warm). They ate the {meal} and told each other stories.",
        "After a while the rain stopped. The sun came out, and a rainbow stood over {place}. \"(Look at all the colors|How beautiful)!\" said {f}.",
        "{h} {joy}. \"(Without the rain there would be no rainbow|This is the best picnic ever),\" {he} said.",
        "(They jumped in every puddle on the way home.|They went home wet and happy.|Since that day, {h} has liked the rain.)",
    ]


@plot("saying sorry")
def sorry(rng):
    return [
        "{f} the {fkind} had {a_thing}. (It was very old.|{f} loved it very much.) One day {h} asked, \"May I play with it?\" \"Yes, but be careful,\" said {f}.",
        "{h} took the {thing} and ran to {place}. (But {he} was not careful.|{He} ran too fast.) {He} fell, and the {thing} broke!",
        "{h} was (frightened|ashamed). First {he} wanted to hide it. (But that did not feel right.|Then {he} thought about {his} friend.) So {he} went to {f} and told {fhim} the truth. \"I broke your {thing}. I am sorry,\" {he} said.",
        "{f} was sad for a moment. Then {fhe} said, \"(Thank you for telling me the truth|It was brave to tell me). (We can mend it|Let us mend it together).\"",
        "They worked all (afternoon|evening) with glue and string. (At last the {thing} was whole again.|In the end the {thing} looked almost like new.)",
        "{h} {joy}. (After that {he} was always careful.|And {he} never forgot to tell the truth.|The {thing} was a little crooked, but they liked it even more.)",
    ]


@plot("a strange noise")
def noise(rng):
    return [
        "One (night|evening), {h} heard a strange noise. It was {sound}. It came from outside.",
        "\"(What can that be|Who is there)?\" {he} asked. But nobody answered. {h} took a lantern and went to get {f} the {fkind}. (\"Let us go and look,\" said {f}.|\"Two are braver than one,\" said {f}.)",
        "They walked to {place}. The noise grew louder. And there, {spot}, was {maker}! It {need}.",
        "\"(Poor little thing|Do not be afraid, little one),\" said {h}. {He} {deed}, and {f} held the lantern.",
        "(Soon it was happy again.|It looked at them with bright eyes.) \"(How good that we went to look|Now I know what the noise was),\" said {f}.",
        "{h} {joy}. (Then they walked home under the stars.|And from then on, it came to visit them every day.|After that, they slept until noon.)",
    ]


@plot("a birthday gift")
def gift(rng):
    return [
        "(Tomorrow was the birthday of {f} the {fkind}.|{f} the {fkind} had a birthday.) {h} wanted to give {fhim} something nice. But {he} had no money.",
        "\"(What shall I do|What can I give {fhim})?\" {he} thought. {He} went to {place} to think. (There {he} had an idea.|And then it came to {him}.) \"I will make something myself!\" {he} said.",
        "{h} looked for {stuff}. Then {he} made {gift}. {He} {make}. (It was not perfect, but it was made with love.|At last it was ready.)",
        "The next (day|morning), {f} opened the door. \"Happy birthday!\" said {h}. {f} looked at the gift and smiled. \"(This is the best gift of all|I have never had such a beautiful gift),\" {fhe} said.",
        "{h} {joy}. They ate {food} and (sang songs|danced|played games) until it was dark.",
        "(The best gifts come from the heart.|And {f} kept the gift forever.|It was a wonderful birthday.)",
    ]


@plot("a seed")
def garden(rng):
    return [
        "One spring day, {h} found {seed} {at}. \"I will plant it,\" {he} said. {He} dug a small hole, put it in, and gave it water.",
        "Every day {h} went to look. But there was nothing to see. (\"Why does it not grow?\" {he} asked.|\"Perhaps it is asleep,\" {he} said.) {f} the {fkind} (smiled|laughed). \"Good things take time,\" said {f}. \"Give it water and wait.\"",
        "So {h} waited. {He} gave it water when it was dry, and {he} (sang to it in the evening|pulled out the weeds|told it stories).",
        "Then, one morning, there was a green leaf! {h} {joy}. It grew and grew. By the end of summer it was {grown}.",
        "\"(You were right|It was worth the wait), {f}!\" said {h}. They were so glad, and {outcome}.",
        "(In the autumn {h} kept one seed for the next year.|And {h} learned to be patient.|Now {h} plants something new every spring.)",
    ]


OPENINGS = [
    "Once upon a time, there was a {size} {kind} named {h}. {h} lived {home}. {He} was very {trait}.",
    "Once upon a time, a {trait} {kind} named {h} lived {home}.",
    "Once upon a time there lived a {size} {kind}. {His} name was {h}, and {he} was {trait}. {He} lived {home}.",
    "There once was a {trait} {kind} called {h}. {He} lived {home}.",
    "{h} was a {size} {kind}. {He} lived {home}. Everyone said that {h} was very {trait}.",
    "Long ago, a {size} {kind} named {h} lived {home}.",
]
ENDINGS = ["", "", "", " The end."]

CHOICE = re.compile(r"\(([^()|]*(?:\|[^()|]*)+)\)")


class Cast:
    """Who and what a story is about: the values of the slots of its patterns."""

    def __init__(self, rng):
        self.rng = rng
        kinds = list(ANIMALS) + list(PEOPLE) * 2
        kind = rng.choice(kinds)
        friend_kind = rng.choice([k for k in [*ANIMALS, *TRADES] if k != kind])
        homes = {**ANIMALS, **PEOPLE}
        slots = {}
        used = None
        for prefix, its_kind in (("", kind), ("f", friend_kind)):
            girl = its_kind == "girl" or (its_kind != "boy" and rng.random() < 0.5)
            name = rng.choice([n for n in (GIRLS if girl else BOYS) if n != used])
            used = name
            he, him, his = ("she", "her", "her") if girl else ("he", "him", "his")
            slots.update({
                prefix + "kind": its_kind, ("f" if prefix else "h"): name,
                prefix + "he": he, prefix + "him": him, prefix + "his": his,
                prefix + "He": he.capitalize(), prefix + "His": his.capitalize(),
            })
        slots["home"], slots["joy"] = homes[kind]
        slots["size"], slots["trait"] = rng.choice(SIZES), rng.choice(TRAITS)
        slots["thing"] = rng.choice(THINGS)
        slots["a_thing"] = f"a {rng.choice(COLORS)} {slots['thing']}"
        slots["at"], slots["place"] = rng.choice(PLACES)
        slots["spot"] = rng.choice(SPOTS)
        slots["food"], slots["meal"], slots["it"] = rng.choice(FOODS)
        slots["skill"], slots["did"], slots["flop"], slots["advice"] = rng.choice(SKILLS)
        slots["fear"], slots["truth"], slots["calm"] = rng.choice(FEARS)
        slots["trap"], slots["tool"], slots["use"] = rng.choice(TRAPS)
        slots["seed"], slots["grown"], slots["outcome"] = rng.choice(SEEDS)
        slots["maker"], slots["sound"], slots["need"], slots["deed"] = rng.choice(NOISES)
        slots["gift"], slots["stuff"], slots["make"] = rng.choice(GIFTS)
        self.slots = slots

    def expand(self, pattern):
        """Resolve the choices and slots of one pattern."""
        found = CHOICE.search(pattern)
        while found:
            pick = self.rng.choice(found.group(1).split("|"))
            pattern = pattern[: found.start()] + pick + pattern[found.end():]
            found = CHOICE.search(pattern)
        while "{" in pattern:  # a slot's value may hold a slot ("wagged {his} tail")
            pattern = pattern.format_map(self.slots)
        pattern = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", pattern)
        return pattern


def story(rng):
    """One story: its text, its cast and its theme."""
    cast = Cast(rng)
    theme = rng.choice(list(PLOTS))
    opening = rng.choice(OPENINGS[:3]) if rng.random() < 0.6 else rng.choice(OPENINGS[3:])
    lines = [cast.expand(line) for line in PLOTS[theme](rng)]
    # Two paragraphs sometimes, so that the model knows a newline is possible.
    cut = rng.randrange(2, len(lines) - 1) if rng.random() < 0.5 else 0
    body = " ".join(lines[:cut]) + "\n" + " ".join(lines[cut:]) if cut else " ".join(lines)
    text = cast.expand(opening) + " " + body + rng.choice(ENDINGS)
    return text, cast, cast.expand(theme)


ASKS = ["Tell me a story about {}.", "Tell me a story about {}.", "Please tell me a story about {}.", "Can you tell me a story about {}?",
        "Write a story about {}.", "Write a short story about {}.", "I want a story about {}.", "A story about {}, please.",
        "tell me a story about {}"]
OPEN_ASKS = ["Tell me a story.", "Please tell me a story.", "Can you tell me a story?", "Tell me another story.", "Write a story."]
SMALL_TALK = [
    ("(Hello|Hi|Hello!|Hi!|Good morning.|Hey)", "(Hello! Would you like to hear a story?|Hi! Shall I tell you a story?)"),
    ("(Who are you?|What are you?|What is your name?)", "I am a very small model that tells little stories."),
    ("(What can you do?|Can you help me?|Help)", "I can tell little stories. Ask me for a story about a dog, a lost ball or a rainy day."),
    ("(Thank you.|Thanks!|Thank you!)", "You are welcome! (Would you like another story?|I am glad you liked it.)"),
    ("(Goodbye.|Good night.|Bye)", "Good night! Sleep well."),
]


def ask(rng, cast, theme):
    """A request that the story of this cast and theme answers."""
    slots = cast.slots
    about = rng.choice([
        "a {kind}", "a {kind}", "a {kind}", "a {kind} named {h}", "a {trait} {kind}", "a {kind} and a {fkind}",
        "{h} and {f}", "{theme}", "{theme}",
    ]).format(**slots, theme=theme)
    if "{trait}" not in about and rng.random() < 0.12:
        return rng.choice(OPEN_ASKS)
    return rng.choice(ASKS).format(re.sub(r"\ba (?=[aeiou])", "an ", about))


def chat(rng):
    """One conversation: a list of (role, content)."""
    turns = []
    if rng.random() < 0.1:
        turns.append(("system", rng.choice(["You tell little stories.", "You are a helpful assistant.", "You are a storyteller."])))
    if rng.random() < 0.25:
        cast = Cast(rng)
        question, answer = rng.choice(SMALL_TALK)
        turns += [("user", cast.expand(question)), ("assistant", cast.expand(answer))]
        if rng.random() < 0.4:
            return turns
    text, cast, theme = story(rng)
    turns += [("user", ask(rng, cast, theme)), ("assistant", text)]
    if rng.random() < 0.2:
        question, answer = SMALL_TALK[3]
        turns += [("user", cast.expand(question)), ("assistant", cast.expand(answer))]
    return turns


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--bytes", type=int, help="write stories until about this many bytes")
    parser.add_argument("--chat", action="store_true")
    args = parser.parse_args()
    rng = random.Random(args.seed)
    if args.chat:
        for _ in range(args.count):
            print("\n".join(f"{role}: {content}" for role, content in chat(rng)), end="\n\n")
        return
    parts, size = [], 0
    while size < args.bytes if args.bytes else len(parts) < args.count:
        parts.append(story(rng)[0])
        size += len(parts[-1]) + 2
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
