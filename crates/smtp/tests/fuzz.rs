//! The fuzz targets of `tests/fuzz/smtp.rs` on a stable compiler: seeds, mutated in ways that are the same every time.
//!
//! `POSTERN_FUZZ_ROUNDS` sets how many inputs each target gets.

#[path = "../../../tests/fuzz/smtp.rs"]
mod smtp;

use std::panic;

/// What each target begins with.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts: &[&[u8]] = match target {
        "command" => &[
            b"FROM:<a@b.c> SIZE=5 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=x AUTH=<>",
            b"TO:<@x.y,@[192.0.2.1]:\"a \\\" b\"@[IPv6:2001:db8::1]> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb",
            b"AUTH PLAIN AGEAYg==",
            b"BDAT 12 LAST",
            b"EHLO [192.0.2.1]",
        ],
        "address" => &[b"a.b@c.d", b"\"a b\"@[IPv6:::1]", "m\u{fc}@b\u{fc}.example".as_bytes(), b"a@[192.0.2.1]", b"c.example"],
        "params" => &[b" SIZE=1 BODY=7BIT RET=FULL ENVID=a+2Bb AUTH=a+40b", b" NOTIFY=NEVER ORCPT=utf-8;\xc3\xbc", b"a+2Bb+3D"],
        "body" => &[b"\0a\r\n.b\r\n..\r\n.\r\nMAIL", b"\x0ba\n.\nb\rc\r\n.\r\n", b"\x31a\r\nb\0\r\n", b"\x78\r\n.\r\n"],
        "session" => &[
            b"\x01\xff\0EHLO a\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\nhi\r\n.\r\nMAIL FROM:<>\r\nQUIT\r\n",
            b"\x15\x07\x03EHLO a\r\nMAIL FROM:<a@b.c> BODY=BINARYMIME\r\nRCPT TO:<d@e.f>\r\nBDAT 4\r\na\nb\0BDAT 3 LAST\r\nabcRSET\r\n",
            b"\x02\x20\x05EHLO a\r\nSTARTTLS\r\nEHLO b\r\nAUTH LOGIN\r\nYQ==\r\nYg==\r\nHELP\r\nNOOP\r\nVRFY x\r\n",
            b"\x14\x00\x09HELO a\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<d@e.f>\r\nDATA\r\na\nb\rc\r\n..\r\n.\r\n",
        ],
        _ => &[
            b"\0\xff220 a\r\n250-a\r\n250-PIPELINING\r\n250 SIZE\r\n250 s\r\n250 a\r\n550 b\r\n250 c\r\n354 d\r\n250 k\r\n250 s\r\n550 a\r\n550 b\r\n550 c\r\n554 d\r\n",
            b"\x01\x05220 a\r\n250-a\r\n250 PIPELINING\r\n250 s\r\n250 a\r\n550 b\r\n250 c\r\n354 d\r\n250 k\r\n452 k\r\n250 s\r\n421 bye\r\n",
            b"\x0e\x10220 a\r\n250-a\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n220 go\r\n250-a\r\n250-CHUNKING\r\n250 PIPELINING\r\n334 YQ==\r\n235 2.7.0 ok\r\n250 s\r\n250 a\r\n250 b\r\n250 c\r\n250 k\r\n",
            b"\0\x02220-a\r\n220 b\r\n500 what\r\n250 a\r\n250 s\r\n250 a\r\n250 b\r\n250 c\r\n354 d\r\n250 k\r\n221 bye\r\n",
        ],
    };
    texts.iter().map(|text| text.to_vec()).collect()
}

const WORDS: [&[u8]; 28] = [
    b"\r\n",
    b"\r",
    b"\n",
    b".",
    b"\r\n.\r\n",
    b"\0",
    b"\xff",
    b"<",
    b">",
    b"@",
    b"\"",
    b"\\",
    b"[",
    b"]",
    b" ",
    b"=",
    b"+",
    b";",
    b"BDAT 3\r\n",
    b"BDAT 0 LAST\r\n",
    b"DATA\r\n",
    b"MAIL FROM:<a@b.c>\r\n",
    b"RCPT TO:<a@b.c>\r\n",
    b"250 ok\r\n",
    b"354 go\r\n",
    b"250-",
    b"421 x\r\n",
    b"99999999999999999999",
];

/// Xorshift; the same numbers every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn mutate(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        let to = at + dice.below(bytes.len() - at + 1);
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 => drop(bytes.splice(at..at, WORDS[dice.below(WORDS.len())].iter().copied())),
            2 => drop(bytes.drain(at..to)),
            3 => bytes.truncate(at.max(3)),
            4 => {
                let piece = bytes[at..to].to_vec();
                drop(bytes.splice(at..at, piece));
            }
            5 => {
                let other = &seeds[dice.below(seeds.len())];
                let from = dice.below(other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => drop(bytes.splice(at..to, WORDS[dice.below(WORDS.len())].repeat(dice.below(4)))),
        }
    }
    bytes
}

#[test]
fn every_target_survives() {
    let rounds = std::env::var("POSTERN_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000);
    for (name, target) in smtp::TARGETS {
        let seeds = seeds(name);
        seeds.iter().for_each(|seed| target(seed));
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for round in 0..rounds {
            let input = mutate(&seeds, &mut dice);
            if panic::catch_unwind(|| target(&input)).is_err() {
                panic!(
                    "{name}, round {round}: {:?}",
                    String::from_utf8_lossy(&input)
                );
            }
        }
    }
}
