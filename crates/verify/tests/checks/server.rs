//! A mail server that keeps every rule, unless it is told to break one.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use postern_tls::{PairFiles, PemFile, ServerSettings, ServerTls};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The one local domain.
pub const LOCAL: &str = "example.test";
/// The one local account.
pub const ACCOUNT: (&str, &str) = ("keeper@example.test", "house-of-cards-7");
/// The largest message.
pub const SIZE: u64 = 1000;

/// How a server behaves; the default keeps every rule.
#[derive(Clone)]
pub struct Manners {
    pub greeting: &'static str,
    pub help: &'static str,
    /// Addresses that are not greeted.
    pub excluded: Option<IpAddr>,
    /// What they are told in clear; nothing where it is empty.
    pub turned_away: &'static str,
    pub starttls: bool,
    pub implicit: bool,
    pub require: bool,
    /// Where TLS is required, NOOP is refused in clear too.
    pub refuses_noop: bool,
    /// AUTH is offered and looked at in clear.
    pub auth_in_clear: bool,
    /// Mechanisms that are named in clear, and none of them works there.
    pub named_in_clear: &'static str,
    /// AUTH is looked at in clear, but not offered.
    pub auth_secretly: bool,
    /// Any password will do.
    pub any_password: bool,
    /// What stands behind STARTTLS in the same packet is run inside TLS.
    pub runs_injected: bool,
    pub starttls_twice: bool,
    /// Goes on in clear behind its 220.
    pub no_tls_behind: bool,
    /// TLS 1.0 and 1.1 are answered.
    pub old_tls: bool,
    /// Whether a recipient that is not plainly local is taken.
    pub relays: fn(&str) -> bool,
    pub recipient_code: u16,
    /// What RCPT is answered before anything else, by sender and recipient.
    pub objects: fn(&str, &str) -> Option<&'static str>,
    /// What ends a message too.
    pub ends: &'static [&'static str],
    /// How long the answer to an end of data takes.
    pub slow_end: Duration,
    /// How long each line of an answer takes.
    pub slow: Duration,
    /// Refuses a bare newline at once, and closes.
    pub bare_newline_closes: bool,
    /// The answer to VRFY and EXPN of this name differs.
    pub verifies: Option<&'static str>,
    pub size: Option<u64>,
    pub max_errors: usize,
    pub max_recipients: usize,
    pub max_connections: usize,
    /// What a connection too many is told; nothing where it is empty.
    pub too_many: &'static str,
    /// How long an unknown command takes to answer.
    pub slow_errors: Duration,
    pub longest_line: usize,
    pub answers_behind_quit: bool,
    pub refuses_early: bool,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners {
            greeting: "220 mx.example.test ESMTP",
            help: "214 2.0.0 see RFC 5321",
            excluded: None,
            turned_away: "554 5.7.1 not you\r\n",
            starttls: true,
            implicit: false,
            require: false,
            refuses_noop: false,
            auth_in_clear: false,
            named_in_clear: "",
            auth_secretly: false,
            any_password: false,
            runs_injected: false,
            starttls_twice: false,
            no_tls_behind: false,
            old_tls: false,
            relays: |_| false,
            recipient_code: 550,
            objects: |_, _| None,
            ends: &[],
            slow_end: Duration::ZERO,
            slow: Duration::ZERO,
            bare_newline_closes: false,
            verifies: None,
            size: Some(SIZE),
            max_errors: 20,
            max_recipients: 100,
            max_connections: 10,
            too_many: "421 4.7.0 too many connections",
            slow_errors: Duration::ZERO,
            longest_line: 2048,
            answers_behind_quit: false,
            refuses_early: true,
        }
    }
}

