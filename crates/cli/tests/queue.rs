//! `postern queue …`, against a worker that plays a queue.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use common::{Desk, desk_with_worker, golden};
use postern_control::query::{
    Answer, MessageDetail, Question, QueueRow, QueueState, RecipientRow, Which,
};

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

fn row(number: u64) -> QueueRow {
    QueueRow {
        id: format!("AAAAAAA{number:06}"),
        received: now() - 7_265,
        size: 4_096 + number,
        sender: if number.is_multiple_of(2) {
            "alice@example.com".into()
        } else {
            String::new()
        },
        recipients: vec![if number % 7 == 6 {
            "eve@example.com".into()
        } else {
            "bob@example.net".into()
        }],
        recipient_count: 1 + u32::try_from(number % 3).unwrap(),
        state: if number.is_multiple_of(2) {
            QueueState::Retry
        } else {
            QueueState::Frozen
        },
        next_try: number.is_multiple_of(2).then(|| now() + 605),
        attempts: 3,
        last_reply: Some("450 4.2.0 greylisted\r\n\x1b[2Jcome back".into()),
        destination: if number.is_multiple_of(5) {
            "example.org".into()
        } else {
            "example.net".into()
        },
    }
}

/// A queue of so many messages, in pages of at most `page`, and the questions it was asked.
fn queue(length: u64, page: u64) -> (Desk, Arc<Mutex<Vec<Question>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    let desk = desk_with_worker(move |question| {
        seen.lock().unwrap().push(question.clone());
        match question {
            Question::Queue { after, limit } => {
                let first = after.map_or(0, |id| id[7..].parse::<u64>().unwrap() + 1);
                let last = length.min(first + page.min(u64::from(limit)));
                Answer::queue((first..last).map(row).collect(), last < length)
            }
            Question::Show { id } if id == "AAAAAAA000000" => Answer::message(detail()),
            Question::Show { id } => Answer::Unknown {
                reason: format!("there is no message {id} in the queue"),
            },
            Question::Retry {
                which: Which::Message(id),
            } if id == "GONE" => Answer::Changed { count: 0 },
            Question::Retry { .. }
            | Question::Delete { .. }
            | Question::Freeze { .. }
            | Question::Thaw { .. } => Answer::Changed { count: 1 },
            other => Answer::Unknown {
                reason: format!("not played: {other:?}"),
            },
        }
    });
    (desk, asked)
}

fn detail() -> MessageDetail {
    let recipient = |address: &str, state: &str, reply: Option<&str>| RecipientRow {
        address: address.into(),
        state: state.into(),
        host: reply.map(|_| "mx.example.net".into()),
        last_reply: reply.map(Into::into),
        last_try: reply.map(|_| now() - 61),
    };
    MessageDetail {
        row: QueueRow {
            received: 1_767_225_600,
            next_try: None,
            ..row(0)
        },
        recipients: vec![
            recipient("bob@example.net", "pending", Some("450 4.2.0 greylisted")),
            recipient("eve@example.net", "done", None),
        ],
        left_out: 7,
        expires: 4_102_444_800,
        envid: Some("QQ314159".into()),
    }
}

#[test]
fn a_list_is_a_table_that_shows_what_strangers_said_harmlessly() {
    let run = queue(3, 100).0.postern(&["queue", "list", "mx1"]);
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    golden("queue-list.txt", &run.out);
}

#[test]
fn pages_follow_each_other_under_one_heading_in_the_same_columns() {
    let (desk, asked) = queue(1_234, 100);
    let run = desk.postern(&["queue", "list", "mx1"]);
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(lines.len(), 1_235);
    assert_eq!(
        lines.iter().filter(|line| line.starts_with("ID")).count(),
        1
    );
    assert!(lines[1_234].starts_with("AAAAAAA001233"));
    let column = lines[0].find("SENDER").unwrap();
    assert!(
        lines[1..]
            .iter()
            .all(|line| line[column..].starts_with("alice@") || line[column..].starts_with("<>"))
    );
    assert_eq!(asked.lock().unwrap().len(), 13);
}

#[test]
fn limit_destination_and_after_choose_and_no_page_is_asked_for_in_vain() {
    let (desk, asked) = queue(1_000, 100);
    let run = desk.postern(&["queue", "list", "mx1", "--limit", "150"]);
    assert_eq!(run.out.lines().count(), 151);
    assert_eq!(asked.lock().unwrap().len(), 2);
    let run = desk.postern(&["queue", "list", "mx1", "--destination", "EXAMPLE.org"]);
    assert_eq!(run.out.lines().count(), 201);
    let run = desk.postern(&["queue", "list", "mx1", "--destination", "example.com"]);
    assert_eq!(run.out.lines().count(), 143);
    let run = desk.postern(&["queue", "list", "mx1", "--after", "AAAAAAA000997"]);
    assert_eq!(run.out.lines().count(), 3);
}

