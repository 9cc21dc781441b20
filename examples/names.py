"""Learn first names letter by letter, and invent new ones: python examples/names.py [epochs] [seed]

A recurrent network reads a name and says at each letter how probable every next letter is, "." being the end:

    .anna.      reads  . a n n a    and is to say  a n n a .

Perplexity is e to the mean loss: a network with perplexity 8 is as unsure as somebody who has to guess one of eight
letters. It is compared with two ways to guess on names that nothing was trained on: by how frequent each letter is,
and by how frequent it is behind the letter before. To invent a name, a letter is drawn with these probabilities, read,
and so on up to the end; the same seed gives the same names. Where matplotlib is installed, a picture is drawn,
`names.png`.
"""

import sys

import numpy as np

import gpubp as bp

NAMES = """
    aaron abby abel abigail abraham ada adam adele adrian agatha agnes aidan aisha alan albert alberto aldo
    alejandro alex alexa alexander alexandra alexis alfred alfredo ali alice alicia alina alison allen alma alonso
    alvin amalia amanda amber amelia amina amir amos amy ana anastasia anders andre andrea andreas andrew andy angel
    angela angelica angelina anita ann anna annabel anne annette annika anton antonia antonio april ariana ariel
    armando arnold arthur arturo asher ashley astrid athena aubrey audrey august augusta aurora austin ava axel
    barbara barry basil beatrice beatriz bella ben benedict benita benjamin bernadette bernard bert bertha beth
    bettina betty beverly bianca bill billy birgit blanca bob bonnie boris brandon brenda brian brigitte bruce bruno
    bryan caleb calvin camila camilla candice carina carl carla carlo carlos carmen carol carolina caroline carrie
    casper cassandra catalina catherine cecil cecilia cedric celia celine chad charles charlie charlotte chelsea
    cheryl chiara chloe chris christa christian christina christine christoph christopher claire clara clarence
    clarissa claude claudia clemens clement clifford clive colin connor conrad constance cora cornelia craig
    cristina curtis cynthia cyril daisy dale damian dan dana daniel daniela danielle danny daphne darius darren dave
    david dean debbie deborah delia denis denise dennis derek diana diane diego dieter dirk dolores dominic donald
    donna dora doreen doris dorothy douglas duncan dylan earl eddie edgar edith edmund edna eduardo edward edwin
    eileen elaine eleanor elena eli elias elijah elisa elisabeth elise elizabeth ella ellen elmer elsa elvira
    emanuel emil emilia emilio emily emma enrico enrique eric erica erik erika ernest ernesto erwin esme esteban
    estelle esther ethan eugene eva evan evelyn ezra fabian fabio fatima felicia felicity felix ferdinand fernando
    fiona flora florence florian frances francesca francesco francis francisco frank franklin franz fred freda
    frederick frida gabriel gabriela gabrielle gareth gary gemma gene genevieve geoffrey george gerald geraldine
    gerard gerda gilbert gina giovanni gisela giulia gladys glen glenn gloria gordon grace graham greg gregory greta
    guido gustav guy gwen hank hanna hannah hans harold harriet harry harvey hassan hazel heather hector heidi helen
    helena helga henrietta henrik henry herbert herman hilary hilda holly horst howard hubert hugh hugo ian ibrahim
    ida ignacio igor ilona ilse imogen ina ines inga ingrid irene iris irma isaac isabel isabella isaiah isidor isla
    ismael ivan ivy jack jackie jackson jacob jacqueline jaime jake james jamie jan jana jane janet janice jasmine
    jason jasper javier jay jean jeanette jeff jeffrey jennifer jenny jens jeremiah jeremy jerome jerry jesse
    jessica jesus jill jim jimmy joachim joan joanna joanne joaquin jocelyn jodie joe joel johan johanna john johnny
    jonas jonathan jordan jorge jose josef joseph josephine josh joshua joy joyce juan juanita judith judy julia
    julian juliana julie juliet julio julius june justin justina kai karen karim karin karl karla kate katharina
    katherine kathleen kathy katie katja katrina kay keith kelly ken kenneth kerstin kevin khalid kim kimberly
    kirsten klaus konrad kristen kristina kurt kyle lana lara larissa larry lars laura lauren laurence layla lea
    leah leila lena leo leon leona leonard leonardo leonie leroy leslie lester lewis liam lidia lila lillian lily
    lina linda lionel lisa lisbeth lloyd logan lois lola lorena lorenzo loretta lorna lorraine lothar lou louis
    louisa louise lucas lucia lucian lucille lucinda lucy ludwig luigi luis luisa luke luna lydia lynn mabel
    madeleine madison mae magdalena maggie maja malcolm manfred manuel manuela marc marcel marcella marco marcus
    margaret margarita margot maria mariana marianne marie marilyn marina mario marion marisa marjorie mark marlene
    marlon marsha marta martha martin martina marvin mary mason mateo mathias mathilda matthew maureen maurice max
    maxine may maya megan mei melanie melinda melissa melvin mercedes meredith mia michael michelle miguel mike mila
    mildred miles millie milo mina minna miranda miriam mitchell moira mona monica monique morgan morris moses
    muriel myra myrtle nadia nadine nancy naomi natalia natalie nathan nathaniel neil nelly nelson nicholas nicola
    nicolas nicole nigel nikita nils nina noah noel nora norbert noreen norma norman octavia olaf olga olive oliver
    olivia omar opal ophelia oscar oswald otis otto owen pablo paloma pamela paola paolo pascal patricia patrick
    paul paula pauline pearl pedro peggy penelope penny percy perry peter petra phil philip phoebe phyllis pierre
    polly priscilla quentin quincy rachel rafael ralph ramon ramona randy raphael raquel raul raymond rebecca regina
    reginald reinhard renata rene renee ricardo richard rita robert roberta roberto robin rodney rodrigo roger
    roland rolf roman romeo ronald rosa rosalie rosalind rosario rose rosemary ross roxanne roy ruben ruby rudolf
    rufus rupert russell ruth ryan sabina sabrina sadie sally salvador sam samantha samira samson samuel sandra sara
    sarah saul scarlett scott sean sebastian selena selma serena sergio seth shane shannon sharon sheila shelley
    shirley sidney sienna sigmund silas silvia simon simone sofia sonia sophia sophie spencer stacey stanley stefan
    stella stephanie stephen steve steven stuart sue susan susanna susanne suzanne sven sylvester sylvia tabitha
    tamara tania tanya tara tatiana ted terence teresa terry tessa thea thelma theo theodor theodora theresa thomas
    tiffany tilda tim timothy tina tobias todd tom tommy toni tony tracy trevor tristan trudy tyler ulrich ulrike
    uma ursula valentin valentina valerie vanessa vera vernon veronica vicky victor victoria vincent viola violet
    virginia vivian vladimir wallace walter wanda warren wayne wendy werner wesley wilfred wilhelm willa william
    willow wilma winifred winston wolfgang xavier yasmin yolanda yusuf yvette yvonne zachary zara zelda zoe
""".split()

