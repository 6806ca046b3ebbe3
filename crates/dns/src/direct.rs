//! Questions put to name servers one by one, without a cache, so that what is shown is what was answered.
//!
//! | a server | then |
//! |---|---|
//! | answers, or says there is none | that is it |
//! | answers in part (TC) | it is asked again, over TCP |
//! | does not know EDNS (FORMERR) | it is asked again, without |
//! | says that it cannot (SERVFAIL, REFUSED), is silent or out of reach | the next is asked |
//!
//! Never: a search list, `/etc/hosts`; an answer to another question than the one asked; more than 64 KiB.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};

use crate::ask::{Ask, Association, Data, MOST_RECORDS, Told, Type, Untold};
use crate::lookup::{self, Exchange};

/// What fits into one packet of any network (the DNS flag day of 2020).
const PAYLOAD: u16 = 1232;
/// One question over UDP is sent again after so long.
const AGAIN: Duration = Duration::from_millis(1500);
/// A server that was silent so often is not asked again.
const GIVE_UP: u8 = 2;
/// Aliases on the way to an answer; more are a loop.
const MOST_ALIASES: usize = 16;

/// Name servers, in the order to ask them. Needs a tokio runtime with I/O and time.
#[derive(Debug)]
pub struct Direct {
    servers: Vec<Server>,
    patience: Duration,
    chance: RandomState,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    silences: AtomicU8,
}

impl Direct {
    /// Asks these; each has `patience` for one question.
    pub fn new(servers: &[SocketAddr], patience: Duration) -> Direct {
        let server = |address: &SocketAddr| Server {
            address: *address,
            silences: AtomicU8::new(0),
        };
        Direct {
            servers: servers.iter().map(server).collect(),
            patience,
            chance: RandomState::new(),
        }
    }

    /// The name servers of this host, as `/etc/resolv.conf` lists them. The error says what is wrong with that file.
    pub fn system_servers() -> Result<Vec<SocketAddr>, String> {
        let (config, _) = read_system_conf().map_err(|error| error.to_string())?;
        let mut servers: Vec<SocketAddr> = Vec::new();
        for server in &config.name_servers {
            let port = server.connections.first().map_or(53, |one| one.port);
            let address = SocketAddr::new(server.ip, port);
            if !servers.contains(&address) {
                servers.push(address);
            }
        }
        Ok(servers)
    }

    /// The servers, in order.
    pub fn servers(&self) -> impl Iterator<Item = SocketAddr> {
        self.servers.iter().map(|server| server.address)
    }

    async fn in_turn(&self, name: &Name, wanted: Type) -> Result<Told, Untold> {
        let mut failure = Untold {
            server: None,
            reason: "there is no name server to ask".to_owned(),
        };
        for server in &self.servers {
            let outcome = self.one(server, name, wanted).await;
            match outcome {
                Ok(told) => return Ok(told),
                Err(reason) => {
                    failure = Untold {
                        server: Some(server.address),
                        reason,
                    };
                }
            }
        }
        Err(failure)
    }

    async fn one(&self, server: &Server, name: &Name, wanted: Type) -> Result<Told, String> {
        if server.silences.load(Ordering::Relaxed) >= GIVE_UP {
            return Err(format!(
                "it was silent {GIVE_UP} times before, and was not asked again"
            ));
        }
        let deadline = Instant::now() + self.patience;
        match timeout_at(deadline, self.exchange(server.address, name, wanted)).await {
            Ok(outcome) => {
                server.silences.store(0, Ordering::Relaxed);
                outcome
            }
            Err(_) => {
                server.silences.fetch_add(1, Ordering::Relaxed);
                Err(format!(
                    "no answer within {} s",
                    self.patience.as_secs_f32()
                ))
            }
        }
    }

    async fn exchange(
        &self,
        server: SocketAddr,
        name: &Name,
        wanted: Type,
    ) -> Result<Told, String> {
        let question = self.question(name, wanted, true);
        let (mut answer, mut over_tcp) = over_either(server, &question).await?;
        let code = answer.metadata.response_code;
        if matches!(code, ResponseCode::FormErr | ResponseCode::NotImp) {
            (answer, over_tcp) = over_either(server, &self.question(name, wanted, false)).await?;
        }
        Ok(Told {
            server: Some(server),
            over_tcp,
            ..told(&answer, wanted)?
        })
    }

    fn question(&self, name: &Name, wanted: Type, edns: bool) -> Message {
        let mut question = Message::query();
        question.metadata.id = (self.chance.hash_one(std::time::Instant::now()) & 0xffff) as u16;
        question.metadata.recursion_desired = true;
        // RFC 6840 §5.7: the sign that we understand AD in the answer.
        question.metadata.authentic_data = true;
        question.add_query(Query::query(name.clone(), record_type(wanted)));
        if edns {
            let mut options = Edns::new();
            options.set_max_payload(PAYLOAD).set_version(0);
            question.set_edns(options);
        }
        question
    }
}

impl Ask for Direct {
    async fn ask(&self, name: &str, wanted: Type) -> Result<Told, Untold> {
        let parsed = lookup::ascii(name)
            .map_err(|error| error.to_string())
            .and_then(|name| Name::from_ascii(&*name).map_err(|_| format!("{name} is no name")));
        let mut parsed = parsed.map_err(|reason| Untold {
            server: None,
            reason,
        })?;
        parsed.set_fqdn(true);
        self.in_turn(&parsed, wanted).await
    }
}

