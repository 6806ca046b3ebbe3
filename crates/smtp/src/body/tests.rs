//! Bodies as tables: what ends a message, what does not, and what goes out again.

use proptest::prelude::*;

use super::*;

/// The body of `wire`, fed by `step` octets; the error met, if any; how many octets were read up to the end.
fn decode(
    wire: &[u8],
    step: usize,
    form: Form,
    convert: bool,
) -> (Vec<u8>, Option<BodyError>, Option<usize>) {
    let mut decoder = Decoder::new(form, convert);
    let (mut body, mut error, mut used) = (Vec::new(), None, 0);
    for chunk in wire.chunks(step.max(1)) {
        let mut rest = chunk;
        loop {
            let (count, decoded) = decoder.step(rest);
            used += count;
            match decoded {
                Decoded::Piece(range) if error.is_none() => body.extend_from_slice(&rest[range]),
                Decoded::Newline(newline) if error.is_none() => body.extend_from_slice(newline),
                Decoded::Piece(_) | Decoded::Newline(_) => {}
                Decoded::Error(found) => {
                    assert_eq!(error, None, "an error is told once");
                    error = Some(found);
                    decoder.discard();
                }
                Decoded::End => return (body, error, Some(used)),
                Decoded::More => break,
            }
            rest = &rest[count..];
        }
    }
    match decoder.finish() {
        Some(Decoded::Newline(newline)) => body.extend_from_slice(newline),
        Some(Decoded::Error(found)) => error = Some(found),
        _ => {}
    }
    (body, error, None)
}

/// The end of data, found by eye.
fn end_by_eye(wire: &[u8]) -> Option<usize> {
    let framed = [b"\r\n", wire].concat();
    framed
        .windows(5)
        .position(|window| window == b"\r\n.\r\n")
        .map(|at| at + 3)
}

#[test]
fn dots_are_undone() {
    for (wire, body) in [
        (".\r\n", ""),
        ("a\r\n.\r\n", "a\r\n"),
        ("..\r\n.\r\n", ".\r\n"),
        ("..x\r\n.\r\n", ".x\r\n"),
        (".x\r\n.\r\n", "x\r\n"),
        ("a.\r\n.b\r\n...\r\n.\r\n", "a.\r\nb\r\n..\r\n"),
        ("\r\n\r\n.\r\n", "\r\n\r\n"),
        ("a\r\n..\r\n.\r\n", "a\r\n.\r\n"),
    ] {
        for step in 1..=wire.len() {
            let expected = (body.as_bytes().to_vec(), None, Some(wire.len()));
            assert_eq!(
                decode(wire.as_bytes(), step, Form::Dots, false),
                expected,
                "{wire:?} by {step}"
            );
        }
    }
}

/// Everything that some server once took for the end of a message (SMTP smuggling).
#[test]
fn nothing_else_ends_a_message() {
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r\n.\r",
        "\r.\r\n",
        "\n.\r",
        "\r.\n",
        "\r\n.\r\r\n",
        "\r\n\0.\r\n",
        "\r\n.\0\r\n",
    ] {
        let wire = format!("a{end}MAIL FROM:<x@y.z>\r\n.\r\n");
        for step in 1..=wire.len() {
            for convert in [false, true] {
                let (body, error, used) = decode(wire.as_bytes(), step, Form::Dots, convert);
                assert_eq!(used, Some(wire.len()), "{end:?} by {step}");
                let mended = convert && !end.contains('\0');
                assert_eq!(error.is_some(), !mended, "{end:?} by {step}");
                assert!(
                    !mended || String::from_utf8_lossy(&body).ends_with("MAIL FROM:<x@y.z>\r\n")
                );
            }
        }
    }
}

#[test]
fn bare_newlines_mended() {
    for (wire, body) in [
        ("a\nb\r\n.\r\n", "a\r\nb\r\n"),
        ("a\rb\r\n.\r\n", "a\r\nb\r\n"),
        ("a\r\r\n.\r\n", "a\r\n\r\n"),
        ("\n.\n\r\n.\r\n", "\r\n.\r\n\r\n"),
        (".\n\r\n.\r\n", "\r\n\r\n"),
        (".\ra\r\n.\r\n", "\r\na\r\n"),
        (".\r\r\n.\r\n", "\r\n\r\n"),
        ("\n\r\n\r\r\n.\r\n", "\r\n\r\n\r\n\r\n"),
    ] {
        for step in 1..=wire.len() {
            let expected = (body.as_bytes().to_vec(), None, Some(wire.len()));
            assert_eq!(
                decode(wire.as_bytes(), step, Form::Dots, true),
                expected,
                "{wire:?} by {step}"
            );
        }
    }
}

