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
