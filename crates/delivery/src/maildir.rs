//! Mailboxes on this host, in the Maildir form: written in `tmp`, synced, renamed into `new`, the folder synced.
//!
//! ```text
//! /var/mail / {domain} / {local}          the part before the first placeholder must exist: a file system that is
//! └ base ─┘   └ made with 0700 ┘          not mounted is a reason to wait, not to make folders on another
//! ```
//!
//! The file's name is made of the message's queue id, so that a message that goes twice (after a crash) is recognised
//! as long as it lies in `new`. Line ends become LF, as everything that reads Maildir expects, except in BINARYMIME.
//!
//! Everything blocks: call it on a thread that may. Several letters at once share their folder syncs.
//!
//! Never: a step out of the template. Folders below the base are opened one by one without following links.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memchr::memchr_iter;
use postern_smtp::EnhancedCode;
use postern_spool::{Body, BodyKind};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::outcome::{Answer, Handed, Outcome};

/// Longer names are refused: file systems end at 255 bytes.
const NAME_LIMIT: usize = 200;
/// A large body is copied in pieces of this size.
const PIECE: usize = 64 * 1024;

/// Where mailboxes lie: a path with `{local}` and `{domain}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    base: PathBuf,
    below: Vec<Box<str>>,
}

/// Not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadTemplate(pub &'static str);

impl Template {
    /// Reads a template such as `/var/mail/{domain}/{local}`.
    pub fn parse(text: &str) -> Result<Template, BadTemplate> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| matches!(*part, "..")) {
            return Err(BadTemplate("`..` has no place in a mailbox path"));
        }
        let end = parts
            .iter()
            .rposition(|part| !part.is_empty())
            .ok_or(BadTemplate("the path is empty"))?;
        let first = parts
            .iter()
            .position(|part| part.contains('{'))
            .unwrap_or(end);
        let below = parts[first..=end]
            .iter()
            .filter(|part| !matches!(**part, "" | "."));
        if below.clone().any(|part| !placeholders_known(part)) {
            return Err(BadTemplate("the placeholders are {local} and {domain}"));
        }
        let base = match parts[..first].join("/") {
            base if !base.is_empty() => base,
            _ if text.starts_with('/') => "/".to_owned(),
            _ => ".".to_owned(),
        };
        Ok(Template {
            text: text.into(),
            base: base.into(),
            below: below.map(|part| Box::from(*part)).collect(),
        })
    }

    /// The part before the first placeholder, which must exist.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The folders of an address below the base; `Err` if its parts are not fit to name folders.
    fn folders(&self, address: &str) -> Result<Vec<String>, Answer> {
        let unfit = || {
            Answer::ours(
                &host(),
                EnhancedCode(5, 1, 3),
                "the address cannot name a mailbox folder",
            )
        };
        let (local, domain) = address.rsplit_once('@').ok_or_else(unfit)?;
        let local = folder_name(&unquoted(local)).ok_or_else(unfit)?;
        let domain = folder_name(domain.trim_end_matches('.')).ok_or_else(unfit)?;
        Ok(self
            .below
            .iter()
            .map(|part| filled(part, &local, &domain))
            .collect())
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Fills both placeholders at once, so that a mailbox called `{domain}` stays what it is.
fn filled(part: &str, local: &str, domain: &str) -> String {
    let pieces = part
        .split("{local}")
        .map(|piece| piece.replace("{domain}", domain));
    pieces.collect::<Vec<_>>().join(local)
}

fn placeholders_known(part: &str) -> bool {
    let rest = part.replace("{local}", "").replace("{domain}", "");
    !rest.contains(['{', '}'])
}

/// `"john smith"` → `john smith`, quoted pairs resolved; anything else as it is.
fn unquoted(local: &str) -> String {
    match local
        .strip_prefix('"')
        .and_then(|inner| inner.strip_suffix('"'))
    {
        Some(inner) => {
            let mut escaped = false;
            inner
                .chars()
                .filter(|c| {
                    escaped = *c == '\\' && !escaped;
                    !escaped
                })
                .collect()
        }
        None => local.to_owned(),
    }
}

/// The name in lower case, if it can be a folder's: not empty, no slash, no control character, no dot in front.
fn folder_name(text: &str) -> Option<String> {
    let name = text.to_lowercase();
    let bad = name.is_empty() || name.len() > NAME_LIMIT || name.starts_with('.');
    (!bad && !name.chars().any(|c| c == '/' || c.is_control())).then_some(name)
}

/// One recipient's copy of a message.
#[derive(Debug)]
pub struct Letter<'a> {
    /// Unique for ever, see [`unique_name`].
    pub name: String,
    /// The reverse path; empty for the null sender.
    pub sender: &'a str,
    /// The recipient.
    pub address: &'a str,
    /// What is in the body.
    pub kind: BodyKind,
    /// The message; several letters may share it.
    pub body: &'a RefCell<Body>,
}

