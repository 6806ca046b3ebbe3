//! DATA dots and BDAT chunks to body pieces, and body pieces to DATA dots.
//!
//! ```text
//!            CRLF                '.'              CR             LF
//!   Middle ───────→ Start ─────────────→ Dot ─────────→ DotCr ───────→ end
//!     ↑               │ any other         │ any other     │ any other
//!     └───────────────┴───────────────────┴ (dot gone) ───┘ (a bare CR)
//! ```
//!
//! Pieces are slices of what came in, as long as can be: only a dot taken out, or a newline mended, splits them.
//! A text line may be of any length: devices send lines beyond the 998 octets of RFC 5322 §2.1.1, and the size
//! of the message bounds them all the same.
//!
//! Never: an end of data but CRLF.CRLF; a bare CR, a bare LF or a NUL in a piece (unless the body is BINARYMIME).

use std::ops::Range;

use memchr::{memchr2, memchr3};

/// Octets looked at together.
const BLOCK: usize = 256;

/// What a decoder expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// DATA: dots, an end of its own, lines.
    Dots,
    /// BDAT: lines.
    Lines,
    /// BDAT with BINARYMIME: octets.
    Octets,
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// A CR without LF, or a LF without CR.
    BareNewline,
    /// A NUL.
    Nul,
}

/// What a step of the decoder gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A piece of the body: this part of the input.
    Piece(Range<usize>),
    /// A piece of the body: a newline mended.
    Newline(&'static [u8]),
    /// The body is refused. Call [`Decoder::discard`] and go on, to find its end.
    Error(BodyError),
    /// The end of data.
    End,
    /// All input is used up.
    More,
}

/// Takes a body apart. Its whole memory is the place it stands at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoder {
    form: Form,
    place: Place,
    mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the beginning, or behind a CRLF.
    Start,
    Middle,
    /// Behind a CR that went out already.
    Cr,
    /// Behind a dot at the start of a line, which was held back.
    Dot,
    /// Behind `.CR` at the start of a line, both held back.
    DotCr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Refuse,
    Convert,
    /// Only the end matters.
    Discard,
}

impl Decoder {
    /// For a body from its beginning; `convert` mends bare newlines instead of refusing them.
    pub fn new(form: Form, convert: bool) -> Decoder {
        Decoder {
            form,
            place: Place::Start,
            mode: if convert { Mode::Convert } else { Mode::Refuse },
        }
    }

    /// From here on nothing is wrong with the body any more, and pieces mean nothing: it is read only for its end.
    pub fn discard(&mut self) {
        self.mode = Mode::Discard;
    }

    /// Takes the next step on `input`: how many octets of it are used up, and what they are.
    /// Call again with the rest until [`Decoded::More`] or [`Decoded::End`].
    pub fn step(&mut self, input: &[u8]) -> (usize, Decoded) {
        if self.form == Form::Octets {
            return (
                input.len(),
                if input.is_empty() {
                    Decoded::More
                } else {
                    Decoded::Piece(0..input.len())
                },
            );
        }
        let mut at = 0;
        loop {
            let Some(&next) = input.get(at) else {
                return (at, Decoded::More);
            };
            match (self.place, next) {
                (Place::Start, b'.') if self.form == Form::Dots => {
                    self.place = Place::Dot;
                    at += 1;
                }
                (Place::Dot, b'\r') => {
                    self.place = Place::DotCr;
                    at += 1;
                }
                // RFC 5321 §4.5.2, and nothing else ends the data.
                (Place::DotCr, b'\n') => return (at + 1, Decoded::End),
                (Place::DotCr, _) => {
                    self.place = Place::Middle;
                    if let Some(decoded) = self.bare(b"\r\n") {
                        return (at, decoded);
                    }
                }
                (Place::Cr, b'\n') => return self.run(input, at, at + 1, Place::Start),
                (Place::Cr, _) => {
                    self.place = Place::Middle;
                    if let Some(decoded) = self.bare(b"\n") {
                        return (at, decoded);
                    }
                }
                (Place::Start | Place::Middle | Place::Dot, b'\n') => {
                    self.place = Place::Middle;
                    at += 1;
                    if let Some(decoded) = self.bare(b"\r\n") {
                        return (at, decoded);
                    }
                }
                (Place::Start | Place::Middle | Place::Dot, 0) if self.mode != Mode::Discard => {
                    return (at, Decoded::Error(BodyError::Nul));
                }
                // A dot before other octets of its line is gone by now.
                (Place::Start | Place::Middle | Place::Dot, _) => {
                    return self.run(input, at, at, Place::Middle);
                }
            }
        }
    }

    /// A BDAT message is complete: what a CR at its very end comes to. Asked again, nothing.
    pub fn finish(&mut self) -> Option<Decoded> {
        let ends_bare = self.place == Place::Cr;
        self.place = Place::Start;
        if ends_bare { self.bare(b"\n") } else { None }
    }

    fn bare(&self, mended: &'static [u8]) -> Option<Decoded> {
        match self.mode {
            Mode::Refuse => Some(Decoded::Error(BodyError::BareNewline)),
            Mode::Convert => Some(Decoded::Newline(mended)),
            Mode::Discard => None,
        }
    }

