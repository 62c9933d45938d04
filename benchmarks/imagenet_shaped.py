"""Read one epoch of a data set of ImageNet's shape: 1000 classes, 100,000 JPEGs in several RecordIO files.

    python benchmarks/imagenet_shaped.py /tmp/imagenet-shaped

Makes the files where the folder is not there yet: distinct pictures, shapes of their class on seeded noise. Then reads
an epoch of training batches, nothing else, and tells images/s and the memory that the process holds at each tenth of
it. The exit code is 1 if that memory grows from the first half to the second, or an image is skipped.
"""
import argparse
import io
import multiprocessing
import os
import shutil
import sys
import time

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

# By so much the peaks of both halves may differ: batches that are on their way.
SLACK_MIB = 32


def picture(index, classes, size):
    """The content of a JPEG file: picture `index`, an ellipse and a rectangle as its class has them, on noise."""
    noise = np.random.RandomState((1, index)).randint(0, 256, (size // 4, size // 4, 3)).astype(np.uint8)
    image = Image.fromarray(noise).resize((size, size), Image.BICUBIC)
    draw, own = ImageDraw.Draw(image), np.random.RandomState((2, index % classes))
    for shape in (draw.ellipse, draw.rectangle):
        left, top = own.randint(0, size // 2, 2)
        width, height = own.randint(size // 4, size // 2, 2)
        shape([int(left), int(top), int(left + width), int(top + height)], fill=tuple(map(int, own.randint(0, 256, 3))))
    content = io.BytesIO()
    image.save(content, 'JPEG', quality=85)
    return content.getvalue()


def write_part(task):
    """Write the pictures of a range of numbers to PREFIX.rec and PREFIX.idx; returns their number."""
    import mxnet as mx
    prefix, numbers, classes, size = task
    records = mx.recordio.MXIndexedRecordIO(prefix + '.idx', prefix + '.rec', 'w')
    for index in numbers:
        header = mx.recordio.IRHeader(0, index % classes, index, 0)
        records.write_idx(index, mx.recordio.pack(header, picture(index, classes, size)))
    records.close()
    return len(numbers)


def make(folder, options):
    """Write the data set; `folder` gets its name when all of it is there."""
    unfinished = folder.rstrip('/') + '.unfinished'
    shutil.rmtree(unfinished, ignore_errors=True)
    os.mkdir(unfinished)
    bounds = np.linspace(0, options.images, options.parts + 1).astype(int)
    tasks = [(os.path.join(unfinished, f'train_{part}'), range(bounds[part], bounds[part + 1]), options.classes,
              options.size) for part in range(options.parts)]
    validation = range(options.images, options.images + 5 * options.classes)
    tasks.append((os.path.join(unfinished, 'val'), validation, options.classes, options.size))
    start = time.time()
    with multiprocessing.get_context('spawn').Pool(options.jobs) as pool, \
            tqdm(desc='making', total=options.images + len(validation), unit=' images') as bar:
        for count in pool.imap_unordered(write_part, tasks):
            bar.update(count)
    os.rename(unfinished, folder)
    print(f'made {options.images + len(validation)} images in {time.time() - start:.0f} s')


def resident_mib():
    """Memory that this process holds now."""
    with open('/proc/self/statm') as sizes:
        return int(sizes.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2 ** 20


def read(folder, options):
    """Read an epoch and tell how it went; returns the exit code."""
    from bmx.train import DataOptions
    from bmx.train.data import find_data, open_data
    print(f'resident before the data is opened: {resident_mib():.0f} MiB')
    start = time.time()
    data = open_data(find_data(records={'train': [os.path.join(folder, 'train_*.rec')],
                                        'val': [os.path.join(folder, 'val.rec')]}),
                     DataOptions(batch_size=options.batch_size, input_size=options.input_size, crop_ratio=0.875,
                                 augmentation='paper', num_workers=options.num_workers))
    print(f'opened and checked in {time.time() - start:.1f} s: {data.train_size} training and {data.val_size} '
          f'validation images in {len(data.classes)} classes; resident {resident_mib():.0f} MiB')
    print('   share   images  seconds  images/s  resident MiB')
    read, skipped, resident, start = 0, 0, [], time.time()
    for batch in data.train_batches(0):
        read, skipped = read + len(batch.label), skipped + batch.skipped
        while read + skipped >= data.train_size * (len(resident) + 1) / 10:
            resident.append(resident_mib())
            seconds = time.time() - start
            print(f'{len(resident) * 10:6d} % {read:8d} {seconds:8.1f} {read / seconds:9.0f} {resident[-1]:13.0f}',
                  flush=True)
    grown = max(resident[5:]) - max(resident[:5])
    flat = grown <= SLACK_MIB
    print(f'resident memory is {"flat" if flat else "NOT flat"}: {grown:+.0f} MiB from the first half to the second; '
          f'{skipped} images skipped')
    return 0 if flat and not skipped and read == data.train_size else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', help='made if it is not there, about 0.4 GB; its parent is')
    for name, default, text in (('images', 100000, 'training images'), ('classes', 1000, 'with 5 validation images '
                                'each'), ('parts', 8, 'files of training images'), ('size', 100, 'pixels of a side'),
                                ('input-size', 96, "the network's input"), ('batch-size', 128, 'images'),
                                ('jobs', os.cpu_count(), 'processes that make images')):
        parser.add_argument('--' + name, type=int, default=default, metavar='N', help=f'{text} (default: {default})')
    parser.add_argument('-j', '--num-data-workers', dest='num_workers', type=int, default=4, metavar='N',
                        help='threads that read (default: 4)')
    options = parser.parse_args()
    if not os.path.isdir(options.folder):
        make(options.folder, options)
    return read(options.folder, options)


if __name__ == '__main__':
    sys.exit(main())
