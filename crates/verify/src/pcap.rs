//! Recorded sessions as a capture file that Wireshark, tshark and tcpdump open: classic pcap, microseconds, Ethernet.
//!
//! Only the bytes and their times are real. Addresses and ports are those of the connection; Ethernet, IP and TCP headers are
//! made here, as a network without loss would have carried them: handshake, data in segments of 1,448 bytes, an
//! acknowledgement by the other side, FIN.
//!
//! ```text
//! file    a1b2c3d4 2 4 0 0 262144 1(Ethernet)
//! packet  seconds µs length length │ Ethernet 14 │ IPv4 20 or IPv6 40 │ TCP 20 │ data
//! ```
//!
//! Never: a socket that reads other people's packets; no privilege is needed.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::tap::{Recording, Side};

const SEGMENT: usize = 1448;
const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;
const TCP: u8 = 6;

/// Writes all sessions, in the order of their packets' times.
pub fn write(out: &mut dyn Write, sessions: &[Recording]) -> io::Result<()> {
    out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
    for half in [2_u16, 4] {
        out.write_all(&half.to_le_bytes())?;
    }
    for word in [0_u32, 0, 262_144, 1] {
        out.write_all(&word.to_le_bytes())?;
    }
    let mut packets: Vec<Packet> = sessions
        .iter()
        .enumerate()
        .flat_map(|(number, session)| Flow::new(number, session).packets(session))
        .collect();
    packets.sort_by_key(|packet| packet.at);
    packets.iter().try_for_each(|packet| packet.write(out))
}

struct Packet {
    /// Microseconds since 1970.
    at: u64,
    frame: Vec<u8>,
}

impl Packet {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let length = u32::try_from(self.frame.len()).unwrap_or(u32::MAX);
        let seconds = u32::try_from(self.at / 1_000_000).unwrap_or(u32::MAX);
        let micros = (self.at % 1_000_000) as u32;
        for word in [seconds, micros, length, length] {
            out.write_all(&word.to_le_bytes())?;
        }
        out.write_all(&self.frame)
    }
}

/// One connection as it is written: where each side's sequence numbers stand.
struct Flow {
    client: SocketAddr,
    server: SocketAddr,
    next: [u32; 2],
    ident: u16,
}

impl Flow {
    fn new(number: usize, session: &Recording) -> Flow {
        // A start that tells the sessions apart; what it is does not matter.
        let start = (number as u32).wrapping_mul(1_000_000).wrapping_add(1000);
        Flow {
            client: plain(session.local),
            server: plain(session.peer),
            next: [start, start.wrapping_add(500_000)],
            ident: 0,
        }
    }

    fn packets(mut self, session: &Recording) -> Vec<Packet> {
        let mut all = Vec::new();
        let opened = micros(session.opened);
        all.push(self.packet(opened, Side::Client, SYN, &[]));
        all.push(self.packet(opened, Side::Server, SYN | ACK, &[]));
        all.push(self.packet(opened, Side::Client, ACK, &[]));
        for chunk in &session.chunks {
            let at = micros(chunk.at);
            for data in chunk.bytes.chunks(SEGMENT) {
                all.push(self.packet(at, chunk.from, PSH | ACK, data));
            }
            all.push(self.packet(at, other(chunk.from), ACK, &[]));
        }
        if let Some((at, first)) = session.closed {
            let at = micros(at);
            all.push(self.packet(at, first, FIN | ACK, &[]));
            all.push(self.packet(at, other(first), FIN | ACK, &[]));
            all.push(self.packet(at, first, ACK, &[]));
        }
        all
    }

