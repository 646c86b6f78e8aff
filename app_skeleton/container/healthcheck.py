"""Ask the server of this container for ``/status``; ends with 1 if it is not well."""

import sys
from http.client import HTTPConnection

connection = HTTPConnection("127.0.0.1", 8000, timeout=4)
try:
    connection.request("GET", "/status")
    response = connection.getresponse()
    print(response.status, response.read().decode())
except OSError as error:
    sys.exit(f"no answer: {error}")
sys.exit(response.status != 200)
