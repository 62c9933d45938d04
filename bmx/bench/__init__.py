"""Speed, measured: `bmx bench kernels|layers|models|frontier|split|train` has a module here for each subject.

Contestants run in turns in one process, because on a shared machine only times taken side by side compare. `measure`
of a subject takes options by their names and returns rows, which `timing.row` makes, and the text to print.
"""
