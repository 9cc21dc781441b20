"""The names and one-line descriptions of the commands; each command has a file in commands/."""

from __future__ import annotations

SECTIONS = {
    "Train": {
        "train": "Train a network and save it.",
        "search": "Search settings that train a better network.",
        "find-lr": "Suggest a learning rate for data and network.",
    },
    "Use": {
        "predict": "Predict with a saved network.",
        "evaluate": "Judge a saved network on data.",
        "verify": "Train a model of --exact again, and say whether it has the same bits.",
        "inspect": "Show layers, shapes, parameters and memory of a saved network.",
        "explain": "Show every number of a training step beside its formula.",
        "export": "Write a saved network for other programs.",
    },
    "Look into the machine": {
        "doctor": "Say what works on this machine, and what mends the rest.",
        "compare": "Compare the numbers and the speed of two backends.",
        "profile": "Show where the time of a step goes, layer by layer.",
    },
    "Help": {
        "help": "Show this, or the help of a command.",
        "completion": "Make your shell complete commands, options and files.",
    },
}
COMMANDS = [name for section in SECTIONS.values() for name in section]
