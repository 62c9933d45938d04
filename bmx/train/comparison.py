"""Results of a study's trainings: tables over variants and seeds, and a picture of each comparison."""
from __future__ import annotations

import math
import os
import statistics
from typing import Any, Collection, Mapping, Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ..io.formats import save_picture, write_csv
from ..io.text import table
from . import sign_flips
from .errors import TrainingError
from .progress import count_epochs
from .runs import Run
from .study import RESULT_FILES, Study

# A row for each run; accuracies and `sign_flips` (mean of the epochs) in %.
RESULTS = ('variant', 'seed', 'epochs', 'of_epochs', 'best_val_top1', 'last_val_top1', 'last_train_top1', 'seconds',
           'images_per_s', 'size_mib', 'ops', 'sign_flips')

# A row for each variant of each comparison, over its complete runs; accuracies and `sign_flips` in %.
SUMMARY = ('comparison', 'variant', 'seeds', 'mean', 'std', 'min', 'max', 'difference', 'standard_error', 'expected',
           'last_mean', 'train_mean', 'sign_flips')


def describe_data(record: Mapping[str, Any]) -> str:
    """The data of a run's record in words."""
    data = record['data']
    return (f'{record["data_name"]}, {data["train_images"]} training and {data["val_images"]} validation images in '
            f'{len(data["classes"])} classes')


def result(run: Run) -> dict[str, Any]:
    """The row of `RESULTS` of a run with at least one epoch."""
    history, record = run.history, run.record
    seconds = sum(row['seconds'] for row in history)
    images = sum(row['seconds'] * row['images_per_s'] for row in history)
    return {'variant': run.variant.name, 'seed': run.seed, 'epochs': len(history), 'of_epochs': record['epochs'],
            'best_val_top1': 100 * max(row['val_top1'] for row in history),
            'last_val_top1': 100 * history[-1]['val_top1'], 'last_train_top1': 100 * history[-1]['train_top1'],
            'seconds': seconds, 'images_per_s': images / seconds if seconds else 0.0,
            'size_mib': record['size_mib'], 'ops': record['ops'],
            'sign_flips': _mean(row['sign_flips'] for row in history)}


def _mean(values):
    """The mean of some values, None if one of them is None."""
    values = list(values)
    return None if None in values else statistics.mean(values)


