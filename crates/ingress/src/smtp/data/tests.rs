//! Ends of data, true and false, however the octets are cut.

use proptest::prelude::*;

use super::super::body::BodyRules;
use super::*;

const RULES: BodyRules = BodyRules {
    bytes_max: 1_000,
    allows_utf8_header: true,
};

/// The body or the fault, whether the connection is lost, and what is left in the input.
type Outcome = (Result<Vec<u8>, BodyFault>, DataProgress, Vec<u8>);

fn read(wire: &[u8], piece_bytes: usize) -> Outcome {
    let mut reader = DataReader::new(Body::new(b"", None, RULES));
    let mut input = BytesMut::new();
    let mut progress = DataProgress::More;
    let mut pieces = wire.chunks(piece_bytes.max(1));
    while progress == DataProgress::More {
        let Some(piece) = pieces.next() else { break };
        input.extend_from_slice(piece);
        progress = reader.read(&mut input);
    }
    pieces.for_each(|piece| input.extend_from_slice(piece));
    let body = reader.into_body().finish().map(Vec::from);
    (body, progress, input.to_vec())
}

#[test]
fn only_cr_lf_dot_cr_lf_ends_a_message() {
    for (wire, body) in [
        (&b".\r\nNEXT"[..], &b""[..]),
        (b"a\r\n.\r\nNEXT", b"a\r\n"),
        (b"a\r\n..\r\n.\r\nNEXT", b"a\r\n.\r\n"),
        (b"a\r\n..b\r\n.\r\nNEXT", b"a\r\n.b\r\n"),
        (b"a\r\n.b\r\n.\r\nNEXT", b"a\r\nb\r\n"),
        (b"a\r\n. \r\n.\r\nNEXT", b"a\r\n \r\n"),
        (b"a.\r\nb\r\n.\r\nNEXT", b"a.\r\nb\r\n"),
        (b"a\r\n.\x0b\r\n.\r\nNEXT", b"a\r\n\x0b\r\n"),
        (
            b"a\xe2\x80\xa8.\xe2\x80\xa8\r\n.\r\nNEXT",
            b"a\xe2\x80\xa8.\xe2\x80\xa8\r\n",
        ),
        (
            b"a\xc2\x85.\xc2\x85\r\n.\r\nNEXT",
            b"a\xc2\x85.\xc2\x85\r\n",
        ),
        (b"a\r\n\xef\xbc\x8e\r\n.\r\nNEXT", b"a\r\n\xef\xbc\x8e\r\n"),
    ] {
        for piece_bytes in 1..=wire.len() {
            let (read, progress, rest) = read(wire, piece_bytes);
            let shown = String::from_utf8_lossy(wire);
            assert_eq!(read, Ok(body.to_vec()), "{shown:?} in {piece_bytes}s");
            assert_eq!(progress, DataProgress::Complete, "{shown:?}");
            assert_eq!(rest, b"NEXT", "{shown:?}");
        }
    }
}

#[test]
fn false_ends_with_stray_cr_or_lf_lose_the_connection() {
    for wire in [
        &b"a\n.\n"[..],
        b"a\n.\r\nMAIL",
        b"a\r\n.\nMAIL",
        b"a\r\n.\rMAIL",
        b"a\r.\r\n",
        b"a\r.\rMAIL",
        b"a\r\r\n.\r\n",
        b"a\r\n.\r\r\n",
        b"a\n\r.\r\n",
        b"\n.\r\n",
        b"\r.\r\n",
        b".\nMAIL",
        b".\rMAIL",
        b"a\r\nb\nc\r\n.\r\n",
        b"a\r\0\n.\r\n",
    ] {
        for piece_bytes in 1..=wire.len() {
            let (read, progress, _) = read(wire, piece_bytes);
            let shown = String::from_utf8_lossy(wire);
            assert_eq!(
                read,
                Err(BodyFault::BareLineEnd),
                "{shown:?} in {piece_bytes}s"
            );
            assert_eq!(progress, DataProgress::Stray, "{shown:?}");
        }
    }
}

