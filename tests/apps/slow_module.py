"""Takes a while to import."""
import time

begun = True
time.sleep(0.2)
whole = True
