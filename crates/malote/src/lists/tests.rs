//! Lists as people have them, whole and in pieces.

use proptest::prelude::*;

use super::*;

fn read(list: &[u8], piece: usize) -> (Vec<Record>, Result<(), Unreadable>) {
    let (mut reader, mut out) = (ListReader::default(), Vec::new());
    for piece in list.chunks(piece) {
        if let Err(fault) = reader.feed(piece, &mut out) {
            return (out, Err(fault));
        }
    }
    let end = reader.finish(&mut out);
    (out, end)
}

/// `LINE ADDRESS SCOPE`, or `LINE !FAULT`.
fn told(list: &str) -> Vec<String> {
    let (records, end) = read(list.as_bytes(), 7);
    let mut told: Vec<String> = records
        .iter()
        .map(|record| match &record.entry {
            Ok(body) => format!("{} {} {}", record.line, body.address, body.scope()),
            Err(fault) => format!("{} !{fault}", record.line),
        })
        .collect();
    told.extend(end.err().map(|fault| format!("!{fault}")));
    told
}

#[test]
fn every_kind_of_list_is_told_by_its_first_line() {
    for list in [
        "a@x.test\nb@x.test",
        "\u{feff}a@x.test\r\nb@x.test\r\n",
        "email\na@x.test\nb@x.test\n",
        "email,scope\na@x.test,global\nb@x.test,\n",
        "\u{feff}Email;Scope\r\na@x.test;global\r\nb@x.test;\r\n",
        "scope\temail\n\"global\"\t\"a@x.test\"\n\t\"b@x.test\"",
        "ADDRESS;;\na@x.test;;\nb@x.test;;",
    ] {
        let addresses = told(list);
        let ends: Vec<&str> = addresses.iter().map(|line| &line[2..]).collect();
        assert_eq!(ends, ["a@x.test global", "b@x.test global"], "{list:?}");
    }
    let json = "\n{\"address\":\"a@x.test\",\"stream\":\"news\"}\nb@x.test\n";
    assert_eq!(told(json), ["2 a@x.test news", "3 b@x.test global"]);
    assert_eq!(told("\n\n"), Vec::<String>::new());
}

#[test]
fn lines_are_counted_through_quoted_line_ends_and_empty_lines() {
    for end in ["\n", "\r\n"] {
        let lines = [
            "detail,email",
            "\"one",
            "two, \"\"three\"\"\",a@x.test",
            "",
            "x,b@",
            "x,c@x.test",
        ];
        let told = told(&lines.join(end));
        assert_eq!(told[0], "2 a@x.test global", "{end:?}");
        assert!(told[1].starts_with("5 !email: "), "{told:?}");
        assert_eq!(told[2], "6 c@x.test global");
    }
}

#[test]
fn what_is_wrong_is_told_with_its_column() {
    let list = "email,scope,reason,source,at,expires_at,detail\n";
    for (line, fault) in [
        (",,,,,,", "email: missing"),
        ("a@x.test,No!", "scope: "),
        ("a@x.test,,bored", "reason: use one of hard_bounce"),
        ("a@x.test,,,,28/11/2026", "at: not a time"),
        ("a@x.test,,,,,soon", "expires_at: not a time"),
        ("a@x.test,,,,,,,x", "field 8 stands under no column"),
    ] {
        let told = told(&format!("{list}{line}\nlast@x.test\n"));
        assert!(told[0].starts_with(&format!("2 !{fault}")), "{told:?}");
        assert_eq!(told[1], "3 last@x.test global");
    }
    assert!(told("email,colour\n")[0].contains("no column \"colour\""));
    assert!(told("email,Email\n")[0].contains("twice"));
    assert!(told("name,colour\nx,y\n")[0].starts_with("!line 1: neither"));
    assert!(told("a@x.test,news\n")[0].contains("header line"));
    let open = format!("email\n\"{}", "x".repeat(10_000));
    assert!(told(&open)[0].starts_with("!line 2: longer than"));
    assert!(told(&"x".repeat(10_000))[0].starts_with("!line 1: longer than"));
}

#[test]
fn a_servers_words_are_no_formula() {
    let mut body = SuppressionBody::of("a@x.test".parse().unwrap());
    body.detail = "=1+1".into();
    assert!(csv_line(&body).ends_with(",'=1+1\r\n"));
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(detail in "[ -~\r\n\"é;]{0,60}", piece in 1..40_usize) {
        let mut body = SuppressionBody::of("a+b@x.test".parse().unwrap());
        body = body.in_scope("news".parse().unwrap());
        body.detail = detail.trim().to_owned();
        prop_assume!(!body.detail.starts_with('\''));
        body.source = Some("provider:ses".into());
        body.created_at = Some("2026-11-28T01:02:03.000004Z".parse().unwrap());
        let list = format!("{}{}{}", csv_header(), csv_line(&body), csv_line(&body));
        let (records, end) = read(list.as_bytes(), piece);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(records.len(), 2);
        for record in records {
            let read = record.entry.unwrap();
            prop_assert_eq!(&read.detail, &bounded(&body.detail, REPLY_TEXT_BYTES_MAX));
            prop_assert_eq!(read.source, body.source.clone());
            prop_assert_eq!(read.created_at, body.created_at);
        }
    }

    #[test]
    fn nothing_makes_it_panic(list in prop::collection::vec(any::<u8>(), 0..400), piece in 1..40_usize) {
        let (records, _) = read(&list, piece);
        prop_assert!(records.len() <= list.len());
    }

    #[test]
    fn no_table_makes_it_panic(list in "email[,;]scope\n[a@x.test\",;\r\n]{0,200}", piece in 1..40_usize) {
        let (records, _) = read(list.as_bytes(), piece);
        prop_assert!(records.len() <= list.len());
    }
}
