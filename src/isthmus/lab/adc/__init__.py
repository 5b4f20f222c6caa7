"""A NetScaler ADC that carries packets: the lab's NITRO appliance with a namespace to work in.

What the API of `isthmus.lab.nitro` configures is so in the network some milliseconds later: addresses, VXLANs, bridge table
and neighbors, routes and policy routes in the kernel; virtual servers as a full proxy, with monitors that probe. A wrong
mask, a missing source address or a stale bridge entry loses a packet here as it does on a device.

What it does not imitate:

- Speed, memory, and the packet engines' ways of sharing sources and ports. Time-outs of idle TCP connections.
- Layers above TCP: HTTP is passed through as bytes, SSL is not ended, persistence is by source address or not at all.
  ``usip``, ``m`` other than IP, content switching, backup servers, spill-over, ``ANY`` services and ports, ranges of
  addresses.
- Of monitors: TCP, PING and HTTP are asked, any other type is asked as TCP is; ``ping-default`` and ``tcp-default`` stand
  where none is bound. Weights of monitors and thresholds count for nothing. The lab may shorten their pauses.
- Of policy routes: conditions on ports, protocols, MACs, VLANs and incoming VXLANs, ``!=``, monitored next hops (such a
  route is logged and not in force). A policy route whose next hop is not reachable loses its packets.
- VLANs tagged on a cable; a VLAN leads to the interface that is bound to it. Link aggregation, bridging (L2 mode),
  MAC-based forwarding, RNAT, ACLs, ICMP and ARP responses that depend on virtual servers, traffic domains, dynamic routing.
- IP tunnels are made if the kernel can (``ipip``); else the log says so.
- A secondary of a pair probes nobody; its opinion of members is the primary's. Connections do not survive a fail-over.
"""

from __future__ import annotations

from isthmus.lab.adc.plane import Plane
from isthmus.lab.adc.wiring import Cable, Wiring

__all__ = ["Cable", "Plane", "Wiring"]
