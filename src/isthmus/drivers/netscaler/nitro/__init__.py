"""NITRO, the management API of NetScaler ADC, as one device's driver needs it."""

from __future__ import annotations

from isthmus.drivers.netscaler.nitro.client import Nitro
from isthmus.drivers.netscaler.nitro.errors import Meaning, NitroError
from isthmus.drivers.netscaler.nitro.results import Result, Row

__all__ = ["Meaning", "Nitro", "NitroError", "Result", "Row"]