/// A name for a message's file (the Maildir convention: time, something unique, host). `tag` names the server.
pub fn unique_name(received_ms: u64, id: &str, recipient: usize, tag: &str) -> String {
    let host: String = tag
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    format!(
        "{}.M{}Q{id}R{recipient}.{host}",
        received_ms / 1000,
        received_ms % 1000 * 1000
    )
}

/// Delivers letters; one outcome for each, in the same order. Delivered means synced.
pub fn deliver(template: &Template, letters: &[Letter<'_>]) -> Vec<Outcome> {
    let mut boxes = Mailboxes {
        template,
        open: HashMap::new(),
        list: Vec::new(),
    };
    let written: Vec<_> = letters.iter().map(|letter| boxes.write(letter)).collect();
    let moved: Vec<_> = written
        .into_iter()
        .zip(letters.iter())
        .map(|(draft, letter)| boxes.place(draft?, &letter.name))
        .collect();
    let synced: Vec<_> = boxes
        .list
        .iter()
        .map(|mailbox| mailbox.sync_new())
        .collect();
    moved
        .into_iter()
        .map(|place| finish(place, &synced))
        .collect()
}

fn finish(place: Result<usize, Answer>, synced: &[Result<(), Answer>]) -> Outcome {
    let result = place.and_then(|mailbox| synced.get(mailbox).cloned().unwrap_or(Ok(())));
    match result {
        Ok(()) => Outcome::Delivered(
            Answer::ours(&host(), EnhancedCode(2, 0, 0), "delivered to the mailbox"),
            Handed::Mailbox,
        ),
        Err(answer) => answer.into_outcome(Handed::Mailbox),
    }
}

/// The mailboxes of one call, each opened once.
struct Mailboxes<'t> {
    template: &'t Template,
    open: HashMap<Vec<String>, usize>,
    list: Vec<Mailbox>,
}

struct Mailbox {
    path: PathBuf,
    tmp: OwnedFd,
    new: OwnedFd,
}

/// A file in `tmp`, whole but perhaps not on disk.
struct Draft {
    mailbox: usize,
    file: File,
    size: u64,
}

impl Mailboxes<'_> {
    fn write(&mut self, letter: &Letter<'_>) -> Result<Draft, Answer> {
        let mailbox = self.find(letter.address)?;
        let at = &self.list[mailbox];
        let failed = |error| trouble("write", &at.path, error);
        let mut file =
            File::from(create(&at.tmp, &letter.name).map_err(|error| failed(error.into()))?);
        let size = copy(letter, &mut file).map_err(|error| {
            let _ = rustix::fs::unlinkat(&at.tmp, &letter.name, AtFlags::empty());
            failed(error)
        })?;
        Ok(Draft {
            mailbox,
            file,
            size,
        })
    }

    /// Syncs the file and gives it its place in `new`.
    fn place(&self, draft: Draft, name: &str) -> Result<usize, Answer> {
        let at = &self.list[draft.mailbox];
        let placed = draft
            .file
            .sync_data()
            .and_then(|()| Ok(rename_new(at, name, draft.size)?));
        placed.map(|()| draft.mailbox).map_err(|error| {
            let _ = rustix::fs::unlinkat(&at.tmp, name, AtFlags::empty());
            trouble("store", &at.path, error)
        })
    }

    fn find(&mut self, address: &str) -> Result<usize, Answer> {
        let folders = self.template.folders(address)?;
        if let Some(place) = self.open.get(&folders) {
            return Ok(*place);
        }
        let path = folders
            .iter()
            .fold(self.template.base.clone(), |path, folder| path.join(folder));
        let mailbox = open_mailbox(&self.template.base, &folders, &path)
            .map_err(|error| trouble("open", &path, error))?;
        self.list.push(mailbox);
        self.open.insert(folders, self.list.len() - 1);
        Ok(self.list.len() - 1)
    }
}

impl Mailbox {
    fn sync_new(&self) -> Result<(), Answer> {
        rustix::fs::fsync(&self.new).map_err(|error| trouble("sync", &self.path, error.into()))
    }
}

fn open_mailbox(base: &Path, folders: &[String], path: &Path) -> io::Result<Mailbox> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::openat(CWD, base, flags, Mode::empty())?;
    for folder in folders {
        at = enter(&at, folder)?;
    }
    enter(&at, "cur")?;
    Ok(Mailbox {
        path: path.to_owned(),
        tmp: enter(&at, "tmp")?,
        new: enter(&at, "new")?,
    })
}

