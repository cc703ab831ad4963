"""Verifies each DKIM signature of a message by dkimpy, with records from a file in place of the DNS.

Usage: dkim_verify.py MESSAGE RECORDS, RECORDS being {"name": "text", ...}. Prints a list with one
entry a signature, from the top: domain, selector, algorithm, and whether it verifies.
"""

import json
import re
import sys

import dkim

message = open(sys.argv[1], "rb").read()
records = json.load(open(sys.argv[2]))


def txt(name, timeout=5):
    text = records.get(name.decode().rstrip("."))
    return text.encode() if text is not None else None


verdicts = []
for index, (name, value) in enumerate(
    field for field in dkim.rfc822_parse(message)[0] if field[0].lower() == b"dkim-signature"
):
    tags = dict(
        part.strip().split("=", 1)
        for part in re.sub(r"\s+", " ", value.decode()).split(";")
        if part.strip()
    )
    try:
        is_good = dkim.DKIM(message).verify(idx=index, dnsfunc=txt)
        why = ""
    except dkim.DKIMException as error:
        is_good, why = False, str(error)
    verdicts.append(
        {
            "domain": tags.get("d"),
            "selector": tags.get("s"),
            "algorithm": tags.get("a"),
            "fields": tags.get("h", "").replace(" ", "").split(":"),
            "is_good": is_good,
            "why": why,
        }
    )
print(json.dumps(verdicts))
