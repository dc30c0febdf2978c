"""Maps of T1, T2, proton density and inversion efficiency from 3D-QALAS images."""

from pulsetwin.recon.qalas.maps import METHODS as METHODS
from pulsetwin.recon.qalas.maps import map_qalas as map_qalas