fn record_type(wanted: Type) -> RecordType {
    match wanted {
        Type::A => RecordType::A,
        Type::Aaaa => RecordType::AAAA,
        Type::Mx => RecordType::MX,
        Type::Ptr => RecordType::PTR,
        Type::Cname => RecordType::CNAME,
        Type::Txt => RecordType::TXT,
        Type::Tlsa => RecordType::TLSA,
    }
}

/// The answer over UDP, or over TCP where UDP brought only a part; and whether it was TCP.
async fn over_either(server: SocketAddr, question: &Message) -> Result<(Message, bool), String> {
    let bytes = question.to_vec().map_err(|error| error.to_string())?;
    let answer = over_udp(server, question, &bytes).await;
    match answer.map_err(|error| format!("it cannot be reached: {}", plain(&error)))? {
        Some(answer) => Ok((answer, false)),
        None => Ok((over_tcp(server, question, &bytes).await?, true)),
    }
}

/// `None` where the answer did not fit. Packets that do not answer the question are passed over.
async fn over_udp(
    server: SocketAddr,
    question: &Message,
    bytes: &[u8],
) -> std::io::Result<Option<Message>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let mut packet = [0; 4096];
    loop {
        socket.send(bytes).await?;
        let again = Instant::now() + AGAIN;
        while let Ok(received) = timeout_at(again, socket.recv(&mut packet)).await {
            let packet = &packet[..received?];
            if is_cut(packet, question.metadata.id) {
                return Ok(None);
            }
            if let Some(answer) = answer_to(question, packet) {
                return Ok(Some(answer));
            }
        }
    }
}

/// Whether it is an answer to this question with the TC bit; what else it holds may end anywhere.
fn is_cut(packet: &[u8], id: u16) -> bool {
    matches!(packet, [a, b, flags, ..] if [*a, *b] == id.to_be_bytes() && flags & 0x82 == 0x82)
}

async fn over_tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> Result<Message, String> {
    let fetch = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
        let framed = [&length.to_be_bytes(), bytes].concat();
        stream.write_all(&framed).await?;
        let mut packet = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut packet).await?;
        Ok::<_, std::io::Error>(packet)
    };
    let failed = |error| {
        format!(
            "the answer is too long for UDP, and over TCP: {}",
            plain(&error)
        )
    };
    let packet = fetch.await.map_err(failed)?;
    answer_to(question, &packet).ok_or_else(|| "its answer over TCP is nonsense".to_owned())
}

/// What the system said, without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// A packet that answers this question.
fn answer_to(question: &Message, packet: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(packet).ok()?;
    let same = match (answer.queries.as_slice(), question.queries.as_slice()) {
        ([theirs], [ours]) => {
            theirs.query_type() == ours.query_type() && theirs.name() == ours.name()
        }
        // A server that could not read the question cannot repeat it.
        ([], _) => answer.metadata.response_code == ResponseCode::FormErr,
        _ => false,
    };
    let meant = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response;
    (same && meant).then_some(answer)
}

fn told(answer: &Message, wanted: Type) -> Result<Told, String> {
    let code = answer.metadata.response_code;
    if !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return Err(format!("it answered {}", code_name(code)));
    }
    let mut told = Told {
        vouched: answer.metadata.authentic_data,
        exists: code == ResponseCode::NoError,
        ..Told::default()
    };
    for record in &answer.answers {
        match (&record.data, data(&record.data, wanted)) {
            (_, Some(data)) if told.data.len() < MOST_RECORDS => told.data.push(data),
            (_, Some(_)) => told.left_out += 1,
            (RData::CNAME(target), _) if told.aliases.len() < MOST_ALIASES => {
                told.aliases.push(host(&target.0));
            }
            (RData::CNAME(_), _) => return Err("its answer is a loop of CNAME records".to_owned()),
            _ => {}
        }
    }
    Ok(told)
}

fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::ServFail => {
            "SERVFAIL: the zone's servers fail, or DNSSEC says that the answer is forged".to_owned()
        }
        ResponseCode::Refused => {
            "REFUSED: it does not answer this question for this client".to_owned()
        }
        other => other.to_string(),
    }
}

fn data(record: &RData, wanted: Type) -> Option<Data> {
    match (record, wanted) {
        (RData::A(one), Type::A) => Some(Data::Address(IpAddr::V4(one.0))),
        (RData::AAAA(one), Type::Aaaa) => Some(Data::Address(IpAddr::V6(one.0))),
        (RData::PTR(name), Type::Ptr) => Some(Data::Pointer(host(&name.0))),
        (RData::TXT(text), Type::Txt) => Some(Data::Text(text.txt_data.concat().into())),
        (RData::MX(mx), Type::Mx) => Some(Data::Exchange(Exchange {
            preference: mx.preference,
            host: host(&mx.exchange),
        })),
        (RData::TLSA(one), Type::Tlsa) => Some(Data::Association(Association {
            usage: one.cert_usage.into(),
            selector: one.selector.into(),
            matching: one.matching.into(),
            data: one.cert_data.as_slice().into(),
        })),
        _ => None,
    }
}

fn host(name: &Name) -> Box<str> {
    let mut text = name.to_ascii();
    text.make_ascii_lowercase();
    text.trim_end_matches('.').into()
}
