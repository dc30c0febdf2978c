"""The L-arginine schedule, and a study of it."""

from __future__ import annotations

import pytest

from pulsetwin.recon.cest_mrf.study import read_study
from pulsetwin.sequences.seqfile import read_seq
from tests.recon.cest_mrf.cases import SEQ, STUDY


@pytest.fixture(scope="package")
def seq():
    return read_seq(SEQ)


@pytest.fixture(scope="package")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(STUDY, "utf-8")
    return read_study(path)
