"""The older systems' inputs and outputs: read into our kinds, written from our model. Nothing else knows of them.

In come environment variables and a ConfigMap that is a switch; out goes the ConfigMap from which other endpoints of an
overlay are built. Everything in between is what it is for everybody.
"""
