"""Every quantizer of the registry: its values and gradient by the papers' formulas, and its way through a layer, from
hybridized training to the deployed network."""
import dataclasses

import mxnet as mx
import numpy as np
import pytest
from mxnet import autograd
from mxnet.gluon import nn

import bmx
from bmx import deploy
from bmx.nn import QUANTIZERS, parse_quantizer
from bmx.nn.quantizers import names
from helpers import IDS, LAYERS, initialized, random, sequential
