//! A client that says exactly what a test tells it to, line by line or byte by byte.

use crate::Failure;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One connection.
pub struct Wire {
    reader: BufReader<TcpStream>,
    /// The greeting.
    pub greeting: String,
}

impl Wire {
    /// Connects and reads the greeting, whatever it is.
    pub fn connect(to: SocketAddr) -> Result<Wire, Failure> {
        Wire::over(TcpStream::connect_timeout(&to, Duration::from_secs(10))?)
    }

    /// The same from another address of this host, `127.0.0.7:0` for instance.
    pub fn from(source: SocketAddr, to: SocketAddr) -> Result<Wire, Failure> {
        Wire::over(connect_from(source, to)?)
    }

    /// Sends a balancer's header first.
    pub fn behind(mut stream: TcpStream, header: &[u8]) -> Result<Wire, Failure> {
        stream.write_all(header)?;
        Wire::over(stream)
    }

    fn over(stream: TcpStream) -> Result<Wire, Failure> {
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        let mut wire = Wire {
            reader: BufReader::new(stream),
            greeting: String::new(),
        };
        wire.greeting = wire.reply()?;
        Ok(wire)
    }

    /// Connects, and says EHLO.
    pub fn open(to: SocketAddr) -> Result<Wire, Failure> {
        let mut wire = Wire::connect(to)?;
        if !wire.greeting.starts_with("220") {
            return Err(format!("greeted with {}", wire.greeting).into());
        }
        wire.expect("250", "EHLO client.example.test")?;
        Ok(wire)
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        Ok(self.reader.get_mut().write_all(bytes)?)
    }

    /// One reply, all its lines, without the last line's end.
    pub fn reply(&mut self) -> Result<String, Failure> {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(format!("closed by the server after `{all}`").into());
            }
            let more = line.as_bytes().get(3) == Some(&b'-');
            all.push_str(&line);
            if !more {
                return Ok(all.trim_end().to_owned());
            }
        }
    }

    /// Sends a line and reads the reply.
    pub fn say(&mut self, line: &str) -> Result<String, Failure> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// The same, and the reply must begin with `start`.
    pub fn expect(&mut self, start: &str, line: &str) -> Result<String, Failure> {
        let reply = self.say(line)?;
        if reply.starts_with(start) {
            return Ok(reply);
        }
        Err(
            format!("`{line}` should have been answered {start}, and was answered `{reply}`")
                .into(),
        )
    }

    /// Sends one message; the reply to its end, or the first refusal. `content` is not changed but for the dots.
    pub fn message(
        &mut self,
        sender: &str,
        recipient: &str,
        content: &[u8],
    ) -> Result<String, Failure> {
        for line in [
            format!("MAIL FROM:<{sender}>"),
            format!("RCPT TO:<{recipient}>"),
            "DATA".to_owned(),
        ] {
            let reply = self.say(&line)?;
            if !reply.starts_with(['2', '3']) {
                return Ok(reply);
            }
        }
        self.send(&stuffed(content))?;
        self.reply()
    }

    /// Whether the server has closed: reads on to the end, for as long as a read may take. What it had not read by then makes
    /// the end a reset.
    pub fn closed(&mut self) -> bool {
        let read = self.reader.read_to_end(&mut Vec::new());
        read.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true)
    }

    /// How long a read may take.
    pub fn set_patience(&self, limit: Duration) -> Result<(), Failure> {
        Ok(self.reader.get_ref().set_read_timeout(Some(limit))?)
    }
}

/// A connection whose source address is chosen.
pub fn connect_from(source: SocketAddr, to: SocketAddr) -> Result<TcpStream, Failure> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&source.into())?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// A message as it goes over the wire in DATA: dots doubled, the final dot behind it (RFC 5321 §4.5.2).
pub fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(content.len() + 64);
    for line in content.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b".") {
            wire.push(b'.');
        }
        wire.extend_from_slice(line);
    }
    if !wire.is_empty() && !wire.ends_with(b"\r\n") {
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b".\r\n");
    wire
}

/// The content of a message that went over the wire in DATA, the final dot not included.
pub fn unstuffed(wire: &[u8]) -> Vec<u8> {
    let lines = wire.split_inclusive(|&byte| byte == b'\n');
    lines
        .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
        .copied()
        .collect()
}
