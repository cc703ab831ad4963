//! Each phase has a deadline of its own.

use tokio::time::Instant;

use super::server::{ALL, Server, Step, hello, say, script};
use super::*;

const SHORT: Duration = Duration::from_millis(200);

/// The deadline of one phase.
type Deadline = fn(&mut Timing) -> &mut Duration;

/// All phases but those with a deadline of their own have time enough.
fn patient() -> Timing {
    Timing {
        connect: DEADLINE,
        banner: DEADLINE,
        ehlo: DEADLINE,
        tls: DEADLINE,
        auth: DEADLINE,
        command: DEADLINE,
        busy: DEADLINE,
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_at_the_deadline_of_the_phase() {
    let greeted = vec![say("220 mx\r\n"), Step::Hear, Step::Hang];
    let begun = script([hello(&ALL), vec![Step::Hear, Step::Hang]]);
    let rows: [(&str, Deadline, &str, Vec<Step>); 4] = [
        ("greeting", |t| &mut t.banner, "none", vec![Step::Hang]),
        ("EHLO", |t| &mut t.ehlo, "none", greeted),
        ("TLS", |t| &mut t.tls, "implicit", vec![Step::Hang]),
        ("MAIL", |t| &mut t.command, "none", begun),
    ];
    for (phase, of_phase, tls, steps) in rows {
        let server = Server::start(vec![steps]).await;
        let port = server.port;
        let mut settings =
            settings_of(&format!("host = '127.0.0.1'\nport = {port}\ntls = '{tls}'"));
        settings.endpoint.timing = patient();
        *of_phase(&mut settings.endpoint.timing) = SHORT;
        let provider = SmtpProvider::new("smtp", settings, Pools::default());
        let begun = Instant::now();
        let report = send(&provider, &outgoing(&["x@x.test"])).await;
        assert_eq!(results(report), [Err(Verdict::Transient)], "{phase}");
        let took = begun.elapsed();
        assert!((SHORT..DEADLINE / 2).contains(&took), "{phase} {took:?}");
    }
}

#[test]
fn phases_have_10_s_and_commands_30_s() {
    for table in [
        "host = 'mx.example.com'",
        "host = '127.0.0.1'\ntls = 'none'",
        "preset = 'sendgrid'\npassword = 'k'",
    ] {
        let t = settings_of(table).endpoint.timing;
        let phases = [t.connect, t.banner, t.ehlo, t.tls, t.auth, t.command];
        let seconds = phases.map(|phase| phase.as_secs());
        assert_eq!(seconds, [10, 10, 10, 10, 10, 30], "{table}");
    }
}