LETTERS = ".abcdefghijklmnopqrstuvwxyz"  # a letter's number is its place
IGNORED = -100  # what is to be said where a name has ended


def numbered(names, length):
    """What is read and what is to be said, (names, length) each."""
    read, say = np.zeros((len(names), length), int), np.full((len(names), length), IGNORED)
    for row, name in enumerate(names):
        numbers = [LETTERS.index(letter) for letter in f".{name}."]
        read[row, : len(name) + 1] = numbers[:-1]
        say[row, : len(name) + 1] = numbers[1:]
    return read, say


def guesses(train, held, behind):
    """Perplexity of a guess by frequency, of each letter alone or behind the one before it; each counts once more."""
    (read, say), (held_read, held_say) = train, held
    counts = np.ones((27, 27))
    used, judged = say != IGNORED, held_say != IGNORED
    np.add.at(counts, (read[used] if behind else 0 * read[used], say[used]), 1)
    p = counts / counts.sum(axis=1, keepdims=True)
    before = held_read[judged] if behind else 0 * held_read[judged]
    return float(np.exp(-np.log(p[before, held_say[judged]]).mean()))


def probabilities(net, read):
    """Of every letter behind each of those read, (names, length, 27)."""
    z = net.predict(read).astype(float)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def invented(net, count, rng, temperature=0.8):
    """Names, drawn letter by letter; below a temperature of 1 probable letters are drawn more often, above it less."""
    length = net.input_shape[0]
    read, ended = np.zeros((count, length), int), np.zeros(count, bool)
    for t in range(length):
        p = probabilities(net, read)[:, t] ** (1 / temperature)
        letter = (p.cumsum(axis=1) / p.sum(axis=1, keepdims=True) > rng.random((count, 1))).argmax(axis=1)
        ended |= letter == 0
        if t + 1 < length:
            read[:, t + 1] = np.where(ended, 0, letter)
    return ["".join(LETTERS[k] for k in row if k) for row in read]


