"""A contestant that computes nothing: it answers that `seconds` = frames / 1000 * factor went by.

  fake_worker.py answers [FACTOR] | dies AFTER | skips | babbles"""

import json
import os
import sys


def say(line):
    print(line, flush=True)


def main():
    what, *words = sys.argv[1:]
    if what == "skips":
        return say(json.dumps({"skipped": "not on a day like this"}))
    say(json.dumps({"ready": [f"fake {what}"]}))
    for number, line in enumerate(sys.stdin):
        request = json.loads(line)
        if what == "dies" and number == int(words[0]):
            print("some words\nerror: out of luck", file=sys.stderr, flush=True)
            os._exit(7)
        if what == "babbles":
            say("I am no JSON")
            continue
        frames = request.get("frames") or sum(request["lengths"])
        say(json.dumps({"seconds": frames / 1000 * float(words[0] if what == "answers" and words else 1)}))


if __name__ == "__main__":
    main()
