import os

os.environ.setdefault('MPLBACKEND', 'Agg')  # no test opens a window
