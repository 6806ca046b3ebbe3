//! How fast bodies go through the core: `cargo run --release -p postern-smtp --example speed`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use postern_smtp::body::DotStuffer;
use postern_smtp::{Event, Queued, Session, Settings};

const PIECE: usize = 64 * 1024;

fn main() {
    let line =
        |length: usize, first: &str| format!("{first}{}\r\n", "x".repeat(length - 2 - first.len()));
    for (name, text) in [
        ("text, 72 octets a line", line(72, "")),
        ("base64, 78 octets a line", line(78, "")),
        ("lines of 20 octets", line(20, "")),
        ("lines of 998 octets", line(998, "")),
        (
            "every 10th line begins with a dot",
            format!("{}{}", line(72, ".."), line(72, "").repeat(9)),
        ),
        ("every line begins with a dot", line(72, "..")),
    ] {
        let body = text.repeat((32 << 20) / text.len());
        println!(
            "{name:36} in {:6.2} GB/s   out {:6.2} GB/s",
            receive(body.as_bytes()),
            stuff(body.as_bytes())
        );
    }
    println!("a transaction of 4 KiB: {:?}", transaction());
}

/// GB/s through a session, without the read that fills its buffer.
fn receive(body: &[u8]) -> f64 {
    let now = Instant::now();
    let mut settings = Settings::new("mx.example.com");
    (
        settings.max_message_size,
        settings.max_session_size,
        settings.max_messages,
    ) = (0, 0, 0);
    let mut session = Session::new(Arc::new(settings), now);
    session.greet(now);
    let mut spent = Duration::ZERO;
    for _ in 0..4 {
        session.receive(
            now,
            b"EHLO a\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\n",
        );
        answer(&mut session);
        for piece in body.chunks(PIECE) {
            session.receive(now, piece);
            let start = Instant::now();
            answer(&mut session);
            spent += start.elapsed();
        }
        session.receive(now, b".\r\n");
        answer(&mut session);
    }
    4.0 * body.len() as f64 / spent.as_secs_f64() / 1e9
}

fn answer(session: &mut Session) {
    while let Some(event) = session.poll() {
        match event {
            Event::Hello(ask) => drop(ask.accept(())),
            Event::Mail(ask) => drop(ask.accept(())),
            Event::Rcpt(ask) => drop(ask.accept(())),
            Event::Data(ask) => drop(ask.accept(())),
            Event::Body(piece) => {
                black_box(piece);
            }
            Event::Deposit(ask) => drop(ask.accept(Queued {
                id: String::from("0000000000001"),
            })),
            _ => {}
        }
    }
    black_box(session.take_output());
}

/// GB/s of dots doubled.
fn stuff(body: &[u8]) -> f64 {
    let start = Instant::now();
    for _ in 0..4 {
        let mut stuffer = DotStuffer::new();
        for piece in body.chunks(PIECE) {
            for slice in stuffer.encode(piece) {
                black_box(slice);
            }
        }
    }
    4.0 * body.len() as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// One message on an open session, from MAIL to 250.
fn transaction() -> Duration {
    const ROUNDS: u32 = 100_000;
    let now = Instant::now();
    let mut settings = Settings::new("mx.example.com");
    (settings.max_session_size, settings.max_messages) = (0, 0);
    let mut session = Session::new(Arc::new(settings), now);
    session.greet(now);
    session.receive(now, b"EHLO a\r\n");
    answer(&mut session);
    let body = format!("{}.\r\n", format!("{}\r\n", "x".repeat(70)).repeat(57));
    let start = Instant::now();
    for _ in 0..ROUNDS {
        session.receive(
            now,
            b"MAIL FROM:<a@b.c> SIZE=4096\r\nRCPT TO:<d@e.f>\r\nDATA\r\n",
        );
        answer(&mut session);
        session.receive(now, body.as_bytes());
        answer(&mut session);
    }
    start.elapsed() / ROUNDS
}