def draw(net, names, file):
    """A picture of the probabilities of the next letter, while names are read."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(names), 6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names)), names, strict=True):
        read, _ = numbered([name], net.input_shape[0])
        axes.imshow(probabilities(net, read)[0, : len(name) + 1].T, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.scatter(
            range(len(name) + 1), [LETTERS.index(k) for k in f"{name}."], s=90, facecolors="none", edgecolors="C3"
        )
        axes.set_xticks(range(len(name) + 1), f".{name}")
        axes.set_yticks(range(27), LETTERS)
        axes.set(title=name, xlabel="letter just read", ylabel="next letter (ring: the real one)")
    figure.savefig(file)
    print(f"{file}: how probable each next letter is")


epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
rng = np.random.default_rng(seed)
names = rng.permutation(NAMES).tolist()
length = max(map(len, names)) + 1
train, held = numbered(names[100:], length), numbered(names[:100], length)

layers = bp.Sequential(bp.Embedding(27, 16), bp.LSTM(64, return_sequences=True), bp.Dropout(0.3), bp.Dense(27))
net = bp.Network(layers, input_shape=length, device="auto", seed=seed)
loss = bp.SoftmaxCrossEntropy(ignore_index=IGNORED)
trainer = bp.Trainer(net, loss, bp.Adam(0.005), batch_size=32, seed=seed)


def report(trainer, logs):
    """Perplexity, and some names, at the end of an epoch."""
    epoch = trainer.history.epochs
    if epoch in (1, 2, 5, epochs) or epoch % 5 == 0:
        some = " ".join(invented(net, 6, np.random.default_rng(seed)))
        print(f"epoch {epoch:3}   perplexity {np.exp(logs['val_loss']):5.1f}   {some}")


callbacks = [bp.LambdaCallback(on_epoch_end=report)]
trainer.fit(*train, epochs=epochs, validation_data=held, callbacks=callbacks, verbose=False)

print(f"\nperplexity on 100 names that were held back, of {len(names)}")
print(f"  guess by letter            {guesses(train, held, behind=False):5.1f}")
print(f"  guess by the letter before {guesses(train, held, behind=True):5.1f}")
print(f"  network                    {np.exp(trainer.evaluate(*held)['loss']):5.1f}")

print("\nthree most probable letters behind each beginning")
for beginning in ("", "c", "ch", "chr", "chris"):
    read, _ = numbered([beginning], length)
    p = probabilities(net, read)[0, len(beginning)]
    print(f"  {beginning or '(none)':<8}" + "   ".join(f"{LETTERS[k]} {p[k]:.2f}" for k in p.argsort()[:-4:-1]))

found = invented(net, 60, np.random.default_rng(seed))
new = sorted({name for name in found if name not in NAMES and len(name) > 2})
print(f"\n{len(new)} of {len(found)} invented names are in no list:")
for start in range(0, len(new), 8):
    print("  " + " ".join(new[start : start + 8]))

try:
    draw(net, ["isabella", "frederick"], "names.png")
except ImportError:
    print("\nno picture: pip install matplotlib")
