"""`bmx evaluate`: accuracy, loss, speed and confusion matrix of a trained network, deployed or float."""
from __future__ import annotations

import argparse
import json

from ..io.formats import refuse_picture, refuse_unwritable
from ..train import TrainingError
from ..train.data import DEFAULT_DIR, Source, find_data, open_validation
from ..train.evaluation import evaluate
from . import types
from .network import add_trained, trained_network
from .output import complain, tell


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.description = 'Evaluate a trained network on labelled images, seen as its preprocessing says.'
    add_trained(parser)
    parser.add_argument('--data-dir', metavar='FOLDER', help='folder with one for each class, or with such a val/, '
                        f'or with the .bin files of CIFAR-10; default: {DEFAULT_DIR} if it is there, else the '
                        'bundled digits')
    parser.add_argument('--rec-val', nargs='+', metavar='FILE', help='RecordIO files, or patterns, in the place of a '
                        'folder')
    parser.add_argument('--rec-val-idx', nargs='+', metavar='FILE', help='their indices, in the same order (default: '
                        'NAME.idx for each NAME.rec)')
    parser.add_argument('--batch-size', type=types.positive, default=32, help='images at once (default: 32)')
    parser.add_argument('-j', '--num-data-workers', dest='num_workers', type=types.workers, default=4,
                        help='threads that read images (default: 4)')
    parser.add_argument('--json', action='store_true', help='machine-readable output')
    parser.add_argument('--csv', metavar='FILE', help='write the confusion matrix as a table')
    parser.add_argument('--picture', metavar='FILE', help='draw the confusion matrix')


def run(arguments: argparse.Namespace) -> None:
    refuse_unwritable(arguments.csv)
    refuse_picture(arguments.picture)
    network = trained_network(arguments.network)
    try:
        source = _source(arguments)
        if source.kind == 'digits':
            complain(f'no --data-dir given and no ImageNet in {DEFAULT_DIR}: evaluating on the bundled handwritten '
                     'digits')
        data = open_validation(source, network.preprocess, arguments.batch_size, arguments.num_workers)
        found = evaluate(network.net, network.classes, data)
    except TrainingError as error:
        raise ValueError(str(error)) from None
    if arguments.csv is not None:
        found.write_csv(arguments.csv)
    what = f'{network.model}, {network.kind}: {found.totals.images} images in {len(data.classes)} classes'
    if arguments.picture is not None:
        found.draw(arguments.picture, f'{what}\ntop-1 {100 * found.totals.mean("top1"):.2f} %')
    if arguments.json:
        print(json.dumps({'network': arguments.network, 'model': network.model, 'kind': network.kind,
                          **found.to_dict()}, indent=1))
    else:
        tell(f'{what}\n{found}')


def _source(arguments: argparse.Namespace) -> Source:
    """Where the images are."""
    if arguments.rec_val is None:
        return find_data(arguments.data_dir)
    return find_data(records={'val': arguments.rec_val, 'val_idx': arguments.rec_val_idx})