#[test]
fn json_is_one_array_over_all_pages() {
    for (length, page) in [(0, 10), (1, 10), (25, 10)] {
        let run = queue(length, page)
            .0
            .postern(&["queue", "list", "mx1", "--json"]);
        let value: Vec<QueueRow> = serde_json::from_str(&run.out).unwrap();
        assert_eq!(value.len() as u64, length);
    }
}

#[test]
fn an_empty_queue_says_so() {
    let run = queue(0, 10).0.postern(&["queue", "list", "mx1"]);
    assert_eq!((run.code, run.out.as_str()), (0, "no messages\n"));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let (desk, asked) = queue(1_000_000, 100);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = common::command(&["--control", &desk.control(), "queue", "list", "mx1"])
        .stdout(writer)
        .spawn()
        .unwrap();
    let mut first = [0; 4096];
    std::io::Read::read(&mut { reader }, &mut first).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(asked.lock().unwrap().len() < 1_000);
}

#[test]
fn a_message_is_shown_whole() {
    let (desk, _) = queue(3, 100);
    let run = desk.postern(&["queue", "show", "mx1", "AAAAAAA000000"]);
    assert_eq!(run.code, 0);
    let ages: Vec<&str> = run
        .out
        .lines()
        .filter(|line| line.starts_with("received") || line.starts_with("given up"))
        .collect();
    assert!(
        ages[0].starts_with("received    2026-01-01 00:00:00 UTC (") && ages[0].ends_with(" ago)"),
        "{}",
        run.out
    );
    assert!(
        ages[1].starts_with("given up    2100-01-01 00:00:00 UTC (in "),
        "{}",
        run.out
    );
    let steady: Vec<&str> = run
        .out
        .lines()
        .filter(|line| !ages.contains(line))
        .collect();
    golden("queue-show.txt", &(steady.join("\n") + "\n"));
    let run = desk.postern(&["queue", "show", "mx1", "AAAAAAA000000", "--json"]);
    let value: MessageDetail = serde_json::from_str(&run.out).unwrap();
    assert_eq!(value.envid.as_deref(), Some("QQ314159"));
}

#[test]
fn an_unknown_message_is_refused_with_the_workers_words() {
    let run = queue(3, 100).0.postern(&["queue", "show", "mx1", "NOPE"]);
    assert_eq!(
        (run.code, run.err.as_str()),
        (1, "error: mx1: there is no message NOPE in the queue\n")
    );
}

#[test]
fn changes_ask_for_exactly_what_was_said() {
    let (desk, asked) = queue(3, 100);
    for (arguments, out) in [
        (
            &["retry", "mx1", "A", "B"][..],
            "2 messages to be tried now\n",
        ),
        (
            &["retry", "mx1", "--destination", "example.net"],
            "1 message to be tried now\n",
        ),
        (&["freeze", "mx1", "--all"], "1 message frozen\n"),
        (&["thaw", "mx1", "A"], "1 message thawed\n"),
        (&["delete", "mx1", "A"], "1 message deleted\n"),
        (
            &["delete", "mx1", "--all", "--yes", "--notify"],
            "1 message deleted, senders notified\n",
        ),
    ] {
        let run = desk.postern(&[&["queue"], arguments].concat());
        assert_eq!(
            (run.code, run.out.as_str()),
            (0, out),
            "{arguments:?} {}",
            run.err
        );
    }
    let one = |id: &str| Which::Message(id.into());
    assert_eq!(
        *asked.lock().unwrap(),
        [
            Question::Retry { which: one("A") },
            Question::Retry { which: one("B") },
            Question::Retry {
                which: Which::Destination("example.net".into())
            },
            Question::Freeze { which: Which::All },
            Question::Thaw { which: one("A") },
            Question::Delete {
                which: one("A"),
                notify: false
            },
            Question::Delete {
                which: Which::All,
                notify: true
            },
        ]
    );
    assert_eq!(desk.postern(&["queue", "retry", "mx1", "GONE"]).code, 1);
}

#[test]
fn deleting_everything_needs_a_yes() {
    let (desk, asked) = queue(3, 100);
    let run = desk.postern(&["queue", "delete", "mx1", "--all"]);
    assert_eq!(run.code, 2);
    assert!(
        run.err.contains("all messages of mx1 would be deleted") && run.err.contains("--yes"),
        "{}",
        run.err
    );
    assert!(asked.lock().unwrap().is_empty());
    assert_eq!(desk.postern(&["queue", "delete", "mx1"]).code, 2);
}

#[test]
fn a_server_that_cannot_be_asked_is_refused_with_the_desks_words() {
    let desk = Desk::answering(|_| {
        (
            postern_control::client::Reply::refused("it is not running", Vec::new()),
            None,
        )
    });
    let run = desk.postern(&["queue", "list", "mx1"]);
    assert_eq!(
        (run.code, run.err.as_str()),
        (1, "error: mx1: it is not running\n")
    );
}
