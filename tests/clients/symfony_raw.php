<?php
// Sends finished messages through Symfony Mailer, octet for octet, over one connection; the transport
// writes a line end of its own before the final dot.
// usage: php symfony_raw.php DSN FILE      FILE: [{"mail_from","to":[],"raw": base64}]
// Prints one JSON line per message: {"ok","reply"}; the reply is the server's last, or the error.

require '/usr/share/php/Symfony/Component/Mailer/autoload.php';
require '/usr/share/php/Symfony/Component/Mime/autoload.php';

use Symfony\Component\Mailer\Envelope;
use Symfony\Component\Mailer\Transport;
use Symfony\Component\Mime\Address;
use Symfony\Component\Mime\RawMessage;

[, $dsn, $file] = $argv;
$transport = Transport::fromDsn($dsn);
foreach (json_decode(file_get_contents($file), true, 16, JSON_THROW_ON_ERROR) as $mail) {
    try {
        $raw = new RawMessage(base64_decode($mail['raw'], true));
        $recipients = array_map(static fn ($address) => new Address($address), $mail['to']);
        $envelope = new Envelope(new Address($mail['mail_from']), $recipients);
        $dialogue = explode("\n", trim($transport->send($raw, $envelope)->getDebug()));
        $answer = ['ok' => true, 'reply' => trim(end($dialogue))];
    } catch (\Throwable $error) {
        $answer = ['ok' => false, 'reply' => $error->getMessage()];
    }
    echo json_encode($answer, JSON_INVALID_UTF8_SUBSTITUTE | JSON_THROW_ON_ERROR), "\n";
}
