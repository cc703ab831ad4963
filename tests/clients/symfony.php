<?php
// Sends the mails of a JSON file through Symfony Mailer, as Mautic does: one transport for all.
// usage: php symfony.php DSN FILE      FILE: [{"from","return_path"?,"to","subject","headers":{},"text","html"?}]
// Prints one JSON line per mail: {"to","ok",["error"]}. Exits 1 when one was not taken.

require '/usr/share/php/Symfony/Component/Mailer/autoload.php';
require '/usr/share/php/Symfony/Component/Mime/autoload.php';

use Symfony\Component\Mailer\Mailer;
use Symfony\Component\Mailer\Transport;
use Symfony\Component\Mime\Address;
use Symfony\Component\Mime\Email;

[, $dsn, $file] = $argv;
$mailer = new Mailer(Transport::fromDsn($dsn));
$refused = 0;
foreach (json_decode(file_get_contents($file), true, 16, JSON_THROW_ON_ERROR) as $mail) {
    $email = (new Email())
        ->from(Address::create($mail['from']))
        ->replyTo(Address::create($mail['from']))
        ->to($mail['to'])
        ->subject($mail['subject'])
        ->text($mail['text']);
    if (isset($mail['html'])) {
        $email->html($mail['html']);
    }
    if (isset($mail['return_path'])) {
        $email->returnPath($mail['return_path']);
    }
    foreach ($mail['headers'] as $name => $value) {
        $email->getHeaders()->addTextHeader($name, $value);
    }
    $answer = ['to' => $mail['to'], 'ok' => true];
    try {
        $mailer->send($email);
    } catch (\Throwable $error) {
        $answer = ['to' => $mail['to'], 'ok' => false, 'error' => $error->getMessage()];
        ++$refused;
    }
    echo json_encode($answer), "\n";
}
exit($refused > 0 ? 1 : 0);