/// Opens a folder in a folder, and makes it where it is missing; never through a link.
fn enter(at: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(at, name, flags, Mode::empty()) {
        Err(Errno::NOENT) => {}
        other => return Ok(other?),
    }
    match rustix::fs::mkdirat(at, name, Mode::RWXU) {
        Ok(()) => rustix::fs::fsync(at)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

/// A new file in `tmp`. One of that name is left from an attempt that was cut off: nobody else uses the name.
fn create(tmp: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::openat(tmp, name, flags, mode) {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(tmp, name, AtFlags::empty())?;
            rustix::fs::openat(tmp, name, flags, mode)
        }
        other => other,
    }
}

/// Renames from `tmp` into `new`. A file there of the same name and size is this very letter, delivered before a crash.
fn rename_new(at: &Mailbox, name: &str, size: u64) -> Result<(), Errno> {
    let there = rustix::fs::statat(&at.new, name, AtFlags::SYMLINK_NOFOLLOW);
    match there {
        Err(Errno::NOENT) => rustix::fs::renameat(&at.tmp, name, &at.new, name),
        Ok(there) if u64::try_from(there.st_size) == Ok(size) => {
            rustix::fs::unlinkat(&at.tmp, name, AtFlags::empty())
        }
        Ok(_) => Err(Errno::EXIST),
        Err(error) => Err(error),
    }
}

fn copy(letter: &Letter<'_>, file: &mut File) -> io::Result<u64> {
    let mut out = LineEnds::new(letter.kind);
    out.buffer.extend_from_slice(
        format!(
            "Return-Path: <{}>\nDelivered-To: {}\n",
            letter.sender, letter.address
        )
        .as_bytes(),
    );
    match &mut *letter.body.borrow_mut() {
        Body::Inline(bytes) => out.push(bytes),
        Body::File(body) => {
            body.rewind();
            let mut piece = vec![0; PIECE];
            loop {
                match body.read(&mut piece)? {
                    0 => break,
                    count => out.push(&piece[..count]),
                }
                out.write_to(file)?;
            }
        }
    }
    out.end();
    out.write_to(file)?;
    Ok(out.written)
}

/// CRLF → LF, over pieces; a CR at the end of one waits for the next.
struct LineEnds {
    keep: bool,
    held: bool,
    buffer: Vec<u8>,
    written: u64,
}

impl LineEnds {
    fn new(kind: BodyKind) -> LineEnds {
        LineEnds {
            keep: kind == BodyKind::Binary,
            held: false,
            buffer: Vec::new(),
            written: 0,
        }
    }

    fn push(&mut self, piece: &[u8]) {
        if self.keep {
            return self.buffer.extend_from_slice(piece);
        }
        if std::mem::take(&mut self.held) && piece.first() != Some(&b'\n') {
            self.buffer.push(b'\r');
        }
        self.buffer.reserve(piece.len());
        let mut from = 0;
        for at in memchr_iter(b'\r', piece) {
            let (drop, held) = (piece.get(at + 1) == Some(&b'\n'), at + 1 == piece.len());
            if drop || held {
                self.buffer.extend_from_slice(&piece[from..at]);
                from = at + 1;
            }
            self.held = held;
        }
        self.buffer.extend_from_slice(&piece[from..]);
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.held) {
            self.buffer.push(b'\r');
        }
    }

    fn write_to(&mut self, file: &mut File) -> io::Result<()> {
        file.write_all(&self.buffer)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

fn host() -> Arc<str> {
    Arc::from("maildir")
}

/// Whatever goes wrong with a mailbox can be mended by an administrator: never a reason to return the message at once.
fn trouble(what: &str, path: &Path, error: io::Error) -> Answer {
    let (code, why) = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => (EnhancedCode(4, 3, 1), "the disk is full"),
        Some(Errno::DQUOT) => (EnhancedCode(4, 2, 2), "the mailbox is over its quota"),
        Some(Errno::LOOP | Errno::NOTDIR) => (
            EnhancedCode(4, 3, 5),
            "it is not a folder, or is a link to one",
        ),
        Some(Errno::NOENT) => (
            EnhancedCode(4, 3, 5),
            "the folder the mailboxes lie in does not exist",
        ),
        Some(Errno::ROFS) => (EnhancedCode(4, 3, 0), "the file system is read-only"),
        Some(Errno::ACCESS | Errno::PERM) => {
            (EnhancedCode(4, 3, 0), "this server may not write there")
        }
        _ => (EnhancedCode(4, 3, 0), ""),
    };
    let why = if why.is_empty() {
        error.to_string()
    } else {
        why.to_owned()
    };
    Answer::ours(
        &host(),
        code,
        format!("cannot {what} {}: {why}", path.display()),
    )
}
