"""The home cluster: the Kubernetes API in which the user's objects stand as custom resources, and our memory with them.

It is one of two origins of objects (the other is files), and the same cluster may at once be one of those that we join; here
it is only the place where people write and we answer: objects in, claims, a little memory, statuses and Events out.

The confusing thing: losing sight of the home changes nothing. Whoever is away cannot have ordered anything, so what was
read last stays in force, and only new addresses and new objects wait.
"""
