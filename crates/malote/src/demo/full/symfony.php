<?php
// Sends the mails of a JSON file through Symfony Mailer, as Mautic does: one transport for all.
// usage: php symfony.php DSN FILE     FILE: [{"to","subject","return_path","headers":{},"text"}]
// Prints one JSON line per mail: {"to","error"}, the error null when it was taken.

require '/usr/share/php/Symfony/Component/Mailer/autoload.php';
require '/usr/share/php/Symfony/Component/Mime/autoload.php';

use Symfony\Component\Mailer\Mailer;
use Symfony\Component\Mailer\Transport;
use Symfony\Component\Mime\Address;
use Symfony\Component\Mime\Email;

[, $dsn, $file] = $argv;
$mailer = new Mailer(Transport::fromDsn($dsn));
foreach (json_decode(file_get_contents($file), true, 16, JSON_THROW_ON_ERROR) as $mail) {
    $email = (new Email())
        ->from(Address::create('News <news@news.example>'))
        ->replyTo('news@news.example')
        ->returnPath($mail['return_path'])
        ->to($mail['to'])
        ->subject($mail['subject'])
        ->text($mail['text']);
    foreach ($mail['headers'] as $name => $value) {
        $email->getHeaders()->addTextHeader($name, $value);
    }
    $error = null;
    try {
        $mailer->send($email);
    } catch (\Throwable $thrown) {
        $error = $thrown->getMessage();
    }
    echo json_encode(['to' => $mail['to'], 'error' => $error]), "\n";
}
