"""Clients that send mail after mail through Python's smtplib, three in a session with a rest before each of
the later ones, until standard input ends. Says "ok RECIPIENT" for each that was taken, and "refused WHY" for
each that was not.

usage: smtplib_steady.py HOST PORT DOMAIN CLIENTS
"""

import smtplib
import sys
import threading

IN_A_SESSION, REST_S = 3, 0.2

host, port, domain, clients = sys.argv[1:]
over = threading.Event()
said = threading.Lock()


def say(*words):
    with said:
        print(*words, flush=True)


def send(client):
    number = 0
    while not over.is_set():
        try:
            with smtplib.SMTP(host, int(port), timeout=30) as session:
                for mail in range(IN_A_SESSION):
                    if mail > 0:
                        over.wait(REST_S)
                    number += 1
                    recipient = f"s{client}n{number}@{domain}"
                    message = f"From: b@shop.example\r\nTo: {recipient}\r\nSubject: s{number}\r\n\r\nHello.\r\n"
                    session.sendmail("b@shop.example", [recipient], message)
                    say("ok", recipient)
        except (OSError, smtplib.SMTPException) as fault:
            say("refused", repr(fault))
            over.wait(REST_S)


threads = [threading.Thread(target=send, args=[client]) for client in range(int(clients))]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
