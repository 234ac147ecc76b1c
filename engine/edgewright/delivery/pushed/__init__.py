"""Update systems where edgewright calls the device."""
