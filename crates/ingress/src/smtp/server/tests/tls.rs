//! STARTTLS and implicit TLS.

use super::*;

/// A plan for a listener with a certificate, and a connector that trusts it.
fn with_certificate(mode: &str) -> (Plan, TlsConnector, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let paths = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    fs::write(&paths.0, cert.pem()).unwrap();
    fs::write(&paths.1, signing_key.serialize_pem()).unwrap();
    let plan = Plan::with(json!({
        "listen": "127.0.0.1:0", "tls": mode, "cert_file": paths.0, "key_file": paths.1,
    }));
    (plan, connector(cert.der().clone(), &[]), folder)
}

fn connector(certificate: CertificateDer<'static>, alpn: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    TlsConnector::from(Arc::new(config))
}

async fn encrypt(connector: &TlsConnector, tcp: TcpStream) -> Client {
    let name = ServerName::try_from("localhost").unwrap();
    let handshake = connector.connect(name, tcp);
    Client::over(timeout(PATIENCE, handshake).await.unwrap().unwrap())
}

/// Hears the banner, says `lines` in clear one after the other, and hears their replies.
async fn say_in_clear(tcp: TcpStream, lines: &[&str]) -> (TcpStream, Vec<String>) {
    let mut stream = BufReader::new(tcp);
    let mut heard = Vec::new();
    for line in [&""].into_iter().chain(lines) {
        stream.get_mut().write_all(line.as_bytes()).await.unwrap();
        loop {
            let mut reply = String::new();
            let reading = stream.read_line(&mut reply);
            timeout(PATIENCE, reading).await.unwrap().unwrap();
            let is_last = reply.as_bytes().get(3) != Some(&b'-');
            heard.push(reply);
            if is_last {
                break;
            }
        }
    }
    assert!(stream.buffer().is_empty());
    (stream.into_inner(), heard)
}

#[tokio::test]
async fn starttls_then_login_then_mail() {
    let (plan, connector, _folder) = with_certificate("starttls");
    let rig = plan.start();
    let tcp = TcpStream::connect(rig.address).await.unwrap();
    let lines = [
        "EHLO x\r\n",
        LOGIN,
        "MAIL FROM:<a@x.test>\r\n",
        "STARTTLS\r\n",
    ];
    let (tcp, heard) = say_in_clear(tcp, &lines).await;
    assert!(heard.contains(&"250-STARTTLS\r\n".to_owned()));
    assert!(heard.iter().all(|line| !line.contains("PLAIN LOGIN")));
    let tail: Vec<_> = heard[heard.len() - 3..]
        .iter()
        .map(|line| &line[..9])
        .collect();
    assert_eq!(tail, ["538 5.7.1", "530 5.7.0", "220 2.0.0"]);
    let mut client = encrypt(&connector, tcp).await;
    assert!(
        client
            .ask("MAIL FROM:<a@x.test>\r\n")
            .await
            .starts_with("503 5.5.1 ")
    );
    client.ask("EHLO x\r\n").await;
    assert!(
        client
            .ask("MAIL FROM:<a@x.test>\r\n")
            .await
            .starts_with("530 5.7.0 ")
    );
    assert!(client.ask(LOGIN).await.starts_with("235 2.7.0 "));
    client.send_message().await;
    client.say("QUIT\r\n").await;
    assert_eq!(client.hear_to_end().await, "221 2.0.0 Bye\r\n");
    let body = rig.intake.kept.lock().unwrap()[0].body.clone();
    assert!(body.starts_with(b"Received: by mx.test with ESMTPSA id "));
    rig.stop().await;
}

#[tokio::test]
async fn commands_hidden_behind_starttls_get_no_answer_and_no_handshake() {
    let (plan, _connector, _folder) = with_certificate("starttls");
    let rig = plan.start();
    let mut client = rig.connect().await;
    client.ask("EHLO x\r\n").await;
    client.say("STARTTLS\r\nNOOP\r\n").await;
    assert_eq!(client.hear_to_end().await, "");
    drop(client);
    let counted = async {
        while rig.metric("malote_smtp_starttls_injections_total") < 1.0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, counted).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn implicit_tls_comes_before_the_banner_and_garbage_ends_the_connection() {
    let (plan, connector, _folder) = with_certificate("implicit");
    let rig = plan.start();
    let tcp = TcpStream::connect(rig.address).await.unwrap();
    let mut client = encrypt(&connector, tcp).await;
    assert_eq!(client.hear().await, "220 mx.test ESMTP malote");
    client.ask("EHLO x\r\n").await;
    assert!(client.ask(LOGIN).await.starts_with("235 2.7.0 "));
    client.send_message().await;
    let mut garbage = rig.connect_silently().await;
    garbage.say("EHLO x\r\n").await;
    let mut heard = Vec::new();
    let reading = tokio::io::AsyncReadExt::read_to_end(&mut garbage.stream, &mut heard);
    // A TLS alert, or a reset: either is an end.
    timeout(PATIENCE, reading).await.unwrap().ok();
    assert!(!heard.starts_with(b"2"));
    rig.stop().await;
}

#[tokio::test]
async fn a_client_of_another_protocol_is_refused_in_the_handshake() {
    let (plan, _connector, folder) = with_certificate("implicit");
    let rig = plan.start();
    let pem = fs::read(folder.path().join("cert.pem")).unwrap();
    let certificate: CertificateDer<'static> =
        rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap();
    for (alpn, is_taken) in [(&b"http/1.1"[..], false), (b"smtp", true)] {
        let tcp = TcpStream::connect(rig.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let connector = connector(certificate.clone(), &[alpn]);
        let handshake = timeout(PATIENCE, connector.connect(name, tcp))
            .await
            .unwrap();
        assert_eq!(handshake.is_ok(), is_taken);
    }
    rig.stop().await;
}
