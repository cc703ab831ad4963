"""Reads a report (RFC 6522) from standard input with Python's own parser and prints what programs
read of it: its kind and the fields of its machine-readable part, as JSON."""

import email
import email.policy
import json
import sys

message = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
parts = list(message.iter_parts())
blocks = parts[1].get_payload()
# message/delivery-status is a list of blocks; a feedback report is one.
if isinstance(blocks, str):
    blocks = [email.message_from_string(blocks, policy=email.policy.default)]
fields = {}
for block in blocks:
    source = block if len(block.keys()) else email.message_from_string(block.get_payload())
    fields.update({name.lower(): str(value) for name, value in source.items()})
print(
    json.dumps(
        {
            "kind": message["content-type"].params["report-type"],
            "to": str(message["to"]),
            "types": [part.get_content_type() for part in parts],
            "text": parts[0].get_content(),
            "fields": fields,
            "defects": [str(defect) for part in message.walk() for defect in part.defects],
        }
    )
)
