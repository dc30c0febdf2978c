"""What each rule of the check is called in reports, in their order; findings name their rules."""

from __future__ import annotations

GROUPS: dict[str, dict[str, str]] = {
    "File": {
        "text": "text as the official reader parses it",
        "signature": "signature is that of the text",
        "unsafe": "not written in spite of failed checks",
        "file": "what the reader noticed",
        "interpreter": "every known interpreter of the vendor plays it",
        "extension": "extensions are known",
        "raster": "rasters of the file are those of the scanner",
        "block-raster": "durations of blocks lie on the raster",
    },
    "Gradients": {
        "gradient": "strength",
        "slew": "slew rate",
        "jump": "largest jump between blocks or at the end",
        "gradient-raster": "delays and corners lie on the raster",
        "gradient-end": "end, counted from the end of the block",
    },
    "Nerves and resonances": {
        "pns": "nerve stimulation by the SAFE model",
        "acoustic": "amplitude within forbidden bands",
    },
    "RF pulses": {
        "b1": "largest B1",
        "rf-dead-time": "dead time before pulses",
        "rf-ringdown": "end of pulse and ring-down, counted from the end of the block",
        "rf-raster": "pulses start on the raster",
        "rf-delay": "delay of pulses within their block",
        "rf-samples": "samples of pulses with times of their own",
        "rf-shape": "shapes stay within the range of the format",
        "rf-adc-overlap": "nothing is acquired during pulses",
    },
    "RF power": {
        "rf-pulse-length": "longest pulse",
        "rf-duty-cycle": "duty cycle of the whole sequence",
        "rf-duty-cycle-10s": "duty cycle of the busiest 10 s",
        "rf-energy": "energy, integral of B1 squared",
        "rf-rms": "root mean square B1 of the whole sequence",
        "rf-rms-10s": "root mean square B1 of the strongest 10 s",
        "rf-rms-6min": "root mean square B1 of the strongest 6 min",
        "rf-sar-10s": "power of the strongest 10 s over that of the reference (180° in 1 ms, every second)",
        "rf-sar-6min": "power of the strongest 6 min over that of the reference",
    },
    "Acquisitions": {
        "adc-dead-time": "dead time before acquisitions",
        "adc-end": "end of acquisition and dead time, counted from the end of the block",
        "adc-raster": "dwell times lie on the raster",
        "adc-start": "acquisitions start on the RF raster",
        "adc-divisor": "numbers of samples are multiples of the divisor",
        "adc-samples": "samples of one acquisition",
        "adc-segments": "long acquisitions fall into segments",
    },
    "Labels": {
        "label": "labels are known",
        "label-range": "values fit into the raw data",
        "label-start": "set before the first acquisition",
        "label-flag": "flags are set, not counted",
        "label-none": "acquisitions have labels",
        "label-image": "some acquisitions are for an image",
        "label-LIN": "LIN is the line that is measured",
        "label-PAR": "PAR is the partition that is measured",
        "label-centre": "the stated central line is where k is 0",
        "label-direction": "lines are parallel",
        "label-REV": "REV tells which lines run backwards",
        "label-cell": "no two acquisitions have the same labels",
        "label-missing": "no line or partition is left out",
    },
    "Interpreter of Bruker": {"bruker": "what its public code drops or misreads"},
    "Other": {},
}
"""Groups of rules, each with its rules and what they are called."""
_AXES = {"x": "Gx", "y": "Gy", "z": "Gz", "vector": "vector"}


def group_and_title(rule: str) -> tuple[str, str]:
    """Return the group of a rule and what it looks at; rules that are not in the table stand under their own names."""
    stem, _, axis = rule.rpartition("-")
    for group, titles in GROUPS.items():
        if rule in titles:
            return group, titles[rule]
        if axis in _AXES and stem in titles:
            return group, f"{_AXES[axis]}: {titles[stem]}"
    first = rule.split("-")[0]
    return next((group for group, titles in GROUPS.items() if first in titles), "Other"), rule.replace("-", " ")


def place(rule: str) -> tuple[int, str]:
    """Return what sorts rules as the table does, axis by axis; unknown rules come last."""
    stem, _, axis = rule.rpartition("-")
    names = [name for titles in GROUPS.values() for name in titles]
    known = rule if rule in names else stem if axis in _AXES and stem in names else ""
    return (names.index(known) if known else len(names)), rule
