"""Published neurons, one paper per file. `by_name` maps names to functions that make them."""

import functools
import types

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

by_name = types.MappingProxyType(
    {
        "squid_axon": squid_axon,
        "traub_miles": traub_miles,
        "wang_buzsaki": wang_buzsaki,
        "connor_stevens": connor_stevens,
        "pospischil_rs": pospischil_rs,
        "pospischil_fs": pospischil_fs,
        "pospischil_ib": pospischil_ib,
        "pospischil_lts": pospischil_lts,
        "morris_lecar": morris_lecar,
        "morris_lecar_snic": functools.partial(morris_lecar, "snic"),
        "thalamic_relay": thalamic_relay,
        "thalamic_reticular": thalamic_reticular,
    }
)
