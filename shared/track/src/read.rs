//! The log read back: rotated files first, oldest event first, one line at a time.
//!
//! A line that is no record (torn by a crash) is passed over and counted.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::record::read_time;
use crate::write::numbered;

/// One line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Unix milliseconds.
    pub time: u64,
    /// The server.
    pub server: String,
    /// The event's name, as in [`crate::Event`] in lower case.
    pub event: String,
    /// The queue id, where the event has one.
    pub id: Option<String>,
    /// All else, by name.
    pub fields: Map<String, Value>,
}

/// Which records are wanted: all that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The event's name.
    pub event: Option<String>,
    /// The queue id.
    pub id: Option<String>,
    /// An address that is sender or recipient, compared without case; `@example.com` stands for a domain.
    pub address: Option<String>,
    /// Not before this, unix milliseconds.
    pub since: Option<u64>,
    /// Before this, unix milliseconds.
    pub until: Option<u64>,
}

impl Filter {
    /// Whether a record is wanted.
    pub fn wants(&self, record: &Record) -> bool {
        self.event
            .as_ref()
            .is_none_or(|event| *event == record.event)
            && self
                .id
                .as_ref()
                .is_none_or(|id| Some(id) == record.id.as_ref())
            && self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
            && self
                .address
                .as_ref()
                .is_none_or(|address| record.names(address))
    }
}

impl Record {
    /// Whether `address` is its sender or one of its recipients.
    fn names(&self, address: &str) -> bool {
        let is_it = |value: &Value| {
            let Some(text) = value.as_str() else {
                return false;
            };
            match address.strip_prefix('@') {
                Some(domain) => text
                    .rsplit_once('@')
                    .is_some_and(|(_, at)| at.eq_ignore_ascii_case(domain)),
                None => text.eq_ignore_ascii_case(address),
            }
        };
        ["sender", "recipient"]
            .iter()
            .any(|key| self.fields.get(*key).is_some_and(is_it))
            || self
                .fields
                .get("recipients")
                .and_then(Value::as_array)
                .is_some_and(|all| all.iter().any(is_it))
    }

    fn parse(line: &[u8]) -> Option<Record> {
        let mut fields: Map<String, Value> = serde_json::from_slice(line).ok()?;
        let mut text = |key: &str| match fields.remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (time, server, event, id) =
            (text("time")?, text("server")?, text("event")?, text("id"));
        Some(Record {
            time: read_time(&time)?,
            server,
            event,
            id,
            fields,
        })
    }
}

/// Reads the log `path` with its rotated files. Files that cannot be opened are as if they were not there.
pub struct Reader {
    files: VecDeque<PathBuf>,
    current: Option<BufReader<File>>,
    filter: Filter,
    line: Vec<u8>,
    unreadable: u64,
}

impl Reader {
    /// A line longer than this is no record of ours.
    const LONGEST: u64 = 1 << 20;

    /// Begins with the oldest rotated file there is.
    pub fn open(path: &Path, filter: Filter) -> Reader {
        let rotated = (1..)
            .map(|number| numbered(path, number))
            .take_while(|file| file.exists());
        let mut files: VecDeque<PathBuf> =
            std::iter::once(path.to_owned()).chain(rotated).collect();
        files.make_contiguous().reverse();
        Reader {
            files,
            current: None,
            filter,
            line: Vec::new(),
            unreadable: 0,
        }
    }

    /// How many lines were no record so far.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// The next line into `self.line`; false at the end of all files.
    fn advance(&mut self) -> bool {
        loop {
            let Some(file) = self.current.as_mut() else {
                let Some(path) = self.files.pop_front() else {
                    return false;
                };
                self.current = File::open(path).ok().map(BufReader::new);
                continue;
            };
            self.line.clear();
            match std::io::Read::take(&mut *file, Self::LONGEST).read_until(b'\n', &mut self.line) {
                Ok(count) if count > 0 => return true,
                _ => self.current = None,
            }
        }
    }
}

impl Iterator for Reader {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        while self.advance() {
            match Record::parse(&self.line) {
                Some(record) if self.filter.wants(&record) => return Some(record),
                Some(_) => {}
                None => self.unreadable += u64::from(self.line != b"\n"),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Event, write_line};

    fn log(folder: &Path) -> PathBuf {
        let path = folder.join("track.jsonl");
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let accepted = Event::Accepted {
            id: "A",
            sender: "x@example.net",
            recipients: &["b@example.com", "c@example.com"],
            size: 1,
            client: None,
            helo: None,
            login: None,
            protocol: "ESMTP",
        };
        write_line(&mut old, 1000, "mx1", &accepted);
        write_line(
            &mut new,
            2000,
            "mx1",
            &Event::Deferred {
                id: "A",
                recipient: "b@example.com",
                host: "",
                reply: "4",
                next_try: 9,
            },
        );
        new.extend_from_slice(b"{\"time\":\"torn\n\nnull\n\xff\n");
        write_line(
            &mut new,
            3000,
            "mx1",
            &Event::Failed {
                id: "A",
                recipient: "c@example.com",
                host: "h",
                reply: "5",
            },
        );
        new.extend_from_slice(b"{\"time\":\"1970-01-01T00:00:04.000Z\",\"server\":\"mx1\",\"ev");
        std::fs::write(numbered(&path, 1), old).unwrap();
        std::fs::write(&path, new).unwrap();
        path
    }

    #[test]
    fn all_files_are_read_in_order_and_torn_lines_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut reader = Reader::open(&log(folder.path()), Filter::default());
        let events: Vec<(u64, String)> = reader
            .by_ref()
            .map(|record| (record.time, record.event))
            .collect();
        let expected = [(1000, "accepted"), (2000, "deferred"), (3000, "failed")];
        assert_eq!(
            events,
            expected.map(|(time, event)| (time, event.to_owned()))
        );
        assert_eq!(reader.unreadable(), 4);
    }

    #[test]
    fn filters_narrow() {
        let folder = tempfile::tempdir().unwrap();
        let path = log(folder.path());
        let count = |filter: Filter| Reader::open(&path, filter).count();
        let address = |text: &str| Filter {
            address: Some(text.to_owned()),
            ..Filter::default()
        };
        assert_eq!(count(address("B@EXAMPLE.com")), 2);
        assert_eq!(count(address("@example.com")), 3);
        assert_eq!(count(address("nobody@example.com")), 0);
        assert_eq!(
            count(Filter {
                since: Some(2000),
                until: Some(3000),
                ..Filter::default()
            }),
            1
        );
        assert_eq!(
            count(Filter {
                id: Some("A".into()),
                event: Some("failed".into()),
                ..Filter::default()
            }),
            1
        );
        assert_eq!(
            Reader::open(&folder.path().join("none"), Filter::default()).count(),
            0
        );
    }
}