    fn packet(&mut self, at: u64, from: Side, flags: u8, data: &[u8]) -> Packet {
        let (source, target) = match from {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        };
        let (own, others) = (place(from), place(other(from)));
        let acknowledged = if flags & ACK == 0 {
            0
        } else {
            self.next[others]
        };
        let mut segment = Vec::with_capacity(20 + data.len());
        segment.extend_from_slice(&source.port().to_be_bytes());
        segment.extend_from_slice(&target.port().to_be_bytes());
        segment.extend_from_slice(&self.next[own].to_be_bytes());
        segment.extend_from_slice(&acknowledged.to_be_bytes());
        // Header of five words, flags, window, checksum (below), urgent pointer.
        segment.extend_from_slice(&[5 << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(data);
        let taken = data.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        self.next[own] = self.next[own].wrapping_add(taken);
        self.ident = self.ident.wrapping_add(1);
        Packet {
            at,
            frame: frame(source.ip(), target.ip(), from, self.ident, segment),
        }
    }
}

/// Puts a TCP segment into IP and Ethernet, with its checksums.
fn frame(source: IpAddr, target: IpAddr, from: Side, ident: u16, mut segment: Vec<u8>) -> Vec<u8> {
    let length = segment.len() as u16;
    let mut frame = ethernet(from, source.is_ipv4());
    let pseudo = match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            frame.extend(ipv4(source, target, ident, length));
            let mut pseudo = [source.octets(), target.octets()].concat();
            pseudo.extend([0, TCP]);
            pseudo.extend(length.to_be_bytes());
            pseudo
        }
        (source, target) => {
            let (source, target) = (six(source), six(target));
            frame.extend([0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([TCP, 64]);
            frame.extend(source);
            frame.extend(target);
            let mut pseudo = [source, target].concat();
            pseudo.extend(u32::from(length).to_be_bytes());
            pseudo.extend([0, 0, 0, TCP]);
            pseudo
        }
    };
    let sum = checksum(&[&pseudo, &segment]);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    frame.extend(segment);
    frame
}

/// Locally administered addresses: the client's ends with 1, the server's with 2.
fn ethernet(from: Side, four: bool) -> Vec<u8> {
    let (client, server) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let (target, source) = match from {
        Side::Client => (server, client),
        Side::Server => (client, server),
    };
    let kind: [u8; 2] = if four { [0x08, 0x00] } else { [0x86, 0xdd] };
    [&target[..], &source, &kind].concat()
}

fn ipv4(source: Ipv4Addr, target: Ipv4Addr, ident: u16, length: u16) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(length.saturating_add(20).to_be_bytes());
    header.extend(ident.to_be_bytes());
    // Don't fragment; 64 hops; the checksum is filled in below.
    header.extend([0x40, 0, 64, TCP, 0, 0]);
    header.extend(source.octets());
    header.extend(target.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header
}

/// RFC 1071, over parts of which all but the last have even lengths.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(pair[0]) << 8 | u32::from(low);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn six(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
}

/// An IPv4 address that came in IPv6's clothes, without them.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn place(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

fn other(side: Side) -> Side {
    match side {
        Side::Client => Side::Server,
        Side::Server => Side::Client,
    }
}

fn micros(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tap::Chunk;
    use std::time::Duration;

    fn session(local: &str, peer: &str, data: &[(Side, usize)]) -> Recording {
        let opened = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let chunk = |(number, (from, length)): (usize, &(Side, usize))| Chunk {
            at: opened + Duration::from_millis(number as u64),
            from: *from,
            bytes: vec![b'x'; *length],
        };
        Recording {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            opened,
            chunks: data.iter().enumerate().map(chunk).collect(),
            closed: Some((opened + Duration::from_secs(1), Side::Server)),
        }
    }

    /// Frames of a file, with their times.
    fn frames(file: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        let (mut rest, mut all) = (&file[24..], Vec::new());
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
            all.push(rest[16..16 + length].to_vec());
            rest = &rest[16 + length..];
        }
        all
    }

    #[test]
    fn checksums_are_zero_when_summed_again() {
        let sessions = [
            session(
                "192.0.2.1:40000",
                "192.0.2.2:25",
                &[(Side::Server, 31), (Side::Client, 3000)],
            ),
            session(
                "[2001:db8::1]:40001",
                "[2001:db8::2]:25",
                &[(Side::Server, 30)],
            ),
        ];
        let mut file = Vec::new();
        write(&mut file, &sessions).unwrap();
        let frames = frames(&file);
        assert_eq!(frames.len(), 3 + 2 + 4 + 3 + 3 + 2 + 3);
        for frame in frames {
            let (pseudo, segment) = if frame[12] == 8 {
                assert_eq!(checksum(&[&frame[14..34]]), 0);
                let length = (frame.len() - 34) as u16;
                let mut pseudo = frame[26..34].to_vec();
                pseudo.extend([0, TCP]);
                pseudo.extend(length.to_be_bytes());
                (pseudo, &frame[34..])
            } else {
                let length = (frame.len() - 54) as u32;
                let mut pseudo = frame[22..54].to_vec();
                pseudo.extend(length.to_be_bytes());
                pseudo.extend([0, 0, 0, TCP]);
                (pseudo, &frame[54..])
            };
            assert_eq!(checksum(&[&pseudo, segment]), 0);
        }
    }

    #[test]
    fn sequence_numbers_run_on_and_are_acknowledged() {
        let one = session(
            "127.0.0.1:40000",
            "127.0.0.1:25",
            &[(Side::Server, 10), (Side::Client, 2000), (Side::Server, 5)],
        );
        let mut file = Vec::new();
        write(&mut file, &[one]).unwrap();
        let mut next: [Option<u32>; 2] = [None, None];
        for frame in frames(&file) {
            let side = usize::from(frame[11] - 1);
            let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
            let (sequence, acknowledged, flags) = (word(38), word(42), frame[47]);
            if let Some(expected) = next[side] {
                assert_eq!(sequence, expected);
            }
            if flags & ACK != 0 {
                assert_eq!(Some(acknowledged), next[1 - side]);
            }
            let taken = (frame.len() - 54) as u32 + u32::from(flags & (SYN | FIN) != 0);
            next[side] = Some(sequence + taken);
        }
    }
}
