"""Noise scan: acquisitions before the scan's first pulse, with its own readout."""

from __future__ import annotations

import math
from typing import Any

import pypulseq as pp

from pulsetwin.scanner import Scanner
from pulsetwin.sequences.cartesian import set_labels
from pulsetwin.sequences.timing import up


def begin_scan(seq: pp.Sequence, counters: str, adc: Any, noise_samples: int, scanner: Scanner) -> None:
    """Add the first block, which sets all labels to 0, and the noise scan.

    Parameters
    ----------
    seq
        To which they are added.
    counters
        Names of the labels that the scan uses, besides NOISE.
    adc, noise_samples, scanner
        As for `add_noise_scan`.
    """
    seq.add_block(*set_labels(**dict.fromkeys((*counters.split(), "NOISE"), 0)))
    add_noise_scan(seq, adc, noise_samples, scanner)


def add_noise_scan(seq: pp.Sequence, adc: Any, samples: int, scanner: Scanner) -> None:
    """Add acquisitions without pulses and gradients, labelled NOISE, that are 0 again afterwards.

    They are those of the scan itself: its noise needs no correction for another bandwidth, and scanners that can play
    one shape of acquisition only play it.

    Parameters
    ----------
    seq
        To which they are added; its first block sets the label NOISE to 0, as all others.
    adc
        Acquisition of the scan.
    samples
        That are wanted at least; 0 for no noise scan.
    scanner
        Whose rasters and dead times are kept.
    """
    duration = up(adc.delay + adc.num_samples * adc.dwell + scanner.adc_dead_time, scanner.block_raster)
    for _ in range(math.ceil(samples / adc.num_samples)):
        seq.add_block(adc, pp.make_delay(duration), pp.make_label("NOISE", "SET", 1))
    if samples:
        seq.add_block(pp.make_label("NOISE", "SET", 0))