#[test]
fn chunks_have_no_dots() {
    for (wire, convert, body, error) in [
        ("a\r\n.\r\n..b", false, "a\r\n.\r\n..b", None),
        ("a\nb", true, "a\r\nb", None),
        ("a\r", true, "a\r\n", None),
        ("a\r", false, "a\r", Some(BodyError::BareNewline)),
        ("a\nb", false, "a", Some(BodyError::BareNewline)),
        ("a\0b", true, "a", Some(BodyError::Nul)),
    ] {
        for step in 1..=wire.len() {
            let expected = (body.as_bytes().to_vec(), error, None);
            assert_eq!(
                decode(wire.as_bytes(), step, Form::Lines, convert),
                expected,
                "{wire:?} by {step}"
            );
        }
    }
    assert_eq!(
        decode(b"\0\r\n\n\r", 2, Form::Octets, false),
        (b"\0\r\n\n\r".to_vec(), None, None)
    );
}

#[test]
fn dots_are_doubled() {
    for (body, wire) in [
        ("", ".\r\n"),
        ("a", "a\r\n.\r\n"),
        ("a\r\n", "a\r\n.\r\n"),
        (".\r\n", "..\r\n.\r\n"),
        ("..\r\na.b\r\n.c", "...\r\na.b\r\n..c\r\n.\r\n"),
        ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
        ("a\r.\rb\r", "a\r\n..\r\nb\r\n.\r\n"),
        ("a\n.\r\n", "a\r\n..\r\n.\r\n"),
    ] {
        for step in 1..=body.len().max(1) {
            assert_eq!(
                String::from_utf8_lossy(&stuffed(body.as_bytes(), step)),
                wire,
                "{body:?} by {step}"
            );
        }
    }
}

#[test]
fn doubling_copies_nothing() {
    let piece = b"a\r\n.b\r\nc\r\n";
    let slices: Vec<&[u8]> = DotStuffer::new().encode(piece).collect();
    assert_eq!(slices, [&b"a\r\n."[..], b".b\r\nc\r\n"]);
    assert!(
        slices
            .iter()
            .all(|slice| piece.as_ptr_range().contains(&slice.as_ptr()))
    );
}

fn stuffed(body: &[u8], step: usize) -> Vec<u8> {
    let (mut stuffer, mut wire) = (DotStuffer::new(), Vec::new());
    body.chunks(step.max(1))
        .for_each(|piece| stuffer.encode_into(piece, &mut wire));
    wire.extend_from_slice(stuffer.finish());
    wire
}

/// Texts made of what matters.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let letters = prop::sample::select(vec![
        &b"\r"[..],
        b"\n",
        b".",
        b"a",
        b"\0",
        b"\r\n",
        b"\r\n.",
        b"\r\n.\r\n",
        b"\xff",
    ]);
    prop::collection::vec(letters, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn splitting_changes_nothing(wire in text(), step in 1_usize..9, convert: bool) {
        for form in [Form::Dots, Form::Lines, Form::Octets] {
            prop_assert_eq!(decode(&wire, step, form, convert), decode(&wire, wire.len(), form, convert));
        }
    }

    #[test]
    fn the_end_is_where_the_eye_sees_it(wire in text(), convert: bool) {
        prop_assert_eq!(decode(&wire, wire.len(), Form::Dots, convert).2, end_by_eye(&wire));
    }

    #[test]
    fn pieces_hold_crlf_only(wire in text()) {
        let (body, error, _) = decode(&wire, wire.len(), Form::Dots, true);
        if error.is_none() {
            let plain = String::from_utf8_lossy(&body).replace("\r\n", "");
            // A message cut off may end between CR and LF.
            let plain = plain.strip_suffix('\r').unwrap_or(&plain);
            prop_assert!(!plain.contains(['\r', '\n', '\0']));
        }
    }

    #[test]
    fn there_and_back(wire in text(), step in 1_usize..9) {
        let (body, _, _) = decode(&wire, wire.len(), Form::Lines, true);
        let sent = stuffed(&body, step);
        prop_assert_eq!(end_by_eye(&sent), Some(sent.len()));
        let (back, error, used) = decode(&sent, step, Form::Dots, false);
        prop_assert_eq!((error, used), (None, Some(sent.len())));
        let ended = body.is_empty() || body.ends_with(b"\r\n");
        prop_assert_eq!(back, if ended { body } else { [&body[..], b"\r\n"].concat() });
    }

    #[test]
    fn whatever_is_stuffed_ends_once(body in text(), step in 1_usize..9) {
        let sent = stuffed(&body, step);
        prop_assert_eq!(end_by_eye(&sent), Some(sent.len()));
        let plain = String::from_utf8_lossy(&sent).replace("\r\n", "");
        prop_assert!(!plain.contains(['\r', '\n']));
    }
}
