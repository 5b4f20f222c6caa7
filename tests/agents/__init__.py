"""The agents are tested against the lab's API and the device in memory; nothing here needs privileges."""
