"""The NetScaler driver: our resources on an ADC that is configured over NITRO."""
