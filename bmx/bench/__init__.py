"""Speed, measured: `bmx bench kernels|layers|models|frontier|runtime|split|train` has a module here for each subject.

Contestants run in turns, because on a shared machine only times taken side by side compare; all but those of `runtime`
in one process. `measure` of a subject takes options by their names and returns rows, which `timing.row` makes, and the
text to print.
"""
