"""A NetScaler ADC's NITRO API, without the ADC: what a client of it reads and writes, and what can go wrong.

It answers as devices were seen to answer: paths, query forms, status lines with their reason phrases, spacing, error codes,
numbers that come back as strings, bindings without a key when there are none, sessions and their limit, bulk requests that
succeed in part, saved and running configuration, a pair and its primary. What a real device printed in a public report is a
case of ``tests/lab/nitro/test_seen.py``. It shares no module with the driver that it tests.

What it does not imitate:

- Packets, when it is alone: it keeps what is configured; no monitor probes, so every member and virtual server is DOWN. In a
  lab it carries them (`isthmus.lab.adc`, with a list of its own).
- The number and the kinds of its interfaces: a lab plugs in two, alone it has one.
- ``stat/``, ``nsrunningconfig``, ``nssavedconfig``, traffic domains (``td`` is kept and compared, nothing more), admin
  partitions, clusters, ADM as a proxy, users other than its own, rights, pooled licences, content switching, SSL, GSLB, BGP.
- The wording of most errors. The codes are the vendor's; where no report shows text or HTTP status, both are ours
  (``answers.py`` marks which were seen). Which code a device chooses is a guess for: a route with host bits (985) or a
  gateway that is not reachable (986), a save without room (1461), an item of a bulk request taken back (1241).
- What a device does when something in use is deleted is known in part only. Here a server with members, a monitor that is
  bound, an address, ``ipset``, ``netprofile`` or VXLAN that something refers to are refused (315, 2407); a service group or a
  virtual server goes with its bindings.
- Limits of names, of pattern sets and of the number of objects; the check that service types of a virtual server and its
  groups fit; warnings other than 1067.
- ``hanode`` is read only: a pair is made when it is started. Its two nodes hold one configuration, in the same moment; a save
  saves for both. A secondary refuses all changes with 368 (or 1028, as told).
- ``view=summary`` shows key, type and state. ``nsconfig`` can be read, saved and cleared, not set.
- Old forms: ``object=`` in a form body, ``sessionid`` and ``params`` in the JSON body.
"""

from __future__ import annotations

from isthmus.lab.nitro.answers import Refusal
from isthmus.lab.nitro.appliance import Appliance
from isthmus.lab.nitro.server import Endpoint, serving

__all__ = ["Appliance", "Endpoint", "Refusal", "serving"]
