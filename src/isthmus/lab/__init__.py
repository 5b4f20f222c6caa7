"""The lab: a network on one machine, for tests, the demo and whoever wants to look.

Everything here speaks HTTP and netlink to the rest of Isthmus, as the real world does, and shares no module with the
code under test: a network programmed by the code it is meant to judge would prove nothing.
"""
