"""The NITRO client, against the lab's appliance and against bodies that devices printed."""
