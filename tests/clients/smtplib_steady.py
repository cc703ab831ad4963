"""Sends mail after mail through Python's smtplib, five in a session, until its standard input ends.
Says "ok RECIPIENT" for each that was taken, and "refused WHY" for each that was not.

usage: smtplib_steady.py HOST PORT DOMAIN
"""

import smtplib
import sys
import threading

host, port, domain = sys.argv[1:]
over = threading.Event()


def wait_for_the_end():
    sys.stdin.read()
    over.set()


threading.Thread(target=wait_for_the_end, daemon=True).start()
number = 0
while not over.is_set():
    try:
        with smtplib.SMTP(host, int(port), timeout=30) as session:
            for _ in range(5):
                number += 1
                recipient = f"s{number}@{domain}"
                message = f"From: b@shop.example\r\nTo: {recipient}\r\nSubject: s{number}\r\n\r\nHello.\r\n"
                session.sendmail("b@shop.example", [recipient], message)
                print("ok", recipient, flush=True)
    except (OSError, smtplib.SMTPException) as fault:
        print("refused", repr(fault), flush=True)