/// Starts one; it ends with the runtime.
pub async fn start(manners: Manners) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tls = tls();
    let open = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((stream, peer)) = listener.accept().await {
            let (manners, tls, open) = (manners.clone(), tls.clone(), Arc::clone(&open));
            tokio::spawn(async move {
                let now = open.fetch_add(1, Ordering::SeqCst) + 1;
                let _ = serve(stream, peer, now, manners, tls).await;
                open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    address
}

fn tls() -> ServerTls {
    let pair = rcgen::generate_simple_self_signed(["mx.example.test".to_owned()]).unwrap();
    let file = |text: String| PemFile {
        path: "mx.pem".into(),
        text: text.into_bytes(),
    };
    let files = PairFiles {
        certificate: file(pair.cert.pem()),
        key: file(pair.signing_key.serialize_pem()),
    };
    ServerTls::new(&[files], &ServerSettings::default(), SystemTime::now()).unwrap()
}

trait Both: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Both for T {}

type Io<T> = std::io::Result<T>;

async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    now: usize,
    manners: Manners,
    tls: ServerTls,
) -> Io<()> {
    if manners.excluded == Some(peer.ip()) {
        return stream.write_all(manners.turned_away.as_bytes()).await;
    }
    if manners.implicit {
        let secure = tls.accept(stream).await?;
        let mut session = Session::new(Box::new(secure), manners);
        session.secure = true;
        session.greet(now).await?;
        return session.run().await.map(drop);
    }
    if manners.refuses_early {
        let waited = tokio::time::timeout(Duration::from_millis(20), stream.readable());
        let mut byte = [0];
        if waited.await.is_ok() && stream.try_read(&mut byte).is_ok_and(|read| read > 0) {
            return stream
                .write_all(b"554 5.5.1 wait for the greeting\r\n")
                .await;
        }
    }
    let mut session = Session::new(Box::new(stream), manners.clone());
    session.greet(now).await?;
    let Some((plain, injected)) = session.run().await? else {
        return Ok(());
    };
    if manners.no_tls_behind {
        let mut plain = plain;
        return plain.write_all(b"250 I forgot about TLS\r\n").await;
    }
    let (plain, hello) = match manners.old_tls {
        true => first_record(plain).await?,
        false => (plain, Vec::new()),
    };
    if hello.get(10).is_some_and(|minor| *minor < 3) {
        let mut plain = plain;
        let minor = hello[10];
        let mut answer = vec![22, 3, minor, 0, 42, 2, 0, 0, 38, 3, minor];
        answer.resize(47, 7);
        return plain.write_all(&answer).await;
    }
    let stream = Before {
        front: hello,
        rest: plain,
    };
    let secure = tls.accept(stream).await?;
    let mut session = Session::new(Box::new(secure), manners.clone());
    session.secure = true;
    if manners.runs_injected {
        session.input = injected;
    }
    session.run().await.map(drop)
}

async fn first_record(mut plain: Box<dyn Both>) -> Io<(Box<dyn Both>, Vec<u8>)> {
    let mut head = vec![0; 5];
    plain.read_exact(&mut head).await?;
    let mut body = vec![0; usize::from(head[3]) << 8 | usize::from(head[4])];
    plain.read_exact(&mut body).await?;
    head.extend(body);
    Ok((plain, head))
}

/// A stream of which some bytes have been read already.
struct Before {
    front: Vec<u8>,
    rest: Box<dyn Both>,
}

impl AsyncRead for Before {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<Io<()>> {
        if self.front.is_empty() {
            return std::pin::Pin::new(&mut self.rest).poll_read(cx, buffer);
        }
        let take = self.front.len().min(buffer.remaining());
        buffer.put_slice(&self.front[..take]);
        self.front.drain(..take);
        std::task::Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Before {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<Io<usize>> {
        std::pin::Pin::new(&mut self.rest).poll_write(cx, bytes)
    }
    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Io<()>> {
        std::pin::Pin::new(&mut self.rest).poll_flush(cx)
    }
    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Io<()>> {
        std::pin::Pin::new(&mut self.rest).poll_shutdown(cx)
    }
}

struct Session {
    stream: Box<dyn Both>,
    manners: Manners,
    input: Vec<u8>,
    secure: bool,
    mail: bool,
    sender: String,
    recipients: usize,
    errors: usize,
}

impl Session {
    fn new(stream: Box<dyn Both>, manners: Manners) -> Session {
        Session {
            stream,
            manners,
            input: Vec::new(),
            secure: false,
            mail: false,
            sender: String::new(),
            recipients: 0,
            errors: 0,
        }
    }

    async fn greet(&mut self, now: usize) -> Io<()> {
        if now > self.manners.max_connections {
            let words = self.manners.too_many;
            if !words.is_empty() {
                self.say(words).await?;
            }
            return Err(std::io::ErrorKind::ConnectionRefused.into());
        }
        let greeting = self.manners.greeting;
        self.say(greeting).await
    }

    async fn say(&mut self, line: &str) -> Io<()> {
        tokio::time::sleep(self.manners.slow).await;
        self.stream
            .write_all(format!("{line}\r\n").as_bytes())
            .await?;
        self.stream.flush().await
    }

    async fn line(&mut self) -> Io<String> {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Io<()> {
        let read = self.stream.read_buf(&mut self.input).await?;
        match read {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Until it ends, or TLS is to begin: then the stream, and what was sent behind STARTTLS.
    async fn run(mut self) -> Io<Option<(Box<dyn Both>, Vec<u8>)>> {
        loop {
            let line = self.line().await?;
            let verb = line
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_ascii_uppercase();
            let shut = self.manners.require && !self.secure;
            match verb.as_str() {
                _ if line.len() > self.manners.longest_line => {
                    self.say("500 5.5.2 too long").await?
                }
                "EHLO" => self.hello().await?,
                "NOOP" if !(shut && self.manners.refuses_noop) => self.say("250 2.0.0 OK").await?,
                "RSET" if !shut => {
                    (self.mail, self.recipients) = (false, 0);
                    self.say("250 2.0.0 OK").await?;
                }
                "QUIT" => {
                    self.say("221 2.0.0 bye").await?;
                    if self.manners.answers_behind_quit {
                        continue;
                    }
                    return Ok(None);
                }
                "STARTTLS" if self.manners.starttls && !self.secure => {
                    self.say("220 2.0.0 go ahead").await?;
                    return Ok(Some((self.stream, self.input)));
                }
                _ if shut => self.say("530 5.7.0 STARTTLS first").await?,
                "HELP" => {
                    let help = self.manners.help;
                    self.say(help).await?;
                }
                "AUTH" => self.auth(&line).await?,
                "VRFY" | "EXPN" => match self.manners.verifies {
                    Some(name) if line.ends_with(name) => {
                        self.say("250 2.1.5 <him@example.test>").await?
                    }
                    Some(_) => self.say("550 5.1.1 nobody").await?,
                    None => self.say("252 2.1.5 perhaps").await?,
                },
                "MAIL" => self.mail(&line).await?,
                "RCPT" => self.rcpt(&line).await?,
                "DATA" if self.recipients == 0 => self.say("503 5.5.1 no recipients").await?,
                "DATA" => {
                    if self.data().await? {
                        return Ok(None);
                    }
                }
                _ => {
                    self.errors += 1;
                    tokio::time::sleep(self.manners.slow_errors).await;
                    if self.errors > self.manners.max_errors {
                        self.say("421 4.7.0 too many errors").await?;
                        return Ok(None);
                    }
                    self.say("500 5.5.1 what").await?;
                }
            }
        }
    }

    async fn hello(&mut self) -> Io<()> {
        let mut lines = vec!["mx.example.test".to_owned(), "PIPELINING".to_owned()];
        lines.extend(self.manners.size.map(|size| format!("SIZE {size}")));
        if self.manners.starttls && (!self.secure || self.manners.starttls_twice) {
            lines.push("STARTTLS".into());
        }
        if self.secure || self.manners.auth_in_clear {
            lines.push("AUTH PLAIN LOGIN X-STRANGE".into());
        } else if !self.manners.named_in_clear.is_empty() {
            lines.push(format!("AUTH {}", self.manners.named_in_clear));
        }
        let last = lines.len() - 1;
        for (number, line) in lines.into_iter().enumerate() {
            let dash = if number == last { ' ' } else { '-' };
            self.say(&format!("250{dash}{line}")).await?;
        }
        Ok(())
    }

    async fn auth(&mut self, line: &str) -> Io<()> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        if !(self.secure || self.manners.auth_in_clear || self.manners.auth_secretly) {
            return self.say("538 5.7.11 TLS first").await;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let right = if words.get(1) == Some(&"LOGIN") {
            self.say("334 VXNlcm5hbWU6").await?;
            let name = self.line().await?;
            self.say("334 UGFzc3dvcmQ6").await?;
            let password = self.line().await?;
            (name, password) == (STANDARD.encode(ACCOUNT.0), STANDARD.encode(ACCOUNT.1))
        } else {
            let blob = format!("\0{}\0{}", ACCOUNT.0, ACCOUNT.1);
            words.get(2) == Some(&STANDARD.encode(blob).as_str())
        };
        match right || self.manners.any_password {
            true => self.say("235 2.7.0 welcome").await,
            false => self.say("535 5.7.8 no").await,
        }
    }

    async fn mail(&mut self, line: &str) -> Io<()> {
        let declared = line
            .split_once("SIZE=")
            .and_then(|(_, size)| size.parse::<u64>().ok());
        if self.manners.size == Some(SIZE) && declared.is_some_and(|size| size > SIZE) {
            return self.say("552 5.3.4 too large").await;
        }
        let path = line.split_once(':').map_or("", |(_, path)| path.trim());
        self.sender = path.split(' ').next().unwrap_or_default().to_owned();
        self.mail = true;
        self.say("250 2.1.0 OK").await
    }

    async fn rcpt(&mut self, line: &str) -> Io<()> {
        let path = line.split_once(':').map_or("", |(_, path)| path.trim());
        let local = path
            .strip_prefix('<')
            .and_then(|path| path.strip_suffix(&format!("@{LOCAL}>")))
            .is_some_and(|name| name.bytes().all(|b| b.is_ascii_alphanumeric()));
        if !self.mail {
            return self.say("503 5.5.1 MAIL first").await;
        }
        if let Some(objection) = (self.manners.objects)(&self.sender, path) {
            return self.say(objection).await;
        }
        if !(local || (self.manners.relays)(path)) {
            let refusal = format!("{} 5.7.1 no relay", self.manners.recipient_code);
            return self.say(&refusal).await;
        }
        if self.recipients == self.manners.max_recipients {
            return self.say("452 4.5.3 too many").await;
        }
        self.recipients += 1;
        self.say("250 2.1.5 OK").await
    }

    /// Takes a message; whether the session is over.
    async fn data(&mut self) -> Io<bool> {
        self.say("354 go on").await?;
        let ends: Vec<&str> = ["\r\n.\r\n"]
            .into_iter()
            .chain(self.manners.ends.iter().copied())
            .collect();
        loop {
            let text = String::from_utf8_lossy(&self.input).into_owned();
            if self.manners.bare_newline_closes && text.replace("\r\n", "").contains(['\n', '\r']) {
                self.say("521 5.5.2 bare newline").await?;
                return Ok(true);
            }
            let found = ends
                .iter()
                .filter_map(|end| Some(text.find(end)? + end.len()))
                .min();
            if let Some(end) = found {
                self.input.drain(..end);
                self.recipients = 0;
                tokio::time::sleep(self.manners.slow_end).await;
                self.say("250 2.6.0 queued").await?;
                return Ok(false);
            }
            self.more().await?;
        }
    }
}
