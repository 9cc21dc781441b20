"""Exchange: the methods of a network that write it for other libraries, and that take parameters from them."""

from __future__ import annotations

from typing import Any

from ..layers.bound import BoundLayers


class Exchange(BoundLayers):
    """A network that goes to other libraries and comes from them: see `gpubp.interop`.

    metadata: saved with the network, such as class names.

    >>> import gpubp as bp
    >>> issubclass(bp.Network, Exchange)
    True
    """

    metadata: dict[str, Any]