def summarize(study: Study, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `SUMMARY`.

    Parameters
    ----------
    study : study.Study
    results : list of dict
        Rows of `RESULTS`; those that are not complete do not count.

    Returns
    -------
    list of dict
        What needs more complete runs than there are is None. `std` is that of a sample; `standard_error` that of the
        difference of the two means, the runs of both taken as independent.
    """
    rows = []
    for title, names in study.comparisons.items():
        baseline = None
        for name in names:
            complete = [row for row in results if row['variant'] == name and row['epochs'] >= row['of_epochs']]
            best = [row['best_val_top1'] for row in complete]
            row: dict[str, Any] = dict.fromkeys(SUMMARY)
            row.update(comparison=title, variant=name, seeds=len(best), expected=study.variants[name].expected)
            if best:
                row.update(mean=statistics.mean(best), min=min(best), max=max(best),
                           last_mean=statistics.mean(each['last_val_top1'] for each in complete),
                           train_mean=statistics.mean(each['last_train_top1'] for each in complete),
                           sign_flips=_mean(each['sign_flips'] for each in complete))
            if len(best) > 1:
                row['std'] = statistics.stdev(best)
            baseline = baseline or row
            if row is not baseline and best and baseline['seeds']:
                row['difference'] = row['mean'] - baseline['mean']
                if row['std'] is not None and baseline['std'] is not None:
                    row['standard_error'] = math.sqrt(row['std'] ** 2 / row['seeds']
                                                      + baseline['std'] ** 2 / baseline['seeds'])
            rows.append(row)
    return rows


def write(study: Study, runs: Sequence[Run], directory: str) -> str:
    """Write results.csv, summary.csv, results.png and, if a run has counted any, sign-flips.png.

    Parameters
    ----------
    study : study.Study
    runs : list of runs.Run
        Those without an epoch are left out.
    directory : str

    Returns
    -------
    str
        The summary.

    Raises
    ------
    TrainingError
        There is nothing to report.
    """
    runs = [run for run in runs if run.record is not None and run.history]
    if not runs:
        raise TrainingError(f'{directory} has no training of {study.path} with a whole epoch yet')
    results = [result(run) for run in runs]
    summary = summarize(study, results)
    results_path, summary_path, picture_path, flips_path = (os.path.join(directory, name) for name in RESULT_FILES)
    write_csv(results_path, results)
    write_csv(summary_path, summary)
    draw(picture_path, study, runs, results, summary)
    flips = _sign_flips(study.variants, runs)
    if flips:
        sign_flips.draw_comparisons(flips_path, {title: {name: flips[name] for name in names} for title, names
                                                 in shown(study, flips).items()}, _title(study, runs))
    rows = [row for _, rows in _shown_rows(study, summary, results) for row in rows]
    columns = ('comparison', 'variant', 'seeds', 'mean', 'std', 'difference', 'standard_error', 'expected')
    return table(columns, [['' if row[key] is None else f'{row[key]:.2f}' if isinstance(row[key], float) else row[key]
                            for key in columns] for row in rows])


def shown(study: Study, trained: Collection[str]) -> dict[str, list[str]]:
    """The comparisons of some variants of a study: title to their names.

    Variants of which there is nothing are left out, and with them what they are compared with does not appear again and
    again: those that no comparison has anything beside are in one together, which their names are the title of.
    """
    found = {title: [name for name in names if name in trained] for title, names in study.comparisons.items()}
    found = {title: names for title, names in found.items() if len(names) > 1}
    compared = {name for names in found.values() for name in names}
    alone = [name for name in study.variants if name in trained and name not in compared]
    return {**found, ', '.join(alone): alone} if alone else found


def _shown_rows(study, summary, results):
    """Of the comparisons that are `shown`: (title, rows of the summary), a variant that is alone under this title."""
    by_place = {(row['comparison'], row['variant']): row for row in summary}
    by_variant = {row['variant']: row for row in reversed(summary)}
    return [(title, [by_place.get((title, name), dict(by_variant[name], comparison=title)) for name in names])
            for title, names in shown(study, {row['variant'] for row in results}).items()]


def _sign_flips(names, runs):
    """Of the variants with sign_flips.csv: name to what that holds for each seed."""
    found = {name: [run.sign_flips for run in _counted(name, runs) if run.sign_flips] for name in names}
    return {name: seeds for name, seeds in found.items() if seeds}


def _counted(name, runs):
    """The complete runs of a variant, or all if there is none."""
    of_variant = [run for run in runs if run.variant.name == name]
    return [run for run in of_variant if run.complete] or of_variant


# Picture --------------------------------------------------------------------------------------------------------------

_LEGEND = ('Left: a dot is a seed (hollow: not finished, not counted), the line their mean, the bar their minimum to '
           'maximum, a diamond the published result; in numbers mean ± standard deviation,\nand the difference to the '
           'baseline ± its standard error. Curves: the mean of the seeds, the band their minimum to maximum; crosses '
           'are published.')


# Key of the history, factor, label.
_CURVES = (('val_top1', 100, 'validation top-1 / %'), ('train_loss', 1, 'training loss'))


def draw(path: str, study: Study, runs: Sequence[Run], results: Sequence[Mapping[str, Any]],
         summary: Sequence[Mapping[str, Any]]) -> None:
    """Draw a row of panels for each comparison that is `shown`: the best accuracies, then the curves."""
    panels = _shown_rows(study, summary, results)
    heights = [max(2.8, 1.2 + 0.42 * len(rows)) for _, rows in panels]
    figure = Figure(figsize=(20, 1.3 + sum(heights)), dpi=110, constrained_layout=True)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(panels), 1 + len(_CURVES), squeeze=False, gridspec_kw={'height_ratios': heights})
    for (left, *others), (title, rows) in zip(grid, panels):
        _draw_accuracies(left, rows, results, study.comparisons.get(title, [None])[0])
        left.set_title(title, loc='left', fontweight='bold')
        for axes, (key, scale, label) in zip(others, _CURVES):
            _draw_curves(axes, [study.variants[row['variant']] for row in rows], runs, key, scale)
            axes.set_ylabel(label)
    figure.suptitle(_title(study, runs), fontsize=12)
    figure.supxlabel(_LEGEND, fontsize=8, color='0.3')
    save_picture(path, figure)


def _title(study, runs):
    records = [run.record for run in runs]
    epochs = _numbers(record['epochs'] for record in records)
    data = ' / '.join(sorted(set(map(describe_data, records))))
    sizes = _numbers(f'{record["input_size"]}x{record["input_size"]}' for record in records)
    return (f'{os.path.basename(study.path)}: {data}, {epochs} epoch{"" if epochs == "1" else "s"}, inputs of {sizes} '
            'pixels')


def _numbers(values):
    return ' / '.join(str(value) for value in sorted(set(values)))


def _draw_accuracies(axes, rows, results, baseline):
    axes.use_sticky_edges = False  # a margin beside bars, too
    for place, row in enumerate(rows):
        color = f'C{place % 10}'
        of_variant = [result for result in results if result['variant'] == row['variant']]
        for index, each in enumerate(of_variant):
            axes.plot(each['best_val_top1'], place + 0.12 * (index - (len(of_variant) - 1) / 2), 'o', color=color,
                      markersize=5, fillstyle='full' if each['epochs'] >= each['of_epochs'] else 'none')
        if row['expected'] is not None:
            axes.plot(row['expected'], place, 'D', color='black', markersize=6, fillstyle='none')
        if row['seeds']:
            axes.barh(place, row['max'] - row['min'], left=row['min'], height=0.5, color=color, alpha=0.25)
            axes.plot([row['mean']] * 2, [place - 0.3, place + 0.3], color=color, linewidth=2)
        axes.text(1.02, place, _in_numbers(row), transform=axes.get_yaxis_transform(), va='center', fontsize=8.5,
                  family='monospace')
    if rows[0]['seeds'] and rows[0]['variant'] == baseline:
        axes.axvline(rows[0]['mean'], color='C0', linestyle=':', linewidth=1)
    axes.set_yticks(range(len(rows)))
    axes.set_yticklabels([_label(row, results, row['variant'] == baseline) for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.margins(x=0.08)
    axes.set_xlabel('best validation top-1 / %')
    axes.grid(axis='x', alpha=0.3)


def _label(row, results, is_baseline):
    remarks = ['baseline'] if is_baseline and row['variant'] != 'baseline' else []
    of_variant = [result for result in results if result['variant'] == row['variant']]
    if of_variant and not row['seeds']:
        epochs, of_epochs = max((result['epochs'], result['of_epochs']) for result in of_variant)
        remarks.append(f'{epochs} of {of_epochs} epochs')
    return row['variant'] + (f'\n({", ".join(remarks)})' if remarks else '')


def _in_numbers(row):
    text = 'no complete training'
    if row['seeds']:
        text = f'{row["mean"]:5.2f}' + ('' if row['std'] is None else f' ± {row["std"]:.2f}')
        text += f' ({row["seeds"]} seed{"s" if row["seeds"] > 1 else ""})'
    if row['expected'] is not None:
        text += f', published {row["expected"]:.1f}'
    if row['difference'] is not None:
        text += f'\ndifference {row["difference"]:+.2f}'
        text += '' if row['standard_error'] is None else f' ± {row["standard_error"]:.2f}'
    return text


def _draw_curves(axes, variants, runs, key, scale):
    for place, variant in enumerate(variants):
        color = f'C{place % 10}'
        histories = [run.history for run in _counted(variant.name, runs)]
        columns = []  # for each epoch the values of the seeds that got there
        for epoch in range(max(map(len, histories), default=0)):
            columns.append([scale * history[epoch][key] for history in histories if len(history) > epoch])
        epochs = range(1, len(columns) + 1)
        if columns:
            axes.plot(epochs, [statistics.mean(column) for column in columns], color=color, linewidth=1.5,
                      marker='.' if len(columns) <= 40 else None, label=variant.name)
            axes.fill_between(epochs, [min(column) for column in columns], [max(column) for column in columns],
                              color=color, alpha=0.2, linewidth=0)
        if variant.published and key == 'val_top1':
            axes.plot(*zip(*variant.published), 'x', color=color, markersize=8, markeredgewidth=2,
                      label=variant.name + ', published')
    count_epochs(axes)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc='best')