#[test]
fn a_nul_refuses_the_message_and_keeps_the_connection() {
    for wire in [
        &b"a\0b\r\n.\r\n"[..],
        b"a\r\n\0.\r\n.\r\n",
        b"a\r\n.\0\r\n.\r\n",
    ] {
        for piece_bytes in 1..=wire.len() {
            let (read, progress, rest) = read(wire, piece_bytes);
            assert_eq!(
                (read, progress),
                (Err(BodyFault::Nul), DataProgress::Complete)
            );
            assert!(rest.is_empty());
        }
    }
}

#[test]
fn a_message_over_size_is_read_to_its_end_and_one_over_twice_the_size_is_not() {
    let message = |bytes: usize| [vec![b'x'; bytes], b"\r\n.\r\n".to_vec()].concat();
    for piece_bytes in [1, 100, 10_000] {
        assert!(read(&message(998), piece_bytes).0.is_ok());
        let (body, progress, _) = read(&message(999), piece_bytes);
        assert_eq!(
            (body, progress),
            (Err(BodyFault::TooLarge), DataProgress::Complete)
        );
        let (body, progress, _) = read(&message(1_999), piece_bytes);
        assert_eq!(
            (body, progress),
            (Err(BodyFault::TooLarge), DataProgress::Endless)
        );
    }
}

fn read_chunks(chunks: &[&[u8]]) -> Result<Vec<u8>, BodyFault> {
    let mut reader = ChunkReader::new(Body::new(b"", None, RULES));
    for chunk in chunks {
        reader.begin(chunk.len() as u64);
        let mut input = BytesMut::from(*chunk);
        input.extend_from_slice(b"NEXT");
        assert_eq!(reader.read(&mut input), DataProgress::Complete);
        assert_eq!(&input[..], b"NEXT");
    }
    reader.into_body().finish().map(Vec::from)
}

#[test]
fn chunks_are_taken_as_they_are_and_checked_across_their_borders() {
    assert_eq!(
        read_chunks(&[b"a\r", b"\n.\r\n"]),
        Ok(b"a\r\n.\r\n".to_vec())
    );
    assert_eq!(read_chunks(&[b"a", b""]), Ok(b"a\r\n".to_vec()));
    for chunks in [
        &[&b"a\r"[..]][..],
        &[b"a\r", b"b\r\n"],
        &[b"a", b"\n"],
        &[b"a\r", b"\r\n"],
    ] {
        assert_eq!(
            read_chunks(chunks),
            Err(BodyFault::BareLineEnd),
            "{chunks:?}"
        );
    }
    assert_eq!(read_chunks(&[b"a\0\r\n"]), Err(BodyFault::Nul));
}

fn line_ends() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&[u8]> = vec![
        b"\r\n",
        b"\r\n.",
        b"\r\n.\r\n",
        b"\r",
        b"\n",
        b".",
        b"\0",
        b"ab",
    ];
    let piece = proptest::sample::select(pieces);
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn cutting_the_octets_elsewhere_changes_nothing(wire in line_ends(), piece_bytes in 1_usize..9) {
        let (body, progress, _) = read(&wire, wire.len());
        let (cut_body, cut_progress, _) = read(&wire, piece_bytes);
        prop_assert_eq!(body, cut_body);
        prop_assert_eq!(progress, cut_progress);
    }

    #[test]
    fn what_is_kept_has_no_bare_cr_or_lf_and_no_nul(wire in line_ends()) {
        if let (Ok(body), DataProgress::Complete, _) = read(&wire, wire.len()) {
            let text = String::from_utf8(body).unwrap();
            prop_assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']));
        }
    }

    #[test]
    fn a_stuffed_message_comes_back_as_it_was(lines in proptest::collection::vec("[.a]{0,3}", 0..20)) {
        let text: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut wire = String::new();
        for line in &lines {
            if line.starts_with('.') {
                wire.push('.');
            }
            wire.push_str(line);
            wire.push_str("\r\n");
        }
        wire.push_str(".\r\n");
        let (body, progress, rest) = read(wire.as_bytes(), 5);
        prop_assert_eq!(body, Ok(text.into_bytes()));
        prop_assert_eq!((progress, rest.len()), (DataProgress::Complete, 0));
    }
}
