//! A wire that is listened to: a proxy that keeps what crosses it, and a look for what must not be readable there.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use postern_tests::Failure;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A proxy for one session.
pub(crate) struct Wiretap {
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
    session: JoinHandle<std::io::Result<()>>,
}

impl Wiretap {
    /// Before the server at `to`.
    pub(crate) fn before(to: SocketAddr) -> Result<Wiretap, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        let session = std::thread::spawn(move || {
            let (client, _) = listener.accept()?;
            let server = TcpStream::connect(to)?;
            let (from, into) = (client.try_clone()?, server.try_clone()?);
            let ours = Arc::clone(&all);
            let up = std::thread::spawn(move || carry(from, into, &ours));
            let down = carry(server, client, &all);
            let _ = up.join();
            down
        });
        Ok(Wiretap {
            address,
            heard,
            session,
        })
    }

    /// All that crossed the wire, when both have hung up.
    pub(crate) fn heard(self) -> Result<Vec<u8>, Failure> {
        self.session.join().map_err(|_| "the proxy panicked")??;
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(heard.clone())
    }
}

fn carry(mut from: TcpStream, mut into: TcpStream, all: &Mutex<Vec<u8>>) -> std::io::Result<()> {
    let mut piece = [0; 16 * 1024];
    loop {
        // Whoever hangs up hard has hung up.
        let read = from.read(&mut piece).unwrap_or(0);
        if read == 0 {
            let _ = into.shutdown(Shutdown::Write);
            return Ok(());
        }
        let mut kept = all.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&piece[..read]);
        drop(kept);
        into.write_all(&piece[..read])?;
    }
}

/// Whether `secret` can be read in `heard`: as it is, in UTF-16, in hexadecimal, and inside anything that is base64.
pub(crate) fn is_readable(heard: &[u8], secret: &str) -> bool {
    let utf16: Vec<u8> = secret.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hex = |octets: &[u8]| {
        octets
            .iter()
            .map(|o| format!("{o:02x}"))
            .collect::<String>()
    };
    let forms = [
        secret.as_bytes().to_vec(),
        hex(secret.as_bytes()).into_bytes(),
        hex(&utf16).into_bytes(),
        utf16,
    ];
    let has = |text: &[u8]| {
        let (text, small) = (text.to_vec(), text.to_ascii_lowercase());
        forms.iter().any(|form| {
            memchr::memmem::find(&text, form).is_some()
                || memchr::memmem::find(&small, form).is_some()
        })
    };
    has(heard) || decoded(heard).iter().any(|text| has(text))
}

/// Every run of base64, decoded from each of the four letters it may begin at.
fn decoded(heard: &[u8]) -> Vec<Vec<u8>> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&STANDARD, lenient);
    let letter = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/".contains(octet);
    let runs = heard
        .split(|octet| !letter(octet))
        .filter(|run| run.len() >= 8);
    let shifted = runs.flat_map(|run| (0..4).map(move |start| &run[start..]));
    shifted
        .filter_map(|run| {
            // One letter alone is no octet.
            let whole = run.len() - usize::from(run.len() % 4 == 1);
            engine.decode(&run[..whole]).ok()
        })
        .collect()
}

#[test]
fn what_is_readable_is_found() {
    let said = |text: &str| is_readable(text.as_bytes(), "Wonder.land1");
    assert!(said("AUTH PLAIN AGFsaWNlAFdvbmRlci5sYW5kMQ=="));
    assert!(said(
        "334 VXNlcm5hbWU6\r\nYWxpY2U=\r\n334 UGFzc3dvcmQ6\r\nV29uZGVyLmxhbmQx\r\n"
    ));
    assert!(said("xWonder.land1x") && said("576F6E6465722E6C616E6431"));
    assert!(!said("AUTH PLAIN AGFsaWNlAFdvbmRlci5sYW5kMg==") && !said(""));
}
