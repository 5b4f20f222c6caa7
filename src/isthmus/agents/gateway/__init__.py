"""The process on a gateway whose controller runs elsewhere: the Linux driver behind a small HTTPS API.

It decides nothing. What it adds to the driver is who may ask (certificates), who may write (the epoch), and what comes back
after a power cut (the record of what was applied).
"""
