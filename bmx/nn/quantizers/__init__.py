"""Quantizers: methods as objects, a file for each.

Each is a function of an NDArray or Symbol, with the gradient that replaces its own; the dtype stays. Those of 1 bit
share the forward of docs/semantics.md, sign(x) = +1 if x >= 0 else -1. On the CPU that is one pass of the operator
`binarize`, or of several binarizations `residual_binarize`; elsewhere the same function is composed of MXNet's built-in
operators, as all others are everywhere.
"""
from .abc import ABC
from .base import QUANTIZERS, Float, Quantizer, Term, names, names_quantizer, parse_quantizer, register
from .bmxnet import BMXNet
from .circulant import Circulant
from .dorefa import DoReFa, k_bit_activation, k_bit_weight
from .hwgq import HWGQ
from .lq import LQ
from .residual import BINARIZATIONS, Residual, residual_sign
from .rsign import RSign
from .sign import ESTIMATORS, SCALINGS, ApproxSign, Sign, approx_sign, ste_sign
from .sq import SQBWN
from .syq import SYQ
from .ttq import TTQ
from .twn import TWN
from .xnor import Xnor
from .xnor_pp import XnorPlusPlus

__all__ = ['ABC', 'approx_sign', 'ApproxSign', 'BINARIZATIONS', 'BMXNet', 'Circulant', 'DoReFa', 'ESTIMATORS', 'Float',
           'HWGQ', 'k_bit_activation', 'k_bit_weight', 'LQ', 'names', 'names_quantizer', 'parse_quantizer', 'Quantizer',
           'QUANTIZERS', 'register', 'Residual', 'residual_sign', 'RSign', 'SCALINGS', 'Sign', 'SQBWN', 'ste_sign',
           'SYQ', 'Term', 'TTQ', 'TWN', 'Xnor', 'XnorPlusPlus']
