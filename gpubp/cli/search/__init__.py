"""Searches of settings for `gpubp search`, by Optuna.

space      what is searched, and the settings of a trial as options of `gpubp train`
rows       the test rows, which no trial sees, and the rows that trials are judged by
judging    the score of a trial; loss and metrics row by row; the gain on the test rows, with its interval
training   one trial: its networks, trained on all folds side by side
study      the study of Optuna: its file or database, what it is of, trials of processes that have ended
loop       trials one after the other, until there are enough, the time is up, or Ctrl-C
processes  several processes on one study
finish     the best settings and the default trained on all rows, compared, and one of them saved
results    what is printed, and the fields of the JSON document
"""
