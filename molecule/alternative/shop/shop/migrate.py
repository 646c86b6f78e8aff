"""A migration: leaves a line for each time it ran, with what it could see."""

import os
import pwd

with open("instance/migrations", "a") as file:
    words = [
        os.environ["ROUND"],
        os.environ["HOSTED_RELEASE"],
        pwd.getpwuid(os.getuid()).pw_name,
        bool(os.environ["API_KEY"]),
    ]
    print(*words, file=file)
