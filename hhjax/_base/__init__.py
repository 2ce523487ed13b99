"""What everything stands on: parameters and their checks, scalar functions, random numbers, devices."""
