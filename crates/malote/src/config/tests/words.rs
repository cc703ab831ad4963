//! What is said of a mistake names the way out.

use super::{GOOD, assert_refused, with};

#[test]
fn an_address_to_listen_on_is_a_number_and_a_port() {
    let good = "listen = \"127.0.0.1:18080\"";
    let written = "write ADDRESS:PORT, as in \"127.0.0.1:8080\"; names do not work here";
    for bad in ["localhost:8080", ":8080", "0.0.0.0", "127.0.0.1:99125"] {
        let text = with((good, &format!("listen = '{bad}'")));
        assert_refused(&text, &format!("3 http.listen: {written}"));
    }
    let text = with((good, "listen = 8080"));
    assert_refused(&text, "3 http.listen: must be ADDRESS:PORT, as in ");
}

#[test]
fn the_nearest_key_is_meant_also_if_it_is_there_already() {
    let text = format!("{GOOD}[route.news]\nstrategy = 'failover'\n");
    assert_refused(&text, "22 route: unknown key; did you mean `routes`?");
}

#[test]
fn why_a_secrets_file_cannot_be_read_is_said() {
    for (table, key) in [("admin", "token"), ("credentials.lent", "api_key")] {
        let text = with((
            &format!("[{table}]"),
            &format!("[{table}]\n{key}_file = '/'"),
        ));
        let outcome = super::read_texts(&[&text], &[]);
        let said = super::said(&outcome).join("\n");
        let wanted = format!("{key}_file: / cannot be read: Is a directory");
        assert!(said.contains(&wanted), "{said}");
    }
}

#[test]
fn the_header_of_an_unknown_table_is_shown_and_what_is_in_it_is_not() {
    let text = format!("{GOOD}[providers.x.sendgird]\napi_kee = 'SECRET'\n");
    let text = format!("{text}[providers.y]\nsendgird = {{ api_kee = 'SECRET' }}\n");
    let report = super::read_texts(&[&text], &[]).report.to_string();
    assert!(report.contains("22 | [providers.x.sendgird]\n"), "{report}");
    assert!(
        report.contains("25 | sendgird = { api_kee = *** }\n"),
        "{report}"
    );
    assert!(!report.contains("SECRET"), "{report}");
}

#[test]
fn a_key_that_is_there_twice_is_named() {
    assert_refused(&format!("{GOOD}[http]\n"), "22 : duplicate key `http`");
    let twice = with(("class = ", "class = 'campaign'\nclass = "));
    assert_refused(&twice, "17 : duplicate key `class`");
}
