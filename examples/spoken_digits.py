"""Learn spoken digits, and see what first weights do: python examples/spoken_digits.py [epochs] [RECORDINGS]

Without recordings, ten words are made of formants, hiss and silence: rough, but of different voices, speeds and noise.
RECORDINGS is the folder `recordings` of the Free Spoken Digit Dataset, with files such as 7_jackson_32.wav (Z. Jackson
et al., https://github.com/Jakobovski/free-spoken-digit-dataset); those numbered 0 to 4 are for the test, as there.

A convolutional network learns them from their spectrograms. Then deep networks of dense layers begin with first weights
of different sizes, and plain gradient descent shows what the textbooks say. In a layer of n inputs and ReLU, weights of
deviation √(2/n) keep the size of what passes (He et al., 2015). Those of √(1/n), right for tanh (Glorot and Bengio,
2010), halve its square at every layer, and so signals and gradients fade. Larger ones let both explode. If matplotlib
is installed, pictures are saved.
"""

import sys
from pathlib import Path

import numpy as np

import gpubp as bp
from gpubp.datasets import read_wav

RATE, SECONDS = 8000, 0.8
WORDS = "zero one two three four five six seven eight nine".split()

# Each sound: seconds; the formants at its begin and end in Hz, which the throat and mouth let through; how loud the
# voice is; how loud the hiss is, and around which frequency.
IY, IH, EH = (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480)
AH, AO, UW = (640, 1190, 2390), (570, 840, 2410), (300, 870, 2240)
R, W, N, A = (420, 1300, 1600), (290, 610, 2150), (280, 1700, 2600), (730, 1090, 2440)
S, F, TH = (0.13, IY, IY, 0, 0.5, 3500), (0.09, A, A, 0, 0.15, 2600), (0.09, IH, IH, 0, 0.1, 3000)
T, K, STOP = (0.03, IH, IH, 0, 0.6, 3200), (0.03, AH, AH, 0, 0.5, 1800), (0.05, A, A, 0, 0, 0)
V, Z = (0.05, AH, AH, 0.3, 0.08, 2600), (0.1, IH, IH, 0.3, 0.3, 3500)


def vowel(seconds, begin, end=None):
    return seconds, begin, end or begin, 1.0, 0.0, 0


NASAL = (0.1, N, N, 0.4, 0.0, 0)
SOUNDS = {
    "zero": [Z, vowel(0.09, IH, R), vowel(0.07, R), vowel(0.16, AO, UW)],
    "one": [vowel(0.09, W, AH), vowel(0.13, AH), NASAL],
    "two": [T, vowel(0.26, IH, UW)],
    "three": [TH, vowel(0.08, R), vowel(0.2, R, IY)],
    "four": [F, vowel(0.18, AO), vowel(0.1, AO, R)],
    "five": [F, vowel(0.24, A, IY), V],
    "six": [S, vowel(0.1, IH), STOP, K, S],
    "seven": [S, vowel(0.1, EH), V, vowel(0.06, AH), NASAL],
    "eight": [vowel(0.2, EH, IY), STOP, T],
    "nine": [NASAL, vowel(0.24, A, IY), NASAL],
}


def spoken(word, rng):
    """A word of a random voice, as samples."""
    pitch, throat, speed = rng.uniform(85, 240), rng.uniform(0.85, 1.18), rng.uniform(0.75, 1.3)
    parts, phase = [], 0.0
    for seconds, begin, end, voice, hiss, around in SOUNDS[word]:
        n = int(seconds * speed * rng.uniform(0.85, 1.15) * RATE)
        t = np.linspace(0, 1, n)[:, None]
        formants = throat * (np.array(begin) * (1 - t) + np.array(end) * t)
        f0 = pitch * (1.05 - 0.1 * t[:, 0]) * rng.uniform(0.97, 1.03)
        angle = phase + 2 * np.pi * np.cumsum(f0) / RATE
        phase = angle[-1]
        x = np.zeros(n)
        for k in range(1, int(3800 / pitch)):  # each overtone as loud as the formants near it let it be
            near = (1 / (1 + ((k * f0[:, None] - formants) / 90) ** 2)) @ [1.0, 0.6, 0.3]
            x += near / np.sqrt(k) * np.sin(k * angle)
        noise = np.fft.rfft(rng.normal(size=n))
        noise *= np.exp(-(((np.fft.rfftfreq(n, 1 / RATE) - around) / 600) ** 2))
        x = voice * x / 2 + hiss * np.fft.irfft(noise, n)
        parts.append(x * np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / 40))
    sound = np.concatenate(parts)[: int(SECONDS * RATE)]
    row = rng.normal(scale=rng.uniform(0.002, 0.03), size=int(SECONDS * RATE))
    start = rng.integers(0, len(row) - len(sound) + 1)
    row[start : start + len(sound)] += rng.uniform(0.1, 0.5) * sound / np.abs(sound).max()
    return row


def made(count, seed):
    """`count` of each word: (X, y)."""
    rng = np.random.default_rng(seed)
    y = np.arange(10).repeat(count)
    return np.array([spoken(WORDS[k], rng) for k in y], np.float32), y


def recorded(folder):
    """The recordings to learn from, and those for the test: ((X, y), (X, y))."""
    parts = ([], [])
    for file in sorted(Path(folder).glob("[0-9]_*_*.wav")):
        x, rate = read_wav(file, SECONDS)
        assert rate == RATE, f"{file} has {rate} samples a second"
        number = int(file.stem.split("_")[2])
        parts[number < 5].append((np.pad(x, (0, int(SECONDS * RATE) - len(x))), int(file.name[0])))
    return [tuple(np.array(a) for a in zip(*part, strict=True)) for part in parts]


