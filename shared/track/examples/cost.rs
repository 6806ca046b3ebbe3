//! What an event costs the session that notes it, in processor time: `cargo run --release -p postern-track --example cost`.

use postern_track::{Event, Journal, JournalSettings};

const EVENTS: u64 = 500_000;

/// Nanoseconds this thread has run (proc(5), schedstat): what others do meanwhile does not count.
fn processor_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

fn main() -> Result<(), postern_track::TrackError> {
    let path = std::env::temp_dir().join(format!("postern-track-cost.{}", std::process::id()));
    let journal = Journal::open(
        &path,
        "mx1",
        JournalSettings {
            buffer: 256 << 20,
            ..JournalSettings::default()
        },
    )?;
    let event = Event::Accepted {
        id: "0A1B2C3D4E5F6",
        sender: "alice@example.com",
        recipients: &["bob@example.net", "carol@example.net"],
        size: 4096,
        client: Some([192, 0, 2, 7].into()),
        helo: Some("client.example.com"),
        login: Some("alice"),
        protocol: "ESMTPSA",
    };
    let started = processor_time();
    for time in 0..EVENTS {
        journal.note(1_793_698_867_512 + time, &event);
    }
    let noted = processor_time();
    let mut line = Vec::new();
    for time in 0..EVENTS {
        line.clear();
        postern_track::write_line(&mut line, 1_793_698_867_512 + time, "mx1", &event);
    }
    let written = processor_time();
    println!(
        "{} ns an event, of which {} for its line of {} bytes",
        (noted - started) / EVENTS,
        (written - noted) / EVENTS,
        line.len()
    );
    journal.flush();
    println!("{} dropped", journal.dropped());
    drop(journal);
    // Only a measurement's leftovers.
    let _ = std::fs::remove_file(&path);
    Ok(())
}
