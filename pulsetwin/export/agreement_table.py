"""The table of a report that tells how well maps agree with a reference."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_HEADS = {"nrmse": "NRMSE", "mape": "MAPE", "pearson": "r", "icc": "ICC(2,1)", "ssim": "SSIM"}
_SHARES = ("nrmse", "mape")


def agreement_table(agreement: Mapping[str, Mapping[str, float]]) -> str:
    """Return the figures of `recon.agreement` by map as HTML, NRMSE and MAPE in per cent."""
    heads = "".join(f"<th>{head}{' [%]' if name in _SHARES else ''}</th>" for name, head in _HEADS.items())
    rows = []
    for called, figures in agreement.items():
        cells = "".join(
            f"<td>{100 * figures[name]:.1f}</td>" if name in _SHARES else f"<td>{figures[name]:.4f}</td>"
            for name in _HEADS
        )
        rows.append(f"<tr><th>{escape(called)}</th>{cells}</tr>")
    return (
        "<h2>Agreement with the reference</h2><p class='sub'>Where both are valid; NRMSE over the reference's mean.</p>"
        f"<table><tr><th>map</th>{heads}</tr>{''.join(rows)}</table>"
    )
