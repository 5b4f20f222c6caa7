"""A plain Linux host as a gateway: routes, tunnels and addresses by rtnetlink, services by nftables."""

from isthmus.drivers.linux.driver import LinuxDriver

__all__ = ["LinuxDriver"]
