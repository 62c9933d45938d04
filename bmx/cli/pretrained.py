"""`bmx pretrained`: the trained networks that are there, and what makes one of a training."""
from __future__ import annotations

import argparse
import json
import os

from ..io.text import table
from ..models import INSTALLED, MODELS, ROOT, pretrained_path
from ..train import TrainingError, pretrained
from ..train.data import find_data, open_validation
from .network import trained_network
from .output import tell


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        'List the trained networks that get_model(NAME, pretrained=True) and --use-pretrained find, or add one. '
        f'Nothing is ever downloaded: they are looked for in {ROOT}, then among those that are installed with bmx.')
    parser.add_argument('--root', metavar='FOLDER', default=ROOT, help='where they are looked for first, and added '
                        '(default: %(default)s)')
    parser.add_argument('--add', metavar='PARAMS', help='make the files of a trained network of the best parameters of '
                        'a training, MODEL-best.params, without what it does not compute with; they replace those of '
                        'the same model')
    parser.add_argument('--data-dir', help='with --add: the data that it was trained with; on its validation images '
                        'the deployed network is verified and measured')
    parser.add_argument('--json', action='store_true', help='machine-readable output')


def run(arguments: argparse.Namespace) -> None:
    root = os.path.expanduser(arguments.root)
    if arguments.add is None:
        if arguments.data_dir is not None:
            arguments.parser.error('--data-dir goes with --add')
        _list(root, arguments.json)
        return
    if arguments.data_dir is None:
        arguments.parser.error('--add needs --data-dir, the data that the network was trained with')
    network = trained_network(arguments.add)
    if network.kind != 'float':
        raise ValueError(f'{arguments.add} is deployed: give the best parameters of the training, MODEL-best.params')
    try:
        source = find_data(arguments.data_dir)
        data = open_validation(source, network.preprocess, batch_size=50, num_workers=1)
        if list(data.classes) != network.classes:
            raise TrainingError(f'{arguments.add} was trained with other data: its classes are not those of '
                                f'{arguments.data_dir}')
        name = os.path.basename(os.path.abspath(str(arguments.data_dir)))
        path, accuracy = pretrained.add(network.net, root, data, name)
    except TrainingError as error:
        raise ValueError(str(error)) from None
    if arguments.json:
        print(json.dumps(pretrained.known([path]), indent=1))
    else:
        tell(f'{path} and the files beside it; deployed: top-1 {accuracy.top1:.2f} %, top-5 {accuracy.top5:.2f} % of '
             f'{accuracy.images} validation images of {accuracy.data}')


def _list(root: str, as_json: bool) -> None:
    paths = []
    for name in sorted(MODELS):
        try:
            paths.append(pretrained_path(name, root))
        except FileNotFoundError:
            continue
    rows = pretrained.known(paths)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if rows:
        columns = [name for name in rows[0] if name != 'parameters']
        tell(table(columns, [[row[name] for name in columns] for row in rows]))
        tell('\n'.join(['', *paths, '']))
    tell(f'Others belong to {os.path.join(root, "MODEL.params")}, with their description, MODEL.json, beside it: '
         'bmx pretrained --add makes both of a training. Those of the same model hide what is in '
         f'{INSTALLED}.')
