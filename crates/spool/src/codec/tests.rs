//! What is written is read back, and what is not ours is refused without a panic.

use super::*;
use proptest::prelude::*;

fn recipient() -> impl Strategy<Value = Recipient> {
    (".{0,40}", 0u8..16, proptest::option::of(".{0,20}")).prop_map(|(address, notify, orcpt)| {
        Recipient {
            address,
            notify: Notify::from_bits(notify),
            orcpt,
        }
    })
}

fn body_kind() -> impl Strategy<Value = BodyKind> {
    prop_oneof![
        Just(BodyKind::SevenBit),
        Just(BodyKind::EightBit),
        Just(BodyKind::Binary)
    ]
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let text = || proptest::option::of(".{0,30}");
    let ret = proptest::option::of(prop_oneof![Just(Ret::Full), Just(Ret::Headers)]);
    let client = proptest::option::of(any::<IpAddr>());
    let first = (
        ".{0,60}",
        proptest::collection::vec(recipient(), 0..8),
        any::<u64>(),
        body_kind(),
    );
    (first, any::<bool>(), ret, client, text(), text(), text()).prop_map(
        |((sender, recipients, received, body), smtputf8, ret, client, envid, login, helo)| {
            Envelope {
                sender,
                recipients,
                received,
                body,
                smtputf8,
                ret,
                envid,
                login,
                client,
                helo,
            }
        },
    )
}

fn recipient_status() -> impl Strategy<Value = RecipientStatus> {
    prop_oneof![
        Just(RecipientStatus::Done),
        Just(RecipientStatus::Pending { last: None }),
        (any::<u64>(), "[a-c]{0,2}", ".{0,40}").prop_map(|(at, host, reply)| {
            RecipientStatus::Pending {
                last: Some(LastTry { at, host, reply }),
            }
        }),
        Just(RecipientStatus::Pending {
            last: Some(LastTry {
                at: 5,
                host: "mx".into(),
                reply: "450 later".into()
            })
        }),
    ]
}

fn status() -> impl Strategy<Value = Status> {
    let recipients = proptest::collection::vec(recipient_status(), 0..8);
    (
        any::<u32>(),
        any::<u64>(),
        any::<bool>(),
        any::<bool>(),
        recipients,
    )
        .prop_map(
            |(attempts, next_try, frozen, delay_notified, recipients)| Status {
                attempts,
                next_try,
                frozen,
                delay_notified,
                recipients,
            },
        )
}

proptest! {
    #[test]
    fn an_envelope_comes_back(envelope in envelope()) {
        let mut bytes = Vec::new();
        write_envelope(&mut bytes, &envelope);
        let peek = peek_envelope(&bytes).unwrap();
        prop_assert_eq!(peek.received, envelope.received);
        prop_assert_eq!(peek.recipients as usize, envelope.recipients.len());
        prop_assert_eq!(read_envelope(&bytes), Some(envelope));
    }

    #[test]
    fn a_status_comes_back(status in status()) {
        let mut bytes = Vec::new();
        write_status(&mut bytes, &status);
        let peek = peek_status(&bytes).unwrap();
        prop_assert_eq!(peek.next_try, status.next_try);
        prop_assert_eq!(peek.attempts, status.attempts);
        prop_assert_eq!(peek.frozen, status.frozen);
        prop_assert_eq!(read_status(&bytes), Some(status));
    }

    #[test]
    fn a_cut_envelope_is_refused(envelope in envelope(), part in 0.0f64..1.0) {
        let mut bytes = Vec::new();
        write_envelope(&mut bytes, &envelope);
        bytes.truncate((bytes.len() as f64 * part) as usize);
        prop_assert_eq!(read_envelope(&bytes), None);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (read_envelope(&bytes), read_status(&bytes), peek_envelope(&bytes), peek_status(&bytes));
    }
}

#[test]
fn a_reply_shared_by_a_thousand_recipients_is_kept_once() {
    let last = LastTry {
        at: 1,
        host: "mx.example".into(),
        reply: "450 4.2.0 greylisted".into(),
    };
    let mut status = Status::new(1000);
    status
        .recipients
        .fill(RecipientStatus::Pending { last: Some(last) });
    let mut bytes = Vec::new();
    write_status(&mut bytes, &status);
    assert!(bytes.len() < 1100, "{}", bytes.len());
    assert_eq!(read_status(&bytes), Some(status));
}
