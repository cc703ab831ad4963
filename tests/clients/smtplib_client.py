"""Sends one mail through Python's smtplib: STARTTLS, AUTH, an 8-bit body without BODY=8BITMIME.

usage: smtplib_client.py HOST PORT USER PASSWORD FROM TO
"""

import smtplib
import ssl
import sys

host, port, user, password, sender, recipient = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
message = (
    f"From: {sender}\r\nTo: {recipient}\r\nSubject: from smtplib\r\n"
    "Date: Fri, 02 Jan 2026 03:04:05 +0000\r\nMessage-ID: <smtplib@client.example>\r\n"
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Transfer-Encoding: 8bit\r\n\r\nOlá, ação.\r\n.\r\n..\r\nfim\r\n"
).encode()
with smtplib.SMTP(host, int(port), timeout=30) as session:
    session.starttls(context=context)
    session.login(user, password)
    refused = session.sendmail(sender, [recipient], message)
sys.exit(1 if refused else 0)
