"""A service: writes a heartbeat into the instance folder until it is asked to stop."""

import argparse
import json
import os
import signal
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--every", type=float)
parser.add_argument("--word")
asked = parser.parse_args()
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
while True:
    beat = {"time": time.time(), "word": asked.word, "round": os.environ["ROUND"], "pid": os.getpid()}
    with open("instance/beat.partial", "w") as file:
        json.dump(beat, file)
    os.replace("instance/beat.partial", "instance/beat.json")
    time.sleep(asked.every)