    /// The longest piece from `start`, of which all before `at` is known to be good.
    fn run(&mut self, input: &[u8], start: usize, mut at: usize, place: Place) -> (usize, Decoded) {
        self.place = place;
        let dots = self.form == Form::Dots;
        loop {
            if self.place == Place::Start {
                match input.get(at) {
                    Some(b'.') if dots => break,
                    Some(_) => self.place = Place::Middle,
                    None => break,
                }
            }
            at = skip_plain(input, at);
            let rest = &input[at..];
            let Some(found) = memchr3(b'\r', b'\n', 0, rest) else {
                at = input.len();
                break;
            };
            at += found;
            match (rest[found], rest.get(found + 1)) {
                (b'\r', Some(b'\n')) => {
                    at += 2;
                    self.place = Place::Start;
                }
                // Whether it is bare, the next octet tells.
                (b'\r', None) => {
                    at += 1;
                    self.place = Place::Cr;
                    break;
                }
                _ if self.mode == Mode::Discard => at += 1,
                (b'\r', Some(_)) => {
                    at += 1;
                    self.place = Place::Cr;
                    break;
                }
                // A bare LF or a NUL begins the next step. This one did not begin with it: `step` saw to that.
                _ => break,
            }
        }
        (at, Decoded::Piece(start..at))
    }
}

/// From `at` in the middle of a line, as far as nothing needs a closer look, block by block.
fn skip_plain(input: &[u8], mut at: usize) -> usize {
    let start = at;
    while let Some(block) = input[at..].first_chunk() {
        if !is_plain(block) {
            break;
        }
        at += BLOCK;
    }
    // A CRLF that straddles the end is left for the closer look.
    if at > start && input[at - 1] == b'\r' {
        at - 1
    } else {
        at
    }
}

/// Whether a block that begins in the middle of a line has nothing but CRLFs, and lines that do not begin with a dot.
/// The octet behind it is looked at too. Written so that it compiles to vector instructions: no branch, no index.
fn is_plain(block: &[u8; BLOCK + 1]) -> bool {
    let mut odd = u8::from(block[0] == b'\n');
    for (&this, &next) in block.iter().zip(&block[1..]) {
        odd |= u8::from(this == 0);
        odd |= u8::from(this == b'\r') ^ u8::from(next == b'\n');
        odd |= u8::from(this == b'\n') & u8::from(next == b'.');
    }
    odd == 0
}

/// Doubles dots for DATA, piece by piece, without a copy (RFC 5321 §4.5.2).
///
/// A bare CR or LF becomes CRLF on the way: what the next host takes for the end of the message is ours to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DotStuffer {
    place: Place,
}

/// The slices that one piece becomes.
#[derive(Debug)]
pub struct Stuffed<'s, 'p> {
    stuffer: &'s mut DotStuffer,
    rest: &'p [u8],
}

impl Default for DotStuffer {
    fn default() -> DotStuffer {
        DotStuffer::new()
    }
}

impl DotStuffer {
    /// For a body from its beginning.
    pub fn new() -> DotStuffer {
        DotStuffer {
            place: Place::Start,
        }
    }

    /// The slices to write for `piece`, in order. Take them all before the next piece.
    pub fn encode<'s, 'p>(&'s mut self, piece: &'p [u8]) -> Stuffed<'s, 'p> {
        Stuffed {
            stuffer: self,
            rest: piece,
        }
    }

    /// The same, copied to `out`.
    pub fn encode_into(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.encode(piece)
            .for_each(|slice| out.extend_from_slice(slice));
    }

    /// What ends the message: CRLF if it did not end in one, then the lone dot.
    pub fn finish(self) -> &'static [u8] {
        match self.place {
            Place::Start => b".\r\n",
            Place::Cr => b"\n.\r\n",
            _ => b"\r\n.\r\n",
        }
    }
}

impl<'p> Iterator for Stuffed<'_, 'p> {
    type Item = &'p [u8];

    fn next(&mut self) -> Option<&'p [u8]> {
        let first = *self.rest.first()?;
        match (self.stuffer.place, first) {
            (Place::Start, b'.') => {
                self.stuffer.place = Place::Middle;
                Some(b".")
            }
            (Place::Cr, b'\n') => Some(self.run(1, Place::Start)),
            (Place::Cr, _) => {
                self.stuffer.place = Place::Start;
                Some(b"\n")
            }
            (_, b'\n') => {
                self.rest = &self.rest[1..];
                self.stuffer.place = Place::Start;
                Some(b"\r\n")
            }
            _ => Some(self.run(0, Place::Middle)),
        }
    }
}

impl<'p> Stuffed<'_, 'p> {
    /// The longest slice that goes out as it is, of which all before `at` is known to be good.
    fn run(&mut self, mut at: usize, mut place: Place) -> &'p [u8] {
        let rest = self.rest;
        while let Some(&next) = rest.get(at) {
            if place == Place::Start && next == b'.' {
                // This slice ends with the dot and the next one begins with it: doubled, and nothing copied.
                return self.cut(at + 1, at, Place::Middle);
            }
            at = skip_plain(rest, at);
            match memchr2(b'\r', b'\n', &rest[at..]).map(|found| at + found) {
                None => return self.cut(rest.len(), rest.len(), Place::Middle),
                Some(cr) if rest[cr] == b'\r' && rest.get(cr + 1) == Some(&b'\n') => {
                    at = cr + 2;
                    place = Place::Start;
                }
                Some(cr) if rest[cr] == b'\r' => return self.cut(cr + 1, cr + 1, Place::Cr),
                Some(lf) => return self.cut(lf, lf, Place::Middle),
            }
        }
        self.cut(at, at, place)
    }

    fn cut(&mut self, end: usize, next: usize, place: Place) -> &'p [u8] {
        let (slice, rest) = (&self.rest[..end], &self.rest[next..]);
        self.rest = rest;
        self.stuffer.place = place;
        slice
    }
}

#[cfg(test)]
mod tests;
