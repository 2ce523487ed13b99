"""Published neurons by name, one paper per file."""

from .connor_stevens import connor_stevens as connor_stevens
from .destexhe import thalamic_relay as thalamic_relay, thalamic_reticular as thalamic_reticular
from .hodgkin_huxley import squid_axon as squid_axon
from .morris_lecar import morris_lecar as morris_lecar
from .pospischil import (
    pospischil_fs as pospischil_fs,
    pospischil_ib as pospischil_ib,
    pospischil_lts as pospischil_lts,
    pospischil_rs as pospischil_rs,
)
from .traub_miles import traub_miles as traub_miles
from .wang_buzsaki import wang_buzsaki as wang_buzsaki
