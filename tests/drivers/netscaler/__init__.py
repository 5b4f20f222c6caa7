"""The NetScaler driver, against the lab's appliance."""