def shades(picture, high=12):
    """A picture (frames, bands) as lines of characters, high pitches above."""
    rows = picture[:, : picture.shape[1] // high * high].reshape(len(picture), high, -1).mean(axis=2).T[::-1]
    rows = (rows - rows.min()) / (rows.max() - rows.min())
    return ["".join(" .:-=+*#%@"[int(9.99 * v)] for v in row) for row in rows]


epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 12
(X, y), (X_test, y_test) = recorded(sys.argv[2]) if len(sys.argv) > 2 else (made(100, seed=0), made(30, seed=1))
print(f"{len(X):,} sounds to learn from, {len(X_test):,} for the test, {SECONDS} s of {RATE:,} samples a second each\n")

hear = bp.MelSpectrogram(RATE)
ears = bp.Network(hear, X.shape[1], device="cpu")
pictures = [ears.predict(X[y == k][:1])[0] for k in range(10)]
for k, j in ((6, 9), (3, 8)):
    print(f"{WORDS[k]:<{len(pictures[k]) + 3}}{WORDS[j]}      (time to the right, pitch upwards)")
    print("\n".join("   ".join(pair) for pair in zip(shades(pictures[k]), shades(pictures[j]), strict=True)), "\n")

body = bp.cnn(10, ears.output_shape, filters=(8, 16), hidden=(64,))
net = bp.Network(bp.Sequential(hear, bp.LayerNorm(), *body.layers), X.shape[1], device="auto", seed=0)
trainer = bp.Trainer(net, bp.SoftmaxCrossEntropy(0.1), bp.Adam(3e-3), batch_size=32, metrics="accuracy")
trainer.fit(X, y, epochs=epochs, verbose=False)
counts = bp.confusion_matrix(y_test, net.predict(X_test))
accuracy = trainer.evaluate(X_test, y_test)["accuracy"]
print(f"convolutional network: test accuracy {accuracy:.3f} after {epochs} epochs\n")
print("said     heard as " + "".join(f"{k:>5}" for k in range(10)))
for k, row in enumerate(counts):
    print(f"{k} {WORDS[k]:<15}" + "".join(f"{count:>5}" if count else "    ." for count in row))

# The same spectrograms, once, for networks of eight dense layers and plain gradient descent.
P, P_test = (ears.predict(part).reshape(len(part), -1) for part in (X, X_test))
mean, scale = P.mean(axis=0), P.std(axis=0) + 1e-6
P, P_test = (P - mean) / scale, (P_test - mean) / scale
STARTS = {
    "He, √(2/n)": bp.HeNormal(),
    "Glorot, √(1/n)": bp.GlorotNormal(),
    "a third of He": bp.Normal(std=np.sqrt(2 / 100) / 3),
    "three times He": bp.Normal(std=3 * np.sqrt(2 / 100)),
}
print("\nfirst weights      |gradient| by layer, first to last                     loss at 0", end="")
shown = sorted({1, 2, max(1, epochs // 2), epochs})
print("".join(f"{f'epoch {k}':>10}" for k in shown) + "  test accuracy")
flows, curves = {}, {}
for name, start in STARTS.items():
    layers = []
    for _ in range(8):
        layers += [bp.Dense(100, weight_initializer=start), bp.ReLU()]
    deep = bp.Network(bp.Sequential(*layers, bp.Dense(10, weight_initializer=start)), P.shape[1], device="auto", seed=0)
    loss, gradients = deep.loss_and_gradients(bp.SoftmaxCrossEntropy(), P[::10], y[::10])
    flows[name] = [float(np.sqrt(np.mean(np.square(g)))) for n, g in gradients.items() if n.endswith("W")]
    learner = bp.Trainer(deep, bp.SoftmaxCrossEntropy(), bp.SGD(0.05), batch_size=32, on_nonfinite="raise")
    try:
        learner.fit(P, y, epochs=epochs, verbose=False)
        last = f"{(deep.predict(P_test).argmax(axis=1) == y_test).mean():12.3f}"
    except bp.NonFiniteError as problem:
        last = f"  no longer finite in step {problem.step}"
    curves[name] = [loss, *learner.history.get("loss", [])]
    flow = " ".join(f"{g:.0e}".replace("e-0", "e-").replace("e+0", "e+") for g in flows[name])
    losses = "".join(f"{curves[name][k]:10.3g}" for k in shown if k < len(curves[name]))
    print(f"{name:<18} {flow}  {loss:9.3g}{losses}{last}")

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit()
figure, places = plt.subplots(2, 5, figsize=(12, 5), layout="constrained")
for axes, word, picture in zip(places.flat, WORDS, pictures, strict=True):
    axes.imshow(picture.T, origin="lower", aspect="auto", extent=(0, SECONDS, 0, picture.shape[1]), cmap="magma")
    axes.set(title=word, xlabel="seconds", ylabel="band")
figure.savefig("spoken_digits.png", dpi=120)
bp.plot_confusion_matrix(net.predict(X_test), X_test, y_test, WORDS, path="spoken_digits_confusion.png")
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for name in STARTS:
    left.semilogy(curves[name], "o-" if len(curves[name]) < 3 else "-", label=name)
    right.semilogy(range(1, 10), flows[name], "o-")
left.set(title="loss of the training", xlabel="epoch")
left.legend()
right.set(title="size of the first gradients", xlabel="layer, from the input to the output")
figure.savefig("spoken_digits_first_weights.png", dpi=120)
print("\ndrawn: spoken_digits.png, spoken_digits_confusion.png, spoken_digits_first_weights.png")
